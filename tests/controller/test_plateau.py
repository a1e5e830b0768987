"""A search that ends where nothing better is to be expected."""

import io
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

import hpo
from hpo import samplers, spec
from hpo.controller.plateau import Plateau
from hpo.errors import SpecError
from hpo.spec import Budget, Config
from hpo.study.budget import ON_PLATEAU, ended_by
from hpo.study.study import Study
from hpo.study.trial import Metrics, State

EPOCHS = 8


def document(**changes: Any) -> dict[str, Any]:
    return {
        "study": "level",
        "training": {"epochs": EPOCHS},
        "parameters": {"x": {"min": 0, "max": 1}, "y": {"min": 0, "max": 1}},
        "objective": {"metric": "loss", "goal": "minimize"},
        "sampler": "random",
        "scheduler": "asha",
        **changes,
    }


def curve(config: Config, epoch: int) -> tuple[Metrics, float]:
    return {"loss": (config["x"] - 0.3) ** 2 + (config["y"] - 0.7) ** 2 + 0.5 / epoch}, 60.0


def searched(sampler: str = "random", workers: int = 3, **budget: Any) -> Study:
    scheduler = "freeze_thaw" if sampler == "curves" else "asha"
    space = document(sampler=sampler, scheduler=scheduler, budget={"trials": 200, **budget})
    return hpo.simulate(space, curve, workers=workers).study


def best_after(study: Study) -> list[float]:
    """The best loss after each epoch, in the order in which they were recorded."""
    reports = [(trial.reported[e].order, m["loss"]) for trial in study.trials() for e, m in trial.reports.items()]
    best: list[float] = []
    for _, loss in sorted(reports):
        best.append(min([*best[-1:], loss]))
    return best


@pytest.mark.parametrize("sampler", ["random", "tpe", "evolution", "curves"])
def test_it_ends_once_the_last_epochs_have_brought_too_little(sampler: str) -> None:
    study = searched(sampler, plateau=0.01, plateau_epochs=60)
    best = best_after(study)
    assert len(study.trials()) < 200 and ended_by(study) == ON_PLATEAU
    assert best[-61] - best[-1] < 0.01 and len(study.trials()) >= 16
    assert any(trial.state is State.COMPLETE for trial in study.trials())
    whole = searched(sampler)
    assert best_after(whole)[: len(best)] == best  # until then it is the search that it would have been
    assert best[-1] - best_after(whole)[-1] < 0.02


def test_with_a_model_it_ends_no_earlier_than_the_model_agrees() -> None:
    study = searched("curves", plateau=0.002, plateau_epochs=40)
    study.writer.use(samplers.build(study.spec, len(study.trials())))
    forecast = samplers.forecast(study.record)
    assert forecast is not None
    promised = forecast(40)
    assert promised is not None and promised < 0.002
    stubborn = Plateau(study, study.spec.budget, lambda epochs: 0.002, 1.0)
    assert not stubborn.reached and Plateau(study, study.spec.budget, None, 1.0).reached


def test_a_sampler_without_a_model_has_no_forecast() -> None:
    study = searched("random", plateau=0.01)
    study.writer.use(samplers.build(study.spec, 3))
    assert samplers.forecast(study.record) is None


def test_a_forecast_falls_as_the_search_goes_on_and_rises_with_the_epochs() -> None:
    promised = []
    for trials in (8, 16, 40, 120):
        study = searched("curves", trials=trials)
        study.writer.use(samplers.build(study.spec, len(study.trials())))
        forecast = samplers.forecast(study.record)
        assert forecast is not None
        few, more = forecast(8), forecast(80)
        assert few is not None and more is not None and 0 <= few <= more
        promised.append(more)
    assert promised[0] > promised[-1]


def test_before_its_model_is_ready_nothing_is_forecast() -> None:
    study = searched("curves", trials=2)
    study.writer.use(samplers.build(study.spec, 2))
    forecast = samplers.forecast(study.record)
    assert forecast is not None and forecast(10) is None


def test_few_trials_and_none_in_full_are_no_plateau() -> None:
    assert len(searched(plateau=10.0, plateau_epochs=1, workers=1).trials()) == 16
    assert len(searched(plateau=10.0, plateau_epochs=1, plateau_trials=5, workers=1).trials()) >= 5


def test_an_improvement_of_nothing_never_ends_it() -> None:
    assert len(searched(plateau=0).trials()) == 200


def test_a_search_that_was_interrupted_ends_where_it_would_have() -> None:
    whole = searched(plateau=0.01, plateau_epochs=60)
    budget = {"trials": 200, "plateau": 0.01, "plateau_epochs": 60}
    for limit in (200, 10**9):
        study = hpo.simulate(
            document(budget={**budget, "time_limit": 60 * limit}), curve, workers=3, storage="studies"
        ).study
    assert ended_by(study) == ON_PLATEAU
    assert abs(study.spent().epochs - whole.spent().epochs) < 60
    assert hpo.simulate(document(budget=budget), curve, storage="studies").study.spent() == study.spent()
    more = hpo.simulate(document(budget={"trials": 200}), curve, storage="studies").study
    assert len(more.trials()) == 200 and ended_by(more) is None


