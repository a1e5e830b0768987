"""Every search space that is shipped is valid, with one setting for the user's own data."""

import datetime
from pathlib import Path

import numpy as np
import pytest

from hpo import api, models
from hpo.spec import StudySpec
from tests.conftest import ROOT
from tests.training.test_sequences import clips, series, texts

SPACES = sorted((ROOT / "search_spaces").glob("*.yaml"))
TABLES = ("logistic_regression", "mlp_table")
SEQUENCES = {"lstm_sentiment": texts, "transformer_text": texts, "cnn_speech": clips, "gru_series": series}
"""Spaces of sequences, and what writes some."""
COLUMNS = (*TABLES, "ft_transformer_table")
RATINGS = ("ncf_ratings",)


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Ten images of each of two classes, and a table whose columns are a number, a text and the target."""
    folder = tmp_path_factory.mktemp("given")
    generator = np.random.default_rng(0)
    images, classes = generator.integers(0, 256, (20, 32, 32, 3), dtype=np.uint8), np.arange(20) % 2
    np.savez(folder / "own.npz", x_train=images, y_train=classes, x_test=images, y_test=classes)
    rows = [
        f"{number:.3f},{'ab'[row % 3 % 2]},{'yes' if row % 2 else 'no'}"
        for row, number in enumerate(generator.normal(size=60))
    ]
    (folder / "own.csv").write_text("\n".join(["size,kind,good", *rows]))
    return folder / "own.npz", folder / "own.csv"


@pytest.fixture(scope="module")
def ratings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ratings of eleven films by eight users."""
    file = tmp_path_factory.mktemp("given") / "ratings.csv"
    rows = [f"{row % 8},{100 + row % 11},{1 + row % 5},{10**9 + row}" for row in range(60)]
    file.write_text("\n".join(["userId,movieId,rating,timestamp", *rows]))
    return file


def as_it_says(data: Path) -> Path:
    """A table whose columns have the names that the spaces have."""
    if data.suffix == ".csv":
        header, _, rows = data.read_text().partition("\n")
        names = {"said": "label", "pitch": "label", "clip": "path"}
        data.write_text(",".join(names.get(name, name) for name in header.strip().split(",")) + "\n" + rows)
    return data


@pytest.mark.parametrize("space", SPACES, ids=lambda path: path.stem)
def test_it_is_valid_and_has_a_default_config(
    space: Path, given: tuple[Path, Path], ratings: Path, tmp_path: Path
) -> None:
    from hpo.spec.space import Space

    images, table = given
    told: list[str] = []
    text = space.read_text()
    overrides = {"data.path": str(images)} if "path: " in text else {}
    if space.stem in COLUMNS:
        overrides = {"data.path": str(table), "data.target": "good"}
    elif space.stem in SEQUENCES:
        overrides = {"data.path": str(as_it_says(SEQUENCES[space.stem](tmp_path)))}
    elif space.stem in RATINGS:
        overrides = {"data.path": str(ratings)}
    elif space.stem == "forecast_hourly":
        overrides = {"data.path": str(_hours(tmp_path))}
    read = api.validate(space, overrides, tell=told.append)
    assert not told or space.stem in (*COLUMNS, *SEQUENCES, *RATINGS, "forecast_hourly")  # what columns were taken for
    assert isinstance(read, StudySpec)
    default = Space.of(read).default(read)
    assert all(read.parameters[name].contains(value) for name, value in default.items())
    assert "optimizer.lr" in default and models.MODELS.load(read.model.name)
    active = {name for name, parameter in read.parameters.items() if not parameter.when}
    assert active <= default.keys()  # nothing is left to the sampler in the first trial


def _hours(folder: Path) -> Path:
    """A series of a value that changes by the hour."""
    rows = [
        f"{datetime.datetime(2024, 1, 1) + datetime.timedelta(hours=hour)},{hour % 24 + hour / 100}"
        for hour in range(400)
    ]
    (folder / "hours.csv").write_text("\n".join(["time,value", *rows]))
    return folder / "hours.csv"


@pytest.mark.parametrize("name", TABLES)
def test_a_search_of_tables_takes_arrays_too(name: str, given: tuple[Path, Path]) -> None:
    api.validate(ROOT / "search_spaces" / f"{name}.yaml", {"data.path": str(given[0])})


@pytest.mark.parametrize("space", SPACES, ids=lambda path: path.stem)
def test_it_says_what_it_is_for_and_has_a_section_in_the_docs(space: Path) -> None:
    assert space.read_text().startswith("# ")
    assert f"\n## {space.stem}\n" in (ROOT / "docs" / "search_spaces.md").read_text()
