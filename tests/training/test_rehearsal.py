"""The yes of `hpo validate` is a trial's yes: the same odd models go through the rehearsal and a whole trial."""

import dataclasses
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from hpo import datasets, models, spec
from hpo.datasets import Dataset, Examples
from hpo.engine.ray.best_epoch import BestEpoch
from hpo.models import placement
from hpo.models.weights import set_weights
from hpo.spec import StudySpec
from hpo.study.artifacts import Artifacts
from hpo.tasks.kinds import kind
from hpo.training import Context, Predictor, rehearsal, train
from tests.conftest import untimed

Shape = tuple[int, ...]


class Network(nn.Module):
    """Two convolutions and a linear layer; how they are joined is what is odd."""

    def __init__(self, shape: Shape, outputs: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(shape[0], 6, 3, padding=1)
        self.second = nn.Conv2d(6, 12, 3, padding=1)
        self.last = nn.Linear(12 * 16, outputs)

    def features(self, images: Tensor) -> Tensor:
        return functional.max_pool2d(functional.relu(self.second(functional.relu(self.first(images)))), 2)

    def forward(self, images: Tensor) -> Any:
        return self.last(self.features(images).flatten(1))


class View(Network):
    """As LeNet is written in tutorials."""

    def forward(self, images: Tensor) -> Any:
        return self.last(self.features(images).view(-1, 12 * 16))


class ViewOfInputs(Network):
    """Looks at the images themselves as rows."""

    def __init__(self, shape: Shape, outputs: int) -> None:
        super().__init__(shape, outputs)
        self.last = nn.Linear(int(np.prod(shape)), outputs)

    def forward(self, images: Tensor) -> Any:
        return self.last(images.view(images.size(0), -1))


class Squeeze(Network):
    """Loses the dimension of a batch of one."""

    def __init__(self, shape: Shape, outputs: int) -> None:
        super().__init__(shape, outputs)
        self.last = nn.Linear(12, outputs)

    def forward(self, images: Tensor) -> Any:
        return self.last(functional.adaptive_avg_pool2d(self.features(images), 1).squeeze())


class SqueezeAndNormalize(Squeeze):
    """Loses it before a layer that needs it."""

    def __init__(self, shape: Shape, outputs: int) -> None:
        super().__init__(shape, outputs)
        self.norm = nn.BatchNorm1d(12)

    def forward(self, images: Tensor) -> Any:
        pooled = functional.adaptive_avg_pool2d(self.features(images), 1).squeeze()
        return self.last(self.norm(pooled))


class ViewAndSqueeze(Network):
    """Wants both."""

    def __init__(self, shape: Shape, outputs: int) -> None:
        super().__init__(shape, outputs)
        self.last = nn.Linear(12, outputs)

    def forward(self, images: Tensor) -> Any:
        features = self.features(images)
        pooled = features.view(len(images), 12, -1).mean(2).squeeze()
        return torch.log_softmax(self.last(pooled), dim=1)


class ExtraState(Network):
    """Keeps beside its weights what is no tensor alone."""

    def __init__(self, shape: Shape, outputs: int) -> None:
        super().__init__(shape, outputs)
        self.seen: dict[str, Any] = {"batches": 0, "mean": torch.zeros(()), "name": "é"}

    def forward(self, images: Tensor) -> Any:
        if self.training:
            self.seen["batches"] += 1
            self.seen["mean"] = 0.9 * self.seen["mean"] + 0.1 * images.mean().detach()
        return super().forward(images + self.seen["mean"])

    def get_extra_state(self) -> Any:
        return dict(self.seen)

    def set_extra_state(self, state: Any) -> None:
        self.seen = dict(state)


class OddBuffers(Network):
    """Has buffers of types that numpy has not, or seldom has."""

    def __init__(self, shape: Shape, outputs: int) -> None:
        super().__init__(shape, outputs)
        self.register_buffer("scale", torch.tensor([1.2345], dtype=torch.bfloat16))
        self.register_buffer("quarter", torch.tensor([0.25]).to(torch.float8_e4m3fn))
        self.register_buffer("wave", torch.polar(torch.ones(3), torch.arange(3.0)))
        self.register_buffer("mask", torch.ones(2, dtype=torch.bool))

    def forward(self, images: Tensor) -> Any:
        scale: Any = self.scale
        return super().forward(images * scale.float())


class Cached(Network):
    """Keeps a grid that its first pass makes, as of positions."""

    grid: Tensor | None = None

    def forward(self, images: Tensor) -> Any:
        if self.grid is None:
            self.grid = torch.linspace(0, 1, images.shape[-1], device=images.device) + 0 * images[0, 0, 0]
        return super().forward(images * self.grid)


class Depth(nn.Module):
    """Convolves in three dimensions."""

    def __init__(self, shape: Shape, outputs: int) -> None:
        super().__init__()
        self.convolution = nn.Conv3d(1, 2, (1, 3, 3), padding=(0, 1, 1))
        self.last = nn.Linear(2 * int(np.prod(shape)), outputs)

    def forward(self, images: Tensor) -> Any:
        return self.last(self.convolution(images[:, None]).flatten(1))


class Draws(Network):
    """Draws numbers whenever it is called, and looks at values."""

    def forward(self, images: Tensor) -> Any:
        noise = torch.rand(len(images), 1, 1, 1, device=images.device)
        return super().forward(images + noise if float(noise.sum()) >= 0 else images)


class Frozen(Network):
    """Learns its last layer alone, and keeps a part in eval mode."""

    def __init__(self, shape: Shape, outputs: int) -> None:
        super().__init__(shape, outputs)
        for layer in (self.first, self.second):
            layer.requires_grad_(False)


class Pair(Network):
    def forward(self, images: Tensor) -> Any:
        return super().forward(images), images


class Auxiliary(Network):
    """Gives two outputs in training alone, as Inception does."""

    def forward(self, images: Tensor) -> Any:
        outputs = super().forward(images)
        return (outputs, outputs) if self.training else outputs


class Wide(Network):
    def __init__(self, shape: Shape, outputs: int) -> None:
        super().__init__(shape, outputs + 4)


class OneForAll(Network):
    """Mixes the rows of a batch."""

    def forward(self, images: Tensor) -> Any:
        return super().forward(images).mean(0, keepdim=True)


class InPlace(Network):
    """Changes what the backward pass needs."""

    def forward(self, images: Tensor) -> Any:
        outputs = torch.sigmoid(super().forward(images))
        return outputs.mul_(2) if self.training else outputs * 2


class Unused(Network):
    """Learns nothing."""

    def forward(self, images: Tensor) -> Any:
        return super().forward(images).detach()


class Sparse(Network):
    def __init__(self, shape: Shape, outputs: int) -> None:
        super().__init__(shape, outputs)
        self.register_buffer("graph", torch.eye(3).to_sparse())


class Gadget:
    """What no loader of weights alone reads."""


class ExtraGadget(Network):
    def get_extra_state(self) -> Any:
        return Gadget()

    def set_extra_state(self, state: Any) -> None: ...


class OnlySaves(Network):
    """Has no way back."""

    def get_extra_state(self) -> Any:
        return {"version": 3}


class Casts(Network):
    """Puts numbers of one type among those of another, which autocast does not mend."""

    def forward(self, images: Tensor) -> Any:
        outputs = super().forward(images)
        zeros = torch.zeros(outputs.shape, device=outputs.device)
        return zeros.index_add(0, torch.arange(len(outputs), device=outputs.device), outputs)


def half(input_shape: Shape, outputs: int) -> nn.Module:
    return Network(input_shape, outputs).bfloat16()


def leaves(input_shape: Shape, outputs: int) -> nn.Module:
    sys.exit("no GPU")


GOOD = [View, ViewOfInputs, Squeeze, SqueezeAndNormalize, ViewAndSqueeze, ExtraState, OddBuffers, Cached, Depth, Draws]
GOOD += [Frozen, Casts]
BAD: list[tuple[Any, str]] = [
    (Pair, "must give a tensor (n, 3) for n images, got tuple"),
    (Auxiliary, "must give a tensor (n, 3) for n images, got tuple"),
    (Wide, "must give (n, 3) for n images, got (1, 7) for 1"),
    (OneForAll, "must give (n, 3) for n images, got (1, 3) for"),
    (InPlace, "refuses {}: one of the variables needed for gradient computation has been modified"),
    (Unused, "refuses {}: element 0 of tensors does not require grad"),
    (Sparse, "leaves what cannot be stored, with {}: 'network.graph' of its state is torch.sparse_coo, and only dense"),
    (ExtraGadget, "cannot go on from what it has stored, with {}: `get_extra_state` may give tensors, numbers, texts"),
    (OnlySaves, "cannot go on from what it has stored, with {}: Error(s) in loading state_dict for Standardized: "),
    (half, "refuses {}: its parameters must be float32; precision is `training.precision`"),
    (leaves, "refuses {}: no GPU"),
]


def named(function: Any) -> str:
    return f"{__name__}:{function.__name__}"


def read(document: dict[str, Any], **changes: Any) -> tuple[StudySpec, Dataset]:
    """A spec and its data, of which 65 rows are for validation: a batch of 64, and one of one row.

    The precision is the same on CPUs that train in bfloat16 by themselves and on others.
    """
    document["data"]["validation"] = 65 / 240
    document["training"] = {"precision": "float32"} | document["training"]
    document["training"] |= {"batch_size": 16, "epochs": 2, "deterministic": True}
    made = spec.load(document | {"parameters": {}, **changes})
    dataset = datasets.load(made.data, Path("data"), made.seed)
    assert len(dataset.validation) == 65
    return made, dataset


def coloured(dataset: Dataset) -> Dataset:
    """The same images in three channels; one channel has the same strides in any layout."""

    def three(examples: Examples) -> Examples:
        return dataclasses.replace(examples, inputs=np.repeat(examples.inputs, 3, axis=3).astype(np.uint8))

    return dataclasses.replace(
        dataset, train=three(dataset.train), validation=three(dataset.validation), test=three(dataset.test)
    )


def trial(made: StudySpec, dataset: Dataset, folder: Path) -> list[dict[str, float]]:
    """All that a trial does, once at a stretch and once with a pause, and what an ensemble does with what it leaves."""
    artifacts, whole = Artifacts(folder), []
    best = BestEpoch(made, artifacts, 0)
    for report in train({}, Context(made, dataset, 0)):
        whole.append(untimed(report.metrics))
        best.see(report)
        if report.epoch == 1:
            assert report.state is not None
            artifacts.save_state(0, report.state())
            first = {name: array.copy() for name, array in report.snapshot().weights.items()}
            with torch.random.fork_rng([]):  # a network may draw
                predicted: dict[Any, Any] = dict(report.snapshot().all_predictions())
    best.store(others=True)
    again = list(train({}, Context(made, dataset, 0, artifacts.load_state(0))))
    assert [untimed(report.metrics) for report in again] == whole[1:]
    stored = artifacts.read(0)
    assert stored is not None
    network = models.build(made.model, dataset.input_shape, len(dataset.outputs), made.task)
    set_weights(network, first)
    predictor = Predictor(
        placement.place(network.eval(), torch.device("cpu")), kind(made.task), torch.device("cpu"), None
    )
    if made.model.name != named(Draws):
        for split, examples in (("validation", dataset.validation), ("test", dataset.test)):
            np.testing.assert_allclose(predictor(examples).numpy(), predicted[split], atol=2e-3)
    set_weights(network, stored.weights())
    return whole


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("network", GOOD, ids=lambda network: str(network.__name__))
def test_odd_models_that_pass_can_be_trained(
    document: dict[str, Any], tmp_path: Path, network: Any, channels: int
) -> None:
    document["training"]["precision"] = "float32"
    made, dataset = read(document, model={"name": named(network)})
    dataset = dataset if channels == 1 else coloured(dataset)
    assert list(rehearsal.problems(made, dataset)) == []
    reports = trial(made, dataset, tmp_path / "one")
    assert len(reports) == 2
    if network is not Draws:
        assert trial(made, dataset, tmp_path / "two") == reports  # in every trial the same


@pytest.mark.parametrize(("network", "message"), BAD, ids=lambda case: getattr(case, "__name__", ""))
def test_odd_models_that_cannot_be_trained_are_told(
    document: dict[str, Any], tmp_path: Path, network: Any, message: str
) -> None:
    made, dataset = read(document, model={"name": named(network)})
    (problem,) = rehearsal.problems(made, dataset)
    assert f"model '{named(network)}' {message}" in problem.message and "\n" not in problem.message
    assert problem.key == ("model",)
    with pytest.raises((Exception, SystemExit)):
        trial(made, dataset, tmp_path / "one")


def test_a_regression_may_give_one_number_a_row(document: dict[str, Any], tmp_path: Path) -> None:
    document["training"]["precision"] = "float32"
    made, dataset = read(document, model={"name": named(OneNumber)}, task="regression", objective="rmse")
    splits = {}
    for split in ("train", "validation", "test"):
        examples: Examples = getattr(dataset, split)
        splits[split] = dataclasses.replace(examples, targets=examples.targets[:, None].astype(np.float32))
    dataset = dataclasses.replace(dataset, outputs=("value",), **splits)  # type: ignore[arg-type]
    assert list(rehearsal.problems(made, dataset)) == []
    assert len(trial(made, dataset, tmp_path / "one")) == 2


class OneNumber(Network):
    """Gives `(n,)`, as many a script does."""

    def forward(self, images: Tensor) -> Any:
        return super().forward(images).squeeze()


def test_batch_normalization_needs_two_rows_in_training(document: dict[str, Any], tmp_path: Path) -> None:
    document["training"]["batch_size"] = 1
    document["parameters"] = {}
    made = spec.load(document)
    dataset = datasets.load(made.data, Path("data"), made.seed)
    (problem,) = rehearsal.problems(made, dataset)
    assert problem.message.startswith("model 'mlp' refuses {'layers': 1, 'width': 16}: Expected more than 1 value per ")
    assert problem.message.endswith("(training.batch_size is 1: a step sees a single row)")
    document["parameters"] = {"training.batch_size": {"values": [32, 1]}, "optimizer.lr": {"min": 0.1, "max": 0.2}}
    document["training"]["batch_size"] = 32
    (problem,) = rehearsal.problems(spec.load(document), dataset)
    assert problem.key == ("parameters", "training.batch_size")
    with pytest.raises(ValueError, match="Expected more than 1 value per channel"):
        trial(made, dataset, tmp_path / "one")


@pytest.mark.parametrize("size", [2, 5, 16, 59, 60, 61])
def test_batch_normalization_never_sees_a_last_batch_of_one(
    document: dict[str, Any], tmp_path: Path, size: int
) -> None:
    """61 rows and batches of 2, 5, 59 or 60 rows leave one row over."""
    made, dataset = read(document, model={"name": "mlp", "layers": 1, "width": 8})
    dataset = dataclasses.replace(dataset, train=dataset.train.take(np.arange(61)))
    made = made.model_copy(update={"training": made.training.model_copy(update={"batch_size": size})})
    assert list(rehearsal.problems(made, dataset)) == []
    assert len(trial(made, dataset, tmp_path / "one")) == 2


def test_it_is_tried_in_the_precision_of_a_trial(document: dict[str, Any], tmp_path: Path) -> None:
    document["training"]["precision"] = "bfloat16"
    made, dataset = read(document, model={"name": named(Casts)})
    (problem,) = rehearsal.problems(made, dataset)
    assert "refuses {}: " in problem.message and "type" in problem.message
    with pytest.raises(RuntimeError):
        trial(made, dataset, tmp_path / "one")


@pytest.mark.parametrize("network", [View, SqueezeAndNormalize, OddBuffers, ExtraState])
def test_what_passes_in_bfloat16_can_be_trained_in_it(document: dict[str, Any], tmp_path: Path, network: Any) -> None:
    document["training"]["precision"] = "bfloat16"
    made, dataset = read(document, model={"name": named(network)})
    assert list(rehearsal.problems(made, dataset)) == []
    artifacts = Artifacts(tmp_path / "one")
    best = BestEpoch(made, artifacts, 0)
    for report in train({}, Context(made, dataset, 0)):
        best.see(report)
    best.store(others=True)
    assert artifacts.read(0) is not None


def test_the_generators_of_the_process_are_left_as_they_were(document: dict[str, Any]) -> None:
    made, dataset = read(document, model={"name": named(Draws)})
    torch.manual_seed(7)
    wanted = torch.rand(3)
    torch.manual_seed(7)
    list(rehearsal.problems(made, dataset))
    assert torch.equal(torch.rand(3), wanted)


def test_extremes_of_parameters_are_tried(document: dict[str, Any]) -> None:
    document["model"] = {"name": "resnet", "depth": 8}
    parameters = {"model.depth": {"values": [8, 14, 15]}, "model.width": {"min": 4, "max": 8}}
    made, dataset = read(document)
    made = spec.load(document | {"parameters": parameters})
    problems = list(rehearsal.problems(made, dataset))
    assert [problem.key for problem in problems] == [("parameters", "model.depth"), ("parameters", "model.width")]
    assert "got 15" in problems[0].message


def looks(input_shape: Shape, outputs: int, *, width: int = 3) -> nn.Module:
    """Looks at values while it is built, and takes the shape of its first layer from the first images."""
    [x.item() for x in torch.linspace(0, 0.1, width)]
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(outputs))


