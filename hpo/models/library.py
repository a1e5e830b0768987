"""Models of torchvision and timm by name, as functions like those of our own families.

Only what these libraries have registered is found, and nothing is downloaded: pretrained weights come from a file
(`model.weights`). Inputs are standardized per channel of the training data, as for every model.
"""

import functools
import inspect
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from types import UnionType
from typing import Any, Union, get_args, get_origin

import torch
from torch import Tensor, nn
from torch.nn import functional

from hpo.errors import InputError
from hpo.plugins import did_you_mean

DOWNLOADS = ("pretrained", "weights", "checkpoint_path", "pretrained_cfg", "progress", "cache_dir")
"""Arguments by which these libraries fetch weights."""
_TAKEN = {*DOWNLOADS, "num_classes", "in_chans", "image_size", "img_size", "input_size"} | {
    *("aux_logits", "transform_input", "init_weights")
}
"""Arguments that are no settings: they follow from the data, or from what a network is to return."""
_SIMPLE = (bool, int, float, str)
_COLOURS = 3
_SMALLEST, _LARGEST = 8, 1024
"""Pixels of a side to which images can be scaled."""


def torchvision_model(name: str) -> Callable[..., nn.Module]:
    """A classification model of torchvision as a function `(input_shape, outputs, *, settings...)`.

    Raises:
        InputError: `torchvision.models.list_models` has no such classification model.
    """
    from torchvision import models

    _check_known("torchvision", name, models.list_models(module=models))
    return _model("torchvision", name, models.get_model_builder(name))


def timm_model(name: str) -> Callable[..., nn.Module]:
    """A model of timm as a function `(input_shape, outputs, *, settings...)`.

    Raises:
        InputError: timm is not installed, or `timm.list_models` has no such model.
    """
    try:
        import timm
    except ImportError as error:
        raise InputError(f"model 'timm/{name}' needs timm, an extra: pip install 'hpo[timm]' ({error})") from error
    _check_known("timm", name, timm.list_models())
    return _model("timm", name, timm.models.model_entrypoint(name))


def _check_known(library: str, name: str, known: Collection[str]) -> None:
    if name not in known:
        near = did_you_mean(name, known)
        hint = near if "Did you mean" in near else f" `{library}.{'models.' * (library != 'timm')}list_models` has all."
        raise InputError(f"{library} has no image classifier '{name:.80}'.{hint}")


@functools.cache
def _model(library: str, name: str, builder: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
    """The builder of a library with our arguments in place of its own."""
    arguments = inspect.signature(_built_class(builder).__init__).parameters

    def model(
        input_shape: tuple[int, ...], outputs: int, *, image_size: int | None = None, **settings: Any
    ) -> nn.Module:
        if len(input_shape) != 3:
            raise ValueError(f"{library}/{name} is for images; take mlp for the rows of a table")
        if image_size is not None and not (type(image_size) is int and _SMALLEST <= image_size <= _LARGEST):
            raise ValueError(f"image_size must be {_SMALLEST} to {_LARGEST} pixels, got {image_size!r:.40}")
        channels, height, width = input_shape
        side = (height, width) if image_size is None else (image_size, image_size)
        fixed = {"num_classes": outputs, **_sized(arguments, side)}
        colours = _COLOURS if channels == 1 else channels
        if "in_chans" in arguments:
            fixed["in_chans"] = colours
        try:
            network = builder(**{**_plain_outputs(library, arguments), **settings, **fixed})
        except TypeError as error:
            raise _told(error) from error
        if "in_chans" not in arguments and colours != _COLOURS:
            _replace_stem(network, colours)
        network.register_forward_pre_hook(_Seen(channels == 1, image_size))
        return network

    first = [inspect.Parameter(key, inspect.Parameter.POSITIONAL_ONLY) for key in ("input_shape", "outputs")]
    own = inspect.Parameter("image_size", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=int)
    model.__signature__ = inspect.Signature([*first, own, *_settings(arguments)])  # type: ignore[attr-defined]
    model.__name__ = name
    return model


def _built_class(builder: Callable[..., nn.Module]) -> type[nn.Module]:
    """The class of what a builder makes, as it says, or by making one without memory for its weights."""
    said = inspect.signature(builder, eval_str=True).return_annotation
    if isinstance(said, type) and issubclass(said, nn.Module) and said is not nn.Module:
        return said
    with torch.random.fork_rng([]), torch.device("meta"):
        return type(builder())


def _settings(arguments: Mapping[str, inspect.Parameter]) -> Iterator[inspect.Parameter]:
    """The arguments of a network that are numbers, texts or switches."""
    for name, argument in arguments.items():
        said, default = argument.annotation, argument.default
        several = get_args(said) if get_origin(said) in (Union, UnionType) else (said,)
        kinds = {*(kind for kind in several if kind in _SIMPLE), *_kinds_of(default)}
        if name in _TAKEN or not kinds or argument.kind is argument.VAR_KEYWORD:
            continue
        (kind,) = kinds if len(kinds) == 1 else (argument.empty,)
        own = None if default is argument.empty else default
        yield inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=own, annotation=kind)


