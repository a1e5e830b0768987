"""The YAML of a search, read into a validated `StudySpec`.

Reading collects every problem before it fails, each with its place: `space.yaml:12: optimizer.lr: ...`.
What only a plug-in knows (is there such a model, does it take this setting) comes in as `checks`, so that this module
stays at the bottom of the house.
"""

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import pydantic
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq, TaggedScalar
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from hpo.errors import Problem, SpecError
from hpo.registry import did_you_mean

Scalar = bool | int | float | str | None
Config = dict[str, Any]
"""Parameter name -> value, for the parameters that are active in a trial."""

SEARCHABLE = ("data", "model", "training", "optimizer")
"""The sections whose settings a parameter may vary."""

_NOT_SEARCHABLE = {
    "model.name": "a study compares configs of one model; search each model in a study of its own",
    "data.name": "all trials of a study see the same data",
    "data.path": "all trials of a study see the same data",
    "data.validation": "all trials of a study share one split",
    "data.size": "all trials of a study see the same data",
    "data.classes": "all trials of a study see the same data",
    "training.epochs": "it is the full resource, which the scheduler divides",
    "training.device": "trials are placed by `resources`",
}

StudyName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=80)]
Fraction = Annotated[float, Field(gt=0, lt=1)]
Augmentation = Literal["random_crop", "horizontal_flip", "cutout", "mixup"]


