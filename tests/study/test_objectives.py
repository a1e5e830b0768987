"""Several objectives and constraints, from the spec to the leaderboard."""

from collections.abc import Callable
from typing import Any

import pytest

import hpo
from hpo import spec, tasks
from hpo.errors import SpecError
from hpo.searching.results import SimulationResult
from hpo.spec import Config
from hpo.study.optuna_trial import excesses
from hpo.study.trial import State

BOTH = [{"metric": "loss", "goal": "minimize"}, {"metric": "speed", "goal": "maximize"}]


def search(curve: Callable[[Config, int], tuple[dict[str, float], float]], **changes: Any) -> SimulationResult:
    """Without a scheduler and at random, unless it is said otherwise."""
    document = {
        "study": "several",
        "training": {"epochs": 3},
        "parameters": {"x": {"min": 0, "max": 1}},
        "objective": BOTH,
        "sampler": "random",
        "scheduler": "none",
        "budget": {"trials": 20},
    }
    return hpo.simulate(document | changes, curve)


def opposed(config: Config, epoch: int) -> tuple[dict[str, float], float]:
    """The larger x, the lower the loss and the speed; beyond 0.8 there is nothing to gain."""
    x = config["x"]
    return {"loss": 1 - min(x, 0.8) + 1 / epoch, "speed": 1 - x, "heat": x}, 1.0


# ---- several objectives ----------------------------------------------------------------------------------------------


def test_the_pareto_set_is_what_no_other_trial_beats_in_all() -> None:
    study = search(opposed).study
    xs = {trial.number: trial.config["x"] for trial in study.trials()}
    beyond = [number for number, x in xs.items() if x > 0.8]
    wanted = {number for number, x in xs.items() if x <= 0.8} | set(sorted(beyond, key=lambda n: xs[n])[:1])
    front = study.pareto()
    assert {trial.number for trial in front} == wanted
    losses = [trial.values["loss"] for trial in front]
    assert losses == sorted(losses)
    assert len(beyond) > 1


def test_the_leaderboard_begins_with_the_front() -> None:
    study = search(opposed).study
    front = {trial.number for trial in study.pareto()}
    board = [trial.number for trial in study.leaderboard()]
    assert set(board[: len(front)]) == front
    best = study.best()
    assert best is not None
    assert best.number in front


def test_the_first_objective_decides_which_epoch_is_best() -> None:
    def turning(config: Config, epoch: int) -> tuple[dict[str, float], float]:
        return {"loss": [0.5, 0.2, 0.3][epoch - 1], "speed": float(epoch)}, 1.0

    trial = search(turning).study.trials()[0]
    assert (trial.best_epoch, trial.value) == (2, 0.2)
    assert trial.values == {"loss": 0.2, "speed": 2.0}
    assert trial.to_json()["values"] == trial.values
    assert "feasible" not in trial.to_json()


def test_ties_of_the_first_objective_go_to_the_second_then_to_the_earlier_epoch() -> None:
    def level(config: Config, epoch: int) -> tuple[dict[str, float], float]:
        return {"loss": 0.5, "speed": [1.0, 2.0, 2.0][epoch - 1]}, 1.0

    assert search(level).study.trials()[0].best_epoch == 2


def test_a_trial_that_loses_any_objective_has_diverged() -> None:
    def diverging(config: Config, epoch: int) -> tuple[dict[str, float], float]:
        return {"loss": 0.5, "speed": 1.0 if epoch == 1 else float("nan")}, 1.0

    trial = search(diverging).study.trials()[0]
    assert (trial.state, trial.reason, trial.epoch) == (State.PRUNED, "diverged: speed is nan", 2)
    assert trial.best_epoch == 1


@pytest.mark.parametrize("scheduler", ["asha", "hyperband", "none"])
@pytest.mark.parametrize("sampler", ["tpe", "nsga2", {"name": "evolution", "strategy": "nsga2"}], ids=str)
def test_samplers_and_schedulers_take_several(sampler: Any, scheduler: str) -> None:
    study = search(opposed, sampler=sampler, scheduler=scheduler, training={"epochs": 9}).study
    assert len(study.trials()) == 20
    assert any(trial.state is State.COMPLETE for trial in study.pareto())


def test_what_is_left_out_suits_several_objectives() -> None:
    chosen = spec.load_search({"study": "s", "objective": ["accuracy", "nll"]})
    assert (chosen.sampler.name, chosen.scheduler.name) == ("tpe", "asha")
    alone = spec.load_search({"study": "s", "objective": ["accuracy"]})
    assert alone == spec.load_search({"study": "s", "objective": "accuracy"})


def test_a_spec_with_several_survives_its_own_yaml(tmp_path: Any) -> None:
    wanted = spec.load_search({"study": "s", "objective": BOTH, "constraints": ["heat <= 0.5", "speed >= 1e-3"]})
    (tmp_path / "spec.yaml").write_text(spec.dump(wanted))
    assert spec.load_search(tmp_path / "spec.yaml") == wanted


# ---- constraints -----------------------------------------------------------------------------------------------------


