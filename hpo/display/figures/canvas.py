"""What the figures share: a canvas without a display, colours, and text that is fit to be drawn."""

import textwrap
from functools import cache

import numpy as np
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from numpy.typing import NDArray

COLOURS = ("#D55E00", "#0072B2", "#009E73", "#CC79A7")
"""The best single trial, the ensemble, and two more: of Okabe and Ito's palette, which colour-blind people can tell
apart (2008, "Color Universal Design")."""
NEUTRAL = "#767676"
"""References and grids."""
MISSING = "#D9D9D9"
"""Cells without a value."""
SMALL = 8
"""Points, of text in cells and of long lists of names."""


def empty_figure(width: float, height: float, text: str, *, square: bool = False) -> Figure:
    """A figure without axes, sizes in inches, labelled with what it will show; `square` says that its axes will be."""
    figure = Figure((width, height), layout="compressed" if square else "constrained", facecolor="white")
    FigureCanvasAgg(figure)
    figure.set_label(text)
    return figure


def plain(axes: Axes, grid: str | None = None) -> None:
    """Takes away what carries nothing; leaves a faint grid along `grid`: x, y, both or None."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_axisbelow(True)
    if grid is not None:
        axes.grid(axis=grid, color=NEUTRAL, alpha=0.25, linewidth=0.6)  # type: ignore[arg-type]  # x, y or both


def shown(text: str, length: int = 28) -> str:
    """A name as it can be drawn: on one line, cut in its middle, without formulas, and with a box for every character
    that the font lacks. It does not begin with an underscore, which would keep it out of legends."""
    line = "".join(character if _drawable(character) else "□" for character in " ".join(text.split()))
    if len(line) > length:
        end = (length - 1) // 3
        line = f"{line[: length - 1 - end]}…{line[len(line) - end :]}"
    return f"{' ' if line.startswith('_') else ''}{line}".replace("$", r"\$")


def wrapped(text: str, width: int = 58) -> str:
    """A long name on two lines at most, cut at a space."""
    return "\n".join(textwrap.wrap(shown(text, 4 * width), width, max_lines=2, placeholder=" …"))


def write_cells(axes: Axes, image: ScalarMappable, values: NDArray[np.float64], texts: list[list[str]]) -> None:
    """Writes a text into each cell of a matrix `(rows, columns)`, dark on light or light on dark."""
    for row, cells in enumerate(texts):
        for column, text in enumerate(cells):
            colour = "white" if _luminance(image, values[row, column]) < 0.45 else "black"
            axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=SMALL)


def _luminance(image: ScalarMappable, value: float) -> float:
    """How bright a value's colour is, 0 to 1; cells without a value are light."""
    if not np.isfinite(value):
        return 1.0
    red, green, blue, _ = image.to_rgba(np.array([value]))[0]
    return float(0.2126 * red + 0.7152 * green + 0.0722 * blue)


@cache
def _drawable(character: str) -> bool:
    font = font_manager.get_font(font_manager.findfont(font_manager.FontProperties()))
    return character.isprintable() and font.get_char_index(ord(character)) != 0
