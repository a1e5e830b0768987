"""Head, stages and chosen layers of networks of many kinds."""

import pytest
import torch
from torch import nn

from hpo.models import MODELS, layers

HEADS = {
    "resnet": "head.1",
    "convnet": "9",
    "torchvision/resnet18": "fc",
    "torchvision/mobilenet_v2": "classifier.1",
    "torchvision/vgg11": "classifier.6",
    "torchvision/densenet121": "classifier",
    "torchvision/swin_t": "head",
}


def made(name: str) -> nn.Module:
    with torch.device("meta"):
        network: nn.Module = MODELS.load(name)((3, 32, 32), 10)
    return network


@pytest.mark.parametrize("name", HEADS)
def test_stages_part_all_layers_from_the_input_to_the_head(name: str) -> None:
    network, head = made(name), HEADS[name]
    stages, parameters = layers.stages(network), [name for name, _ in network.named_parameters()]
    assert layers.head(network) == head
    assert stages[-1] == {f"{head}.weight", f"{head}.bias"}
    assert set().union(*stages) >= set(parameters) and sum(map(len, stages)) == len(set().union(*stages))
    first = [min(parameters.index(name) for name in stage if name in parameters) for stage in stages]
    assert first == sorted(first) and len(stages) > 2
    assert layers.chosen(network, ["body"]) == set().union(*stages[:-1])


def test_patterns_choose_layers_with_all_below_them() -> None:
    network = made("torchvision/resnet18")
    chosen = layers.chosen(network, ["layer1", "bn?", "layer2.*.conv1", "fc.bias"])
    assert {"layer1.0.conv1.weight", "layer1.1.bn2", "bn1", "bn1.bias", "layer2.1.conv1.weight", "fc.bias"} <= chosen
    assert not {"layer2.0.conv2.weight", "conv1.weight", "fc.weight", "layer2.0.bn1"} & chosen


def test_a_pattern_that_matches_nothing_is_told_with_the_layers() -> None:
    with pytest.raises(
        ValueError, match="no layer is called 'layer9'; the layers are conv1, bn1, relu, maxpool, layer1"
    ):
        layers.chosen(made("torchvision/resnet18"), ["layer1", "layer9"])


def test_what_belongs_to_no_part_is_of_the_first_stage() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.token = nn.Parameter(torch.zeros(4))
            self.parts = nn.ModuleList([nn.Linear(4, 4), nn.LayerNorm(4), nn.Linear(4, 4)])
            self.out = nn.Linear(4, 2)

    stages = layers.stages(Net())
    assert [len(stage) for stage in stages] == [7, 2] and {"token", "parts.1.weight"} <= stages[0]


def test_a_network_without_parameters_has_no_head() -> None:
    with pytest.raises(ValueError, match="has no parameters to train"):
        layers.head(nn.ReLU())
