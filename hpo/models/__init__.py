"""The model families, found by name; a user's own by `module:function`.

A model is a function `(input_shape, outputs, *, settings...) -> nn.Module`: `input_shape` is (channels, height, width)
of images, (features,) of a table, (steps, channels) of series and of sound, (length,) of texts, and the module maps
what it is given of it, `(n, *input_shape)`, to `(n, outputs)`. These are standardized floats; of texts codes of tokens.
Of a table with categories, the features are its standardized quantities, and one number a category, 1 or 0. Texts,
clips and series may be shorter than the shape says: a `forward` with an argument `mask` is told where they are.

Its keyword arguments are the settings that the `model` section may hold and that parameters may vary; it raises
ValueError where a value breaks a rule. Two arguments are no settings: `vocabulary`, the number of codes of tokens, 0
of what is no text, which each model of texts must have; and `layout`, the `Feature`s of a table, by which a model is
given codes of categories as they are. `hpo.training.rehearsal` tries a model before a search.
"""

import inspect
from collections.abc import Callable, Iterable, Sequence
from inspect import signature
from typing import TYPE_CHECKING, Any

from hpo.errors import InputError, Problem
from hpo.plugins import Registry, did_you_mean
from hpo.spec import Named, StudySpec, text_for
from hpo.tasks.features import Feature, Tokens, sequence

if TYPE_CHECKING:
    from hpo.models.mean import Mean
    from hpo.models.standardize import Standardized

MODELS = Registry(
    "model",
    {
        "mlp": "hpo.models.mlp:mlp",
        "convnet": "hpo.models.convnet:convnet",
        "resnet": "hpo.models.resnet:resnet",
        "bag": "hpo.models.bag:bag",
        "linear_forecast": "hpo.models.linear_forecast:linear_forecast",
    },
)

InputShape = tuple[int, ...]
"""(channels, height, width) of images, (features,) of a table, (steps, channels) of series, (length,) of the others."""
Layout = Sequence[Feature]
"""What the numbers of an example are: the features of a table, a text, or a clip."""
TOLD = ("vocabulary", "layout")
"""Arguments of a model that are no settings: what its inputs are."""
_POSITIONAL = 2
"""`input_shape` and `outputs` come first, whatever a user calls them."""


def check(spec: StudySpec) -> Iterable[Problem]:
    """Problems with the model's name and the names of its settings; values are tried by a rehearsal."""
    searched = {name.removeprefix("model.") for name in spec.parameters if name.startswith("model.")}
    for problem in unknown_settings(spec.model, searched - spec.model.settings.keys() - {"name"}):
        fixed = problem.key[-1] == "name" or problem.key[-1] in spec.model.settings
        yield problem if fixed else Problem(("parameters", ".".join(problem.key)), problem.message)
    yield from _texts(spec)


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
    known = [argument.name for argument in arguments[_POSITIONAL:] if argument.name not in TOLD]
    for setting in (*model.settings, *sorted(searched)):
        if setting not in known:
            message = f"model '{model.name}' has no such setting.{did_you_mean(setting, known)}"
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

    from hpo.models.standardize import Standardized, first_layer

    function = MODELS.load(model.name)
    told = _told(function, layout)
    first = first_layer(input_shape, layout, coded="layout" in told)
    network = function(first.gives, outputs, **model.settings, **told)
    types = {parameter.dtype for parameter in network.parameters()}
    if types and torch.float32 not in types:
        raise ValueError("its parameters must be float32; precision is `training.precision`")
    rescaled, foreign = task == "regression", model.name not in MODELS.names
    built = Standardized(input_shape, first, network, outputs, rescaled=rescaled, foreign=foreign)
    if any(is_lazy(parameter) for parameter in network.parameters()):
        built.eval()(built.blank(2))  # lazy layers take their shape from the first examples
        built.train()
    return built


def _told(function: Callable[..., Any], layout: Layout) -> dict[str, Any]:
    """The arguments of a model by which it is told what its inputs are.

    Raises:
        ValueError: it is given texts, and has no argument for the number of tokens.
    """
    try:
        asked = {name for name in signature(function).parameters if name in TOLD}
    except (TypeError, ValueError):
        asked = set()
    feature = sequence(layout)
    tokens = feature.vocabulary if isinstance(feature, Tokens) else 0
    if tokens and "vocabulary" not in asked:
        raise ValueError("it takes numbers, and these data are texts; choose a model of texts, such as bag or lstm")
    told = {"vocabulary": tokens, "layout": tuple(layout)}
    return {name: told[name] for name in asked}


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
