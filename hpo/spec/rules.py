"""What must hold between the parts of a spec, and pydantic's findings in our words."""

import re
from collections.abc import Iterable
from graphlib import CycleError, TopologicalSorter
from typing import Any

import pydantic

from hpo.errors import Problem
from hpo.plugins import did_you_mean
from hpo.spec import families
from hpo.spec.command import PLACES, Command, variable
from hpo.spec.extending import EXTENDS
from hpo.spec.parameter import Parameter, thawed
from hpo.spec.relations import relation_problems
from hpo.spec.section import Constraint, Metric, Named, Objective
from hpo.spec.study_spec import SearchSpec, StudySpec, section_class

SEARCHABLE = ("data", "model", "training", "optimizer")
"""The sections whose settings a parameter may vary."""


NOT_SEARCHABLE = {
    "model.weights": "all trials of a study begin from the same weights",
    "data.name": "all trials of a study see the same data",
    "data.path": "all trials of a study see the same data",
    "data.validation": "all trials of a study share one split",
    "data.size": "all trials of a study see the same data",
    "data.positive": "all trials of a study are measured alike",
    "data.classes": "all trials of a study see the same data",
    "data.target": "all trials of a study predict the same",
    "data.columns": "all trials of a study see the same data",
    "data.missing": "all trials of a study see the same data",
    "data.header": "all trials of a study see the same data",
    "data.length": "all trials of a study see the same data",
    "data.vocabulary": "all trials of a study see the same data",
    "data.tokens": "all trials of a study see the same data",
    "data.mels": "all trials of a study see the same data",
    "data.test": "all trials of a study share one split",
    "data.groups": "all trials of a study share one split",
    "data.time": "all trials of a study share one split",
    "data.split": "all trials of a study share one split",
    **{
        f"data.{key}": "all trials of a study forecast the same"
        for key in ("horizon", "window", "series", "known", "stride", "season", "normalize")
    },
    "training.epochs": "it is the full resource, which the scheduler divides",
    "training.patience": "it says when any trial is at its end, by which trials are compared",
    "training.min_delta": "it says when any trial is at its end, by which trials are compared",
    "training.device": "trials are placed by `resources`",
    "training.compile": "it changes how fast a config trains, not what it learns",
    "training.kernels": "it changes how fast a config trains, not what it learns",
    "training.folds": "all trials of a study are measured on the same rows",
    "training.seeds": "it says how surely a config is measured, not what it learns",
    "training.loss_settings": "they are of a loss of your own; name another function for other settings",
    "training.deterministic": "it changes how a config trains, not what it learns",
}


_BUILT_IN = (("data",), ("model",))
"""What the built-in training function needs."""
_UNION_MEMBERS = ("bool", "int", "float", "str")


def in_our_words(detail: Any) -> Problem:
    """One of pydantic's errors as a problem."""
    key = tuple(str(part) for part in detail["loc"])
    if key[:2] == ("objective", "others") and len(key) > 2:  # as the list was written
        key = ("objective", str(int(key[2]) + 1), *key[3:])
    kind, value = detail["type"], detail["input"]
    if key[-1:] and key[-1] in _UNION_MEMBERS and key[0] == "parameters":  # one error a member
        return Problem(key[:-1], f"must be a finite number, got {value!r:.80}")
    if kind == "extra_forbidden" and value is None and not re.fullmatch(r"[\w.-]+", key[-1]):
        return Problem(key, "unknown key; within braces, a text that has a comma stands in quotes")
    if kind == "extra_forbidden":
        return Problem(key, f"unknown key.{did_you_mean(key[-1], _known_keys(key[:-1]))}")
    if kind == "missing":
        other = "; or name a training function of your own: train: module:function" if key in _BUILT_IN else ""
        return Problem(key, f"is required{other}")
    if kind == "value_error":
        return Problem(key, str(detail["ctx"]["error"]))
    if kind in ("dict_type", "model_type", "mapping_type"):
        return Problem(key, f"must be a mapping such as {{name: value}}, got {value!r:.80}")
    if kind == "string_pattern_mismatch":
        return Problem(
            key, f"must be letters, digits, '.', '_' and '-', beginning with a letter or digit, got {value!r}"
        )
    if kind == "literal_error":
        hint = did_you_mean(str(value), [word.strip("'") for word in re.findall(r"'[^']*'", detail["ctx"]["expected"])])
        return Problem(key, f"must be {detail['ctx']['expected']}, got {value!r}.{hint if 'Did' in hint else ''}")
    rule = detail["msg"].removeprefix("Input should be ").removeprefix("a valid ")
    return Problem(key, f"must be {rule[0].lower() + rule[1:]}, got {value!r:.80}")


