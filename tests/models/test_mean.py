"""The mean of a model's copies: it predicts what the copies predict on average."""

import numpy as np
import pytest
import torch
from torch import nn

from hpo import models
from hpo.models import placement
from hpo.models.mean import Mean
from hpo.models.standardize import Standardized, first_layer
from hpo.models.weights import set_weights, weights_of
from hpo.spec import Named
from hpo.tasks.kinds import kind

MLP = Named.model_validate({"name": "mlp", "width": 8, "layers": 1})


def mean(task: str, copies: int = 3) -> Mean:
    built = models.build_copies(MLP, (4,), 3, task, copies)
    assert isinstance(built, Mean)
    return built.eval()


@pytest.mark.parametrize("task", ["classification", "multilabel", "regression"])
@pytest.mark.parametrize("scale", [1.0, 300.0])
def test_it_predicts_the_mean_of_the_predictions(task: str, scale: float) -> None:
    model, rows, activate = mean(task), torch.randn(20, 4) * scale, kind(task).activate
    expected = torch.stack([activate(copy(rows)) for copy in model.copies]).mean(dim=0)
    assert torch.allclose(activate(model(rows)), expected, atol=1e-5)
    assert model(rows).isfinite().all()


def test_one_copy_is_the_model_itself() -> None:
    assert isinstance(models.build_copies(MLP, (4,), 3, "regression", 1), Standardized)


def test_its_weights_are_those_of_all_copies() -> None:
    one, other, rows = mean("classification"), mean("classification"), torch.randn(5, 4)
    weights = weights_of(one)
    assert {name.split(".")[1] for name in weights} == {"0", "1", "2"}
    set_weights(other, weights)
    assert torch.equal(one(rows), other(rows))
    assert torch.equal(one.some([1])(rows).softmax(1), one.copies[1](rows).softmax(1)) or torch.allclose(
        one.some([1])(rows).softmax(1), one.copies[1](rows).softmax(1), atol=1e-6
    )


def test_weights_of_other_shapes_are_refused_before_a_module_sees_them() -> None:
    model = models.build(MLP, (4,), 3)
    weights = weights_of(model)
    name = next(name for name in weights if name.endswith("weight"))
    with pytest.raises(RuntimeError, match=f"'{name}' is"):
        set_weights(model, {**weights, name: weights[name][:1]})


def test_each_copy_is_placed_as_its_network_wants() -> None:
    class Viewing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.convolution, self.head = nn.Conv2d(1, 2, 3), nn.Linear(8, 3)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            features = self.convolution(images)
            outputs: torch.Tensor = self.head(features.view(len(features), -1))
            return outputs

    shape = (1, 4, 4)
    copies = [Standardized(shape, first_layer(shape), Viewing(), 3, rescaled=False, foreign=True) for _ in range(2)]
    model = placement.place(Mean(copies, "classification"), torch.device("cpu"))
    images = torch.from_numpy(np.zeros((2, 1, 4, 4), np.float32)).contiguous(memory_format=torch.channels_last)
    assert model(images).shape == (2, 3)
