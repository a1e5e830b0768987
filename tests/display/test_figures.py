import base64
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from hpo.display import figures
from hpo.display.page import DPI, READING, write_report
from hpo.display.tables import scores_table
from hpo.study.artifacts import Folder
from hpo.tasks.kinds import kind

MODELS = ("best single (trial 3)", "ensemble (greedy)")


def pair(array: NDArray[np.floating]) -> dict[str, NDArray[np.floating]]:
    return dict.fromkeys(MODELS, array)


def probabilities(rows: int, classes: int) -> NDArray[np.floating]:
    return np.random.default_rng(0).dirichlet(np.ones(classes), rows)


def symmetric(members: int, low: float) -> NDArray[np.float64]:
    values = np.random.default_rng(0).uniform(low, 1, (members, members))
    return (values + values.T) / 2


def confusion_of(classes: int, names: list[str] | None = None) -> Figure:
    targets = np.arange(200) % classes
    names = names or [f"class {number}" for number in range(classes)]
    return figures.confusion(pair(probabilities(200, classes)), targets, names)


def f1_of(labels: int) -> Figure:
    targets = np.random.default_rng(1).integers(0, 2, (100, labels))
    return figures.f1_by_label(
        pair(probabilities(100, labels)), targets, [f"label {number}" for number in range(labels)]
    )


def regression_of(rows: int, targets: int, intervals: bool = True) -> Figure:
    true = np.random.default_rng(0).normal(size=(rows, targets))
    predictions = dict(zip(MODELS, (true + 0.5, true * 0.9), strict=True))
    half_widths = {MODELS[1]: [0.4] * targets} if intervals else None
    return figures.regression(predictions, true, [f"target {number}" for number in range(targets)], half_widths)


def score_of(scores: list[float], single: float = 0.5, chosen: int | None = 1) -> Figure:
    sizes = list(range(1, len(scores) + 1))
    return figures.score_by_members(sizes, scores, single, metric="nll", cross_validated=scores, chosen=chosen)


def weights_of(members: int) -> Figure:
    return figures.weights([f"{number}: lr=0.1" for number in range(members)], np.full(members, 1 / members))


def diversity_of(members: int, low: float = 0.0) -> Figure:
    names = [f"{number}: lr=0.1" for number in range(members)]
    return figures.diversity(symmetric(members, low), names, measure="disagreement")


def reliability_of(targets: NDArray[np.integer], outputs: int) -> Figure:
    stages = pair(probabilities(len(targets), outputs))
    return figures.reliability(dict.fromkeys(MODELS, stages), targets)


DRAWN: dict[str, Callable[[], Figure]] = {
    "score": lambda: score_of([0.4, 0.3, 0.35]),
    "score of one size": lambda: score_of([0.4]),
    "score without any finite": lambda: score_of([np.inf, np.nan], single=np.inf),
    "weights of one": lambda: weights_of(1),
    "weights of more than have bars": lambda: weights_of(40),
    "diversity of one": lambda: diversity_of(1),
    "diversity with values": lambda: diversity_of(12, low=-1.0),
    "diversity with names": lambda: diversity_of(50),
    "diversity without names": lambda: diversity_of(80),
    "diversity undefined": lambda: figures.diversity(np.full((2, 2), np.nan), ["a", "b"], measure="correlation"),
    "reliability of classes": lambda: reliability_of(np.arange(50) % 3, 3),
    "reliability of one row": lambda: reliability_of(np.array([1]), 2),
    "reliability of labels": lambda: reliability_of(np.ones((50, 4), np.uint8), 4),
    "confusion of two": lambda: confusion_of(2),
    "confusion with names": lambda: confusion_of(30, ["a class with quite a long name"] * 30),
    "confusion without names": lambda: confusion_of(100),
    "regression": lambda: regression_of(50, 2),
    "regression of many rows": lambda: regression_of(4000, 1),
    "regression of many targets": lambda: regression_of(20, 9, intervals=False),
    "regression of one value": lambda: figures.regression(pair(np.ones((3, 1))), np.ones((3, 1)), ["y"]),
    "labels": lambda: f1_of(3),
    "more labels than have bars": lambda: f1_of(90),
}