def _known_keys(path: tuple[str, ...]) -> Iterable[str]:
    if not path:
        return [*StudySpec.model_fields, EXTENDS]
    if path[0] == "parameters":
        return Parameter.model_fields
    if path[0] == "constraints":
        return Constraint.model_fields
    if path[0] == "callbacks":
        return Named.model_fields
    if path[0] == "metrics":
        return Metric.model_fields
    if path[0] == "command":
        return Command.model_fields
    if path[0] == "objective":
        return Objective.model_fields
    return section_class(StudySpec.model_fields[path[0]]).model_fields


def copy_problems(spec: SearchSpec) -> Iterable[Problem]:
    """What is wrong with training a config several times, as `training.folds` and `training.seeds` say."""
    if spec.command is not None:
        for name in ("folds", "seeds"):
            if spec.training.copies > 1 and spec.written(f"training.{name}"):
                yield Problem(
                    ("training", name),
                    "is of training functions: a program trains its config once; let it report the mean of several"
                    f" trainings, and leave {name} out",
                )
    if isinstance(spec, StudySpec) and spec.training.folds is not None and spec.written("data.validation"):
        yield Problem(
            ("data", "validation"),
            "splits rows off, and with training.folds each training row is validated: leave it out",
        )


def warmup_problems(spec: SearchSpec) -> Iterable[Problem]:
    """What is wrong with `optimizer.warmup_epochs`, fixed or searched: behind a warm-up an epoch must be left."""
    if not isinstance(spec, StudySpec):
        return
    searched = spec.parameters.get("optimizer.warmup_epochs")
    values = {("optimizer", "warmup_epochs"): [] if searched else [spec.optimizer.warmup_epochs]}
    values["parameters", "optimizer.warmup_epochs"] = searched.probes() if searched else []
    for key, given in values.items():
        longest = max((value for value in given if isinstance(value, int | float)), default=0)
        if longest >= spec.training.epochs:
            yield Problem(key, f"must be below training.epochs, which is {spec.training.epochs}, got {longest:g}")


def command_problems(spec: SearchSpec) -> Iterable[Problem]:
    """What is wrong with the names in a command, and with how its program reports."""
    if spec.command is None:
        return
    known = [*spec.parameters, *PLACES]
    for name in sorted(spec.command.named.difference(known)):
        yield Problem(
            ("command", "run"),
            f"there is no parameter '{name}' for {{{name}}}; a brace itself is {{{{.{did_you_mean(name, known)}",
        )
    if "checkpoint" in spec.command.named and not spec.command.resumes and "checkpoint" not in spec.parameters:
        yield Problem(("command", "run"), "{checkpoint} is a folder of programs that go on from it: add resumes: true")
    variables: dict[str, str] = {}
    for name in spec.parameters:
        other = variables.setdefault(variable(name), name)
        if other != name:
            yield Problem(
                ("parameters", name), f"would have the variable {variable(name)}, as '{other}' has; rename one"
            )
    if spec.command.metrics is not None:
        groups = re.compile(spec.command.metrics).groupindex
        for objective in spec.objectives:
            if objective.metric not in groups:
                hint = did_you_mean(objective.metric, groups)
                yield Problem(
                    ("command", "metrics"), f"has no group '{objective.metric}', which is searched for.{hint}"
                )


def parameter_problems(spec: SearchSpec) -> Iterable[Problem]:
    """What is wrong with the names, values and conditions of the parameters, and with what is said of several."""
    problems = list(_each(spec))
    yield from problems or relation_problems(spec, _refusal)


def _each(spec: SearchSpec) -> Iterable[Problem]:
    for name, parameter in spec.parameters.items():
        if isinstance(spec, StudySpec):
            yield from _setting_problems(spec, name, parameter)
        yield from _condition_problems(spec, name, parameter)
    if isinstance(spec, StudySpec):
        yield from _nested_problems(spec)
    yield from _cycles(spec)


def _setting_problems(spec: StudySpec, name: str, parameter: Parameter) -> Iterable[Problem]:
    """A parameter of a search over models varies a setting: there must be one, and it must take every value."""
    key = ("parameters", name)
    section, _, setting = name.partition(".")
    last = setting.rpartition(".")[2]
    if spec.train is not None and section not in SEARCHABLE:
        return  # the training function knows what it means
    own, searched = families.family_of(name), spec.parameters.get(families.NAME)
    if section not in SEARCHABLE or not setting or ("." in setting and own is None):
        yield Problem(key, f"a parameter is named section.setting, with a section of {', '.join(SEARCHABLE)}")
    elif own is not None and last in ("", "name"):
        yield Problem(key, f"names no setting of '{own}'; write model.{own}.setting")
    elif own is not None and searched is not None and own not in (searched.values or (own,)):
        known = did_you_mean(own, spec.families)
        yield Problem(key, f"is a setting of '{own}', which {families.NAME} never is.{known}")
    elif name == families.NAME:
        yield from _family_problems(spec, parameter)
    elif (shared := f"{section}.{last}") in NOT_SEARCHABLE:
        yield Problem(key, f"cannot be searched: {NOT_SEARCHABLE[shared]}")
    elif section != "model" and setting not in _known_keys((section,)):
        yield Problem(key, f"there is no setting of this name.{did_you_mean(setting, _known_keys((section,)))}")
    else:
        yield from _value_problems(spec, name, parameter)


