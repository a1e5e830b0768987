"""Promotion-type ASHA, driven through simulated searches and watched from outside."""

import random
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hpo
from hpo.errors import SpecError
from hpo.schedulers import Decision, Situation
from hpo.schedulers.halving import Asha, Rung
from hpo.schedulers.rungs import bracket_sizes, rungs, turns
from hpo.searching.results import SimulationResult
from hpo.spec import Config
from hpo.study.ranking import Fitness, best_first
from hpo.study.trial import Metrics, State, TrialRecord


class Watch:
    """An observer that holds every pause and promotion against the rule, from its own record of the rungs.

    The rule: at a rung a trial goes on, at once or from its pause, if it is among the best floor(n / eta) of the n
    trials of its bracket that got there; ties go to the older one.
    """

    def __init__(self, trials: int, epochs: int, grace: int, eta: int, brackets: int) -> None:
        ladder = rungs(epochs, grace, eta)
        cycle = turns(bracket_sizes(brackets, eta))
        self._bracket = [cycle[number % len(cycle)] for number in range(trials)]
        self._ladders = [ladder[first:] for first in range(brackets)]
        self._eta, self._trials = eta, trials
        self._best: dict[int, float] = {}
        self._rung: dict[int, int] = {}
        self._reached: dict[tuple[int, int], list[tuple[float, int]]] = {}
        self._due: dict[int, bool] = {}
        self._waiting: set[int] = set()
        self._running: set[int] = set()
        self.promoted: list[int] = []

    def trial_started(self, trial: TrialRecord) -> None:
        assert not self._promotable(closing=False), "a new trial started before a paused one that was to go on"
        self._running.add(trial.number)

    def trial_reported(self, number: int, epoch: int, metrics: Metrics) -> None:
        assert not self._due.pop(number, False), "went on though it was not among the best"
        bracket = self._bracket[number]
        self._best[number] = min(metrics["loss"], self._best.get(number, metrics["loss"]))
        if epoch in self._ladders[bracket]:
            self._rung[number] = epoch
            self._reached.setdefault((bracket, epoch), []).append((self._best[number], number))
            self._due[number] = epoch < self._ladders[bracket][-1] and not self._among_the_best(number, closing=False)

    def trial_paused(self, number: int) -> None:
        assert self._due.pop(number), "paused though it was among the best, or at no rung"
        self._running.discard(number)
        self._waiting.add(number)

    def trial_resumed(self, number: int) -> None:
        nothing_else = not self._running and len(self._best) == self._trials
        candidates = self._promotable(closing=nothing_else)
        assert candidates, "went on though it was not among the best, while others run or are still to start"
        highest = [other for other in candidates if self._rung[other] == self._rung[candidates[0]]]
        rivals = [other for other in highest if self._bracket[other] == self._bracket[number]]
        assert number in rivals[:1], "of the highest rung the best of its bracket goes first"
        self._waiting.discard(number)
        self._running.add(number)
        self.promoted.append(number)

    def trial_ended(self, trial: TrialRecord) -> None:
        self._running.discard(trial.number)
        self._waiting.discard(trial.number)

    def _promotable(self, closing: bool) -> list[int]:
        """The paused trials that may go on, the highest rung and there the best first."""
        found = [number for number in self._waiting if self._among_the_best(number, closing)]
        return sorted(found, key=lambda number: (-self._rung[number], self._best_at_rung(number), number))

    def _among_the_best(self, number: int, closing: bool) -> bool:
        rows = sorted(self._reached[self._bracket[number], self._rung[number]])
        best = rows[: max(len(rows) // self._eta, int(closing))]
        return number in [other for _, other in best]

    def _best_at_rung(self, number: int) -> float:
        rows = self._reached[self._bracket[number], self._rung[number]]
        return next(value for value, other in rows if other == number)


def simulate(scheduler: Mapping[str, Any], trials: int, epochs: int, workers: int, observers: Any = ()) -> Any:
    def curve(config: Config, epoch: int) -> tuple[dict[str, float], float]:
        chance = random.Random(f"{config['x']} {epoch}")
        return {"loss": round(config["x"] + chance.random() / epoch, 1)}, chance.uniform(1, 10)  # rounded, to have ties

    document = {
        "study": "watched",
        "training": {"epochs": epochs},
        "parameters": {"x": {"min": 0, "max": 1}},
        "objective": {"metric": "loss", "goal": "minimize"},
        "sampler": "random",
        "scheduler": scheduler,
        "budget": {"trials": trials},
    }
    return hpo.simulate(document, curve, workers=workers, observers=observers)


@settings(max_examples=30)
@given(st.data())
def test_only_the_best_at_a_rung_go_on(data: st.DataObject) -> None:
    epochs, eta = data.draw(st.integers(1, 30)), data.draw(st.integers(2, 4))
    grace = data.draw(st.integers(1, min(4, epochs)))
    brackets = data.draw(st.integers(1, len(rungs(epochs, grace, eta))))
    trials, workers = data.draw(st.integers(1, 30)), data.draw(st.integers(1, 6))
    watch = Watch(trials, epochs, grace, eta, brackets)
    scheduler = {"name": "hyperband", "grace": grace, "eta": eta, "brackets": brackets}
    result: SimulationResult = simulate(scheduler, trials, epochs, workers, [watch])

    records, cycle = result.study.trials(), turns(bracket_sizes(brackets, eta))
    assert [list(record.reports) for record in records] == [list(range(1, record.epoch + 1)) for record in records]
    complete = {cycle[record.number % len(cycle)] for record in records if record.state is State.COMPLETE}
    assert complete == {cycle[number % len(cycle)] for number in range(trials)}  # one a bracket, though it be small


def test_asha_is_hyperband_with_one_bracket() -> None:
    def trials(scheduler: Mapping[str, Any]) -> list[tuple[Config, State, int]]:
        return [(t.config, t.state, t.epoch) for t in simulate(scheduler, 30, 9, 3).study.trials()]

    assert trials({"name": "asha", "grace": 1}) == trials({"name": "hyperband", "grace": 1, "brackets": 1})
    assert trials({"name": "asha", "grace": 1}) != trials({"name": "hyperband", "grace": 1})


def test_paused_trials_are_promoted_when_better_than_those_that_came_later() -> None:
    watch = Watch(40, 9, 1, 3, 1)
    simulate({"name": "asha", "grace": 1}, 40, 9, 4, [watch])
    assert len(watch.promoted) > 1


# ---- the scheduler alone ---------------------------------------------------------------------------------------------


def asha(eta: int = 2) -> Asha:
    """Rungs at 1, 2 and 4 epochs; the loss is minimized."""
    return Asha(lambda metrics: Fitness(0.0, (metrics["loss"],)), 4, 1, eta)


def report(scheduler: Asha, number: int, epoch: int, loss: float) -> Decision:
    return scheduler.report(number, epoch, {"loss": loss}, Situation())


def chosen(scheduler: Asha, situation: Situation = Situation()) -> int | None:  # noqa: B008 - it is frozen
    """The paused trial that goes on."""
    number = scheduler.next(situation)
    if number is not None:
        scheduler.resumed(number)
    return number


def test_a_trial_among_the_best_goes_on_without_pausing() -> None:
    scheduler = asha()
    assert report(scheduler, 0, 1, 0.5) == Decision.PAUSE  # the first one of a rung is no better than anybody
    assert report(scheduler, 1, 1, 0.4) == Decision.CONTINUE
    assert report(scheduler, 2, 1, 0.6) == Decision.PAUSE
    assert report(scheduler, 1, 2, 0.4) == Decision.PAUSE
    assert report(scheduler, 1, 3, 0.4) == Decision.CONTINUE  # no rung
    assert report(scheduler, 1, 4, 0.4) == Decision.CONTINUE  # the end


def test_the_highest_rung_goes_first() -> None:
    scheduler = asha()
    for number, loss in enumerate((0.8, 0.9)):
        assert report(scheduler, number, 2, loss) == Decision.PAUSE
    decisions = [report(scheduler, number, 1, loss) for number, loss in enumerate((0.1, 0.2, 0.3, 0.9), start=2)]
    assert decisions == [*[Decision.CONTINUE] * 2, *[Decision.PAUSE] * 2]
    assert chosen(scheduler) == 0  # worse than trial 4, but one rung higher
    assert chosen(scheduler) == 4
    assert chosen(scheduler) is None


def test_the_best_of_each_rung_goes_on_when_nothing_else_is_left() -> None:
    scheduler = asha(eta=4)
    for number, loss in enumerate((0.5, 0.4, 0.6)):
        assert report(scheduler, number, 1, loss) == Decision.PAUSE
    for no_new, idle in ((False, False), (True, False), (False, True)):
        assert chosen(scheduler, Situation(no_new, idle)) is None
    closing = Situation(no_new=True, idle=True)
    assert chosen(scheduler, closing) == 1
    assert chosen(scheduler, closing) is None


def test_what_an_earlier_search_has_seen_keeps_its_places() -> None:
    earlier = {0: {1: {"loss": 0.5}}, 1: {1: {"loss": 0.4}, 2: {"loss": 0.45}}, 2: {1: {"loss": 0.3}}}
    scheduler = asha()
    for number, reports in earlier.items():
        for epoch, metrics in reports.items():
            scheduler.replay(number, epoch, metrics, 0.0, paused=False)
    assert scheduler.next(Situation()) is None  # they have ended
    assert report(scheduler, 3, 1, 0.35) == Decision.CONTINUE  # the second of four
    assert report(scheduler, 4, 1, 0.38) == Decision.PAUSE  # the third of five
    assert report(scheduler, 3, 2, 0.42) == Decision.CONTINUE  # 0.35 is before trial 1, whose best is 0.4


def test_a_trial_that_is_gone_is_not_promoted() -> None:
    scheduler = asha()
    report(scheduler, 0, 1, 0.1)
    scheduler.ended(0, comparable=False)
    report(scheduler, 1, 1, 0.2)
    assert scheduler.next(Situation()) is None


def test_more_brackets_than_rungs_are_refused() -> None:
    measure = lambda metrics: Fitness(0.0, (metrics["loss"],))  # noqa: E731
    for brackets in (0, 4):
        with pytest.raises(ValueError, match=f"brackets must be 1 to 3, the number of rungs, got {brackets}"):
            Asha(measure, 9, 1, 3, brackets)
    with pytest.raises(SpecError, match="scheduler: brackets must be 1 to 3, the number of rungs, got 4"):
        simulate({"name": "hyperband", "grace": 1, "brackets": 4}, 2, 9, 1)


@given(
    st.integers(1, 2),
    st.lists(st.tuples(st.sampled_from(["add", "add", "add", "promote", "remove"]), st.integers(0, 30)), max_size=60),
    st.randoms(use_true_random=False),
)
def test_a_rung_keeps_the_order_that_sorting_would_give(
    objectives: int, steps: list[tuple[str, int]], random_: random.Random
) -> None:
    rung, worth, promoted = Rung(), dict[int, Fitness](), set[int]()
    for step, number in steps:
        if step == "add" and number not in worth:
            costs = tuple(float(random_.randrange(4)) for _ in range(objectives))
            worth[number] = Fitness(float(random_.randrange(2)), costs)
            rung.add(number, worth[number])
            promoted.discard(number)
        elif step == "promote" and number in worth:
            rung.promote(number)
            promoted.add(number)
        elif step == "remove":
            rung.remove(number)
            worth.pop(number, None)
            promoted.discard(number)
        assert rung.compared == len(worth)
        for best in (0, len(worth) // 3, len(worth)):
            ranked = best_first(dict(sorted(worth.items())))[:best]
            assert rung.staying_among(best) == [n for n in ranked if n not in promoted]