def test_the_best_trial_keeps_to_the_constraints() -> None:
    free = search(opposed, objective=BOTH[0])
    bound = search(opposed, objective=BOTH[0], constraints="heat <= 0.5")
    assert free.best is not None
    assert bound.best is not None
    xs = [trial.config["x"] for trial in bound.study.trials()]
    assert free.best.config["x"] >= 0.8
    assert bound.best.config["x"] == max(x for x in xs if x <= 0.5)
    assert bound.best.feasible
    assert bound.best.to_json()["feasible"] is True
    board = bound.study.leaderboard()
    assert [trial.feasible for trial in board] == sorted((trial.feasible for trial in board), reverse=True)
    broken = [trial.config["x"] for trial in board if not trial.feasible]
    assert broken == sorted(broken)


def test_where_no_trial_keeps_to_them_the_best_breaks_them_least() -> None:
    result = search(opposed, constraints="heat <= -1")
    assert result.best is not None
    assert not result.best.feasible
    assert result.best.config["x"] == min(trial.config["x"] for trial in result.study.trials())
    assert result.study.pareto() == []


def test_an_epoch_that_keeps_to_them_is_better_than_one_that_does_not() -> None:
    def hotter(config: Config, epoch: int) -> tuple[dict[str, float], float]:
        return {"loss": 1 / epoch, "heat": float(epoch)}, 1.0

    trial = search(hotter, objective=BOTH[0], constraints=["heat <= 2"]).study.trials()[0]
    assert (trial.best_epoch, trial.value, trial.feasible) == (2, 0.5, True)


def test_optuna_is_told_how_far_a_trial_is_off_at_its_best_epoch() -> None:
    def cooler(config: Config, epoch: int) -> tuple[dict[str, float], float]:
        return {"loss": 1.0, "heat": 5.0 if epoch == 2 else 9.0}, 1.0

    study = search(cooler, objective=BOTH[0], constraints=["heat <= 3", "loss >= 0"]).study
    assert study.trials()[0].best_epoch == 2
    assert excesses(study.record.get_trials()[0]) == {"heat <= 3": 2.0, "loss >= 0": -1.0}


# ---- what is refused -------------------------------------------------------------------------------------------------


def refused(**changes: Any) -> str:
    with pytest.raises(SpecError) as caught:
        search(opposed, **changes)
    return str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"objective": ["accuracy", "nll", "accuracy"]}, "objective: names 'accuracy' twice"),
        ({"objective": [BOTH[0], "speed"]}, "objective.1.goal: is required for 'speed': write `goal: maximize`"),
        ({"objective": []}, "objective: name at least one metric"),
        ({"objective": [BOTH[0], 3]}, "must be a mapping such as {name: value}, got 3"),
        (
            {"constraints": "heat < 3"},
            "constraints.0: a constraint is written `metric <= number` or `metric >= number`, got 'heat < 3'",
        ),
        ({"constraints": ["heat <= 3", "<= 3"]}, "constraints.1: a constraint is written"),
        ({"constraints": "heat <= warm"}, "constraints.0: a constraint is written"),
        ({"constraints": {"metric": "heat"}}, "constraints.0.relation: is required"),
        ({"sampler": "curves"}, "the sampler 'curves' has one objective, this study 2"),
        ({"sampler": "portfolio"}, "the sampler 'portfolio' has one objective, this study 2"),
    ],
)
def test_mistakes_are_told(changes: dict[str, Any], message: str) -> None:
    assert message in refused(**changes)


def models(document: dict[str, Any], **changes: Any) -> list[str]:
    """What is wrong with a search over models, whose metrics are known."""
    with pytest.raises(SpecError) as caught:
        spec.load({**document, "sampler": "tpe", **changes}, checks=(tasks.check,))
    return list(caught.value.lines)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"objective": ["accuracy", "accuracy"]}, "spec: objective: names 'accuracy' twice"),
        ({"objective": ["accuracy", "nnl"]}, "spec: objective.1.metric: unknown metric 'nnl'. Did you mean 'nll'?"),
        ({"objective": "acuracy"}, "spec: objective.metric: unknown metric 'acuracy'. Did you mean 'accuracy'?"),
        (
            {"objective": ["accuracy", {"metric": "latency_ms", "goal": "maximize"}]},
            "spec: objective.1.goal: for latency_ms it must be minimize, got maximize; leave it out",
        ),
        (
            {"constraints": ["nll <= 1", "latency <= 5"]},
            "spec: constraints.1: no trial reports a metric 'latency'. Did you mean 'latency_ms'?",
        ),
    ],
)
def test_metrics_that_no_trial_reports_are_told(document: dict[str, Any], changes: dict[str, Any], line: str) -> None:
    assert models(document, **changes) == [line]


def test_what_is_reported_beside_the_goals_may_be_constrained(document: dict[str, Any]) -> None:
    constraints = ["train_seconds <= 60", "parameters<=1e6", " macro_f1 >= .5 "]
    found = spec.load(document | {"constraints": constraints}, checks=(tasks.check,))
    assert [str(rule) for rule in found.constraints] == [
        "train_seconds <= 60",
        "parameters <= 1e+06",
        "macro_f1 >= 0.5",
    ]
