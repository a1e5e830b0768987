"""The report of an ensemble: what was chosen and how it does on test rows, as tables and figures."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from hpo.display import figures
from hpo.display.page import write_report
from hpo.display.tables import compared_table, diversity_table, members_table, scores_table
from hpo.ensemble.build.draft import Draft
from hpo.ensemble.build.result import EnsembleResult
from hpo.ensemble.calibration import Interval, temper
from hpo.ensemble.combiner import Calibrated, Combiner
from hpo.ensemble.diversity import Diversity
from hpo.ensemble.methods.greedy import greedy
from hpo.ensemble.pool import Pool
from hpo.ensemble.score import SCORES, Predictions, Targets, costs
from hpo.study.artifacts import Folder, Split

Rows = NDArray[np.intp]
FOLDER = "report"
"""The report in an ensemble's folder."""
_SIZES = 10
"""Up to so many members the score by number of members is drawn."""
_ROWS = 2000
"""Rows that are enough to draw it."""


@dataclass(frozen=True, eq=False)
class Reported:
    """An ensemble as its report tells of it, whoever has made the predictions."""

    title: str
    task: str
    method: str
    members: Sequence[Mapping[str, Any]]
    """Name, weight and config of each."""
    combiner: Combiner
    diversity: Diversity | None
    compared: Mapping[str, float]
    interval: Interval | None
    validation: Predictions
    """Calibrated predictions of the validation rows by all candidates, `(candidates, rows, outputs)`."""
    targets: Mapping[Split, Targets]
    outputs: Sequence[str]
    best: int
    """The place of the best single candidate."""
    temperature: float
    """The temperature of the best single candidate."""


def reported(result: EnsembleResult, draft: Draft, pool: Pool) -> Reported:
    """What is reported of an ensemble of trials."""
    return Reported(
        title=f"Ensemble {result.name} of study {result.study.name}",
        task=pool.task,
        method=draft.method,
        members=result.members,
        combiner=draft.combiner,
        diversity=result.diversity,
        compared=result.compared,
        interval=draft.interval,
        validation=pool.validation,
        targets=pool.truth.targets,
        outputs=pool.truth.outputs,
        best=pool.best,
        temperature=pool.temperatures[pool.best],
    )


def single_name(pool: Pool) -> str:
    """What the best single trial is called beside an ensemble."""
    return f"best single ({pool.name(pool.best)})"


def ensemble_name(method: str) -> str:
    """What an ensemble is called beside the best single trial."""
    return f"ensemble ({method})"


def write(folder: Folder, of: Reported, test: Mapping[str, Predictions], scores: Sequence[Mapping[str, float]]) -> None:
    """Writes tables and figures into an ensemble's folder.

    Args:
        folder: as it is now; it may be renamed later.
        of: the ensemble.
        test: model -> predictions of the test rows, the best single one first; empty where nobody has given any.
        scores: of these models, metric -> value.
    """
    tables = [scores_table(dict(zip(test, scores, strict=True)), "Test split")] if test else []
    tables.append(members_table(of.members))
    if of.diversity is not None and of.diversity.means:
        tables.append(diversity_table(of.diversity.means))
    if of.compared:
        tables.append(compared_table(of.compared, of.method, SCORES[of.task].name))
    write_report(folder / FOLDER, of.title, tables, {**_of_members(of), **_of_outputs(of, test)})


def _of_members(of: Reported) -> dict[str, Figure]:
    """Draws the figures of the members, from validation rows."""
    names = figures.member_names([member["name"] for member in of.members], [member["config"] for member in of.members])
    drawings = {"score_by_members": _by_size(of), "weights": figures.weights(names, of.combiner.weights)}
    measured = of.diversity
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


def _by_size(of: Reported) -> Figure:
    """Greedy ensembles of more and more candidates, each also chosen on one half of the rows, scored on the other.

    What the ensemble is may be of another method; the candidates' worth to it is much the same.
    """
    targets = of.targets["validation"]
    rows = np.arange(0, len(targets), math.ceil(len(targets) / _ROWS))
    sizes = range(1, min(_SIZES, len(of.validation)) + 1)
    halves = (rows[::2], rows[1::2])
    fitted = [_greedy_cost(of, size, rows, rows) for size in sizes]
    crossed = [(_greedy_cost(of, size, *halves) + _greedy_cost(of, size, *halves[::-1])) / 2 for size in sizes]
    single = float(costs(of.validation[of.best][rows], targets[rows], of.task))
    chosen = len(of.members) if "greedy" in of.method else None
    return figures.score_by_members(
        list(sizes), fitted, single, metric=SCORES[of.task].name, cross_validated=crossed, chosen=chosen
    )


def _greedy_cost(of: Reported, size: int, fitted: Rows, scored: Rows) -> float:
    targets = of.targets["validation"]
    combiner = greedy(of.validation[:, fitted], targets[fitted], size, of.task)
    members = of.validation[list(combiner.members)]
    return float(costs(combiner.combine(members[:, scored]), targets[scored], of.task))


def _of_outputs(of: Reported, test: Mapping[str, Predictions]) -> dict[str, Figure]:
    """Draws the figures of the predictions, from test rows."""
    if not test:
        return {}
    targets = of.targets["test"]
    if of.task == "regression":
        band = of.interval is not None and not of.interval.relative  # else it is as wide as each window says
        half_widths = {} if of.interval is None or not band else {ensemble_name(of.method): of.interval.half_widths}
        level = 0.9 if of.interval is None else of.interval.level
        return {"regression": figures.regression(test, targets, of.outputs, half_widths, level)}
    drawings = {"reliability": figures.reliability(_stages(of, test), targets)}
    if of.task == "multilabel":
        return {**drawings, "f1_by_label": figures.f1_by_label(test, targets, of.outputs)}
    return {**drawings, "confusion": figures.confusion(test, targets, of.outputs)}


def _stages(of: Reported, test: Mapping[str, Predictions]) -> dict[str, dict[str, Predictions]]:
    """Test predictions before and after the last temperature of each model."""
    last = of.combiner.temperature if isinstance(of.combiner, Calibrated) else 1.0
    return {
        name: {"before": temper(predictions, 1 / temperature, of.task), "after": predictions}
        for (name, predictions), temperature in zip(test.items(), (of.temperature, last), strict=True)
    }
