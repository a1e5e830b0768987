"""Models of torchvision and timm by name: what they take, what they refuse, and that nothing is downloaded."""

import inspect
import socket
from pathlib import Path
from typing import Any

import pytest
import torch

from hpo import api, models
from hpo.errors import InputError, SpecError
from hpo.models import MODELS, library
from hpo.spec import Named

PAIRS = [("alexnet", 64), ("googlenet", 32), ("mobilenet_v2", 32), ("resnet18", 32), ("vit_b_32", 32)]


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize(("name", "side"), PAIRS)
def test_a_network_fits_the_images_and_the_classes(name: str, side: int, channels: int) -> None:
    with torch.device("meta"):
        network = MODELS.load(f"torchvision/{name}")((channels, side, side), 5)
        assert network(torch.zeros(2, channels, side, side)).shape == (2, 5)


def test_images_are_scaled_before_the_network_and_names_stay() -> None:
    torch.manual_seed(0)
    network = MODELS.load("torchvision/squeezenet1_1")((1, 8, 8), 3, image_size=32).eval()
    grey = torch.rand(2, 1, 8, 8)
    large = torch.nn.functional.interpolate(grey, (32, 32), mode="bilinear").expand(-1, 3, -1, -1)
    network_alone = MODELS.load("torchvision/squeezenet1_1")((3, 32, 32), 3).eval()
    network_alone.load_state_dict(network.state_dict())
    assert torch.equal(network(grey), network_alone(large))


def test_settings_are_those_of_the_factory_that_are_plain_values() -> None:
    known = list(inspect.signature(MODELS.load("torchvision/mobilenet_v2")).parameters)
    assert known == ["input_shape", "outputs", "image_size", "width_mult", "round_nearest", "dropout"]
    network = MODELS.load("torchvision/mobilenet_v2")((3, 32, 32), 2, width_mult=0.25, dropout=0.5)
    assert network.classifier[0].p == 0.5 and network.features[1].conv[1].out_channels == 8


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("torchvision/resnet81", r"torchvision has no image classifier 'resnet81'. Did you mean 'resnet18'\?"),
        ("torchvision/maskrcnn_resnet50_fpn", "torchvision has no image classifier"),
        ("torchvision/../resnet18", "torchvision has no image classifier"),
        ("torchvision:resnet18", "a model of torchvision is written 'torchvision/resnet18'"),
        ("torchvision.models:resnet18", "a model of torchvision is written 'torchvision/resnet18'"),
        ("keras/resnet18", "unknown model 'keras/resnet18'"),
    ],
)
def test_names_that_are_none_are_told(name: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        MODELS.load(name)


@pytest.mark.parametrize(
    ("shape", "settings", "said"),
    [
        ((4,), {}, "is for images; take mlp"),
        ((3, 32, 48), {}, "takes square images, and these are 32x48"),
        ((3, 32, 32), {"image_size": 4096}, "image_size must be 8 to 1024 pixels, got 4096"),
        ((3, 32, 32), {"image_size": True}, "image_size must be 8 to 1024 pixels, got True"),
        ((3, 32, 32), {"num_layers": 2}, "setting 'num_layers' is fixed by the model's name"),
    ],
)
def test_what_a_network_cannot_be_is_told(shape: tuple[int, ...], settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        MODELS.load("torchvision/vit_b_16")(shape, 3, **settings)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"pretrained": True}, "no such setting. Nothing is downloaded: `model.weights: FILE`"),
        ({"weights": "IMAGENET1K_V1"}, "no such file: .*IMAGENET1K_V1. Nothing is downloaded"),
        ({"dropuot": 0.1}, "no such setting. Did you mean 'dropout'"),
        ({"num_classes": 7}, "no such setting"),
        ({"norm_layer": "x"}, "no such setting"),
        ({"dropout": "no"}, "takes a number, got the text 'no'"),
    ],
)
def test_settings_that_are_none_are_told(
    settings: dict[str, Any], said: str, document: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def connect(*_: object) -> None:
        raise AssertionError("nothing may be downloaded")

    monkeypatch.setattr(socket.socket, "connect", connect)
    document["model"] = {"name": "torchvision/mobilenet_v2", **settings}
    document["parameters"] = {}
    with pytest.raises(SpecError, match=said):
        api.validate(document)


def test_every_network_of_torchvision_has_plain_settings() -> None:
    from torchvision import models as theirs

    for name in theirs.list_models(module=theirs):
        parameters = list(inspect.signature(library.torchvision_model(name)).parameters.values())
        assert not {parameter.name for parameter in parameters} & set(library.DOWNLOADS)
        assert all(
            parameter.default is None or type(parameter.default) in (bool, int, float, str)
            for parameter in parameters[2:]
        )


def test_a_trial_of_a_small_network_is_trained_as_ours_are(document: dict[str, Any], tmp_path: Path) -> None:
    document["model"] = {"name": "torchvision/shufflenet_v2_x0_5", "image_size": 32}
    document["parameters"] = {"optimizer.lr": {"min": 0.001, "max": 0.1, "log": True}}
    api.validate(document)  # which trains it, stores its state and goes on from there
    assert models.build(Named(name="torchvision/shufflenet_v2_x0_5"), (1, 32, 32), 3).foreign


def test_timm_is_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(InputError, match=r"needs timm, an extra: pip install 'hpo\[timm\]'"):
        MODELS.load("timm/resnet18")


def test_networks_of_timm_fit_too() -> None:
    pytest.importorskip("timm")
    for name, side in (("efficientnet_lite0", 32), ("vit_tiny_patch16_224", 32), ("resnet10t", 32)):
        with torch.device("meta"):
            network = MODELS.load(f"timm/{name}")((1, side, side), 4, drop_rate=0.1)
            assert network(torch.zeros(2, 1, side, side)).shape == (2, 4)
    with pytest.raises(InputError, match="timm has no image classifier 'hf-hub:timm/resnet18.a1_in1k'"):
        MODELS.load("timm/hf-hub:timm/resnet18.a1_in1k")
    known = inspect.signature(MODELS.load("timm/resnet10t")).parameters.keys()
    assert not known & {*library.DOWNLOADS, "num_classes", "in_chans"} and "drop_path_rate" in known
