"""The model families, found by name, as `torchvision/NAME` or `timm/NAME`, or a user's own by `module:function`.

A model is a function `(input_shape, outputs, *, settings...) -> nn.Module`: `input_shape` is (channels, height, width)
of images, (features,) of a table, (steps, channels) of series and of sound, (length,) of texts, and the module maps
what it is given of it, `(n, *input_shape)`, to `(n, outputs)`. These are standardized floats; of texts codes of tokens.
Of a table with categories, the features are its standardized quantities, and one number a category, 1 or 0. Texts,
clips and series may be shorter than the shape says: a `forward` with an argument `mask` is told where they are.

Its keyword arguments are the settings that the `model` section may hold and that parameters may vary; it raises
ValueError where a value breaks a rule. Two arguments are no settings: `vocabulary`, the number of codes of tokens, 0
of what is no text, which each model of texts must have; and `layout`, a `Feature` for each number of a row of a table,
by which a model is given codes of categories as they are, and last which quantities are missing; it is empty where all
numbers are quantities. `hpo.training.rehearsal` tries a model before a search.
"""

import inspect
from collections.abc import Callable, Iterable, Sequence
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpo.errors import InputError, Problem
from hpo.plugins import Registry, did_you_mean
from hpo.spec import ModelSettings, Named, StudySpec, text_for
from hpo.spec.families import NAME, family_of, goes_with, settings_of
from hpo.tasks.features import Feature, Tokens, sequence, with_missing

if TYPE_CHECKING:
    from hpo.models.mean import Mean
    from hpo.models.standardize import Standardized

MODELS = Registry(
    "model",
    {
        "linear": "hpo.models.linear:linear",
        "mlp": "hpo.models.mlp:mlp",
        "convnet": "hpo.models.convnet:convnet",
        "lenet": "hpo.models.lenet:lenet",
        "alexnet": "hpo.models.alexnet:alexnet",
        "vgg": "hpo.models.vgg:vgg",
        "googlenet": "hpo.models.googlenet:googlenet",
        "resnet": "hpo.models.resnet:resnet",
        "resnet18": "hpo.models.resnet:resnet18",
        "dcn": "hpo.models.dcn:dcn",
        "vit": "hpo.models.vit:vit",
        "bag": "hpo.models.bag:bag",
        "linear_forecast": "hpo.models.linear_forecast:linear_forecast",
        "lstm": "hpo.models.recurrent:lstm",
        "gru": "hpo.models.recurrent:gru",
        "conv1d": "hpo.models.conv1d:conv1d",
        "transformer": "hpo.models.transformer:transformer",
        "tabular_mlp": "hpo.models.tabular_mlp:tabular_mlp",
        "ft_transformer": "hpo.models.ft_transformer:ft_transformer",
        "matrix_factorization": "hpo.models.matrix_factorization:matrix_factorization",
        "neumf": "hpo.models.neumf:neumf",
    },
    libraries={
        "torchvision": "hpo.models.library:torchvision_model",
        "timm": "hpo.models.library:timm_model",
    },
)

InputShape = tuple[int, ...]
"""(channels, height, width) of images, (features,) of a table, (steps, channels) of series, (length,) of the others."""
Layout = Sequence[Feature]
"""What the numbers of an example are: the features of a table, a text, or a clip."""
TOLD = ("vocabulary", "layout")
"""Arguments of a model that are no settings: what its inputs are."""
_DOWNLOADS = ("pretrained", "checkpoint_path", "pretrained_cfg", "progress", "cache_dir")
_NO_DOWNLOAD = " Nothing is downloaded: `model.weights: FILE` begins from the weights in a file."
_KEYS = ModelSettings.model_fields.keys()
"""Keys of the `model` section that are no settings of a model."""
_POSITIONAL = 2
"""`input_shape` and `outputs` come first, whatever a user calls them."""


def check(spec: StudySpec) -> Iterable[Problem]:
    """Problems with the names of the models, and with those of their settings; values are tried by a rehearsal."""
    for one in map(spec.of_family, spec.families):
        yield from _unknown(spec, one)
        yield from _texts(spec, one)
    yield from _file_of_weights(spec.model)
    for name in spec.parameters if NAME not in spec.parameters else ():  # else it is a value of that one
        family = family_of(name)
        if family is not None and family not in spec.families and (message := _unknown_family(spec, family)):
            yield Problem(("parameters", name), message)


def _unknown_family(spec: StudySpec, family: str) -> str | None:
    """Why a parameter cannot be of a family that the study does not train; None where there may be such a one."""
    if "/" in family:
        try:
            MODELS.load(family)
        except InputError as error:
            return str(error)
    elif family not in MODELS.names and ":" not in family:
        return f"unknown model '{family}'.{did_you_mean(family, spec.families)}"
    return None


