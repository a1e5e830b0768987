"""`hpo plan` and `hpo.plan`: a study in virtual time, with different numbers of workers."""

import json
import math
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

import hpo
from hpo.errors import InputError, SpecError
from hpo.searching.plan import SyntheticCurve, without_proposals, worker_counts
from hpo.spec import Config, load_search
from tests.conftest import Run

OWN_CURVE = """
def curve(config, epoch):
    return {"accuracy": 1 - config["optimizer.lr"] / epoch}, 10.0

def broken(config, epoch):
    raise MemoryError("no room")

def short(config, epoch):
    return {"accuracy": 1.0}

number = 3
"""


@pytest.fixture
def search(document: dict[str, Any]) -> dict[str, Any]:
    return {**document, "scheduler": "none", "training": {"epochs": 3}, "budget": {"trials": 12}}


@pytest.fixture
def run(hpo: Run, monkeypatch: pytest.MonkeyPatch, search: dict[str, Any]) -> Run:
    """Runs `hpo plan` on the search in this process, in a folder with a module `own`; exit code, stdout, stderr."""
    with Path("space.yaml").open("w") as file:
        YAML(typ="safe").dump(search, file)
    Path("own.py").write_text(OWN_CURVE)
    monkeypatch.delitem(sys.modules, "own", raising=False)
    monkeypatch.syspath_prepend(Path.cwd())

    return partial(hpo, "plan", "--space", "space.yaml")


def same(config: Config, epoch: int) -> tuple[dict[str, float], float]:
    return {"accuracy": 1 - 1 / (epoch + 1)}, 100.0


# ---- what is planned -------------------------------------------------------------------------------------------------


def test_equal_trials_are_divided_among_the_workers(search: dict[str, Any]) -> None:
    plan = hpo.plan(search, same, workers=(4, 1, 8, 12, 4))
    rows = [(f.workers, f.seconds, f.trials, f.complete, f.epochs, f.busy, f.speedup) for f in plan.forecasts]
    assert rows == [
        (1, 3600, 12, 12, 36, 1, 1),
        (4, 900, 12, 12, 36, 1, 4),
        (8, 600, 12, 12, 36, 0.75, 6),
        (12, 300, 12, 12, 36, 1, 12),
    ]
    assert plan.forecasts[0].hours == 1
    assert (plan.study, plan.curve) == ("squares", "same")


@pytest.mark.parametrize("scheduler", ["asha", "hyperband", "asha_stop", "median"])
def test_a_scheduler_that_stops_saves_time(search: dict[str, Any], scheduler: str) -> None:
    search = {**search, "training": {"epochs": 9}, "budget": {"trials": 30}}
    full = hpo.plan(search, workers=[1]).forecasts[0]
    saved = hpo.plan({**search, "scheduler": scheduler}, workers=[1]).forecasts[0]
    assert saved.epochs < full.epochs == 270
    assert saved.seconds < full.seconds
    assert 0 < saved.complete < 30


def test_under_a_time_limit_more_workers_train_more(search: dict[str, Any]) -> None:
    one, four = hpo.plan({**search, "budget": {"time_limit": 1000}}, same, workers=(1, 4)).forecasts
    assert (one.seconds, four.seconds) == (1000, 1000)
    assert (one.epochs, four.epochs) == (10, 40)
    assert four.speedup == 4
    assert (one.busy, four.busy) == (1, 1)


def test_a_budget_of_epochs_is_trained_exactly(search: dict[str, Any]) -> None:
    for forecast in hpo.plan({**search, "scheduler": "asha", "budget": {"epochs": 50}}, workers=(1, 4)).forecasts:
        assert forecast.epochs == 50


def test_overrides_are_laid_over_the_file(search: dict[str, Any]) -> None:
    plan = hpo.plan(search, same, workers=[1], overrides={"budget.trials": 5, "training.epochs": 2})
    assert (plan.forecasts[0].trials, plan.forecasts[0].epochs) == (5, 10)


