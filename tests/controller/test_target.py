"""A search that ends with the first report that has reached a target."""

import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import hpo
from hpo import spec
from hpo.errors import SpecError
from hpo.schedulers import Decision
from hpo.spec import Config
from hpo.study import ranking
from hpo.study.budget import reached
from hpo.study.study import Study
from hpo.study.trial import Metrics, State
from tests.conftest import Run

EPOCHS = 8


def document(**changes: Any) -> dict[str, Any]:
    return {
        "study": "aimed",
        "training": {"epochs": EPOCHS},
        "parameters": {"x": {"min": 0, "max": 1}},
        "objective": {"metric": "loss", "goal": "minimize"},
        "sampler": "random",
        "scheduler": "asha",
        **changes,
    }


def curve(config: Config, epoch: int) -> tuple[Metrics, float]:
    return {"loss": config["x"] + 1 / epoch, "size": 10 * config["x"]}, 1 + config["x"]


def searched(workers: int = 3, **budget: Any) -> Study:
    return hpo.simulate(document(budget={"trials": 60, **budget}), curve, workers=workers).study


@pytest.mark.parametrize(
    "scheduler", ["asha", "none", "asha_stop", "freeze_thaw", {"name": "pbt", "interval": 2}], ids=str
)
def test_it_ends_with_the_first_report_that_has_it(scheduler: Any) -> None:
    sampler = "curves" if scheduler == "freeze_thaw" else "random"
    whole = document(scheduler=scheduler, sampler=sampler, budget={"trials": 30})
    before = hpo.simulate(whole, curve, workers=3).study
    study = hpo.simulate({**whole, "budget": {"trials": 30, "target": 0.6}}, curve, workers=3).study
    found, best = reached(study, 0.6), study.best()
    assert found is not None and best is not None and best.number == found.number
    assert found.state is State.COMPLETE and found.value is not None and found.value <= 0.6
    assert found.reason == (None if found.epoch == EPOCHS else "has reached the target")
    values = [it["loss"] for trial in study.trials() for it in trial.reports.values()]
    assert sum(value <= 0.6 for value in values) == 1
    for trial in study.trials():  # until then it is the search that it would have been without
        twin = before.trial(trial.number)
        assert trial.config == twin.config and trial.reports.items() <= twin.reports.items()
        assert trial.state in (State.COMPLETE, State.PRUNED, State.RUNNING)


def test_the_others_are_stopped_with_the_reason() -> None:
    study = searched(target=0.6)
    told = {trial.reason for trial in study.trials() if trial.state is State.PRUNED}
    assert "stopped, since another trial has reached the target" in told


def test_a_target_that_none_reaches_changes_nothing() -> None:
    with_, without = searched(target=-1), searched()
    assert [(t.config, t.state, t.reports) for t in with_.trials()] == [
        (t.config, t.state, t.reports) for t in without.trials()
    ]


def test_what_breaks_a_constraint_has_not_reached_it() -> None:
    narrow = document(scheduler="none", constraints="size >= 3", budget={"trials": 60, "target": 0.5})
    study = hpo.simulate(narrow, curve, workers=1).study
    best = study.best()
    assert best is not None and best.feasible and best.config["x"] >= 0.3
    assert any(report["loss"] <= 0.5 for trial in study.trials() for report in trial.reports.values() if trial != best)


def test_a_study_that_has_reached_it_is_over_and_goes_on_for_a_better_one() -> None:
    first = hpo.simulate(document(budget={"trials": 60, "target": 0.8}), curve, storage="studies").study
    spent = first.spent()
    again = hpo.simulate(document(budget={"trials": 60, "target": 0.8}), curve, storage="studies").study
    assert again.spent() == spent
    further = hpo.simulate(document(budget={"trials": 60, "target": 0.5}), curve, storage="studies").study
    assert further.spent().epochs > spent.epochs
    assert reached(further, 0.5) is not None


def test_a_loop_of_ones_own_is_told_to_stop() -> None:
    plain = document(scheduler="none", budget={"trials": 9, "target": 0.5})
    with hpo.ask_and_tell(plain, storage=None, workers=2) as search:
        one, other = search.ask(), search.ask()
        assert one is not None and other is not None
        assert search.report(one, 1, {"loss": 0.9}) is Decision.CONTINUE
        assert search.report(one, 2, {"loss": 0.5}) is Decision.STOP
        assert search.ask() is None and not search.over
        assert search.report(other, 1, {"loss": 0.7}) is Decision.STOP
        assert search.over and search.best is not None and search.best.number == one.number


def test_a_search_that_died_after_the_report_ends_there() -> None:
    study = Study.in_memory(spec.load_search(document(budget={"target": 0.5})))
    from hpo import samplers

    study.writer.use(samplers.build(study.spec, 0))
    trial = study.writer.ask()
    study.writer.report(trial.number, 1, {"loss": 0.4})
    controller = limits_of(study)
    assert study.trial(trial.number).state is State.COMPLETE
    assert controller.limits.met == "stopped, since another trial has reached the target"


def limits_of(study: Study) -> Any:
    from hpo.controller import Controller

    return Controller(study, study.spent().left(study.spec.budget), lambda: 1, until=lambda: None)


@given(st.floats(-10, 10), st.floats(-10, 10), st.booleans())
def test_a_value_that_is_as_good_reaches_it(value: float, target: float, maximize: bool) -> None:
    goal = "maximize" if maximize else "minimize"
    read = spec.load_search(document(objective={"metric": "m", "goal": goal}))
    assert ranking.reaches(read, {"m": value}, target) == (value >= target if maximize else value <= target)
    assert not ranking.reaches(read, {"m": math.nan}, target) and not ranking.reaches(read, {}, target)


def test_it_is_no_limit_that_ends_a_search_for_sure() -> None:
    assert spec.load_search(document(budget={"target": 0.1})).budget.trials == 32
    assert spec.load_search(document(budget={"target": 0.1, "epochs": 5})).budget.trials is None


def test_of_several_objectives_it_is_refused() -> None:
    both = document(objective=[{"metric": "loss", "goal": "minimize"}, {"metric": "size", "goal": "minimize"}])
    with pytest.raises(SpecError, match=r"budget.target: is of one objective, and this search has several"):
        hpo.simulate({**both, "sampler": "random", "budget": {"target": 1}}, curve)


def test_the_command_says_so(space: Path, hpo: Run, ray_cluster: None) -> None:
    code, _, told = hpo("search", "--space", str(space), "--target", "0.3", "--set", "budget.trials=50")
    assert code == 0
    assert "Study 'squares' has reached its target of 0.3 (trial 0, accuracy" in told
    done = Study.open(Path("studies"), "squares")
    best = done.best()
    assert best is not None and best.value is not None and best.value >= 0.3 and len(done.trials()) < 50
    assert done.artifacts.read(best.number) is not None  # the model is there
    code, _, told = hpo("resume", "--target", "0.3")
    assert code == 0 and "has reached its target of 0.3" in told
    code, _, told = hpo("search", "--space", str(space), "--target", "high")
    assert code == 2 and "Invalid value for '--target': 'high' is not a number" in told
