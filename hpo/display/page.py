"""The report of an ensemble: pictures, and one HTML page that needs nothing but itself."""

import base64
import html
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure
from rich.table import Column, Table
from rich.text import Text

from hpo.study.artifacts import Folder
from hpo.terminal import plain

PAGE = "report.html"
DPI = 150
_CSS_DPI = 96

READING = {
    "score_by_members": "Where the line of the ensemble lies on the better side of the line of the best single trial,"
    " more members help. The gap between validation and cross-validated is what choosing the members flatters.",
    "weights": "The longer a bar, the more the ensemble listens to this member. The names have only those parameters in"
    " which the members differ.",
    "disagreement": "The share of rows for which two members predict something else. Members that never disagree (0)"
    " cannot correct each other.",
    "double_fault": "The share of rows that two members both get wrong. No vote of the two can mend these: lower is"
    " better.",
    "error_correlation": "How far two members err on the same rows in the same way: 1 always, 0 independently. The"
    " lower, the more their mean gains.",
    "reliability": "On the dotted diagonal, a model is right as often as it says. Below it, it is too sure; above it,"
    " not sure enough. The steps below show how many rows each point stands for: points of few rows mean little.",
    "confusion": "A row is a true class, a column what it was taken for. All mass on the diagonal is perfect; a dark"
    " cell beside it is a mistake that is made often. Grey rows are classes without rows.",
    "regression": "On the dotted diagonal, predictions are right. The grey band is the interval, which should hold its"
    " share of the points everywhere along the line. Errors should gather narrowly around 0. Points on the edge and the"
    " outermost steps also stand for what lies beyond.",
    "f1_by_label": "F1 is 1 where a label is always found and never made up. In brackets is how many rows have the"
    " label: the score of a rare one is uncertain.",
}
"""Figure -> how to read it."""

_STYLE = """
:root { color-scheme: light dark; }
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 76rem; margin: 0 auto; padding: 1rem 1.5rem 4rem;
  color: light-dark(#1b1b1b, #e6e6e6); background: light-dark(#ffffff, #16181c); }
h1 { line-height: 1.2; overflow-wrap: anywhere; }
h2 { margin: 2.5rem 0 0.5rem; }
.wide { overflow-x: auto; margin: 1.5rem 0; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: 600; padding: 0.3rem 0; }
th, td { text-align: left; vertical-align: top; padding: 0.3rem 0.9rem 0.3rem 0; overflow-wrap: anywhere;
  border-bottom: 1px solid light-dark(#d0d0d0, #44474d); }
.right { text-align: right; white-space: nowrap; }
figure { margin: 0; }
img { display: block; box-sizing: border-box; max-width: 100%; height: auto; background: #ffffff; padding: 0.5rem;
  border-radius: 0.4rem; }
figcaption { max-width: 44rem; margin-top: 0.5rem; color: light-dark(#4a4a4a, #b8b8b8); }
"""
_HEAD = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<main>
<h1>{title}</h1>
"""
_END = "</main>\n</body>\n</html>\n"


def write_report(folder: Folder, title: str, tables: Sequence[Table], figures: Mapping[str, Figure]) -> Path:
    """Writes `<figure>.png` of each figure (150 dpi), and a page with everything, which needs no other file, no script
    and no network.

    Args:
        folder: made where it is missing; files of the same names are replaced.
        title: of the page.
        tables: as `hpo.display.tables` makes them for the terminal.
        figures: name -> figure; under the names of READING the page says how to read them. A figure's label becomes
            its alternative text.

    Returns:
        The page.

    Raises:
        OSError: the folder cannot be written.
    """
    parts = [_HEAD.format(title=html.escape(plain(title)), style=_STYLE), *map(_table, tables)]
    for name, figure in figures.items():
        picture = _png(figure)
        folder.write(f"{name}.png", picture)
        parts.append(_figure(name, figure, picture))
    folder.write(PAGE, "".join([*parts, _END]).encode())
    return folder.path / PAGE


def _png(figure: Figure) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=DPI)
    return file.getvalue()


def _figure(name: str, figure: Figure, picture: bytes) -> str:
    heading = html.escape(name.replace("_", " ").capitalize())
    alternative = html.escape(plain(figure.get_label()))
    width, height = (round(inches * _CSS_DPI) for inches in figure.get_size_inches())
    data = base64.b64encode(picture).decode("ascii")
    image = f'<img alt="{alternative}" width="{width}" height="{height}" src="data:image/png;base64,{data}">'
    caption = f"<figcaption>{html.escape(READING[name])}</figcaption>\n" if name in READING else ""
    return f"<h2>{heading}</h2>\n<figure>\n{image}\n{caption}</figure>\n"


def _table(table: Table) -> str:
    caption = f"<caption>{_text(table.title)}</caption>\n" if table.title else ""
    head = _row("th", table.columns, (column.header for column in table.columns))
    rows = zip(*(column.cells for column in table.columns), strict=True)
    body = "".join(_row("td", table.columns, row) for row in rows)
    return f'<div class="wide">\n<table>\n{caption}<thead>\n{head}</thead>\n<tbody>\n{body}</tbody>\n</table>\n</div>\n'


def _row(tag: str, columns: Iterable[Column], cells: Iterable[object]) -> str:
    opening = '<th scope="col"{}>' if tag == "th" else "<td{}>"
    right = (' class="right"' if column.justify == "right" else "" for column in columns)
    texts = (f"{opening.format(side)}{_text(cell)}</{tag}>" for side, cell in zip(right, cells, strict=True))
    return f"<tr>{''.join(texts)}</tr>\n"


def _text(cell: object) -> str:
    """What a terminal would show, without its colours, as HTML."""
    return html.escape(cell.plain if isinstance(cell, Text) else plain(cell))