@given(st.lists(st.floats(0, 1), min_size=1, max_size=60), st.integers(1, 20), st.floats(0.001, 0.5))
def test_it_is_what_a_plain_look_back_says(losses: list[float], span: int, improvement: float) -> None:
    study = Study.in_memory(spec.load_search(document(sampler="random")))
    rule = Budget(plateau=improvement, plateau_epochs=span, plateau_trials=1)
    plateau = Plateau(study, rule, None, 1.0)
    plateau._has_enough = lambda: True  # type: ignore[method-assign]
    reached = False
    for count, loss in enumerate(losses, start=1):
        plateau.reported({"loss": loss})
        now = count > span and min(losses[: count - span]) - min(losses[:count]) < improvement
        reached = reached or now
        assert plateau.reached == reached


def test_what_breaks_a_constraint_is_no_improvement() -> None:
    study = Study.in_memory(spec.load_search(document(constraints="size <= 1")))
    plateau = Plateau(study, Budget(plateau=0.1, plateau_epochs=2, plateau_trials=1), None, 1.0)
    plateau._has_enough = lambda: True  # type: ignore[method-assign]
    for loss, size in ((0.9, 1), (0.5, 2), (0.4, 2)):
        plateau.reported({"loss": loss, "size": size})
    assert plateau.reached


def test_gpu_hours_are_epochs_at_the_pace_of_the_last_ones() -> None:
    """An epoch takes a minute here, so that an hour of one GPU has 60, of a trial that holds half of one 120."""
    study = searched(trials=20)
    rule = Budget(plateau=0.01, plateau_gpu_hours=1.0)
    assert Plateau(study, rule, None, 1.0)._span == 60
    assert Plateau(study, rule, None, 0.5)._span == 120
    assert Plateau(Study.in_memory(study.spec), rule, None, 1.0)._span is None
    hours, epochs = searched(plateau=0.01, plateau_gpu_hours=1.0), searched(plateau=0.01, plateau_epochs=60)
    assert hours.spent() == epochs.spent() and ended_by(hours) == ON_PLATEAU


def test_callbacks_hear_of_it() -> None:
    heard = []

    class Listener(hpo.Callback):
        def on_search_end(self, study: Study, reason: str) -> None:
            heard.append(reason)

    budget = {"trials": 200, "plateau": 0.01, "plateau_epochs": 60}
    hpo.simulate(document(budget=budget), curve, callbacks=[Listener()])
    assert heard == ["nothing better by 0.01 is to be expected"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"budget": {"plateau": -1}}, "budget.plateau: must be greater than or equal to 0, got -1"),
        ({"budget": {"plateau_epochs": 5}}, "budget.plateau_epochs: says nothing without `plateau`"),
        (
            {"budget": {"plateau": 1, "plateau_epochs": 5, "plateau_gpu_hours": 1}},
            "budget: plateau_epochs and plateau_gpu_hours say the same in two ways; leave one out",
        ),
        (
            {"objective": [{"metric": "a", "goal": "minimize"}, {"metric": "b", "goal": "minimize"}]},
            "budget.plateau: is of one objective, and this search has several",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError) as refused:
        hpo.simulate(document(**{"budget": {"plateau": 0.1}, **changes}), curve)
    assert message in str(refused.value)


def test_it_is_no_limit_that_ends_a_search_for_sure() -> None:
    assert spec.load_search(document(budget={"plateau": 0.1})).budget.trials == 32


def level(config: Config, context: Any) -> Iterator[Any]:
    """Gets no better after its first epoch."""
    from hpo.training import Report
    from tests.engine.ray.test_run import snapshot

    yield from (Report(epoch, {"accuracy": 0.5}, snapshot) for epoch in (1, 2, 3))


def test_under_ray_it_ends_and_says_so(document_: dict[str, Any], ray_cluster: None) -> None:
    console = Console(file=io.StringIO(), width=500)
    study = hpo.search(document_, train=level, console=console).study
    assert ended_by(study) == ON_PLATEAU and 3 <= len(study.trials()) < 40
    said = console.file.getvalue()  # type: ignore[attr-defined]
    assert "has come to a plateau, on which nothing better by 0.1 is to be expected, so the search has ended" in said
    again = hpo.resume("squares", train=level).study
    assert again.spent() == study.spent()
    assert len(hpo.resume("squares", train=level, plateau=0, trials=8).study.trials()) == 8


@pytest.fixture
def document_(request: pytest.FixtureRequest) -> dict[str, Any]:
    found: dict[str, Any] = request.getfixturevalue("document")
    budget = {"trials": 40, "plateau": 0.1, "plateau_epochs": 3, "plateau_trials": 3}
    return {**found, "scheduler": "none", "sampler": "random", "budget": budget}