class Section(BaseModel):
    """A mapping of the YAML in which unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


class Named(Section):
    """A plug-in by its name; the other keys are its keyword arguments."""

    model_config = ConfigDict(extra="allow", frozen=True)
    name: str

    @property
    def settings(self) -> dict[str, Any]:
        """The keyword arguments."""
        return dict(self.model_extra or {})


class DataSettings(Section):
    """Where examples come from, how they are split, and how training images are varied."""

    name: str
    path: str | None = None
    validation: Fraction = 0.1
    size: Annotated[int, Field(ge=4, le=1024)] = 64
    classes: Annotated[int, Field(ge=2)] | None = None
    augment: tuple[Augmentation, ...] = ()
    crop_padding: Annotated[int, Field(ge=1, le=64)] = 4
    cutout_size: Annotated[int, Field(ge=1, le=512)] = 8
    mixup_alpha: Annotated[float, Field(gt=0)] = 0.2

    @field_validator("path")
    @classmethod
    def _absolute(cls, value: str | None) -> str | None:
        return None if value is None else str(Path(value).expanduser().resolve())


class TrainingSettings(Section):
    """How long and how a trial is trained; `epochs` is the full resource."""

    epochs: Annotated[int, Field(ge=1)] = 10
    batch_size: Annotated[int, Field(ge=1)] = 128
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    clip_norm: Annotated[float, Field(gt=0)] | None = None


class OptimizerSettings(Section):
    """The optimizer and its learning-rate schedule; settings that an optimizer does not have are left unused."""

    name: Literal["sgd", "adam", "adamw", "rmsprop", "adagrad"] = "sgd"
    lr: Annotated[float, Field(gt=0)] = 0.1
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    nesterov: bool = True
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    beta1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    beta2: Annotated[float, Field(ge=0, lt=1)] = 0.999
    schedule: Literal["none", "cosine", "step", "one_cycle"] = "cosine"
    step_epochs: Annotated[int, Field(ge=1)] = 10
    step_factor: Annotated[float, Field(gt=0, lt=1)] = 0.1


class ObjectiveSettings(Section):
    """The metric that ranks trials; its goal follows from the metric where it is left out."""

    metric: str = "accuracy"
    goal: Literal["maximize", "minimize"] | None = None


class Budget(Section):
    """The limit of the whole study."""

    trials: Annotated[int, Field(ge=1)] = 32
    time_limit: Annotated[float, Field(gt=0)] | None = None

    @field_validator("time_limit", mode="before")
    @classmethod
    def _duration(cls, value: Any) -> Any:
        return seconds(value) if isinstance(value, str) else value


class Resources(Section):
    """What one trial gets; `gpu: auto` is one GPU where the machine or cluster has any."""

    cpu: Annotated[float, Field(gt=0)] = 1
    gpu: Annotated[float, Field(ge=0)] | Literal["auto"] = "auto"

    @field_validator("gpu", mode="wrap")
    @classmethod
    def _gpu(cls, value: Any, handler: Callable[[Any], Any]) -> Any:
        try:
            return handler(value)
        except pydantic.ValidationError:
            raise ValueError("must be 'auto', 0, a fraction of one GPU such as 0.5, or a number of GPUs") from None


class Parameter(Section):
    """One thing that is searched: a range with inclusive bounds, or a list of values.

    `when` makes it active only where other parameters (or fixed settings) have given values.
    """

    type: Literal["float", "int"] = "float"
    min: float | int | None = None
    max: float | int | None = None
    log: bool = False
    step: float | int | None = None
    values: tuple[Scalar, ...] | None = None
    default: Scalar = None
    when: dict[str, tuple[Scalar, ...]] = {}

    @field_validator("when", mode="before")
    @classmethod
    def _one_value_is_a_list(cls, value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: item if isinstance(item, list | tuple) else [item] for key, item in value.items()}
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.values is not None:
            self._check_values(self.values)
        else:
            self._check_range()
        if "default" in self.model_fields_set and not self.contains(self.default):
            raise ValueError(f"default {self.default!r} is not in {self.describe()}")
        return self

    def _check_values(self, values: tuple[Scalar, ...]) -> None:
        extra = {"type", "min", "max", "log", "step"} & self.model_fields_set
        if extra:
            raise ValueError(f"give either 'values' or a range, not 'values' with {', '.join(sorted(extra))}")
        if not values:
            raise ValueError("'values' is empty: give at least one value")
        if len({(type(value), value) for value in values}) < len(values):
            raise ValueError(f"'values' has a value twice: {list(values)}")

    def _check_range(self) -> None:
        if self.min is None or self.max is None:
            raise ValueError("give 'min' and 'max' for a range, or 'values' for a list")
        if not (math.isfinite(self.min) and math.isfinite(self.max)):
            raise ValueError(f"bounds must be finite, got min {self.min} and max {self.max}")
        if self.min > self.max:
            raise ValueError(f"min must not be above max, got min {self.min} and max {self.max}")
        if self.log and self.min <= 0:
            raise ValueError(f"log needs min above 0, got min {self.min}")
        if self.log and self.step is not None:
            raise ValueError("log and step exclude each other: leave one out")
        if self.type == "int":
            for key in ("min", "max", "step"):
                bound = getattr(self, key)
                if bound is not None and bound != int(bound):
                    raise ValueError(f"type int needs a whole number for {key}, got {bound}")
        if self.step is not None:
            self._check_step(self.step)

    def _check_step(self, step: float | int) -> None:
        assert self.min is not None and self.max is not None
        if step <= 0:
            raise ValueError(f"step must be above 0, got {step}")
        steps = (self.max - self.min) / step
        if not math.isclose(steps, round(steps), abs_tol=1e-9):
            raise ValueError(
                f"max must be min plus a multiple of step, got min {self.min}, max {self.max}, step {step}"
            )

    def contains(self, value: Any) -> bool:
        """Whether `value` is one that this parameter can take."""
        if self.values is not None:
            return any(type(value) is type(item) and value == item for item in self.values)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        assert self.min is not None and self.max is not None
        if not self.min <= value <= self.max or (self.type == "int" and value != int(value)):
            return False
        if self.step is None:
            return True
        steps = (value - self.min) / self.step
        return math.isclose(steps, round(steps), abs_tol=1e-9)

    def describe(self) -> str:
        """The values in words, for messages and tables."""
        if self.values is not None:
            return "{" + ", ".join(str(value) for value in self.values) + "}"
        return f"[{self.min}, {self.max}]" + (" log" if self.log else "")

    def probes(self) -> list[Any]:
        """Values that between them break any rule of a setting that this parameter could break."""
        if self.values is not None:
            return list(self.values)
        assert self.min is not None and self.max is not None
        if self.type == "int":
            return [int(self.min), int(self.max)]
        if self.step is not None:
            return [float(self.min), float(self.min + self.step), float(self.max)]
        inside = self.min + (self.max - self.min) * (math.sqrt(2) - 1)  # not a whole number, unless min is max
        return [float(self.min), float(inside), float(self.max)]


class StudySpec(Section):
    """A whole search: fixed settings in their sections, what is searched in `parameters`, by dotted name."""

    study: StudyName
    task: Literal["classification"] = "classification"
    data: DataSettings
    model: Named
    training: TrainingSettings = TrainingSettings()
    optimizer: OptimizerSettings = OptimizerSettings()
    parameters: dict[str, Parameter] = {}
    objective: ObjectiveSettings = ObjectiveSettings()
    sampler: Named = Named(name="tpe")
    scheduler: Named = Named(name="asha")
    budget: Budget = Budget()
    resources: Resources = Resources()
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0

    @field_validator("sampler", "scheduler", "model", mode="before")
    @classmethod
    def _a_name_alone(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    def apply(self, config: Mapping[str, Any]) -> Self:
        """This spec with the parameters of `config` set to their values.

        Raises:
            pydantic.ValidationError: a value breaks the rule of its setting.
        """
        sections: dict[str, dict[str, Any]] = {}
        for name, value in config.items():
            section, _, key = name.partition(".")
            fixed = sections.setdefault(section, getattr(self, section).model_dump())
            fixed[key] = value
        fields = type(self).model_fields
        validated = {name: _section_class(fields[name]).model_validate(values) for name, values in sections.items()}
        return self.model_copy(update=validated)

    def setting(self, name: str) -> Any:
        """The fixed setting with this dotted name; None where it is not set."""
        section, _, key = name.partition(".")
        return getattr(getattr(self, section, None), key, None)

    def written(self, name: str) -> bool:
        """Whether the user wrote the setting with this dotted name (rather than leaving it at its default)."""
        section, _, key = name.partition(".")
        holder = getattr(self, section, None)
        return isinstance(holder, BaseModel) and key in holder.model_fields_set


SectionCheck = Callable[[StudySpec], Iterable[Problem]]
"""What a plug-in knows about a spec that is sound in itself; yields problems."""


@dataclass(frozen=True)
class Source:
    """Where each key was written, so that a message can point at it.

    `lines` maps a key path to its line; `overridden` holds the dotted names given by --set.
    """

    name: str
    lines: Mapping[tuple[str, ...], int]
    overridden: frozenset[str] = frozenset()

    def place(self, key: tuple[str, ...]) -> str:
        """`file:line` of the key, or of the closest key above it that was written."""
        for length in range(len(key), 0, -1):
            if ".".join(key[:length]) in self.overridden:
                return f"--set {'.'.join(key[:length])}"
            if key[:length] in self.lines:
                return f"{self.name}:{self.lines[key[:length]]}"
        return f"{self.name}:1" if self.lines else self.name

    def line(self, problem: Problem) -> str:
        """One problem as one line."""
        name = ".".join(problem.key)
        return (
            f"{self.place(problem.key)}: {name}: {problem.message}"
            if name
            else (f"{self.place(problem.key)}: {problem.message}")
        )


def load(
    space: str | Path | Mapping[str, Any] | StudySpec,
    overrides: Mapping[str, Any] | None = None,
    checks: Sequence[SectionCheck] = (),
    last_check: SectionCheck | None = None,
) -> StudySpec:
    """Reads and validates a search.

    Args:
        space: a YAML file's path, a dict of the same shape, or a spec.
        overrides: dotted name -> value, laid over what the file says.
        checks: further rules, asked only where the spec is sound in itself.
        last_check: an expensive rule, asked only where there is no problem yet.

    Raises:
        SpecError: with every problem found, each with its place.
    """
    document, source = _read(space)
    overrides = dict(overrides or {})
    problems = [problem for name, value in overrides.items() for problem in _override(document, name, value)]
    source = Source(source.name, source.lines, frozenset(overrides))
    spec = None
    try:
        spec = StudySpec.model_validate(document)
    except pydantic.ValidationError as error:
        problems += [_problem(detail) for detail in error.errors()]
    if spec is not None:
        problems += _parameter_problems(spec)
        problems += [problem for check in checks for problem in check(spec)]
        if last_check is not None and not problems:
            problems += last_check(spec)
    if problems or spec is None:
        raise SpecError([source.line(problem) for problem in dict.fromkeys(problems)])
    return spec


def dump(spec: StudySpec) -> str:
    """The spec as YAML that `load` reads back into an equal spec."""
    import io

    text = io.StringIO()
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.dump(spec.model_dump(mode="json", exclude_unset=True), text)
    return text.getvalue()


def parse_override(text: str) -> tuple[str, Any]:
    """`optimizer.lr=0.1` -> ("optimizer.lr", 0.1); the value is read as YAML.

    Raises:
        SpecError: there is no `=`, no name, or the value is not YAML.
    """
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise SpecError([f"--set {text}: write it as dotted.name=value, for example --set training.epochs=5"])
    try:
        return name.strip(), _plain(YAML(typ="rt").load(value))
    except (YAMLError, ValueError) as error:
        raise SpecError([f"--set {text}: the value is not YAML: {_first_line(error)}"]) from None


def seconds(text: str) -> float:
    """`90s`, `30m`, `1.5h`, `2d` or a plain number -> seconds.

    Raises:
        ValueError: the text is none of these.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([smhd]?)\s*", text)
    if not match:
        raise ValueError(f"must be a duration such as 90s, 30m or 2h, got '{text}'")
    return float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}[match[2]]


