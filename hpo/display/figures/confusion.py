"""Confusion matrices: which classes a model takes for which."""

from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import NDArray

from hpo.display.figures.canvas import MISSING, SMALL, empty_figure, shown, write_cells

_WRITTEN = 12
"""Classes with the values in the cells at most."""
_NAMED = 30
"""Classes with names at most."""


def confusion(
    predictions: Mapping[str, NDArray[np.floating]], targets: NDArray[np.integer], classes: Sequence[str]
) -> Figure:
    """Confusion matrices side by side, each row the share of a true class's rows by predicted class.

    The colours follow the square root of the share, so that rare mistakes are seen. Up to 12 classes the cells have
    their per cent, up to 30 the classes are named, beyond that they have their numbers.

    Args:
        predictions: model -> probabilities `(rows, classes)`.
        targets: true classes `(rows,)`.
        classes: their names.
    """
    count = len(classes)
    predicted = {model: array.argmax(axis=1) for model, array in predictions.items()}
    matrices = {model: confusion_matrix(targets, places, count) for model, places in predicted.items()}
    right = {model: float((places == targets).mean()) for model, places in predicted.items()}
    side = 2.6 + 0.28 * min(max(count, 4), 12) if count <= _WRITTEN else 6.0
    figure = empty_figure(
        side * len(matrices) + 1.6, side + 0.6, _confusion_text(matrices, right, classes), square=True
    )
    panels = figure.subplots(1, len(matrices), squeeze=False)[0]
    colours = matplotlib.colormaps["Blues"].with_extremes(bad=MISSING)
    for place, (axes, (model, matrix)) in enumerate(zip(panels, matrices.items(), strict=True)):
        image = axes.imshow(matrix, cmap=colours, norm=PowerNorm(0.5, 0, 1))
        if count <= _WRITTEN:
            write_cells(axes, image, matrix, [[_per_cent(value) for value in row] for row in matrix])
        axes.set_title(f"{shown(model, 36)}\naccuracy {right[model]:.4f}")
        axes.set_xlabel("predicted")
        _name_classes(axes, classes, first=place == 0)
    ticks = [0, 0.01, 0.05, 0.2, 0.5, 1]
    bar = figure.colorbar(image, ax=panels.tolist(), ticks=ticks, shrink=0.85, label="share of the true class's rows")
    bar.ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    bar.ax.minorticks_off()
    return figure


def confusion_matrix(targets: NDArray[np.integer], predicted: NDArray[np.integer], classes: int) -> NDArray[np.float64]:
    """The share of each true class's rows by predicted class, `(classes, classes)`; nan where a class has no rows.

    Args:
        targets: true classes `(rows,)`.
        predicted: predicted classes `(rows,)`.
        classes: how many there are.
    """
    counts = np.bincount(targets * classes + predicted, minlength=classes**2).reshape(classes, classes)
    rows = counts.sum(axis=1, keepdims=True)
    return np.where(rows > 0, counts / np.maximum(rows, 1), np.nan)


def _per_cent(share: float) -> str:
    """Whole per cent; nothing for an empty cell, and a rare mistake is not rounded away."""
    if not share > 0:
        return ""
    return "<1" if share < 0.005 else f"{100 * share:.0f}"


def _name_classes(axes: Axes, classes: Sequence[str], first: bool) -> None:
    if first:
        axes.set_ylabel("true")
    if len(classes) > _NAMED:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        return
    names = [shown(name, 20) for name in classes]
    size = SMALL + 1 if len(classes) <= _WRITTEN else SMALL
    axes.set_xticks(range(len(names)), names, rotation=0 if max(map(len, names)) <= 3 else 90, fontsize=size)
    axes.set_yticks(range(len(names)), names if first else [""] * len(names), fontsize=size)


def _confusion_text(
    matrices: Mapping[str, NDArray[np.float64]], right: Mapping[str, float], classes: Sequence[str]
) -> str:
    texts = []
    for model, matrix in matrices.items():
        text = f"{model}: accuracy {right[model]:.4f}"
        mistakes = np.where(np.eye(len(classes), dtype=bool), 0.0, np.nan_to_num(matrix))
        true, predicted = divmod(int(mistakes.argmax()), len(classes))
        if mistakes[true, predicted] > 0:
            share = mistakes[true, predicted]
            text += f", most often {share:.0%} of {classes[true]} taken for {classes[predicted]}"
        texts.append(text)
    return f"Confusion matrices over {len(classes)} classes. {'; '.join(texts)}."
