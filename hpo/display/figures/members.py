"""Who is in an ensemble, with what say, and how the members differ."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray

from hpo.display.figures.canvas import COLOURS, MISSING, SMALL, empty_figure, plain, shown, wrapped, write_cells
from hpo.display.tables import config_text
from hpo.tasks import Goal

_BARS = 30
"""Members with a bar of their own at most; the others share one."""
_WRITTEN = 12
"""Members of a matrix with its values in the cells at most."""
_NAMED = 60
"""Members of a matrix with names at most."""


def score_by_members(
    members: Sequence[int],
    scores: ArrayLike,
    single: float,
    *,
    metric: str,
    goal: Goal = "minimize",
    cross_validated: ArrayLike | None = None,
    chosen: int | None = None,
) -> Figure:
    """The validation score of ensembles of more and more members, beside that of the best single trial.

    Args:
        members: how many each ensemble has, `(sizes,)`.
        scores: of the same ensembles on the rows that they were chosen on, `(sizes,)`; what is not finite is left out.
        single: the best single trial's.
        metric: its name.
        goal: what is better.
        cross_validated: the scores on rows that the ensembles were not chosen on, `(sizes,)`.
        chosen: how many members the ensemble has in the end.
    """
    lines = {"validation": _finite(scores)}
    if cross_validated is not None:
        lines["cross-validated"] = _finite(cross_validated)
    name, honest = list(lines.items())[-1]
    figure = empty_figure(7, 4, _score_text(members, honest, single, metric, goal, name))
    axes = figure.subplots()
    styles = {"validation": (COLOURS[2], "--", "s"), "cross-validated": (COLOURS[1], "-", "o")}
    for label, values in lines.items():
        colour, line, marker = styles[label]
        axes.plot(
            members, values, color=colour, linestyle=line, marker=marker, markersize=5, label=f"ensemble, {label}"
        )
    if np.isfinite(single):
        axes.axhline(single, color=COLOURS[0], linestyle="-.", label=f"best single trial ({single:.4f})")
    if chosen is not None and chosen in members:
        place = list(members).index(chosen)
        axes.plot(chosen, honest[place], "o", ms=13, mfc="none", mec="black", label=f"chosen: {chosen}")
    axes.set_xlabel("members")
    axes.set_ylabel(f"{shown(metric)} ({'lower' if goal == 'minimize' else 'higher'} is better)")
    axes.set_xlim(min(members) - 0.5, max(members) + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_title("Score by number of members")
    plain(axes, "both")
    axes.legend(frameon=False, fontsize=SMALL + 1)
    return figure


def weights(names: Sequence[str], shares: ArrayLike) -> Figure:
    """Each member's say as a bar, the largest on top; of more than 30 members the last share one bar.

    Args:
        names: of the members, as `member_names` makes them.
        shares: `(members,)`; they sum to one.
    """
    values = np.asarray(shares, float)
    order = np.argsort(-values, kind="stable")
    bars = [(wrapped(names[place]), float(values[place])) for place in order[:_BARS]]
    if len(order) > _BARS:
        others = order[_BARS:]
        bars.append((f"{len(others)} others together", float(values[others].sum())))
    text = ", ".join(f"{names[place]} {values[place]:.2f}" for place in order[:5])
    lines = max(name.count("\n") + 1 for name, _ in bars)
    figure = empty_figure(
        9, 1.1 + (0.16 + 0.12 * lines) * len(bars), f"Weights of {len(order)} members, the largest first: {text}."
    )
    axes = figure.subplots()
    drawn = axes.barh(range(len(bars)), [value for _, value in bars], color=COLOURS[1], height=0.7)
    axes.bar_label(drawn, fmt="%.3f", padding=3, fontsize=SMALL)
    axes.set_yticks(range(len(bars)), [name for name, _ in bars], fontsize=SMALL + 1)
    axes.invert_yaxis()
    axes.margins(x=0.12, y=0.02)
    axes.set_xlabel("weight")
    axes.set_title("Weights of the members")
    plain(axes, "x")
    return figure


def member_names(names: Sequence[str], configs: Sequence[Mapping[str, Any]]) -> list[str]:
    """What to call members: the name, and what its config has that others have not, by the last part of each parameter.

    Args:
        names: such as `trial 12`.
        configs: parameter -> value, of each trial.
    """
    parameters = dict.fromkeys(name for config in configs for name in config)
    differing = [name for name in parameters if len({repr(config.get(name)) for config in configs}) > 1]
    kept = differing if len(configs) > 1 else list(parameters)
    short = _short_names(kept)
    texts = [config_text({short[name]: config[name] for name in kept if name in config}) for config in configs]
    return [f"{name}: {text}" if text else name for name, text in zip(names, texts, strict=True)]


def diversity(matrix: ArrayLike, names: Sequence[str], *, measure: str) -> Figure:
    """How each two members differ, as a heat map; up to 12 members the values stand in the cells.

    The colours are scaled to the pairs, since a member beside itself would outshine them; its cells are grey.

    Args:
        matrix: symmetric, `(members, members)`; values below zero get a scale with two arms.
        names: of the members; a config, after the colon, is left out here.
        measure: what the matrix holds, such as disagreement or correlation of errors.
    """
    values = np.asarray(matrix, float)
    count = len(values)
    pairs = np.where(np.eye(count, dtype=bool), np.nan, values)
    side = min(9.0, 2.2 + 0.32 * count)
    short = [name.partition(": ")[0] for name in names]
    figure = empty_figure(side + 1.6, side + 0.4, _diversity_text(pairs, short, measure), square=True)
    axes = figure.subplots()
    colours, scale = _pair_colours(pairs)
    image = axes.imshow(pairs, cmap=colours, norm=scale)
    if count <= _WRITTEN:
        write_cells(axes, image, pairs, [[f"{value:.2f}" for value in row] for row in values])
    _name_both(axes, [shown(name, 18) for name in short])
    axes.set_title(measure.capitalize())
    if count > 1:
        figure.colorbar(image, ax=axes, label=measure, shrink=0.8)
    return figure


def _finite(scores: ArrayLike) -> NDArray[np.float64]:
    values = np.asarray(scores, float)
    return np.where(np.isfinite(values), values, np.nan)


def _score_text(
    members: Sequence[int], scores: NDArray[np.float64], single: float, metric: str, goal: Goal, name: str
) -> str:
    text = f"Line of {metric} ({name}) by number of members."
    if np.isfinite(scores).any():
        place = int(np.nanargmin(scores) if goal == "minimize" else np.nanargmax(scores))
        text += f" Best: {scores[place]:.4f} with {members[place]}."
    return f"{text} Best single trial: {single:.4f}."


def _short_names(parameters: Sequence[str]) -> dict[str, str]:
    """Each parameter's last part, where no other parameter has the same."""
    last = [name.rpartition(".")[2] for name in parameters]
    return {name: part if last.count(part) == 1 else name for name, part in zip(parameters, last, strict=True)}


