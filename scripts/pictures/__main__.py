"""Draws the pictures of README.md into docs/images: `python scripts/pictures`.

It runs two small searches of a minute each, those of `search_spaces/` on data that scikit-learn ships. With `--storage
DIR` they are kept there, and a search that is there already is not made again. Workers finish in another order each
time, so no two runs draw the same.
"""

import argparse
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from PIL import Image
from rich.console import Console

import hpo

ROOT = Path(__file__).resolve().parents[2]
IMAGES = ROOT / "docs" / "images"
COLOURS = {"best": "#D55E00", "complete": "#0072B2", "pruned": "#767676", "failed": "#CC79A7"}
"""How a trial ended -> colour; colour-blind people can tell them apart (Okabe and Ito)."""


def main() -> None:
    """Searches, and draws."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--storage", type=Path, help="the folder of the studies; by default one that is removed")
    storage: Path | None = parser.parse_args().storage
    folder = storage or Path(tempfile.mkdtemp())
    try:
        draw(folder)
    finally:
        if storage is None:
            shutil.rmtree(folder)


def draw(storage: Path) -> None:
    """Makes both pictures."""
    told = Console(stderr=True)
    IMAGES.mkdir(exist_ok=True)
    digits = hpo.search(ROOT / "search_spaces" / "resnet_digits.yaml", storage=storage, console=told)
    save(curves(digits.study), IMAGES / "search.png")
    diabetes = hpo.search(ROOT / "search_spaces" / "mlp_diabetes.yaml", storage=storage, console=told)
    ensemble = hpo.build_ensemble(diabetes.study.name, storage=storage, console=told)
    assert ensemble.report is not None
    save(Image.open(ensemble.report.parent / "regression.png"), IMAGES / "ensemble.png")


def curves(study: Any) -> Figure:
    """The learning curve of every trial of a study, as `hpo.open_study` gives it."""
    trials = [trial for trial in study.trials() if trial.reports]
    best, full = study.best(), study.spec.training.epochs
    figure = Figure((9, 3.8), layout="constrained")
    axes = figure.subplots()
    kinds = ["best" if best is not None and trial.number == best.number else trial.state.value for trial in trials]
    for trial, kind in sorted(zip(trials, kinds, strict=True), key=lambda pair: list(COLOURS)[::-1].index(pair[1])):
        epochs = sorted(trial.reports)
        values = [trial.reports[epoch][trial.metric] for epoch in epochs]
        axes.plot(epochs, values, **style(kind), marker="o", markevery=[-1], markersize=4)
    trained = sum(trial.epoch for trial in trials)
    axes.set_title(f"{study.name}: {len(trials)} trials, {trained} of {len(trials) * full} epochs", loc="left")
    axes.set_xlabel("epoch")
    axes.set_ylabel(f"validation {trials[0].metric}")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    axes.legend(handles=legend(kinds), frameon=False, loc="lower right")
    return figure


def style(kind: str) -> dict[str, Any]:
    """How the curve of a trial is drawn."""
    return {
        "color": COLOURS[kind],
        "linewidth": 2.5 if kind == "best" else 1.3,
        "alpha": 0.6 if kind == "pruned" else 1,
    }


def legend(kinds: Sequence[str]) -> list[Line2D]:
    """One line for each way in which trials ended."""
    texts = {
        "best": "the best trial",
        "complete": "{} more trained in full",
        "pruned": "{} stopped early",
        "failed": "{} failed",
    }
    found = [kind for kind in COLOURS if kind in kinds]
    return [Line2D([], [], **style(kind), label=texts[kind].format(kinds.count(kind))) for kind in found]


def save(picture: Figure | Image.Image, path: Path) -> None:
    """Writes a PNG of 64 colours, which is a third as large."""
    if isinstance(picture, Figure):
        picture.savefig(path, dpi=150)
        picture = Image.open(path)
    picture.convert("RGB").quantize(64).save(path, optimize=True)


if __name__ == "__main__":
    main()