def test_what_looks_at_values_while_it_is_built_can_be_tried(document: dict[str, Any]) -> None:
    made, dataset = read(document, model={"name": named(looks), "width": 7})
    assert list(rehearsal.problems(made, dataset)) == []
    assert models.build(made.model, (1, 8, 8), 3)(torch.zeros(2, 1, 8, 8)).shape == (2, 3)


def huge(input_shape: Shape, outputs: int, *, width: int = 10**9) -> nn.Module:
    """Is larger than any memory."""
    return nn.Sequential(nn.Flatten(), nn.Linear(int(np.prod(input_shape)), width), nn.Linear(width, outputs + 1))


def test_a_large_model_is_passed_through_without_memory(document: dict[str, Any]) -> None:
    made, dataset = read(document, model={"name": named(huge)})
    (problem,) = rehearsal.problems(made, dataset)
    assert "must give (n, 3) for n images, got (2, 4) for 2" in problem.message


def test_an_objective_of_ones_own_trains_otherwise(document: dict[str, Any]) -> None:
    """Only what it may build itself is tried."""
    made, dataset = read(document, model={"name": named(Auxiliary)})
    assert list(rehearsal.problems(made, dataset, trained=False)) == []
    made, dataset = read(document, model={"name": named(Wide)})
    (problem,) = rehearsal.problems(made, dataset, trained=False)
    assert "got (2, 7) for 2" in problem.message