def _read(space: str | Path | Mapping[str, Any] | StudySpec) -> tuple[dict[str, Any], Source]:
    if isinstance(space, StudySpec):
        return space.model_dump(exclude_unset=True), Source("spec", {})
    if isinstance(space, Mapping):
        return _plain(space), Source("spec", {})
    path = Path(space)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise SpecError([f"{path}: no such file; --space wants the path of a YAML file"]) from None
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError([f"{path}: cannot be read: {error}"]) from None
    try:
        document = YAML(typ="rt").load(text)
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise SpecError([f"{path}:{line}: not YAML: {_first_line(error.problem or error)}"]) from None
    except (YAMLError, ValueError) as error:
        raise SpecError([f"{path}:1: not YAML: {_first_line(error)}"]) from None
    if not isinstance(document, CommentedMap):
        raise SpecError(
            [f"{path}:1: a search is a mapping of sections (study, data, model, ...), got {document!r:.60}"]
        )
    lines: dict[tuple[str, ...], int] = {}
    _collect_lines(document, (), lines)
    try:
        return _plain(document), Source(str(path), lines)
    except ValueError as error:
        raise SpecError([f"{path}:1: {error}"]) from None


def _collect_lines(node: Any, path: tuple[str, ...], lines: dict[tuple[str, ...], int]) -> None:
    if isinstance(node, CommentedMap):
        for key, value in node.items():
            lines[(*path, str(key))] = node.lc.key(key)[0] + 1
            _collect_lines(value, (*path, str(key)), lines)
    elif isinstance(node, CommentedSeq):
        for index, value in enumerate(node):
            lines[(*path, str(index))] = node.lc.item(index)[0] + 1
            _collect_lines(value, (*path, str(index)), lines)


