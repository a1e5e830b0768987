"""Several labels a row: how well each label is found."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from hpo.display.figures.canvas import COLOURS, SMALL, empty_figure, plain, shown

_LABELS = 40
"""Labels that are drawn at most: the most frequent ones."""
_HATCHES = ("///", "", "...", "xxx")


def f1_by_label(
    predictions: Mapping[str, NDArray[np.floating]], targets: NDArray[np.integer], labels: Sequence[str]
) -> Figure:
    """F1 of each label as bars, one a model, the most frequent label on top; of more than 40 the most frequent.

    Args:
        predictions: model -> probabilities `(rows, labels)`; a label is predicted from a probability of one half on.
        targets: 0 and 1, `(rows, labels)`.
        labels: their names.
    """
    scores = {model: f1_scores(array >= 0.5, targets == 1) for model, array in predictions.items()}
    frequency = (targets == 1).mean(axis=0)
    order = np.argsort(-frequency, kind="stable")[:_LABELS]
    title = "F1 by label" if len(order) == len(labels) else f"F1 of the {len(order)} commonest of {len(labels)} labels"
    figure = empty_figure(8, 1.6 + len(order) * (0.1 + 0.16 * len(scores)), _f1_text(scores, labels))
    axes = figure.subplots()
    thickness = 0.8 / len(scores)
    for place, (model, values) in enumerate(scores.items()):
        middles = np.arange(len(order)) + (place - (len(scores) - 1) / 2) * thickness
        name = f"{shown(model, 36)} (mean {values.mean():.4f})"
        axes.barh(
            middles, values[order], thickness, color=COLOURS[place], hatch=_HATCHES[place], ec="white", lw=0, label=name
        )
    names = [f"{shown(labels[label])} ({frequency[label]:.0%})" for label in order]
    axes.set_yticks(range(len(order)), names, fontsize=SMALL + 1)
    axes.set(xlim=(0, 1), xlabel="F1", ylim=(len(order) - 0.4, -0.6))
    axes.set_title(title)
    plain(axes, "x")
    figure.legend(frameon=False, fontsize=SMALL + 1, loc="outside lower center", ncols=len(scores))
    return figure


def f1_scores(predicted: NDArray[np.bool_], true: NDArray[np.bool_]) -> NDArray[np.float64]:
    """F1 of each label `(labels,)`, the harmonic mean of precision and recall; 0 for one that is never there.

    Args:
        predicted: `(rows, labels)`.
        true: `(rows, labels)`.
    """
    hits = (predicted & true).sum(axis=0)
    total = predicted.sum(axis=0) + true.sum(axis=0)
    return np.where(total > 0, 2 * hits / np.maximum(total, 1), 0.0)


def _f1_text(scores: Mapping[str, NDArray[np.float64]], labels: Sequence[str]) -> str:
    means = ", ".join(f"{model} {values.mean():.4f}" for model, values in scores.items())
    return f"F1 of {len(labels)} labels as bars. Mean over labels: {means}."
