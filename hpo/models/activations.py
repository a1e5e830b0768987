"""Activation functions by name, and the weights with which a network of each of them begins."""

from collections.abc import Mapping

from torch import nn

from hpo.models.rules import one_of

ACTIVATIONS: Mapping[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "gelu": nn.GELU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
}
_GAINS = {"tanh": nn.init.calculate_gain("tanh"), "sigmoid": 1.0}
"""Factors of the deviation for activations that are bounded."""


def activation_of(name: str) -> nn.Module:
    """The activation of this name, as a layer.

    Raises:
        ValueError: there is none of this name.
    """
    return ACTIVATIONS[one_of("activation", name, ACTIVATIONS)]()


def initialize(network: nn.Module, activation: str) -> None:
    """Draws the weights of all convolutions and linear layers so that signals keep their size from layer to layer.

    The deviation is that of He et al. 2015 ("Delving Deep into Rectifiers") for relu, leaky_relu and gelu, and that of
    Glorot and Bengio 2010 for tanh and sigmoid. Biases begin at 0.

    Args:
        network: is changed in place.
        activation: a name of `ACTIVATIONS`.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            if activation in _GAINS:
                nn.init.xavier_uniform_(module.weight, gain=_GAINS[activation])
            else:
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
