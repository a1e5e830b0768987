"""Training on inputs of different lengths: texts, clips and series."""

import copy
import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hpo import datasets, models, spec
from hpo.datasets import Dataset, Examples, Ragged
from hpo.models.bag import Bag
from hpo.models.standardize import Standardized
from hpo.spec import DataSettings, StudySpec
from hpo.tasks.features import Sound, Tokens
from hpo.tasks.kinds import kind
from hpo.training import Context, train
from hpo.training.augmentation import Masking, token_dropout
from hpo.training.batches import Batches
from hpo.training.prediction import Predictor
from tests.conftest import untimed
from tests.datasets.columns.test_audio import RATE, tone, write_wav

WORDS = {"good": ("fine", "great", "lovely"), "bad": ("dull", "poor", "awful")}
CPU = torch.device("cpu")


def texts(folder: Path, rows: int = 160) -> Path:
    """Sentences of 2 to 12 words, of which one tells the class."""
    draw, path = np.random.default_rng(0), folder / "texts.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["said", "text"])
        for _ in range(rows):
            label = str(draw.choice(list(WORDS)))
            others = [f"w{number}" for number in draw.integers(0, 30, draw.integers(1, 12))]
            others.insert(int(draw.integers(0, len(others) + 1)), str(draw.choice(WORDS[label])))
            writer.writerow([label, " ".join(others)])
    return path


def clips(folder: Path, rows: int = 80) -> Path:
    """High and low tones of 30 to 90 ms."""
    draw, path = np.random.default_rng(0), folder / "clips.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["clip", "pitch"])
        for row in range(rows):
            pitch, hertz = ("low", 300) if row % 2 else ("high", 1500)
            write_wav(folder / f"{row}.wav", tone(hertz * draw.uniform(0.9, 1.1), draw.uniform(0.03, 0.09)))
            writer.writerow([f"{row}.wav", pitch])
    return path


def series(folder: Path, rows: int = 80) -> Path:
    """Series of two channels that rise or fall, of which the ends are missing."""
    draw, path = np.random.default_rng(0), folder / "series.npz"
    labels = np.arange(rows) % 2
    steps = np.linspace(-1, 1, 12) * np.where(labels == 0, 1, -1)[:, None]
    values = np.stack([steps, draw.normal(size=steps.shape)], axis=2) + draw.normal(0, 0.3, (rows, 12, 2))
    values[np.arange(12) >= draw.integers(6, 13, rows)[:, None]] = np.nan
    half = rows // 2
    np.savez(path, x_train=values[:half], y_train=labels[:half], x_test=values[half:], y_test=labels[half:])
    return path


def document(folder: Path, what: str) -> dict[str, Any]:
    made: dict[str, Callable[[], dict[str, Any]]] = {
        "text": lambda: {"path": str(texts(folder)), "target": "said", "augment": ["token_dropout"]},
        "sound": lambda: {
            "path": str(clips(folder)),
            "target": "pitch",
            "columns": {"clip": "audio"},
            "mels": 16,
            "augment": ["time_mask", "band_mask"],
        },
        "series": lambda: {"path": str(series(folder)), "augment": ["time_mask", "mixup"]},
    }
    return {
        "study": "sequences",
        "data": {**made[what](), "validation": 0.25},
        "model": {"name": "bag", "embedding": 16, "width": 16},
        "training": {"epochs": 8, "batch_size": 8, "deterministic": True, "device": "cpu", "precision": "float32"},
        "optimizer": {"name": "adamw", "lr": 0.02},
        "parameters": {"optimizer.lr": {"min": 0.001, "max": 0.1, "log": True}},
        "budget": {"trials": 2},
    }


def context(read: StudySpec) -> Context:
    return Context(read, datasets.of(read, Path("data")), 0)


@pytest.mark.parametrize("what", ["text", "sound", "series"])
def test_it_learns_goes_on_and_leaves_what_it_measured(tmp_path: Path, what: str) -> None:
    made = context(spec.load(document(tmp_path, what)))
    reports = list(train({}, made))
    assert reports[-1].metrics["accuracy"] > 0.8
    first = next(train({}, made))
    assert first.state is not None
    state = copy.deepcopy(dict(first.state()))
    torch.manual_seed(99)
    rest = list(train({}, replace(made, resume=state)))
    assert [untimed(report.metrics) for report in rest] == [untimed(report.metrics) for report in reports[1:]]
    snapshot = rest[-1].snapshot()
    right = snapshot.predictions["validation"].argmax(axis=1) == made.dataset.validation.targets
    assert rest[-1].metrics["accuracy"] == pytest.approx(right.mean())
    assert snapshot.others is not None and snapshot.others()["test"].shape == (len(made.dataset.test), 2)


@pytest.mark.parametrize("what", ["text", "sound", "series"])
def test_a_prediction_does_not_depend_on_the_rows_beside_it(tmp_path: Path, what: str) -> None:
    read = spec.load(document(tmp_path, what))
    dataset = datasets.of(read, Path("data"))
    torch.manual_seed(0)
    model = models.build(read.model, dataset.input_shape, 2, layout=dataset.encoding.layout).eval()
    predict = Predictor(model, kind("classification"), CPU, None)
    together = predict(dataset.test)
    alone = torch.cat([predict(dataset.test.take(np.array([row]))) for row in range(len(dataset.test))])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)


# ---- batches ---------------------------------------------------------------------------------------------------------


