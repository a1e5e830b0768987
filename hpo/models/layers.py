"""The layers of a network by name: its head, its stages, and those that names or globs choose."""

from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase

from torch import nn
from torch.nn.modules.batchnorm import _NormBase

BODY = "body"
"""Stands for all layers but the head."""
_LARGE = 0.5
"""A part of a network with more than this share of its parameters is divided further into stages, if it has blocks."""


def head(network: nn.Module) -> str:
    """The name of the last layer that has parameters, in the order in which the network defines its layers.

    Raises:
        ValueError: the network has no parameters.
    """
    modules = network.named_modules()
    owners: list[str] = [name for name, layer in modules if any(True for _ in layer.parameters(recurse=False))]
    if not owners:
        raise ValueError("has no parameters to train")
    return owners[-1]


def chosen(network: nn.Module, patterns: Sequence[str]) -> frozenset[str]:
    """The names of parameters and of normalization layers that patterns choose.

    Args:
        network: whose layers are chosen.
        patterns: names or globs of layers, with all that is below them, or of parameters; `body` for all but the head.

    Raises:
        ValueError: a pattern matches nothing.
    """
    names, last, found = list(_names(network)), head(network), set[str]()
    for pattern in patterns:
        if pattern == BODY:
            matching = {name for name in names if not _within(name, last)}
        else:
            matching = {name for name in names if any(fnmatchcase(above, pattern) for above in _above(name))}
        if not matching:
            layers = ", ".join(name for name, _ in network.named_children())
            raise ValueError(f"frozen: no layer is called '{pattern:.80}'; the layers are {layers:.300}")
        found |= matching
    return frozenset(found)


def stages(network: nn.Module) -> list[frozenset[str]]:
    """The names of parameters and of normalization layers by stage, from the input on; the last stage is the head.

    Stages are the parts that a network is defined of; one that has more than half of all parameters, and these mostly
    in blocks of several layers, is divided into its own parts. What has no matrix, such as a normalization, belongs to
    the stage before it, and what belongs to no part, such as a class token, to the first one.
    """
    last, names = head(network), list(_names(network))
    blocks = list(_blocks(network, "", _size(network)))
    shapes = {name: parameter.ndim for name, parameter in network.named_parameters()}
    found: list[set[str]] = [set()]
    for block in blocks:
        own = {name for name in names if _within(name, block) and not _within(name, last)}
        if found[-1] and any(shapes.get(name, 0) > 1 for name in own):
            found.append(own)
        else:
            found[-1] |= own
    known = set().union(*found)
    found[0] |= {name for name in names if name not in known and not _within(name, last)}
    return [frozenset(stage) for stage in found if stage] + [frozenset(n for n in names if _within(n, last))]


def _names(network: nn.Module) -> Iterator[str]:
    """Names of parameters, and of normalizations, which behave differently in training."""
    yield from (name for name, _ in network.named_parameters())
    yield from (name for name, layer in network.named_modules() if isinstance(layer, _NormBase))


def _blocks(network: nn.Module, prefix: str, total: int) -> Iterator[str]:
    for name, part in network.named_children():
        whole = f"{prefix}{name}"
        size = _size(part)
        if (
            size > _LARGE * total
            and sum(_size(one) for one in part.children() if next(one.children(), None)) > size / 2
        ):
            yield from _blocks(part, f"{whole}.", total)
        else:
            yield whole


def _size(part: nn.Module) -> int:
    return sum(parameter.numel() for parameter in part.parameters())


def _within(name: str, layer: str) -> bool:
    return name == layer or name.startswith(f"{layer}.") or not layer


def _above(name: str) -> Iterator[str]:
    """A name, and those of the layers that it is in."""
    while name:
        yield name
        name = name.rpartition(".")[0]
