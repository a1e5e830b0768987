"""Every family keeps to what the rest of the program expects of a model."""

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits

from hpo import datasets, models, spec
from hpo.datasets.moments import moments
from hpo.ensemble.combiner import Average
from hpo.ensemble.model import Part, write
from hpo.ensemble.networks import Stacked
from hpo.ensemble.onnx import export_onnx
from hpo.kernels.layers import BatchNormReLU
from hpo.models.activations import ACTIVATIONS
from hpo.models.mean import Mean
from hpo.models.normalization import NORMALIZATIONS, NormalizedActivation, normalization_of
from hpo.models.placement import place
from hpo.models.standardize import Standardize, Standardized
from hpo.spec import Named
from hpo.study.artifacts import Artifacts, Folder
from hpo.study.data_summary import DataSummary
from hpo.training import Context, train
from hpo.training.precision import autocast
from hpo.training.rehearsal import problems
from tests.conftest import untimed

TINY: Mapping[str, Mapping[str, Any]] = {
    "linear": {},
    "mlp": {"layers": 1, "width": 32},
    "convnet": {"stages": 2, "width": 8},
    "lenet": {},
    "alexnet": {"width": 8, "hidden": 32, "dropout": 0.1},
    "vgg": {"width": 4},
    "googlenet": {"width": 4},
    "resnet": {"depth": 8, "width": 4},
    "resnet18": {"width": 4},
    "dcn": {"stages": 2, "blocks": 1, "width": 8},
    "vit": {"depth": 2, "heads": 2, "head_width": 8},
}
FLOOR = 0.5
"""Accuracy on 250 digits after 4 epochs on 750; most families, as tiny as they are, reach 0.8, and chance 0.1."""
TABLES = ("linear", "mlp")
SHAPE = (3, 16, 18)
ARGUMENTS = {name: inspect.signature(models.MODELS.load(name)).parameters for name in sorted(models.MODELS.names)}
OF_SERIES = ("linear_forecast",)
OF_IMAGES = [
    name for name, arguments in ARGUMENTS.items() if name not in OF_SERIES and not {*arguments} & {*models.TOLD}
]
"""The others take texts, sound, series or tables: see test_sequences.py and test_table_models.py."""
STYLED = [name for name in OF_IMAGES if "normalization" in ARGUMENTS[name]]
FAMILIES = pytest.mark.parametrize("name", OF_IMAGES)


def built(name: str, shape: tuple[int, ...] = SHAPE, **given: Any) -> Standardized:
    torch.manual_seed(0)
    return models.build(Named(name=name, **{**TINY[name], **given}), shape, 5)


def images(rows: int, shape: tuple[int, ...] = SHAPE) -> torch.Tensor:
    return torch.rand(rows, *shape, generator=torch.Generator().manual_seed(rows)) * 255


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """scikit-learn's digits with each pixel four times, for families that want larger images."""
    x, y = load_digits(return_X_y=True)
    x = (x.reshape(-1, 8, 8).repeat(2, axis=1).repeat(2, axis=2) * 15).astype(np.uint8)
    path = tmp_path_factory.mktemp("digits") / "digits.npz"
    np.savez(path, x_train=x[:1000], y_train=y[:1000], x_test=x[1000:1100], y_test=y[1000:1100])
    return path


def test_each_family_has_a_tiny_one() -> None:
    assert set(TINY) == set(OF_IMAGES)


@FAMILIES
def test_it_learns_and_the_seed_decides_everything(name: str, digits: Path) -> None:
    document = {
        "study": "s",
        "data": {"path": str(digits), "validation": 0.25},
        "model": {"name": name, **TINY[name]},
        "training": {"epochs": 4, "batch_size": 32, "device": "cpu", "deterministic": True},
        "optimizer": {"name": "adamw", "lr": 0.01, "schedule": "one_cycle"},
    }
    read = spec.load(document)
    context = Context(read, datasets.load(read.data, Path("data"), read.seed), 0)
    made = list(train({}, context))
    assert made[-1].metrics["accuracy"] > FLOOR
    again = next(train({}, context))
    assert untimed(again.metrics) == untimed(made[0].metrics)


