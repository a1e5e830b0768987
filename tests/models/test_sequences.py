"""All models of texts, sound and series: what each of them must do, whatever it is made of."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from hpo import models, spec
from hpo.datasets.columns import Column
from hpo.datasets.columns.audio import Audio
from hpo.datasets.columns.tokens import Tokens as TextColumn
from hpo.datasets.dataset import Encoding
from hpo.ensemble.combiner import Average
from hpo.ensemble.model import Part, write
from hpo.ensemble.onnx import export_onnx
from hpo.models.standardize import Standardized
from hpo.spec import Named
from hpo.study.artifacts import Artifacts, Folder
from hpo.study.data_summary import DataSummary
from hpo.tasks.features import Sound, Tokens
from hpo.tasks.rows import RaggedRows

OUTPUTS, LENGTH, RATE, STEPS, CHANNELS = 3, 12, 800, 9, 2
COLUMNS: dict[str, tuple[Column, ...]] = {
    "texts": (TextColumn("text", tuple("abcdefg"), LENGTH),),
    "sound": (Audio("clip", RATE, RATE // 4, 8),),
    "series": (),
}
SMALL: dict[str, list[dict[str, Any]]] = {
    "bag": [{"embedding": 8, "width": 8}],
    "lstm": [{"embedding": 6, "width": 8, "layers": 2, "pooling": "last"}, {"width": 8, "pooling": "attention"}],
    "gru": [{"width": 8, "bidirectional": False, "pooling": "last"}, {"embedding": 6, "width": 8, "pooling": "mean"}],
    "conv1d": [{"width": 8, "kernel": 3, "dilation": 2, "layers": 3}, {"width": 8, "pooling": "attention"}],
    "transformer": [
        {"heads": 2, "head_width": 4, "pooling": "class"},
        {"heads": 2, "head_width": 4, "positions": "learned", "layers": 1},
    ],
}
MODELS = [Named(name=name, **settings) for name, each in SMALL.items() for settings in each]
every_model = pytest.mark.parametrize(
    "model", MODELS, ids=lambda model: f"{model.name}-{model.settings.get('pooling')}"
)
every_input = pytest.mark.parametrize("what", list(COLUMNS))


def built(model: Named, what: str, seed: int = 0) -> Standardized:
    torch.manual_seed(seed)
    return models.build(model, shape(what), OUTPUTS, layout=layout(what)).eval()


def shape(what: str) -> tuple[int, ...]:
    return {"texts": (LENGTH,), "sound": (RATE // 4,), "series": (STEPS, CHANNELS)}[what]


def layout(what: str) -> list[Any]:
    return [feature for column in COLUMNS[what] for feature in column.features]


def rows(what: str, count: int = 6) -> Tensor:
    """Rows of different lengths, beside each other: padded, and series of which the ends are missing."""
    draw = np.random.default_rng(0)
    if what == "series":
        series = torch.from_numpy(draw.normal(size=(count, STEPS, CHANNELS)).astype(np.float32))
        for row, end in enumerate(draw.integers(2, STEPS, count)):
            series[row, end:] = torch.nan
        series[0, 1] = torch.nan  # a step within is missing, too
        return series
    most = shape(what)[0]
    lengths = draw.integers(1, most + 1, count)
    lengths[:2] = 1, most
    values = draw.integers(1, 9, lengths.sum()) if what == "texts" else draw.integers(-9000, 9000, lengths.sum())
    padding = Tokens.PADDING if what == "texts" else Sound.PADDING
    ragged = RaggedRows(torch.from_numpy(values).float(), np.cumsum(lengths) - lengths, lengths, padding)
    return ragged.take(np.arange(count))


def alone(row: Tensor, what: str) -> Tensor:
    """A row without what pads it, as a batch of one; nothing can be cut off a series."""
    if what == "series":
        return row[None]
    return row[row != (Tokens.PADDING if what == "texts" else Sound.PADDING)][None]


@every_model
@every_input
def test_a_row_has_the_same_outputs_alone_and_beside_longer_ones(model: Named, what: str) -> None:
    network, together = built(model, what), rows(what)
    expected = network(together)
    assert expected.shape == (len(together), OUTPUTS) and expected.isfinite().all()
    found = torch.cat([network(alone(row, what)) for row in together])
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    assert not torch.allclose(expected[0], expected[1])  # it looks at what it is given


@every_model
def test_what_is_missing_at_the_end_of_a_series_is_as_if_it_were_not_there(model: Named) -> None:
    series = rows("series")
    network = built(model, "series")
    shorter = models.build(model, (STEPS - 3, CHANNELS), OUTPUTS).eval()
    weights = network.state_dict()
    if "network.positions.vectors" in weights:
        weights["network.positions.vectors"] = weights["network.positions.vectors"][: STEPS - 3]
    shorter.load_state_dict(weights)
    series[:, STEPS - 3 :] = torch.nan
    torch.testing.assert_close(shorter(series[:, : STEPS - 3]), network(series), atol=1e-5, rtol=1e-4)


@every_model
@every_input
def test_nothing_at_all_has_a_prediction(model: Named, what: str) -> None:
    network = built(model, what)
    empty = torch.full((1, *shape(what)), {"texts": Tokens.PADDING, "sound": Sound.PADDING, "series": torch.nan}[what])
    beside = torch.cat([rows(what, 2), empty])[:, : shape(what)[0]]
    assert network(empty).isfinite().all() and network(beside).isfinite().all()
    network.train()(beside).square().sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in network.parameters())


@every_model
@every_input
def test_every_weight_learns(model: Named, what: str) -> None:
    network = built(model, what).train()
    network(rows(what)).square().mean().backward()
    unmoved = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert not unmoved


@every_model
@every_input
def test_it_trains_in_bfloat16(model: Named, what: str) -> None:
    network = built(model, what)
    exact = network(rows(what))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs = network(rows(what))
        network.train()(rows(what)).float().square().mean().backward()
    torch.testing.assert_close(outputs.float(), exact, atol=0.05, rtol=0.05)
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


@pytest.mark.parametrize(
    ("what", "names"),
    [("texts", ["lstm", "transformer"]), pytest.param("series", ["gru", "conv1d"], marks=pytest.mark.slow)],
)
def test_an_ensemble_of_several_is_one_onnx_file(what: str, names: list[str], tmp_path: Path) -> None:
    read = spec.load({"study": "made", "data": {"name": "digits"}, "model": {"name": "bag"}})
    parts, artifacts = [], Artifacts(tmp_path / "parts")
    for place, name in enumerate(names):
        model = Named(name=name, **SMALL[name][0])
        weights = {name: tensor.numpy() for name, tensor in built(model, what, seed=place).state_dict().items()}
        artifacts.write(place, 1, weights, {})
        stored = artifacts.read(place)
        assert stored is not None
        parts.append(Part(f"trial {place}", place, {}, model, 1.0, stored))
    places = tuple(range(len(parts)))
    combiner = Average(places, tuple(1 / len(parts) for _ in parts), "classification")
    example = rows(what, 2).numpy()
    example = example[:, : shape(what)[0]].astype({"texts": np.int32, "sound": np.int16, "series": np.float32}[what])
    summary = DataSummary(("a", "b", "c"), {}, example[:1], "made", Encoding(columns=COLUMNS[what]))
    write(Folder(tmp_path / "ensemble"), read, summary, parts, combiner, None)
    assert export_onnx(tmp_path / "ensemble", tmp_path / "ensemble.onnx") < 1e-4


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("lstm", {"pooling": "first"}, "pooling must be last, mean, max or attention, got 'first'"),
        ("gru", {"layers": 0}, "layers and width must be at least 1, got 0 and 64"),
        ("gru", {"dropout": 1.0}, "dropout be in \\[0, 1\\), got 64, 1.0"),
        ("conv1d", {"kernel": 4}, "kernel must be an odd number, so that a step is in the middle, got 4"),
        ("conv1d", {"pooling": "last"}, "pooling must be mean, max or attention, got 'last'"),
        ("conv1d", {"dilation": 0}, "layers and dilation must be at least 1, got 2 and 0"),
        ("transformer", {"head_width": 3}, "head_width an even number, got 2, 4, 2 and 3"),
        ("transformer", {"positions": "rotary"}, "positions must be sinusoidal or learned, got 'rotary'"),
    ],
)
def test_impossible_settings_are_refused(name: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        models.build(Named(name=name, **settings), (STEPS, CHANNELS), OUTPUTS)


def test_the_second_direction_reads_from_the_end() -> None:
    network = built(Named.model_validate({"name": "lstm", "pooling": "last", "width": 8}), "texts")
    text = torch.tensor([[3.0, 4, 5, 6, 0, 0]])
    turned = torch.tensor([[6.0, 5, 4, 3, 0, 0]])
    weights = network.state_dict()
    for name in [name for name in weights if name.startswith("network.layers.0.forth")]:
        backward = name.replace("forth", "back")
        weights[name], weights[backward] = weights[backward], weights[name]
    weights["network.head.weight"] = weights["network.head.weight"].roll(8, dims=1)
    swapped = built(Named.model_validate({"name": "lstm", "pooling": "last", "width": 8}), "texts")
    swapped.load_state_dict(weights)
    torch.testing.assert_close(swapped(turned), network(text))


def test_a_transformer_knows_the_order_and_a_bag_does_not() -> None:
    text, other = torch.tensor([[2.0, 3, 4]]), torch.tensor([[4.0, 3, 2]])
    bag, transformer = (built(Named.model_validate({"name": name}), "texts") for name in ("bag", "transformer"))
    torch.testing.assert_close(bag(text), bag(other))
    assert not torch.allclose(transformer(text), transformer(other), atol=1e-3)