def _family_problems(spec: StudySpec, parameter: Parameter) -> Iterable[Problem]:
    """What is wrong with the model's name as a parameter: a list of names, the written one among them."""
    key = ("parameters", families.NAME)
    if parameter.values is None or not all(isinstance(value, str) for value in parameter.values):
        yield Problem(key, "is a list of models by their names: {values: [resnet, mlp]}")
    elif parameter.when:
        yield Problem((*key, "when"), "every trial trains a model, so its name is always searched: leave `when` out")
    elif not parameter.contains(spec.model.name):
        known = ", ".join(spec.families)
        yield Problem(("model", "name"), f"must be one of those that are searched ({known}), got '{spec.model.name}'")
    elif spec.model.weights is not None and len(spec.families) > 1:
        yield Problem(
            ("model", "weights"),
            f"are of one model, and {families.NAME} is searched ({', '.join(spec.families)}): leave one of the two out",
        )


def _nested_problems(spec: StudySpec) -> Iterable[Problem]:
    """What is wrong with settings that are of one family alone, in the `model` section and in parameters."""
    for family in sorted(spec.known_families()):
        own = families.settings_of(spec.model, family)
        if "name" in own:
            yield Problem(("model", family, "name"), f"is no setting: these are the settings of '{family}'")
            continue
        nested = [name for name in spec.parameters if families.family_of(name) == family]
        for setting in sorted({*own, *(name.rpartition(".")[2] for name in nested)}):
            shared = f"model.{setting}"
            if shared in spec.parameters and families.goes_with(spec.parameters, shared, family):
                yield Problem(
                    ("parameters", shared),
                    f"is searched for '{family}' too, which has a {setting} of its own: model.{family}.{setting}; leave"
                    " one out, or give this one a `when` of other families",
                )


def _value_problems(spec: StudySpec, name: str, parameter: Parameter) -> Iterable[Problem]:
    for value in parameter.probes():
        if (message := _refusal(spec, name, value)) is not None:
            ranged = "integer" in message and parameter.values is None
            yield Problem(("parameters", name), f"{message}{' Write `type: int`.' if ranged else ''}")
            return


def _refusal(spec: SearchSpec, name: str, value: Any) -> str | None:
    """Why a setting does not take a value; None where it does, or where the names of parameters are of no settings."""
    if not isinstance(spec, StudySpec):
        return None
    try:
        own = families.family_of(name)
        applied = (spec if own is None else spec.of_family(own)).apply({name: value})
        taken = applied.setting(name) if own is None else value
    except pydantic.ValidationError as error:
        return in_our_words(error.errors()[0]).message
    return text_for(value, type(taken)) if isinstance(value, str) and not isinstance(taken, str | tuple) else None


def text_for(value: str, wanted: type) -> str:
    """What is wrong with a text where a setting takes a switch or a number."""
    if wanted is bool:
        return f"takes true or false, got the text {value!r}: to YAML 1.2, yes, no, on and off are texts"
    return f"takes a number, got the text {value!r}; write it without quotes"


def _condition_problems(spec: SearchSpec, name: str, parameter: Parameter) -> Iterable[Problem]:
    for parent, wanted in parameter.when.items():
        if parent == families.NAME and families.family_of(name) is not None:
            continue  # it is not the user's
        key = ("parameters", name, "when", parent)
        other = spec.parameters.get(parent)
        if other is None and spec.setting(parent) is None:
            known = [other for other in spec.parameters if other != name]
            yield Problem(key, f"there is no parameter or setting '{parent}'.{did_you_mean(parent, known)}")
        elif other is not None and other.equals is not None:
            yield Problem(key, f"'{parent}' follows from others ({other.equals}); name what it follows from")
        elif other is not None:
            yield from (
                Problem(key, f"is never {thawed(value)!r}: '{parent}' is in {other.describe()}")
                for value in wanted
                if not other.contains(value)
            )


def _cycles(spec: SearchSpec) -> Iterable[Problem]:
    try:
        TopologicalSorter({name: parameter.when for name, parameter in spec.parameters.items()}).prepare()
    except CycleError as error:
        yield Problem(("parameters", error.args[1][0]), f"conditions go in a circle: {' -> '.join(error.args[1])}")