def _plain(node: Any) -> Any:
    """The YAML library's own containers and numbers as Python's; refuses tags."""
    if isinstance(node, TaggedScalar) or (getattr(node, "tag", None) and getattr(node.tag, "value", None)):
        raise ValueError(f"YAML tags are not allowed, got {node.tag.value}")
    if isinstance(node, Mapping):
        return {str(key): _plain(value) for key, value in node.items()}
    if isinstance(node, list | tuple):
        return [_plain(value) for value in node]
    for kind in (bool, int, float, str):
        if isinstance(node, kind):
            return kind(node)
    if node is None:
        return None
    raise ValueError(f"only numbers, texts, lists and mappings are allowed, got {node!r}")


def _override(document: dict[str, Any], name: str, value: Any) -> Iterable[Problem]:
    section, _, key = name.partition(".")
    if not key:
        document[section] = value
        return
    if section == "parameters":  # their names are dotted themselves; a sub-key comes last
        yield from _override_parameter(document, key, value)
        return
    holder = document.get(section)
    if isinstance(holder, str):  # the short form `sampler: tpe`
        holder = {"name": holder}
    if holder is None:
        holder = {}
    if not isinstance(holder, dict) or "." in key:
        yield Problem(
            (name,), f"cannot be set: there is no setting of this name.{did_you_mean(section, StudySpec.model_fields)}"
        )
        return
    document[section] = {**holder, key: value}
    if isinstance(document.get("parameters"), dict):  # a setting fixed by hand is no longer searched
        document["parameters"] = {other: item for other, item in document["parameters"].items() if other != name}


