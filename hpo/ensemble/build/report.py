"""The report of an ensemble: what was chosen and how it does on test rows, as tables and figures."""

import math
from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from hpo.ensemble.build.draft import Draft
from hpo.ensemble.build.result import EnsembleResult
from hpo.ensemble.calibration import temper
from hpo.ensemble.combiner import Calibrated
from hpo.ensemble.methods.greedy import greedy
from hpo.ensemble.pool import Pool
from hpo.ensemble.score import SCORES, Predictions, Targets, costs
from hpo.report import figures
from hpo.report.page import write_report
from hpo.report.tables import compared_table, diversity_table, members_table, scores_table
from hpo.study.artifacts import Folder

Rows = NDArray[np.intp]
FOLDER = "report"
"""The report in an ensemble's folder."""
_SIZES = 10
"""Up to so many members the score by number of members is drawn."""
_ROWS = 2000
"""Rows that are enough to draw it."""


def single_name(pool: Pool) -> str:
    """What the best single trial is called beside an ensemble."""
    return f"best single ({pool.name(pool.best)})"


def ensemble_name(draft: Draft) -> str:
    """What an ensemble is called beside the best single trial."""
    return f"ensemble ({draft.method})"


def write(folder: Folder, result: EnsembleResult, draft: Draft, pool: Pool, test: Mapping[str, Predictions]) -> None:
    """Writes tables and figures into an ensemble's folder.

    Args:
        folder: as it is now; it may be renamed later.
        result: of the ensemble.
        draft: it was written from.
        pool: of its study.
        test: model -> predictions of the test rows, the best single trial first.
    """
    tables = [scores_table(dict(zip(test, _scores(result), strict=True)), "Test split")]
    tables.append(members_table(result.members))
    if result.diversity is not None and result.diversity.means:
        tables.append(diversity_table(result.diversity.means))
    if result.compared:
        tables.append(compared_table(result.compared, result.method, SCORES[pool.task].name))
    drawings = {**_of_members(result, draft, pool), **_of_outputs(result, draft, pool, test)}
    title = f"Ensemble {result.name} of study {result.study.name}"
    write_report(folder / FOLDER, title, tables, drawings)


def _scores(result: EnsembleResult) -> tuple[Mapping[str, float], Mapping[str, float]]:
    return result.best_single_test, result.test


def _of_members(result: EnsembleResult, draft: Draft, pool: Pool) -> dict[str, Figure]:
    """Draws the figures of the members, from validation rows."""
    names = figures.member_names([part.name for part in draft.parts], [part.config for part in draft.parts])
    drawings = {"score_by_members": _by_size(draft, pool), "weights": figures.weights(names, draft.combiner.weights)}
    measured = result.diversity
    if measured is not None and measured.means:
        matrices = {
            "disagreement": measured.disagreement,
            "double_fault": measured.double_fault,
            "error_correlation": measured.correlation,
        }
        for name, matrix in matrices.items():
            if matrix is not None:
                drawings[name] = figures.diversity(matrix, names, measure=name.replace("_", " "))
    return drawings


def _by_size(draft: Draft, pool: Pool) -> Figure:
    """Greedy ensembles of more and more stored trials, each also chosen on one half of the rows, scored on the other.

    What the ensemble is may be of another method; the trials' worth to it is much the same.
    """
    rows = np.arange(0, len(pool.targets), math.ceil(len(pool.targets) / _ROWS))
    sizes = range(1, min(_SIZES, len(pool.trials)) + 1)
    halves = (rows[::2], rows[1::2])
    fitted = [_greedy_cost(pool, size, rows, rows) for size in sizes]
    crossed = [(_greedy_cost(pool, size, *halves) + _greedy_cost(pool, size, *halves[::-1])) / 2 for size in sizes]
    single = float(costs(pool.validation[pool.best][rows], pool.targets[rows], pool.task))
    chosen = len(draft.parts) if "greedy" in draft.method else None
    return figures.score_by_members(
        list(sizes), fitted, single, metric=SCORES[pool.task].name, cross_validated=crossed, chosen=chosen
    )


def _greedy_cost(pool: Pool, size: int, fitted: Rows, scored: Rows) -> float:
    combiner = greedy(pool.validation[:, fitted], pool.targets[fitted], size, pool.task)
    members = pool.validation[list(combiner.members)]
    return float(costs(combiner.combine(members[:, scored]), pool.targets[scored], pool.task))


def _of_outputs(result: EnsembleResult, draft: Draft, pool: Pool, test: Mapping[str, Predictions]) -> dict[str, Figure]:
    """Draws the figures of the predictions, from test rows."""
    data_summary = result.study.data_summary
    targets: Targets = data_summary.targets["test"]
    if pool.task == "regression":
        half_widths = {} if draft.interval is None else {ensemble_name(draft): draft.interval.half_widths}
        level = 0.9 if draft.interval is None else draft.interval.level
        return {"regression": figures.regression(test, targets, data_summary.outputs, half_widths, level)}
    drawings = {"reliability": figures.reliability(_stages(draft, pool, test), targets)}
    if pool.task == "multilabel":
        return {**drawings, "f1_by_label": figures.f1_by_label(test, targets, data_summary.outputs)}
    return {**drawings, "confusion": figures.confusion(test, targets, data_summary.outputs)}


def _stages(draft: Draft, pool: Pool, test: Mapping[str, Predictions]) -> dict[str, dict[str, Predictions]]:
    """Test predictions before and after the last temperature of each model."""
    last = draft.combiner.temperature if isinstance(draft.combiner, Calibrated) else 1.0
    temperatures = (pool.temperatures[pool.best], last)
    return {
        name: {"before": temper(predictions, 1 / temperature, pool.task), "after": predictions}
        for (name, predictions), temperature in zip(test.items(), temperatures, strict=True)
    }
