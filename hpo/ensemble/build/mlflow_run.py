"""An ensemble in MLflow: its run under the study's, its model, and its name in the registry."""

import threading
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpo.ensemble.build.folders import folder_of
from hpo.ensemble.build.options import EnsembleOptions
from hpo.ensemble.build.report import FOLDER
from hpo.ensemble.build.result import EnsembleResult
from hpo.ensemble.model import LOADER_MODULE
from hpo.study.data_summary import DataSummary
from hpo.study.truth import Truth
from hpo.tracking.problems import one_line, reason
from hpo.tracking.registry import register

if TYPE_CHECKING:
    from hpo.tracking.ensembles import EnsembleRecord


def open_ahead(storage: Path) -> None:
    """Imports MLflow and opens its store in the background: that takes seconds, in which the ensemble is chosen.

    What goes wrong shows when the ensemble is logged.
    """

    def work() -> None:
        with suppress(Exception), one_line():
            from hpo.tracking import ensembles, store  # noqa: F401

            store.connect(storage)

    threading.Thread(target=work, name="mlflow-opener", daemon=True).start()


def logged(result: EnsembleResult, truth: Truth, options: EnsembleOptions) -> EnsembleResult:
    """Tells MLflow of an ensemble; what goes wrong there is told and costs the ensemble nothing.

    Args:
        result: of the ensemble.
        truth: of its rows; a `DataSummary` has an example of what a model takes.
        options: that it was made with.
    """
    try:
        from hpo.tracking.ensembles import log_ensemble

        with one_line():
            result = replace(result, run_id=log_ensemble(result.study, options.studies, _record(result, truth)))
            if options.register is not None and result.run_id is not None:
                register(options.studies, result.run_id, options.register, options.alias)
                result = replace(result, registered=f"models:/{options.register}@{options.alias}")
    except Exception as error:  # the ensemble is on disk, whatever MLflow's client or its transport raises
        what = f"ensemble '{result.name}'" if result.run_id is None else f"the name '{options.register}' for it"
        problem = f"MLflow lacks {what}; the ensemble is in '{result.folder}': {reason(error)}"
        return replace(result, tracking_problem=problem)
    return result


def _example(truth: Truth) -> Any:
    """One input as the model takes it: an array, or a DataFrame of a row or of steps where columns have a meaning."""
    if not isinstance(truth, DataSummary):
        return None
    if not truth.encoding.named:
        return truth.example
    from pandas import DataFrame

    if truth.encoding.series is not None:
        return DataFrame(truth.encoding.series.decode(truth.example[0]))
    return DataFrame([truth.encoding.decode(truth.example[0].tolist())])


def _record(result: EnsembleResult, truth: Truth) -> "EnsembleRecord":
    from hpo.tracking.ensembles import EnsembleRecord

    metrics = {
        **{f"validation_{name}": value for name, value in result.validation.items()},
        **{f"test_{name}": value for name, value in result.test.items()},
        **{f"best_single_test_{name}": value for name, value in result.best_single_test.items()},
    }
    if result.cost is not None:
        metrics |= {"parameters": float(result.cost.parameters), "latency_ms": result.cost.milliseconds[1]}
    return EnsembleRecord(
        name=result.name,
        method=result.method,
        folder=folder_of(result.study, result.name),
        loader=LOADER_MODULE,
        members=result.members,
        metrics=metrics,
        example=_example(truth),
        classes=len(truth.outputs),
        servable=result.servable,
        report=None if result.report is None else FOLDER,
    )
