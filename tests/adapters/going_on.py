"""How trials of other libraries' loops are run by the tests of all adapters: whole, and paused after some epochs."""

from collections.abc import Callable, Iterable
from typing import Any

from hpo import spec
from hpo.spec import Config, SearchSpec
from hpo.study.artifacts.stored import packed, unpacked
from hpo.training import Context, Report
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
