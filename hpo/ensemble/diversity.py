"""How differently members err (Kuncheva & Whitaker 2003, "Measures of Diversity in Classifier Ensembles")."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpo.ensemble.score import SCORES, Predictions, Targets

Matrix = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Diversity:
    """Pairs of members, each matrix `(members, members)`.

    `disagreement` is the share of rows (or labels) that one of the two has right, `double_fault` the share that both
    have wrong; regression has neither. `correlation` is that of their errors: of residuals, or of the probabilities
    that they give to what is true.
    """

    disagreement: Matrix | None
    double_fault: Matrix | None
    correlation: Matrix

    @property
    def means(self) -> dict[str, float]:
        """The mean of each measure over all pairs of different members; empty of one member."""
        matrices = {
            "disagreement": self.disagreement,
            "double_fault": self.double_fault,
            "correlation": self.correlation,
        }
        pairs = np.triu_indices(len(self.correlation), k=1)
        if len(pairs[0]) == 0:
            return {}
        return {name: float(matrix[pairs].mean()) for name, matrix in matrices.items() if matrix is not None}

    def to_json(self) -> dict[str, Any]:
        """Plain numbers."""
        return {
            "disagreement": None if self.disagreement is None else self.disagreement.tolist(),
            "double_fault": None if self.double_fault is None else self.double_fault.tolist(),
            "correlation": self.correlation.tolist(),
            "means": self.means,
        }


def diversity(predictions: Predictions, targets: Targets, task: str = "classification") -> Diversity:
    """The diversity of members, from their predictions `(members, rows, outputs)` of rows whose targets are known."""
    correlation = error_correlation(predictions, targets, task)
    if task == "regression":
        return Diversity(None, None, correlation)
    wrong = _wrong(predictions, targets, task)
    both = wrong @ wrong.T / wrong.shape[1]
    single = wrong.mean(axis=1)
    return Diversity(np.maximum(single[:, None] + single - 2 * both, 0), both, correlation)


def error_correlation(predictions: Predictions, targets: Targets, task: str = "classification") -> Matrix:
    """The correlation of errors of each pair of members, `(members, members)`; 0 where one's errors do not vary."""
    own = SCORES[task].own(predictions, targets).reshape(len(predictions), -1)
    centred = own - own.mean(axis=1, keepdims=True)
    lengths = np.sqrt(np.square(centred).sum(axis=1))
    units = centred / np.where(lengths > 1e-12, lengths, np.inf)[:, None]
    correlation: Matrix = np.clip(units @ units.T, -1, 1)
    np.fill_diagonal(correlation, 1)
    return correlation


def _wrong(predictions: Predictions, targets: Targets, task: str) -> Matrix:
    """1 where a member errs, `(members, rows)`, of labels `(members, rows * labels)`."""
    if task == "classification":
        return np.asarray(predictions.argmax(axis=2) != targets, np.float64)
    return np.asarray((predictions >= 0.5) != (targets == 1), np.float64).reshape(len(predictions), -1)