@FAMILIES
def test_every_layout_and_number_of_rows_gives_the_same(name: str) -> None:
    model = built(name)
    rows = images(6)
    model.train()(rows)  # running statistics are not what they begin with
    model.eval()
    with torch.no_grad():
        expected = model(rows)
        place(model, torch.device("cpu"))
        found = model(rows.contiguous(memory_format=torch.channels_last))
        alone = torch.cat([model(rows[place : place + 1]) for place in range(6)])
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(alone, expected, rtol=1e-4, atol=1e-4)
    assert not model.contiguous and not model.twice


@FAMILIES
def test_bfloat16_is_near_and_has_gradients(name: str) -> None:
    model = built(name, dropout=0.0) if "dropout" in TINY[name] else built(name)
    place(model, torch.device("cpu"))
    rows = images(8).contiguous(memory_format=torch.channels_last)
    precision = autocast(torch.device("cpu"), "bfloat16")
    assert precision is not None
    with precision:
        outputs = model(rows)
    outputs.float().square().mean().backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in model.parameters())
    model.eval()
    with torch.no_grad():
        expected = model(rows)
        with precision:
            outputs = model(rows)
    assert (outputs - expected).abs().max() < 0.1 * expected.abs().max()


@FAMILIES
def test_copies_are_a_mean_and_can_be_stacked(name: str) -> None:
    copies = [built(name).eval() for _ in range(2)]
    for parameter in copies[1].parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    rows = images(4)
    with torch.no_grad():
        mean = Mean(copies, "classification").eval()(rows).softmax(1)
        each = torch.stack([copy(rows) for copy in copies])
        torch.testing.assert_close(mean, each.softmax(2).mean(0), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(Stacked(copies)(rows), each, rtol=1e-3, atol=1e-3)


def test_all_of_them_are_exported_to_onnx_as_one_ensemble(tmp_path: Path) -> None:
    channels, height, width = SHAPE
    example = np.random.default_rng(0).integers(0, 256, (16, height, width, channels), dtype=np.uint8)
    names = tuple("abcde")
    parts = []
    for number, name in enumerate(OF_IMAGES):
        model = built(name)
        assert isinstance(model.standardize, Standardize)
        model.standardize.fit(*moments(example))
        model.train()(images(8))
        artifacts = Artifacts(tmp_path / "parts")
        artifacts.write(number, 1, {key: tensor.numpy() for key, tensor in model.state_dict().items()}, {})
        stored = artifacts.read(number)
        assert stored is not None
        parts.append(Part(f"trial {number}", number, {}, Named(name=name, **TINY[name]), 1.0, stored))
    places = tuple(range(len(parts)))
    study = spec.load({"study": "made", "data": "digits", "model": {"name": "mlp"}})
    combiner = Average(places, tuple(1 / len(places) for _ in places), "classification")
    write(Folder(tmp_path / "made"), study, DataSummary(names, {}, example[:1], "made"), parts, combiner, None)
    assert export_onnx(tmp_path / "made", tmp_path / "made.onnx") < 1e-4


@given(
    name=st.sampled_from(STYLED),
    activation=st.sampled_from(list(ACTIVATIONS)),
    normalization=st.sampled_from(NORMALIZATIONS),
    width=st.integers(2, 13),
    side=st.integers(16, 40),
)
@settings(max_examples=25)
def test_any_activation_normalization_width_and_side_can_be_combined(
    name: str, activation: str, normalization: str, width: int, side: int
) -> None:
    shape = (1, side, 17)
    model = built(name, shape, activation=activation, normalization=normalization, width=width)
    outputs = model(images(3, shape))
    outputs.square().mean().backward()
    assert outputs.isfinite().all()
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert model.eval()(images(1, shape)).shape == (1, 5)


@given(
    patch=st.integers(1, 9),
    heads=st.integers(1, 3),
    head_width=st.integers(1, 9),
    pooling=st.sampled_from(["mean", "token"]),
)
@settings(max_examples=15)
def test_any_patch_and_any_heads_are_valid(patch: int, heads: int, head_width: int, pooling: str) -> None:
    shape = (2, 10, 13)
    model = built("vit", shape, patch=patch, heads=heads, head_width=head_width, pooling=pooling)
    model(images(2, shape)).square().mean().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize("pooling", ["mean", "token"])
def test_a_vit_learns_soon_where_a_patch_is(pooling: str) -> None:
    """One of four patches is bright: only positions tell the classes apart."""
    torch.manual_seed(0)
    model = built("vit", (1, 8, 8), pooling=pooling)
    labels = torch.arange(64) % 4
    rows = torch.rand(64, 1, 8, 8) * 120
    for row, label in zip(rows, labels.tolist(), strict=True):
        top, left = 4 * (label // 2), 4 * (label % 2)
        row[:, top : top + 4, left : left + 4] += 90
    assert isinstance(model.standardize, Standardize)
    model.standardize.fit(*moments(rows.permute(0, 2, 3, 1).numpy().astype(np.uint8)))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    for _ in range(60):
        loss = torch.nn.functional.cross_entropy(model(rows), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert (model(rows).argmax(1) == labels).float().mean() > 0.95


@pytest.mark.parametrize("side", [28, 32, 47, 64, 96])
@FAMILIES
def test_it_takes_images_of_28_to_96_pixels(name: str, side: int) -> None:
    for channels in (1, 4):
        assert built(name, (channels, side, side)).eval()(images(1, (channels, side, side))).shape == (1, 5)


@pytest.mark.parametrize(("name", "least"), [("lenet", 12), ("alexnet", 8), ("vgg", 16), ("googlenet", 4), ("vit", 4)])
def test_the_smallest_image_is_the_one_that_is_told(name: str, least: int) -> None:
    assert built(name, (1, least, least + 3)).eval()(images(2, (1, least, least + 3))).shape == (2, 5)
    with pytest.raises(ValueError, match=f"needs images of {least}x{least} pixels at least, got {least - 1}x40; "):
        built(name, (1, least - 1, 40))


@FAMILIES
def test_a_table_is_for_those_that_take_one(name: str) -> None:
    if name in TABLES:
        assert built(name, (7,))(torch.randn(3, 7)).shape == (3, 5)
    else:
        with pytest.raises(
            ValueError, match=rf"^{name.removesuffix('18')} is for images; take mlp or linear for the rows of a table$"
        ):
            built(name, (7,))


def test_a_table_is_told_before_a_search() -> None:
    read = spec.load({"study": "s", "data": "wine", "model": {"name": "lenet"}})
    (problem,) = problems(read, datasets.load(read.data, Path("data"), 0))
    assert problem.key == ("model",)
    assert problem.message == (
        "model 'lenet' refuses {}: lenet is for images; take mlp or linear for the rows of a table"
    )


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("mlp", {"activation": "rely"}, "activation must be one of relu, .*, got 'rely'. Did you mean 'relu'\\?$"),
        ("resnet", {"normalization": "batchnorm"}, "normalization must be one of batch, layer, group, none, got"),
        ("vgg", {"depth": 12}, "depth must be 11, 13, 16 or 19, got 12"),
        ("vgg", {"width": 0}, "width must be at least 1, got 0"),
        ("alexnet", {"hidden": -1}, "hidden must be at least 1, got -1"),
        ("lenet", {"pooling": "sum"}, "pooling must be one of mean, max, got 'sum'$"),
        ("vit", {"pooling": 3}, "pooling must be one of mean, token, got 3"),
        ("vit", {"heads": 0}, "heads must be at least 1, got 0"),
        ("dcn", {"stages": 6}, "halves images 5 times and needs images of 32x32 pixels at least, got 16x18"),
        ("googlenet", {"dropout": 1.0}, r"dropout must be in \[0, 1\), got 1.0"),
    ],
)
def test_what_is_not_valid_is_told(name: str, given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        built(name, **given)


OLD = {
    "mlp": [
        *("1.weight", "2.weight", "2.bias", "2.running_mean", "2.running_var", "2.num_batches_tracked"),
        *("5.weight", "5.bias"),
    ],
    "convnet": [
        *("0.weight", "1.weight", "1.bias", "1.running_mean", "1.running_var", "1.num_batches_tracked"),
        *("2.weight", "3.weight", "3.bias", "3.running_mean", "3.running_var", "3.num_batches_tracked"),
        *("7.weight", "7.bias"),
    ],
}
"""Names of weights in studies of release 0.2."""


@pytest.mark.parametrize("name", OLD)
def test_weights_of_older_studies_have_the_same_names(name: str) -> None:
    assert list(built(name).network.state_dict()) == OLD[name]


def test_a_resnets_weights_have_the_names_that_they_had() -> None:
    names = set(built("resnet").network.state_dict())
    norms = [
        f"blocks.1.{norm}.{part}"
        for norm in ("first_norm", "second_norm", "shortcut.2")
        for part in ("weight", "running_var")
    ]
    assert {"stem.0.weight", "stem.1.bias", "blocks.1.shortcut.1.weight", "head.1.bias", *norms} <= names


@pytest.mark.parametrize("name", [name for name in STYLED if name not in ("mlp", "lenet")])
def test_own_kernels_see_the_layers_of_a_default_network(name: str) -> None:
    kinds = [type(module) for module in built(name).modules()]
    assert BatchNormReLU in kinds and NormalizedActivation not in kinds


@given(st.integers(1, 64))
def test_groups_divide_the_features_and_have_four_at_least(features: int) -> None:
    layer = normalization_of("group", features)
    assert isinstance(layer, torch.nn.GroupNorm) and features % layer.num_groups == 0
    assert layer.num_groups == 1 or features // layer.num_groups >= 4
    if features % 32 == 0:
        assert layer.num_groups == 8


def test_a_resnet18_has_its_eleven_million_parameters() -> None:
    model = models.build(Named(name="resnet18"), (3, 32, 32), 1000)
    parameters = sum(parameter.numel() for parameter in model.network.parameters())
    assert parameters == pytest.approx(11.7e6, rel=0.01)  # torchvision's has 11,689,512


@pytest.mark.parametrize(("depth", "millions"), [(11, 9.2), (13, 9.4), (16, 14.7), (19, 20.0)])
def test_a_vgg_has_the_convolutions_of_its_configuration(depth: int, millions: float) -> None:
    network = built("vgg", (3, 32, 32), depth=depth, width=64).network
    convolutions = [module for module in network.modules() if isinstance(module, torch.nn.Conv2d)]
    assert len(convolutions) == depth - 3
    parameters = sum(module.weight.numel() for module in convolutions) / 1e6
    assert parameters == pytest.approx(millions, abs=0.05)  # torchvision's features: 9.2, 9.4, 14.7, 20.0


def test_a_lenet_has_the_sizes_of_the_paper() -> None:
    network = models.build(Named(name="lenet"), (1, 28, 28), 10).network
    shapes = [tuple(parameter.shape) for parameter in network.parameters() if parameter.ndim > 1]
    assert shapes == [(6, 1, 5, 5), (16, 6, 5, 5), (120, 400), (84, 120), (10, 84)]


def test_a_googlenet_has_the_channels_of_the_paper() -> None:
    network = built("googlenet", (3, 32, 32), width=64).network
    fan_ins = [module.branches[0][0].in_channels for module in network.modules() if hasattr(module, "branches")]  # type: ignore[index, union-attr]
    assert fan_ins == [192, 256, 480, 512, 512, 512, 528, 832, 832]
