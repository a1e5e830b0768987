"""Metrics of how well scores rank the rows of one class before the others."""

from collections.abc import Callable

import torch
from torch import Tensor

Ranking = Callable[[Tensor, Tensor], float]
"""Scores `(n,)` and whether rows are of the class `(n,)` -> a metric."""


def auroc(scores: Tensor, true: Tensor) -> float:
    """The chance that a row of the class has a higher score than another; ties count one half.

    It is one half where all rows are of the class, or none is: nothing is known of the ranking then.
    """
    above, both = _counts(scores, true)
    hits, misses = int(above[-1]), int(both[-1] - above[-1])
    if hits == 0 or misses == 0:
        return 0.5
    heights, widths = above / hits, (both - above) / misses
    return float(torch.trapezoid(_from_zero(heights), _from_zero(widths)))


def auprc(scores: Tensor, true: Tensor) -> float:
    """Average precision: the sum of precisions at each score, weighted by how much it adds to the recall.

    It is 0 where no row is of the class, as in scikit-learn.
    """
    above, both = _counts(scores, true)
    hits = int(above[-1])
    if hits == 0:
        return 0.0
    return float((_from_zero(above / hits).diff() * (above / both)).sum())


def _counts(scores: Tensor, true: Tensor) -> tuple[Tensor, Tensor]:
    """At each different score, from the highest: rows of the class that have it or a higher one, and all that have."""
    ordered, order = scores.sort(descending=True, stable=True)
    last = torch.cat([ordered.diff() != 0, torch.ones(1, dtype=torch.bool, device=scores.device)])
    above = true[order].double().cumsum(0)
    both = torch.arange(1, len(scores) + 1, dtype=torch.float64, device=scores.device)
    return above[last], both[last]


def _from_zero(values: Tensor) -> Tensor:
    return torch.cat([values.new_zeros(1), values])
