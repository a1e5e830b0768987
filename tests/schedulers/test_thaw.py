from collections.abc import Collection

from hpo.schedulers import Situation
from hpo.schedulers.thaw import FreezeThaw
from hpo.study.ranking import Fitness

LADDER = (2, 4, 9)
OPEN, LAST, CLOSING = Situation(), Situation(no_new=True), Situation(no_new=True, idle=True)
"""New trials may start; no more may; and nothing runs."""


class Model:
    """Would resume what it is told to, and remembers what it was asked."""

    def __init__(self) -> None:
        self.chosen: int | None = None
        self.asked: list[tuple[frozenset[int], bool]] = []

    def __call__(self, paused: Collection[int], new: bool) -> int | None:
        self.asked.append((frozenset(paused), new))
        return self.chosen if self.chosen in paused else None


def made(by_trials: bool = False, reference: int | None = None) -> tuple[FreezeThaw, Model]:
    model = Model()
    return FreezeThaw(lambda metrics: Fitness(0.0, (metrics["loss"],)), LADDER, model, by_trials, reference), model


def report(scheduler: FreezeThaw, number: int, epoch: int, loss: float, situation: Situation = OPEN) -> str:
    return scheduler.report(number, epoch, {"loss": loss}, situation).value


def resumed(scheduler: FreezeThaw, situation: Situation = OPEN) -> int | None:
    """The paused trial that goes on."""
    number = scheduler.next(situation)
    if number is not None:
        scheduler.resumed(number)
    return number


def test_the_model_says_who_goes_on() -> None:
    scheduler, model = made()
    assert [report(scheduler, number, 2, 0.5 - number / 100) for number in range(6)] == ["pause"] * 6
    assert resumed(scheduler) is None
    model.chosen = 6
    assert report(scheduler, 6, 2, 0.9) == "continue"
    assert report(scheduler, 6, 3, 0.9) == "continue"  # no rung
    model.chosen = 0
    assert report(scheduler, 7, 2, 0.1) == "pause"
    assert resumed(scheduler) == 0


def test_the_model_is_asked_once_between_two_reports() -> None:
    scheduler, model = made()
    for number in range(2):
        report(scheduler, number, 2, 0.5)
    before = len(model.asked)
    assert [scheduler.next(OPEN) for _ in range(3)] == [None] * 3
    assert len(model.asked) <= before + 1
    scheduler.next(LAST)
    assert model.asked[-1] == (frozenset({0, 1}), False)


def test_in_the_end_the_best_third_of_a_rung_goes_on_whatever_the_model_says() -> None:
    scheduler, _ = made()
    for number, loss in enumerate((0.5, 0.3, 0.4, 0.6, 0.2, 0.7)):
        report(scheduler, number, 2, loss)
    assert resumed(scheduler) is None
    assert [resumed(scheduler, LAST) for _ in range(3)] == [4, 1, None]
    assert report(scheduler, 4, 4, 0.2, LAST) == "pause"  # the first of its rung stands beside nobody
    assert report(scheduler, 1, 4, 0.3, LAST) == "pause"
    assert report(scheduler, 6, 2, 0.1, LAST) == "continue"  # the best of seven
    assert report(scheduler, 6, 4, 0.1, LAST) == "continue"  # the best of three
    assert report(scheduler, 6, 9, 0.1, LAST) == "continue"  # the end
    assert resumed(scheduler, LAST) is None


def test_where_trials_are_what_counts_the_best_third_goes_on_at_once() -> None:
    scheduler, model = made(by_trials=True)
    assert [report(scheduler, number, 2, loss) for number, loss in enumerate((0.3, 0.2))] == ["pause"] * 2
    assert report(scheduler, 2, 2, 0.1) == "continue"
    assert [report(scheduler, number, 2, 0.5) for number in (3, 4, 5)] == ["pause"] * 3
    assert [resumed(scheduler), resumed(scheduler)] == [1, None]
    model.chosen = 3
    report(scheduler, 6, 2, 0.5)
    assert resumed(scheduler) == 3  # the model may want more
    assert not any(new for _, new in model.asked)  # and is not asked what a new one promises
    assert resumed(scheduler, Situation(idle=True)) is None  # a new one may start


def test_the_reference_is_trained_in_full_and_stands_among_the_others() -> None:
    scheduler, model = made(by_trials=True, reference=2)
    assert [report(scheduler, number, 2, loss) for number, loss in enumerate((0.3, 0.2))] == ["pause"] * 2
    assert [report(scheduler, 2, epoch, 0.9) for epoch in (1, 2, 3, 4, 5, 9)] == ["continue"] * 6
    assert resumed(scheduler) == 1  # the best of three
    assert report(scheduler, 1, 4, 0.95) == "pause"  # of two there the worse, and one in three has gone on
    assert not any(2 in asked for asked, _ in model.asked)


def test_what_the_model_resumed_counts_among_the_kept() -> None:
    scheduler, model = made()
    for number, loss in enumerate((0.1, 0.2)):
        report(scheduler, number, 2, loss)
    model.chosen = 0
    report(scheduler, 2, 2, 0.3)
    assert resumed(scheduler) == 0
    model.chosen = None
    assert resumed(scheduler, LAST) is None  # one in three goes on already


def test_one_trial_at_least_is_trained_in_full() -> None:
    scheduler, _ = made()
    for number, loss in enumerate((0.5, 0.4)):
        report(scheduler, number, 2, loss)
    assert resumed(scheduler, LAST) is None
    assert resumed(scheduler, CLOSING) == 1
    assert resumed(scheduler, CLOSING) is None
    assert report(scheduler, 1, 4, 0.4, LAST) == "pause"
    assert resumed(scheduler, CLOSING) == 1


def test_a_trial_that_is_gone_is_not_kept() -> None:
    scheduler, _ = made()
    for number, loss in enumerate((0.1, 0.2, 0.3)):
        report(scheduler, number, 2, loss)
    scheduler.ended(0, comparable=False)
    assert resumed(scheduler, LAST) is None  # none of two
    report(scheduler, 3, 2, 0.4)
    assert resumed(scheduler, LAST) == 1


def test_an_earlier_search_is_remembered() -> None:
    told, live = made()[0], made()[0]
    for number, loss in enumerate((0.3, 0.2, 0.1)):
        report(live, number, 2, loss)
        told.replay(number, 2, {"loss": loss}, 0.0, paused=True)
    for scheduler in (told, live):
        assert [resumed(scheduler, LAST), resumed(scheduler, LAST)] == [2, None]
