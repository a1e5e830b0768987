"""The model families, found by name, as `torchvision/NAME` or `timm/NAME`, or a user's own by `module:function`.

A model is a function `(input_shape, outputs, *, settings...) -> nn.Module`: `input_shape` is (channels, height, width)
of images or (features,) of a table, the module maps standardized floats `(n, *input_shape)` to `(n, outputs)`. Of a
table with categories, the features are its standardized quantities, and one number a category, 1 or 0. Its keyword
arguments are the settings that the `model` section may hold and that parameters may vary; it raises ValueError where a
value breaks a rule. `hpo.training.rehearsal` tries it before a search.
"""

import inspect
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hpo.errors import InputError, Problem
from hpo.plugins import Registry, did_you_mean
from hpo.spec import ModelSettings, Named, StudySpec, text_for
from hpo.tasks.features import Feature, width

if TYPE_CHECKING:
    from hpo.models.mean import Mean
    from hpo.models.standardize import Standardized

MODELS = Registry(
    "model",
    {
        "mlp": "hpo.models.mlp:mlp",
        "convnet": "hpo.models.convnet:convnet",
        "resnet": "hpo.models.resnet:resnet",
    },
    libraries={
        "torchvision": "hpo.models.library:torchvision_model",
        "timm": "hpo.models.library:timm_model",
    },
)

InputShape = tuple[int, ...]
"""(channels, height, width) of images, (features,) of a table."""
Layout = Sequence[Feature]
"""What the features of a table are."""
_DOWNLOADS = ("pretrained", "checkpoint_path", "pretrained_cfg", "progress", "cache_dir")
_NO_DOWNLOAD = " Nothing is downloaded: `model.weights: FILE` begins from the weights in a file."
_POSITIONAL = 2
"""`input_shape` and `outputs` come first, whatever a user calls them."""


def check(spec: StudySpec) -> Iterable[Problem]:
    """Problems with the model's name and the names of its settings; values are tried by a rehearsal."""
    searched = {name.removeprefix("model.") for name in spec.parameters if name.startswith("model.")}
    for problem in unknown_settings(
        spec.model, searched - spec.model.settings.keys() - ModelSettings.model_fields.keys()
    ):
        fixed = problem.key[-1] == "name" or problem.key[-1] in spec.model.settings
        yield problem if fixed else Problem(("parameters", ".".join(problem.key)), problem.message)
    yield from _texts(spec)
    yield from _file_of_weights(spec.model)


def _file_of_weights(model: ModelSettings) -> Iterable[Problem]:
    """Problems with the file of weights that a training begins from, before it is read."""
    if model.weights is not None and not Path(model.weights).is_file():
        hint = _NO_DOWNLOAD if "/" in model.name else ""
        yield Problem(("model", "weights"), f"no such file: {model.weights:.200}.{hint}")


def unknown_settings(model: Named, searched: Iterable[str] = ()) -> Iterable[Problem]:
    """Problems with a model's name, and with the names of its settings and of those that are searched.

    Args:
        model: name and settings.
        searched: names of settings that get their values later.
    """
    try:
        arguments = list(inspect.signature(MODELS.load(model.name)).parameters.values())
    except InputError as error:
        yield Problem(("model", "name"), str(error))
        return
    except (TypeError, ValueError):
        yield Problem(("model", "name"), f"'{model.name}' is not a function (input_shape, outputs, **settings)")
        return
    if any(argument.kind is argument.VAR_KEYWORD for argument in arguments):
        return
    known = [argument.name for argument in arguments[_POSITIONAL:]]
    for name in sorted({"weights", "frozen"}.intersection(known)):
        yield Problem(
            ("model", "name"), f"'{model.name}' has an argument '{name}', which is a key of its own here: rename it"
        )
    for setting in (*model.settings, *sorted(searched)):
        if setting not in known:
            hint = _NO_DOWNLOAD if "/" in model.name and setting in _DOWNLOADS else did_you_mean(setting, known)
            message = f"model '{model.name}' has no such setting.{hint}"
            yield Problem(("model", setting), message)


def _texts(spec: StudySpec) -> Iterable[Problem]:
    """Texts where the model takes a switch or a number, by what its function says; Python takes 'no' for true."""
    try:
        arguments = list(inspect.signature(MODELS.load(spec.model.name)).parameters.values())[_POSITIONAL:]
    except (InputError, TypeError, ValueError):
        return
    for argument in arguments:
        said = type(argument.default) if argument.annotation is argument.empty else argument.annotation
        wanted = next((kind for kind in (bool, int, float) if said is kind or said == kind.__name__), None)
        if wanted is None:
            continue
        searched = spec.parameters.get(f"model.{argument.name}")
        places = {
            ("model", argument.name): (spec.model.settings.get(argument.name),),
            ("parameters", f"model.{argument.name}"): () if searched is None else searched.values or (),
        }
        for key, values in places.items():
            yield from (Problem(key, text_for(value, wanted)) for value in values if isinstance(value, str))


def build(
    model: Named, input_shape: InputShape, outputs: int, task: str = "classification", layout: Layout = ()
) -> "Standardized":
    """The model with a standardization of its input in front, so that a checkpoint holds its preprocessing.

    For regression the scale of the targets comes last, so that the network itself learns standardized ones.

    Args:
        model: name and settings.
        input_shape: (channels, height, width) or (features,).
        outputs: how many numbers a row of the output has: of classes, labels or regression targets.
        task: what they are.
        layout: what the features of a table are; all quantities where it is empty.

    Raises:
        ValueError: a setting breaks a rule of the model.
    """
    import torch
    from torch.nn.parameter import is_lazy

    from hpo.models.standardize import Standardized

    given = (width(layout),) if layout else input_shape
    network = MODELS.load(model.name)(given, outputs, **model.settings)
    if any(is_lazy(parameter) for parameter in network.parameters()):
        network.eval()(torch.zeros(2, *given))  # lazy layers take their shape from the first images
        network.train()
    types = {parameter.dtype for parameter in network.parameters()}
    if types and torch.float32 not in types:
        raise ValueError("its parameters must be float32; precision is `training.precision`")
    rescaled, foreign = task == "regression", model.name not in MODELS.names
    return Standardized(input_shape, network, outputs, rescaled=rescaled, foreign=foreign, layout=layout)


def build_copies(
    model: Named, input_shape: InputShape, outputs: int, task: str, copies: int, layout: Layout = ()
) -> "Standardized | Mean":
    """What a trial leaves that has trained its config so many times: the model, or the mean of its copies.

    Args:
        model: name and settings.
        input_shape: (channels, height, width) or (features,).
        outputs: how many numbers a row of the output has.
        task: what they are.
        copies: how many, 1 or more.
        layout: what the features of a table are.

    Raises:
        ValueError: a setting breaks a rule of the model.
    """
    from hpo.models.mean import Mean

    built = [build(model, input_shape, outputs, task, layout) for _ in range(copies)]
    return built[0] if copies == 1 else Mean(built, task)