def test_nothing_is_written(search: dict[str, Any], tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    hpo.plan(search)
    assert sorted(tmp_path.rglob("*")) == before


def test_data_need_not_be_there(search: dict[str, Any]) -> None:
    assert hpo.plan({**search, "data": {"name": "npz", "path": "none.npz"}}, workers=[1]).forecasts[0].trials == 12


# ---- the synthetic curve ---------------------------------------------------------------------------------------------


def spec_of(**changes: Any) -> Any:
    parameters = {"x": {"min": 0, "max": 1}}
    objective = {"metric": "loss", "goal": "minimize"}
    return load_search({"study": "s", "parameters": parameters, "objective": objective, **changes})


def test_the_synthetic_curve_follows_from_seed_and_config() -> None:
    curve, other = SyntheticCurve(spec_of(), 60), SyntheticCurve(spec_of(seed=1), 60)
    assert curve({"x": 0.5, "y": "a"}, 3) == curve({"y": "a", "x": 0.5}, 3)
    assert curve({"x": 0.5}, 3) != curve({"x": 0.6}, 3)
    assert curve({"x": 0.5}, 3) != other({"x": 0.5}, 3)


@pytest.mark.parametrize("seconds", [0.01, 60, 1e4])
def test_its_epochs_take_about_the_seconds_given(seconds: float) -> None:
    curve = SyntheticCurve(spec_of(), seconds)
    taken = [curve({"x": place / 1000}, 1)[1] for place in range(400)]
    assert all(second > 0 for second in taken)
    assert sum(taken) / len(taken) == pytest.approx(seconds, rel=0.1)


@pytest.mark.parametrize("goal", ["minimize", "maximize"])
def test_it_learns(goal: str) -> None:
    curve = SyntheticCurve(spec_of(objective={"metric": "score", "goal": goal}), 60)
    for place in range(20):
        first, last = (curve({"x": place}, epoch)[0]["score"] for epoch in (1, 100))
        assert first > last if goal == "minimize" else first < last


def test_it_has_every_metric_and_keeps_to_the_constraints() -> None:
    objectives = [{"metric": "loss", "goal": "minimize"}, {"metric": "size", "goal": "minimize"}]
    spec = spec_of(objective=objectives, constraints=["heat <= 3", "light >= 2"], sampler="evolution")
    metrics, _ = SyntheticCurve(spec, 60)({"x": 0.5}, 1)
    assert metrics.keys() == {"loss", "size", "heat", "light"}
    assert (metrics["heat"], metrics["light"]) == (3, 2)
    assert hpo.plan(spec, workers=[2]).forecasts[0].complete > 0


def test_it_needs_no_sampler_that_learns() -> None:
    assert without_proposals(spec_of(sampler={"name": "tpe", "n_startup_trials": 3})).sampler.model_dump() == {
        "name": "random"
    }
    for needed in ({"sampler": "optuna.samplers:RandomSampler"}, {"sampler": "curves", "scheduler": "freeze_thaw"}):
        spec = spec_of(**needed)
        assert without_proposals(spec) is spec


@given(st.integers(1, 10_000))
def test_workers_are_the_powers_of_two_and_the_most(most: int) -> None:
    counts = worker_counts(most)
    assert counts[0] == 1
    assert counts[-1] == most
    assert all(math.log2(count).is_integer() for count in counts[:-1])
    assert len(counts) == math.ceil(math.log2(most)) + 1


# ---- the command -----------------------------------------------------------------------------------------------------


def test_the_command_prints_a_table_and_says_that_its_curve_is_synthetic(run: Run) -> None:
    code, out, _ = run("--workers", "6", "--seconds-per-epoch", "30")
    assert code == 0
    table = [line for line in out.splitlines() if "│" in line]
    assert [line.replace("│", " ").split()[0] for line in table] == ["1", "2", "4", "6"]
    assert all(word in out for word in ("workers", "hours", "epochs", "busy", "speed-up"))
    assert "synthetic" in out
    assert "30 s" in out


def test_the_command_takes_a_curve_by_its_import_path(run: Run) -> None:
    code, out, _ = run("--workers", "4", "--curve", "own:curve", "--format", "json", "--set", "budget.trials=8")
    document = json.loads(out)
    assert code == 0
    assert document["curve"] == "own:curve"
    assert document["forecasts"][-1] == {
        "workers": 4,
        "hours": round(60 / 3600, 4),
        "trials": 8,
        "complete": 8,
        "epochs": 24,
        "busy": 1.0,
        "speedup": 4.0,
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--curve", "nowhere:curve"], "curve 'nowhere:curve': module 'nowhere' cannot be imported"),
        (["--curve", "own:curv"], "curve 'own:curv': module 'own' has no 'curv'. Did you mean 'curve'?"),
        (["--curve", "curve"], "unknown curve 'curve'. Your own goes by 'module:attribute'."),
        (["--curve", "own:number"], "curve 'own:number' must be a function (config, epoch) -> (metrics, seconds)"),
        (["--curve", "own:broken"], "there is no study to plan with this curve, it fails: MemoryError: no room"),
        (["--curve", "own:short"], "the curve must return a pair (metrics, seconds), got {'accuracy': 1.0}"),
        (["--workers", "0"], "0 is not in the range x>=1"),
        (["--workers", "many"], "'many' is not a whole number"),
        (["--seconds-per-epoch", "0"], "0.0 is not in the range x>0"),
        (["--seconds-per-epoch", "nan"], "'nan' is not a number"),
        (["--set", "budget.trails=3"], "budget.trails: unknown key. Did you mean 'trials'?"),
        (["--set", "budget.time_limit=1"], "there is no study to plan with this curve, no epoch ended in time"),
    ],
)
def test_mistakes_are_one_sentence(run: Run, arguments: list[str], message: str) -> None:
    code, out, err = run("--workers", "2", *arguments)
    assert code == 2
    assert out == ""
    assert message in err
    assert "Traceback" not in err
    assert len([line for line in err.splitlines() if line.startswith("Error:")]) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"workers": ()}, "name at least one number of workers"),
        ({"workers": (2, 0)}, "workers must be at least 1, got 0"),
        ({"seconds_per_epoch": math.inf}, "seconds per epoch must be above 0, got inf"),
        ({"curve": lambda config, epoch: ({"accuracy": 1.0}, 0)}, "none of its epochs takes any time"),
    ],
)
def test_mistakes_from_python_are_told_too(search: dict[str, Any], arguments: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        hpo.plan(search, **arguments)


def test_a_spec_that_is_wrong_is_told(search: dict[str, Any]) -> None:
    with pytest.raises(SpecError, match="scheduler: grace must be 1 to training.epochs"):
        hpo.plan({**search, "scheduler": {"name": "asha", "grace": 9}})
    with pytest.raises(SpecError, match="sampler 'tpe' refuses"):  # though it proposes nothing here
        hpo.plan({**search, "sampler": {"name": "tpe", "startup": 9}})
