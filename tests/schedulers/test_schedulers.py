from typing import Any

import pytest

from hpo import spec
from hpo.schedulers import build, check, first_rung, ladder, rung_reached


def problems(document: dict[str, Any], scheduler: Any, epochs: int = 3) -> list[str]:
    settings = {**document, "scheduler": scheduler, "training": {"epochs": epochs}}
    return [f"{'.'.join(problem.key)}: {problem.message}" for problem in check(spec.load(settings))]


@pytest.mark.parametrize(
    ("scheduler", "message"),
    [
        ("os:getcwd", "is not a ray.tune.schedulers.TrialScheduler"),
        ("builtins:dict", "refuses {}"),
        ({"name": "ray.tune.schedulers:ASHAScheduler", "foo": 1}, "refuses {'foo': 1}"),
        (
            {"name": "ray.tune.schedulers:PopulationBasedTraining", "hyperparam_mutations": {"optimizer.lr": [0.1, 1]}},
            "write `scheduler: pbt`",
        ),
        ("hyperbland", "unknown scheduler 'hyperbland'. Did you mean 'hyperband'?"),
        ({"name": "asha", "grade": 1}, "scheduler.grade: scheduler 'asha' has no such setting. Did you mean 'grace'?"),
        ({"name": "asha", "history": {}}, "scheduler.history: scheduler 'asha' has no such setting"),
        ({"name": "asha", "grace": 4}, "grace must be 1 to training.epochs (3), got 4"),
        ({"name": "hyperband", "eta": 1}, "eta must be at least 2, got 1"),
        ({"name": "hyperband", "brackets": 3}, "brackets must be 1 to 2, the number of rungs, got 3"),
        ({"name": "hyperband", "brackets": 0}, "brackets must be 1 to 2, the number of rungs, got 0"),
        ({"name": "pbt", "interval": 3}, "interval must be 1 to 2 epochs, below training.epochs, got 3"),
        ({"name": "pbt", "quantile": 0.6}, "quantile must be above 0 and at most 0.5, got 0.6"),
        ({"name": "pbt", "resample": -1}, "resample must be 0 to 1, got -1"),
        ({"name": "none", "grace": 1}, "scheduler.grace: scheduler 'none' has no such setting"),
    ],
)
def test_a_scheduler_is_tried_before_a_search(document: dict[str, Any], scheduler: Any, message: str) -> None:
    (problem,) = problems(document, scheduler)
    assert message in problem


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"budget": {"trials": 2}}, "budget.trials: 'pbt' trains a population of as many trials, at least 3"),
        ({"budget": {"epochs": 99}}, "budget.trials: 'pbt' trains a population of as many trials, at least 3"),
        ({"parameters": {"model.width": {"type": "int", "min": 8, "max": 32}}}, "none of these can be"),
    ],
)
def test_a_population_needs_a_size_and_something_to_change(
    document: dict[str, Any], changes: dict[str, Any], message: str
) -> None:
    (problem,) = problems({**document, **changes}, "pbt")
    assert message in problem


@pytest.mark.parametrize("name", ["MedianStoppingRule", "FIFOScheduler", "ASHAScheduler", "HyperBandScheduler"])
def test_rays_schedulers_that_stop_or_pause_are_taken(document: dict[str, Any], name: str) -> None:
    assert problems(document, f"ray.tune.schedulers:{name}") == []


@pytest.mark.parametrize("name", ["asha", "asha_stop", "hyperband", "median", "none"])
@pytest.mark.parametrize("epochs", [1, 2, 9, 100])
def test_every_name_works_without_settings(document: dict[str, Any], name: str, epochs: int) -> None:
    assert problems(document, name, epochs) == []
    build(spec.load({**document, "scheduler": name, "training": {"epochs": epochs}}), "maximize")


@pytest.mark.parametrize(("epochs", "first"), [(1, 1), (8, 1), (9, 2), (100, 2)])
def test_the_first_rung_is_two_where_there_are_epochs_enough(document: dict[str, Any], epochs: int, first: int) -> None:
    steps = ladder(spec.load({**document, "scheduler": "asha", "training": {"epochs": epochs}}))
    assert first_rung(epochs) == first
    assert steps is not None
    assert steps[0] == first


def test_the_rung_reached_is_the_highest_at_or_below_an_epoch(document: dict[str, Any]) -> None:
    def reached(scheduler: str) -> list[int]:
        read = spec.load({**document, "scheduler": scheduler, "training": {"epochs": 9}})
        return [rung_reached(read, epoch) for epoch in (1, 2, 5, 6, 9)]

    assert reached("asha") == reached("hyperband") == [0, 2, 2, 6, 9]
    assert reached("asha_stop") == [1, 1, 3, 3, 9]
    assert reached("none") == [1, 2, 5, 6, 9]
