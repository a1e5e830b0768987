import torch
from torch import nn
from torch.nn import functional

from hpo.kernels.layers import BatchNormReLU


def test_it_is_batch_norm_then_the_shortcut_then_relu() -> None:
    images, shortcut = torch.randn(2, 4, 3, 6, 6)
    layer, plain = BatchNormReLU(3), nn.BatchNorm2d(3)
    plain.load_state_dict(layer.state_dict())
    assert torch.equal(layer(images), functional.relu(plain(images)))
    assert torch.equal(layer(images, shortcut), functional.relu(plain(images) + shortcut))
    assert all(map(torch.equal, layer.state_dict().values(), plain.state_dict().values()))
    assert torch.equal(layer.eval()(images), functional.relu(plain.eval()(images)))


def test_maxima_before_relu_are_those_after_it() -> None:
    images = torch.randn(4, 3, 7, 6)
    layer, plain = BatchNormReLU(3, pool=True), nn.Sequential(nn.BatchNorm2d(3), nn.ReLU(), nn.MaxPool2d(2))
    assert torch.equal(layer(images), plain(images)) and layer(images).shape == (4, 3, 3, 3)