def _file_of_weights(model: ModelSettings) -> Iterable[Problem]:
    """Problems with the file of weights that a training begins from, before it is read."""
    if model.weights is not None and not Path(model.weights).is_file():
        hint = _NO_DOWNLOAD if "/" in model.name else ""
        yield Problem(("model", "weights"), f"no such file: {model.weights:.200}.{hint}")


def _unknown(spec: StudySpec, one: StudySpec) -> Iterable[Problem]:
    """Problems with one of a study's models: with its name, and with settings that it does not have."""
    family = one.model.name
    searched = [
        name for name in spec.parameters if name.startswith("model.") and goes_with(spec.parameters, name, family)
    ]
    settings = {_setting(name): name for name in searched}
    for problem in unknown_settings(one.model, settings.keys() - one.model.settings.keys() - _KEYS):
        setting = problem.key[-1]
        if setting in one.model.settings:
            nested = (family,) if setting in settings_of(spec.model, family) else ()
            key: tuple[str, ...] = ("model", *nested, setting)
        elif setting == "name":
            key = ("model", "name") if family == spec.model.name else ("parameters", NAME)
        else:
            key = ("parameters", settings[setting])
        yield Problem(key, _where_it_is_known(spec, family, setting) or problem.message)


def _where_it_is_known(spec: StudySpec, family: str, setting: str) -> str | None:
    """What is said of a setting that one of a study's models has not, and another one has."""
    others = [other for other in spec.families if other != family and _takes(other, setting)]
    if not others:
        return None
    own = f"model.{others[0]}.{setting}"
    return (
        f"model '{family}' has no such setting, and '{others[0]}' has: as a parameter call it {own}; fixed, write it in"
        f" the settings of that one, {{name: {spec.model.name}, {others[0]}: {{{setting}: ...}}}}"
    )


def _takes(family: str, setting: str) -> bool:
    try:
        return setting not in TOLD and setting in inspect.signature(MODELS.load(family)).parameters
    except (InputError, TypeError, ValueError):
        return False


def _setting(name: str) -> str:
    """The setting that a parameter of a model varies: `width` of `model.width` and of `model.resnet.width`."""
    return name.removeprefix("model.").rpartition(".")[2]


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
    for name in sorted((_KEYS - {"name"}).intersection(known)):
        yield Problem(
            ("model", "name"), f"'{model.name}' has an argument '{name}', which is a key of its own here: rename it"
        )
    for setting in (*model.settings, *sorted(searched)):
        if setting not in known:
            hint = _NO_DOWNLOAD if "/" in model.name and setting in _DOWNLOADS else did_you_mean(setting, known)
            message = f"model '{model.name}' has no such setting.{hint}"
            yield Problem(("model", setting), message)


def _texts(spec: StudySpec, one: StudySpec) -> Iterable[Problem]:
    """Texts where a model takes a switch or a number, by what its function says; Python takes 'no' for true."""
    try:
        arguments = list(inspect.signature(MODELS.load(one.model.name)).parameters.values())[_POSITIONAL:]
    except (InputError, TypeError, ValueError):
        return
    family = one.model.name
    for argument in arguments:
        said = type(argument.default) if argument.annotation is argument.empty else argument.annotation
        wanted = next((kind for kind in (bool, int, float) if said is kind or said == kind.__name__), None)
        if wanted is None:
            continue
        nested = (family,) if argument.name in settings_of(spec.model, family) else ()
        places = {("model", *nested, argument.name): (one.model.settings.get(argument.name),)}
        for name in (f"model.{argument.name}", f"model.{family}.{argument.name}"):
            if name in spec.parameters and goes_with(spec.parameters, name, family):
                places["parameters", name] = spec.parameters[name].values or ()
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
        ValueError: it is given texts, and has no argument for the number of tokens; or users and items, which have
            too many names for a number each, and has none for the layout.
    """
    try:
        asked = {name for name in signature(function).parameters if name in TOLD}
    except (TypeError, ValueError):
        asked = set()
    feature = sequence(layout)
    tokens = feature.vocabulary if isinstance(feature, Tokens) else 0
    if tokens and "vocabulary" not in asked:
        raise ValueError("it takes numbers, and these data are texts; choose a model of texts, such as bag or lstm")
    entities = [feature.name for feature in layout if feature.embedded]
    if entities and "layout" not in asked:
        raise ValueError(
            f"it takes a number for each category, and column {entities[0]!r} is of entities, which are too many;"
            " choose a model that embeds them, such as tabular_mlp, ft_transformer, matrix_factorization or neumf"
        )
    told = {"vocabulary": tokens, "layout": with_missing(layout)}
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