@pytest.mark.parametrize("draw", DRAWN.values(), ids=DRAWN.keys())
def test_every_figure_is_drawn_whole_and_in_words(draw: Callable[[], Figure], tmp_path: Path) -> None:
    figure = draw()
    write_report(Folder(tmp_path), "drawn", [], {"figure": figure})
    with Image.open(tmp_path / "figure.png") as image:
        pixels = np.asarray(image.convert("L"))
    width, height = figure.get_size_inches()
    assert pixels.shape == pytest.approx((height * DPI, width * DPI), abs=1)
    assert max(width, height) <= 25
    for edge in (pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]):
        assert (edge == 255).all(), "something is cut off"
    assert str(figure.get_label()).endswith(".")


@pytest.mark.parametrize("name", ["_日本 🐈 מזל $x$", "10 $ a\\$\t%s {0}\nline\0", ""], ids=["foreign", "odd", "empty"])
def test_any_name_can_be_drawn(name: str, tmp_path: Path) -> None:
    targets = np.array([0, 1, 1])
    likely = {name: probabilities(3, 2), "other": probabilities(3, 2)}
    drawn = {
        "confusion": figures.confusion(likely, targets, [name, name * 20]),
        "reliability": figures.reliability({name: likely}, targets),
        "regression": figures.regression({name: np.ones((3, 1))}, np.ones((3, 1)), [name]),
        "f1_by_label": figures.f1_by_label(likely, np.eye(3, 2, dtype=np.uint8), [name, "b"]),
        "weights": figures.weights([name, f"{name}: {name * 30}"], [0.5, 0.5]),
        "disagreement": figures.diversity(np.eye(2), [name, "b"], measure="disagreement"),
    }
    write_report(Folder(tmp_path), name, [], drawn)


def test_names_of_members_have_what_differs() -> None:
    configs = [
        {"model.depth": 3, "model.width": 16, "optimizer.lr": 0.1},
        {"model.depth": 3, "model.width": 32, "optimizer.lr": 0.1},
    ]
    assert figures.member_names(["trial 3", "trial 1"], configs) == ["trial 3: width=16", "trial 1: width=32"]
    assert figures.member_names(["trial 3"], configs[:1]) == ["trial 3: depth=3 lr=0.1 width=16"]
    assert figures.member_names(["a", "b"], [configs[0]] * 2) == ["a", "b"]
    assert figures.member_names(["a", "b"], [{"x.lr": 1, "y.lr": 2}, {"x.lr": 3}]) == ["a: x.lr=1 y.lr=2", "b: x.lr=3"]


def test_members_beyond_thirty_share_a_bar() -> None:
    (axes,) = weights_of(40).axes
    widths = [bar.get_width() for bar in axes.patches]  # type: ignore[attr-defined]  # bars are rectangles
    assert len(widths) == 31 and sum(widths) == pytest.approx(1)
    assert axes.get_yticklabels()[-1].get_text() == "10 others together"


def test_the_words_say_what_is_best() -> None:
    assert "Best: 0.3000 with 2." in str(score_of([0.4, 0.3, np.inf]).get_label())
    accuracy = figures.score_by_members([1, 2], [0.8, 0.7], 0.75, metric="accuracy", goal="maximize")
    assert "Best: 0.8000 with 1." in str(accuracy.get_label())


@given(
    arrays(np.float64, st.integers(1, 60), elements=st.floats(0, 1)),
    st.integers(1, 20),
)
def test_bins_are_those_of_a_plain_loop(confidence: NDArray[np.float64], bins: int) -> None:
    right = np.random.default_rng(len(confidence)).integers(0, 2, len(confidence)).astype(bool)
    found = figures.calibration_bins(confidence, right, bins)
    error = 0.0
    for place in range(bins):
        inside = [row for row, value in enumerate(confidence) if min(int(value * bins), bins - 1) == place]
        assert found.share[place] == pytest.approx(len(inside) / len(confidence))
        if inside:
            assert found.confidence[place] == pytest.approx(confidence[inside].mean())
            assert found.right[place] == pytest.approx(right[inside].mean())
            error += len(inside) / len(confidence) * abs(confidence[inside].mean() - right[inside].mean())
        else:
            assert np.isnan(found.confidence[place]) and np.isnan(found.right[place])
    assert found.ece == pytest.approx(error)