def _pair_colours(pairs: NDArray[np.float64]) -> tuple[Colormap, Normalize]:
    finite = pairs[np.isfinite(pairs)]
    largest = float(np.abs(finite).max()) if finite.any() else 1.0
    below = bool((finite < 0).any())
    colours = matplotlib.colormaps["PuOr_r" if below else "Blues"].with_extremes(bad=MISSING)
    return colours, Normalize(-largest if below else 0.0, largest)


def _name_both(axes: Axes, names: Sequence[str]) -> None:
    """Names members along both axes, where there is room; their places otherwise."""
    if len(names) > _NAMED:
        axes.set_xlabel("member")
        axes.set_ylabel("member")
        return
    size = SMALL if len(names) <= 30 else SMALL - 2
    axes.set_xticks(range(len(names)), names, rotation=90, fontsize=size)
    axes.set_yticks(range(len(names)), names, fontsize=size)


def _diversity_text(pairs: NDArray[np.float64], names: Sequence[str], measure: str) -> str:
    text = f"Heat map of the {measure} of {len(names)} members."
    if not np.isfinite(pairs).any():
        return text
    for word, place in (("Lowest", np.nanargmin(pairs)), ("Highest", np.nanargmax(pairs))):
        row, column = divmod(int(place), len(names))
        text += f" {word}: {pairs[row, column]:.2f}, {names[row]} and {names[column]}."
    return text
