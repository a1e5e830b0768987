"""Reliability diagrams: how often models are right when they say how sure they are."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from numpy.typing import NDArray

from hpo.display.figures.canvas import COLOURS, NEUTRAL, SMALL, empty_figure, plain, shown

BINS = 15
_STAGES = ((COLOURS[0], "--", "s"), (COLOURS[1], "-", "o"), (COLOURS[2], ":", "^"))


@dataclass(frozen=True, eq=False)
class Bins:
    """Predictions by confidence, in bins of equal width: mean `confidence`, share that is `right`, both nan in an
    empty bin, and `share` of all predictions; each `(bins,)`."""

    confidence: NDArray[np.float64]
    right: NDArray[np.float64]
    share: NDArray[np.float64]

    @property
    def ece(self) -> float:
        """Expected calibration error, 0 to 1: the mean gap, weighted by share (Guo et al. 2017, eq. 3)."""
        return float(np.nansum(self.share * np.abs(self.confidence - self.right)))


def calibration_bins(confidence: NDArray[np.floating], right: NDArray[np.bool_], bins: int = BINS) -> Bins:
    """Sorts predictions into bins.

    Args:
        confidence: `(n,)`, 0 to 1.
        right: whether each came true, `(n,)`.
        bins: how many, of equal width over 0 to 1; a bin has its lower edge, the last one both.
    """
    values = np.asarray(confidence, float)
    place = np.clip((values * bins).astype(int), 0, bins - 1)
    counts = np.bincount(place, minlength=bins)
    filled = np.where(counts > 0, counts, np.nan)
    sums = (np.bincount(place, weights, bins) for weights in (values, right))
    mean_confidence, mean_right = (total / filled for total in sums)
    return Bins(mean_confidence, mean_right, counts / max(1, len(values)))


def reliability(predictions: Mapping[str, Mapping[str, NDArray[np.floating]]], targets: NDArray[np.integer]) -> Figure:
    """One diagram a model, with a curve for each stage, such as before and after calibration; 15 bins.

    Of classes it shows the confidence in the predicted class, of labels the probability of every label. Below each
    diagram stands how many predictions have which confidence.

    Args:
        predictions: model -> stage -> probabilities `(rows, classes)` or `(rows, labels)`; three stages at most.
        targets: classes `(rows,)`, or 0 and 1 of labels `(rows, labels)`.
    """
    binned = {
        model: {stage: calibration_bins(*_outcomes(array, targets)) for stage, array in stages.items()}
        for model, stages in predictions.items()
    }
    figure = empty_figure(1 + 4.2 * len(binned), 5.6, _reliability_text(binned))
    rows = figure.subplots(2, len(binned), sharex=True, sharey="row", squeeze=False, height_ratios=(3, 1))
    for (model, stages), diagram, shares in zip(binned.items(), *rows, strict=True):
        diagram.set_title(shown(model, 36))
        _draw(diagram, shares, stages)
    several = targets.ndim == 2
    rows[0, 0].set_ylabel("labels that hold" if several else "predictions that are right")
    rows[1, 0].set_ylabel("share of labels" if several else "share of rows")
    for axes in rows[1]:
        axes.set_xlabel("probability of the label" if several else "confidence")
    return figure


def _outcomes(
    probabilities: NDArray[np.floating], targets: NDArray[np.integer]
) -> tuple[NDArray[np.floating], NDArray[np.bool_]]:
    """Each prediction's confidence, and whether it came true."""
    if targets.ndim == 2:
        return probabilities.ravel(), targets.ravel() == 1
    return probabilities.max(axis=1), probabilities.argmax(axis=1) == targets


def _draw(diagram: Axes, shares: Axes, stages: Mapping[str, Bins]) -> None:
    diagram.plot((0, 1), (0, 1), color=NEUTRAL, linestyle=":", linewidth=1)
    edges = np.linspace(0, 1, BINS + 1)
    for (stage, bins), (colour, line, marker) in zip(stages.items(), _STAGES, strict=False):
        filled = bins.share > 0
        label = f"{shown(stage)}: ECE {bins.ece:.4f}"
        diagram.plot(
            bins.confidence[filled], bins.right[filled], color=colour, linestyle=line, marker=marker, ms=5, label=label
        )
        shares.stairs(bins.share, edges, color=colour, linestyle=line, linewidth=1.4)
    for axes in (diagram, shares):
        plain(axes, "both")
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    diagram.set(xlim=(0, 1), ylim=(0, 1.02))
    diagram.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    diagram.legend(frameon=False, fontsize=SMALL + 1, loc="best")


def _reliability_text(binned: Mapping[str, Mapping[str, Bins]]) -> str:
    errors = [f"{model}, {stage}: {bins.ece:.4f}" for model, stages in binned.items() for stage, bins in stages.items()]
    return f"Reliability diagrams. Expected calibration error: {'; '.join(errors)}."
