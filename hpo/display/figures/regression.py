"""Regression: predicted against true values with the interval, and the errors."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from hpo.display.figures.canvas import COLOURS, NEUTRAL, SMALL, empty_figure, plain, shown

_TARGETS = 6
"""Targets that are drawn at most."""
_POINTS = 3000
"""Rows that are drawn one by one at most; more are counted in hexagons."""
_ERROR_BINS = 40
_INNER = (0.5, 99.5)
"""Percentiles of the predictions and the errors that are drawn in their place; what is beyond lies on the edge."""
_LINES = ("--", "-", ":", "-.")


def regression(
    predictions: Mapping[str, NDArray[np.floating]],
    targets: NDArray[np.floating],
    names: Sequence[str],
    intervals: Mapping[str, ArrayLike] | None = None,
    level: float = 0.9,
) -> Figure:
    """For each target, the first six of them: true against predicted values of each model, and all models' errors.

    Args:
        predictions: model -> values `(rows, targets)`, in the targets' units.
        targets: true values `(rows, targets)`.
        names: of the targets.
        intervals: model -> half the width of its interval around a prediction, `(targets,)`; for the models that have
            one.
        level: the share of rows that the intervals should hold, 0 to 1.
    """
    drawn = min(len(names), _TARGETS)
    width = 4.2 * (len(predictions) + 1)
    figure = empty_figure(width, 3.8 * drawn, _regression_text(predictions, targets, names))
    panels = figure.subplots(drawn, len(predictions) + 1, squeeze=False)
    for target, row in enumerate(panels):
        true = targets[:, target]
        limits = _limits(true, np.concatenate([array[:, target] for array in predictions.values()]))
        for axes, (model, array), colour in zip(row, predictions.items(), COLOURS, strict=False):
            half = (intervals or {}).get(model)
            half_width = None if half is None else float(np.asarray(half, float)[target])
            _draw_values(axes, array[:, target], true, limits, half_width, level)
            axes.set_title(shown(model, 36), color=colour)
            axes.set_xlabel(f"predicted {shown(names[target])}")
        row[0].set_ylabel(f"true {shown(names[target])}")
        _draw_errors(row[-1], {model: array[:, target] - true for model, array in predictions.items()})
        row[-1].set_xlabel(f"error of {shown(names[target])} (predicted − true)")
    return figure


def _limits(true: NDArray[np.floating], predicted: NDArray[np.floating]) -> tuple[float, float]:
    """Between which values both axes lie: all true ones, and all but the most extreme predicted ones."""
    inner = np.percentile(predicted.astype(float), _INNER)
    low, high = min(float(true.min()), float(inner[0])), max(float(true.max()), float(inner[1]))
    margin = 0.04 * (high - low) or 0.5
    return low - margin, high + margin


def _draw_values(
    axes: Axes,
    predicted: NDArray[np.floating],
    true: NDArray[np.floating],
    limits: tuple[float, float],
    half_width: float | None,
    level: float,
) -> None:
    line = np.array(limits)
    if half_width is not None:
        held = float((np.abs(true - predicted) <= half_width).mean())
        label = f"interval for {level:.0%}: holds {held:.1%}"
        axes.fill_between(line, line - half_width, line + half_width, color=NEUTRAL, alpha=0.25, lw=0, label=label)
        axes.legend(frameon=False, fontsize=SMALL + 1, loc="upper left")
    predicted = np.clip(predicted, *limits)
    if len(true) > _POINTS:
        axes.hexbin(predicted, true, gridsize=60, extent=(*limits, *limits), mincnt=1, bins="log", cmap="cividis_r")
    else:
        axes.scatter(predicted, true, s=10, alpha=0.5, color="#404040", linewidths=0)
    axes.plot(line, line, color=NEUTRAL, linestyle=":", linewidth=1.2)
    axes.set(xlim=limits, ylim=limits, aspect="equal")
    plain(axes, "both")


def _draw_errors(axes: Axes, errors: Mapping[str, NDArray[np.floating]]) -> None:
    low, high = np.percentile(np.concatenate(list(errors.values())).astype(float), _INNER)
    edges = np.linspace(low, high, _ERROR_BINS + 1) if high > low else np.array([low - 0.5, low + 0.5])
    for (model, values), colour, line in zip(errors.items(), COLOURS, _LINES, strict=False):
        shares = np.histogram(np.clip(values, edges[0], edges[-1]), edges)[0] / len(values)
        label = f"{shown(model)}: RMSE {_rmse(values):.4g}"
        axes.stairs(shares, edges, color=colour, linestyle=line, linewidth=1.5, label=label)
    axes.axvline(0, color=NEUTRAL, linestyle=":", linewidth=1.2)
    axes.set_ylim(0, axes.get_ylim()[1] * 1.2)  # room for the legend
    axes.set_ylabel("share of rows")
    axes.set_title("Errors")
    axes.legend(frameon=False, fontsize=SMALL + 1, loc="upper left")
    plain(axes, "both")


def _rmse(errors: NDArray[np.floating]) -> float:
    return float(np.sqrt(np.square(errors, dtype=float).mean()))


def _regression_text(
    predictions: Mapping[str, NDArray[np.floating]], targets: NDArray[np.floating], names: Sequence[str]
) -> str:
    errors = [
        f"{name}: " + ", ".join(f"{model} {_rmse(array[:, place] - targets[:, place]):.4g}" for model, array in pairs)
        for place, name in enumerate(names[:_TARGETS])
        for pairs in [predictions.items()]
    ]
    return f"True against predicted values, and the distribution of errors. RMSE of {'; '.join(errors)}."
