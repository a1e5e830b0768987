"""How trials of other libraries' loops are run by the tests of all adapters: whole, and paused after some epochs."""

from collections.abc import Callable, Iterable
from typing import Any

import pytest

from hpo import spec
from hpo.spec import Config, SearchSpec
from hpo.study.artifacts.stored import packed, unpacked
from hpo.training import Context, Report, TrialContext
from hpo.training.reports import reports_of

EPOCHS = 4


def searched(metric: str = "val_loss", goal: str = "minimize", **changes: Any) -> SearchSpec:
    document = {
        "study": "adapted",
        "train": "adapted:train",
        "training": {"epochs": EPOCHS},
        "objective": {"metric": metric, "goal": goal},
        "parameters": {"lr": {"min": 0.0, "max": 1.0}},
    }
    return spec.load_search(document | changes)


def whole(function: Callable[..., Any], config: Config, given: SearchSpec | None = None) -> list[Report]:
    """The reports of a trial that nothing pauses."""
    return list(reports_of(function, config, Context(given or searched(), None, 7)))


def paused(
    function: Callable[..., Any], config: Config, stops: Iterable[int], given: SearchSpec | None = None
) -> list[Report]:
    """The reports of a trial that is paused after some epochs; its state is stored and read as by a search."""
    found: list[Report] = []
    state = None
    for stop in (*sorted(stops), EPOCHS):
        reports = reports_of(function, config, Context(given or searched(), None, 7, state))
        for report in reports:
            found.append(report)
            if report.epoch == stop:
                assert report.state is not None
                state = unpacked(packed(report.state()))
                break
        reports.close()  # type: ignore[attr-defined]
    return found


def check_copies(function: Callable[..., Any], config: Config, given: SearchSpec | None = None) -> None:
    """Holds two copies of a training, side by side, to train as each does alone, also where they are paused."""
    given = given or searched()
    training = given.training.model_copy(update={"seeds": 2})
    several = given.model_copy(update={"training": training})
    metric = given.objective.metric

    def values(reports: list[Report]) -> Any:
        return pytest.approx([report.metrics[metric] for report in reports], rel=1e-12)

    alone = [list(reports_of(function, config, Context(given, None, seed))) for seed in seeds_of(several)]
    together = whole(function, config, several)
    means = [(one.metrics[metric] + other.metrics[metric]) / 2 for one, other in zip(*alone, strict=True)]
    assert means == values(together)
    assert [report.metrics[metric] for report in paused(function, config, {1, 3}, several)] == values(together)


def seeds_of(several: SearchSpec) -> list[int]:
    """The seeds of the copies of the trial that `whole` trains."""
    seen: list[int] = []

    def look(config: Config, context: TrialContext) -> float:
        seen.append(context.seed)
        return 1.0

    list(reports_of(look, {}, Context(several, None, 7)))
    return seen