def _kinds_of(default: object) -> Iterator[type]:
    if type(default) in _SIMPLE:
        yield type(default)


def _sized(arguments: Mapping[str, inspect.Parameter], side: tuple[int, int]) -> dict[str, Any]:
    """What a network is told of the height and width of its images, where it wants to know."""
    if "image_size" in arguments:
        if side[0] != side[1]:
            raise ValueError(f"takes square images, and these are {side[0]}x{side[1]}; set model.image_size")
        return {"image_size": side[0]}
    return {name: side for name in ("img_size", "input_size") if name in arguments}


def _plain_outputs(library: str, arguments: Mapping[str, inspect.Parameter]) -> dict[str, Any]:
    """Arguments of torchvision's Inception networks: no second output, and initial weights without a warning."""
    if library != "torchvision" or "aux_logits" not in arguments:
        return {}
    return {"aux_logits": False, "init_weights": True}


def _told(error: TypeError) -> ValueError:
    """What is wrong with an argument that a builder sets itself, such as the depth of a ViT."""
    fixed = re.search(r"multiple values for (?:keyword )?argument '(\w+)'", str(error))
    unknown = re.search(r"unexpected keyword argument '(\w+)'", str(error))
    if fixed:
        return ValueError(f"setting '{fixed[1]}' is fixed by the model's name: leave it out")
    return ValueError(f"it takes no setting '{unknown[1]}'" if unknown else str(error))


def _replace_stem(network: nn.Module, channels: int) -> None:
    """Puts a convolution that takes so many channels in place of the first one."""
    name, old = next((name, part) for name, part in network.named_modules() if isinstance(part, nn.Conv2d))
    new = nn.Conv2d(
        channels,
        old.out_channels,
        old.kernel_size,  # type: ignore[arg-type]
        old.stride,  # type: ignore[arg-type]
        old.padding,  # type: ignore[arg-type]
        bias=old.bias is not None,
    )
    holder, _, own = name.rpartition(".")
    setattr(network.get_submodule(holder), own, new)


@dataclass(frozen=True)
class _Seen:
    """What a network sees of images `(n, c, h, w)`: grey ones in three channels, scaled where a size is given.

    It is a hook of the network, so that names of weights stay as the library has them.
    """

    grey: bool
    size: int | None

    def __call__(self, network: nn.Module, arguments: tuple[Tensor, ...]) -> tuple[Tensor]:
        (images,) = arguments
        if self.size is not None:
            images = functional.interpolate(images, (self.size, self.size), mode="bilinear", align_corners=False)
        return (images.expand(-1, _COLOURS, -1, -1) if self.grey else images,)