def test_every_family_of_a_study_is_rehearsed_and_named(npz_file: Path) -> None:
    parameters: dict[str, Any] = {
        "model.name": {"values": ["mlp", "convnet"]},
        "model.convnet.stages": {"type": "int", "min": 1, "max": 5},
        "model.mlp.width": {"type": "int", "min": 0, "max": 8},
        "training.batch_size": {"values": [8, 16]},
    }
    document = {"study": "two", "data": {"path": str(npz_file)}, "model": {"name": "mlp"}, "parameters": parameters}
    read = spec.load(document, checks=(models.check,))
    dataset = datasets.load(read.data, Path("data"), read.seed)
    found = {problem.key: problem.message for problem in rehearsal.problems(read, dataset)}
    assert set(found) == {("parameters", "model.convnet.stages"), ("parameters", "model.mlp.width")}
    assert "model 'convnet' refuses {'stages': 5}" in found["parameters", "model.convnet.stages"]
    assert "model 'mlp' refuses {'width': 0}" in found["parameters", "model.mlp.width"]
    del parameters["model.convnet.stages"]
    parameters["model.mlp.width"]["min"] = 4
    document["model"]["convnet"] = {"stages": 9}  # type: ignore[index]
    read = spec.load(document, checks=(models.check,))
    (problem,) = rehearsal.problems(read, dataset)
    assert problem.key == ("model",) and "model 'convnet' refuses {'stages': 9}" in problem.message