def _override_parameter(document: dict[str, Any], key: str, value: Any) -> Iterable[Problem]:
    parameters = document.setdefault("parameters", {})
    if not isinstance(parameters, dict):
        return
    parent, _, leaf = key.rpartition(".")
    if parent in parameters and leaf in Parameter.model_fields and isinstance(parameters[parent], dict):
        parameters[parent] = {**parameters[parent], leaf: value}
    elif value is None:
        parameters.pop(key, None)
    elif isinstance(value, dict):
        parameters[key] = value
    else:
        yield Problem(("parameters", key), f"a parameter is a mapping such as {{min: 0, max: 1}}, got {value!r}")


def _problem(detail: Any) -> Problem:
    """One of pydantic's errors in our words."""
    key = tuple(str(part) for part in detail["loc"])
    kind, value = detail["type"], detail["input"]
    if kind == "extra_forbidden":
        return Problem(key, f"unknown key.{did_you_mean(key[-1], _known_keys(key[:-1]))}")
    if kind == "missing":
        return Problem(key, "is required")
    if kind == "value_error":
        return Problem(key, str(detail["ctx"]["error"]))
    if kind == "string_pattern_mismatch":
        return Problem(
            key, f"must be letters, digits, '.', '_' and '-', beginning with a letter or digit, got {value!r}"
        )
    if kind == "literal_error":
        hint = did_you_mean(str(value), [word.strip("'") for word in re.findall(r"'[^']*'", detail["ctx"]["expected"])])
        return Problem(key, f"must be {detail['ctx']['expected']}, got {value!r}.{hint if 'Did' in hint else ''}")
    rule = detail["msg"].removeprefix("Input should be ").removeprefix("a valid ")
    return Problem(key, f"must be {rule[0].lower() + rule[1:]}, got {value!r:.80}")


def _section_class(field: Any) -> type[BaseModel]:
    annotation = field.annotation
    if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
        raise TypeError(f"{annotation} is not a section")
    return annotation


def _known_keys(path: tuple[str, ...]) -> Iterable[str]:
    if not path:
        return StudySpec.model_fields
    if path[0] == "parameters":
        return Parameter.model_fields
    return _section_class(StudySpec.model_fields[path[0]]).model_fields


def _parameter_problems(spec: StudySpec) -> Iterable[Problem]:
    for name, parameter in spec.parameters.items():
        key = ("parameters", name)
        section, _, setting = name.partition(".")
        if section not in SEARCHABLE or not setting or "." in setting:
            yield Problem(key, f"a parameter is named section.setting, with a section of {', '.join(SEARCHABLE)}")
        elif name in _NOT_SEARCHABLE:
            yield Problem(key, f"cannot be searched: {_NOT_SEARCHABLE[name]}")
        elif section != "model" and setting not in _known_keys((section,)):
            yield Problem(key, f"there is no setting of this name.{did_you_mean(setting, _known_keys((section,)))}")
        else:
            yield from _value_problems(spec, name, parameter)
        yield from _condition_problems(spec, name, parameter)
    yield from _cycles(spec)


def _value_problems(spec: StudySpec, name: str, parameter: Parameter) -> Iterable[Problem]:
    for value in parameter.probes():
        try:
            spec.apply({name: value})
        except pydantic.ValidationError as error:
            message = _problem(error.errors()[0]).message
            hint = " Write `type: int`." if "integer" in message and parameter.values is None else ""
            yield Problem(("parameters", name), f"{message}{hint}")
            return


def _condition_problems(spec: StudySpec, name: str, parameter: Parameter) -> Iterable[Problem]:
    for parent, wanted in parameter.when.items():
        key = ("parameters", name, "when", parent)
        other = spec.parameters.get(parent)
        if other is None and spec.setting(parent) is None:
            known = [other for other in spec.parameters if other != name]
            yield Problem(key, f"there is no parameter or setting '{parent}'.{did_you_mean(parent, known)}")
        elif other is not None:
            yield from (
                Problem(key, f"is never {value!r}: '{parent}' is in {other.describe()}")
                for value in wanted
                if not other.contains(value)
            )


def _cycles(spec: StudySpec) -> Iterable[Problem]:
    from graphlib import CycleError, TopologicalSorter

    try:
        TopologicalSorter({name: parameter.when for name, parameter in spec.parameters.items()}).prepare()
    except CycleError as error:
        yield Problem(("parameters", error.args[1][0]), f"conditions go in a circle: {' -> '.join(error.args[1])}")


def _first_line(error: object) -> str:
    return str(error).strip().splitlines()[0]