def lengths(rows: int, seed: int = 0) -> Dataset:
    """Rows of 1 to 40 equal values, each of which is the row's number from 1 on, as its target is."""
    sizes = np.random.default_rng(seed).integers(1, 41, rows)
    inputs = Ragged.of([np.full(size, row + 1) for row, size in enumerate(sizes)], 40, Tokens.PADDING, np.int32)
    examples = Examples(inputs, np.arange(rows))
    return Dataset(examples, examples, examples, ("a",) * rows)


@pytest.mark.parametrize("rows", [7, 64, 501])
def test_each_epoch_has_each_row_once_beside_rows_of_like_length(rows: int) -> None:
    dataset, settings = lengths(rows), DataSettings(name="table")
    size = min(8, rows)
    batches = Batches(dataset, settings, 8, CPU, 0)
    orders = []
    for _ in range(2):
        seen: list[int] = []
        padded = whole = 0
        for inputs, targets, _ in batches:
            assert len(inputs) == size and (inputs[:, 0] == targets + 1).all()
            assert ((inputs == 0) | (inputs == targets[:, None] + 1)).all()
            assert (inputs != 0).sum(1).tolist() == dataset.train.inputs.lengths[targets.numpy()].tolist()
            seen += targets.tolist()
            padded, whole = padded + int((inputs == 0).sum()), whole + inputs.numel()
        assert len(seen) == len(set(seen)) == rows // size * size
        if rows == 501:
            assert padded / whole < 0.1  # 0.45 if rows stood beside any others
        orders.append(seen)
    assert (orders[0] == orders[1]) == (rows == 7)


def test_rows_that_fill_no_batch_are_any_rows_and_not_the_longest() -> None:
    dataset = lengths(15)
    batches = Batches(dataset, DataSettings(name="table"), 8, CPU, 0)
    left_out = set()
    for _ in range(30):
        (batch,) = batches
        left_out |= set(range(15)) - set(batch[1].tolist())
    assert left_out == set(range(15))


# ---- what varies them ------------------------------------------------------------------------------------------------


def test_tokens_become_unknown_and_padding_stays() -> None:
    codes = torch.tensor([[5.0, 6, 7, 0, 0]]).repeat(400, 1)
    dropped = token_dropout(codes, 0.25, torch.Generator().manual_seed(0))
    assert (dropped[:, 3:] == 0).all() and ((dropped == codes) | (dropped == Tokens.UNKNOWN)).all()
    assert 0.2 < (dropped[:, :3] == Tokens.UNKNOWN).float().mean() < 0.3
    assert torch.equal(token_dropout(codes, 0.0, torch.Generator().manual_seed(0)), codes)


def test_masks_are_spans_of_steps_and_of_bands() -> None:
    torch.manual_seed(0)
    values = torch.ones(200, 20, 10)
    steps = Masking(0.5, 0.0)(values) == 0
    assert (steps.all(dim=2) == steps.any(dim=2)).all()
    masked = steps.all(dim=2)
    assert masked.sum(dim=1).max() == 10 and masked.sum(dim=1).min() == 0
    assert ((masked[:, 1:] != masked[:, :-1]).sum(dim=1) <= 2).all()
    bands = Masking(0.0, 0.3)(values) == 0
    assert (bands.all(dim=1) == bands.any(dim=1)).all() and bands.all(dim=1).sum(dim=1).max() == 3
    assert torch.equal(Masking(0.0, 0.0)(values), values)


# ---- what a model is told --------------------------------------------------------------------------------------------


def test_a_model_of_numbers_refuses_texts(tmp_path: Path) -> None:
    written = document(tmp_path, "text") | {"model": {"name": "mlp"}}
    read = spec.load(written)
    dataset = datasets.of(read, Path("data"))
    with pytest.raises(ValueError, match="it takes numbers, and these data are texts; choose a model of texts"):
        models.build(read.model, dataset.input_shape, 2, layout=dataset.encoding.layout)


def test_a_model_of_steps_refuses_images_and_tables() -> None:
    for shape, what in (((3, 8, 8), "images"), ((8,), "rows of a table")):
        with pytest.raises(ValueError, match=f"it takes texts, sound or series, and these data are {what}"):
            models.build(spec.Named.model_validate({"name": "bag"}), shape, 2)


def test_what_a_model_is_told_is_no_setting(tmp_path: Path) -> None:
    named = spec.Named.model_validate({"name": "bag", "vocabulary": 3})
    (problem,) = models.unknown_settings(named)
    assert problem.key == ("model", "vocabulary") and "model 'bag' has no such setting" in problem.message


def test_augmentations_are_held_to_the_inputs(tmp_path: Path) -> None:
    written = document(tmp_path, "text")
    written["data"]["augment"] = ["time_mask"]
    read = spec.load(written)
    (problem,) = datasets.check_fit(read, datasets.of(read, Path("data")))
    assert problem.message == "'time_mask' is not for texts: they take token_dropout; leave it out"


def test_silence_and_empty_texts_have_predictions() -> None:
    sound = Sound("clip", rate=RATE, mels=8)
    for shape, feature in (((800,), sound), ((9,), Tokens("text", vocabulary=5))):
        model = models.build(spec.Named.model_validate({"name": "bag"}), shape, 2, layout=[feature])
        assert isinstance(model, Standardized) and isinstance(model.network, Bag)
        assert model.eval()(model.blank(2)).isfinite().all()
        assert model(torch.full((1, 4), float(feature.PADDING))).isfinite().all()