def test_the_calibration_error_is_that_of_the_metric() -> None:
    likely, targets = probabilities(500, 4).astype(np.float32), np.arange(500) % 4
    bins = figures.calibration_bins(likely.max(axis=1), likely.argmax(axis=1) == targets)
    measured = kind("classification").measure(torch.from_numpy(likely), torch.from_numpy(targets))
    assert bins.ece == pytest.approx(measured["ece"], abs=1e-5)


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=40))
def test_a_confusion_matrix_counts_pairs(pairs: list[tuple[int, int]]) -> None:
    targets, predicted = (np.array(column) for column in zip(*pairs, strict=True))
    matrix = figures.confusion_matrix(targets, predicted, 5)
    for true in range(5):
        rows = [found for other, found in pairs if other == true]
        expected = [rows.count(place) / len(rows) if rows else np.nan for place in range(5)]
        np.testing.assert_allclose(matrix[true], expected)


def test_f1_is_that_of_the_metric_and_0_where_a_label_never_is() -> None:
    random = np.random.default_rng(0)
    likely, targets = random.random((80, 6)).astype(np.float32), random.integers(0, 2, (80, 6))
    scores = figures.f1_scores(likely >= 0.5, targets == 1)
    measured = kind("multilabel").measure(torch.from_numpy(likely), torch.from_numpy(targets))
    assert scores.mean() == pytest.approx(measured["macro_f1"], abs=1e-6)
    assert figures.f1_scores(np.zeros((3, 1), bool), np.zeros((3, 1), bool)) == [0.0]


def test_an_interval_is_drawn_with_the_share_that_it_holds() -> None:
    true = np.linspace(-1, 1, 11)[:, None]
    predictions = dict(zip(MODELS, (true, true + np.linspace(-1, 1, 11)[:, None]), strict=True))
    figure = figures.regression(predictions, true, ["y"], {MODELS[1]: [0.5]}, level=0.8)
    legend = figure.axes[1].get_legend()
    assert legend is not None and legend.get_texts()[0].get_text() == "interval for 80%: holds 45.5%"
    assert figure.axes[0].get_legend() is None


class Page(HTMLParser):
    """What a page has: its tags with their attributes, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_a_page_needs_nothing_but_itself(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "report"
    table = scores_table({"<script>x</script>": {"nll": 0.25}, "[bold]b[/bold] & c": {}}, "Test <rows>")
    drawn = {"weights": weights_of(3), "own": confusion_of(2, ['"><script>', "b"])}
    path = write_report(Folder(folder), "a <b> & c", [table], drawn)
    source = path.read_text(encoding="utf-8")
    page = Page(source)
    tags = [tag for tag, _ in page.found]
    assert path.parent == folder and "script" not in tags and "link" not in tags and "b" not in tags
    assert "http:" not in source and "https:" not in source and not re.search(r"url\(|@import", source)
    for shown in ("a <b> & c", "Test <rows>", "<script>x</script>", "[bold]b[/bold] & c", "0.2500", READING["weights"]):
        assert shown in page.text
    pictures = [attributes for tag, attributes in page.found if tag == "img"]
    for name, picture in zip(drawn, pictures, strict=True):
        data = (picture["src"] or "").removeprefix("data:image/png;base64,")
        assert base64.b64decode(data) == (folder / f"{name}.png").read_bytes()
        assert picture["alt"] == drawn[name].get_label()


def test_a_report_can_be_written_again(tmp_path: Path) -> None:
    drawn = {"weights": weights_of(2)}
    first = write_report(Folder(tmp_path), "a", [], drawn).read_bytes()
    assert write_report(Folder(tmp_path), "a", [], drawn).read_bytes() == first
