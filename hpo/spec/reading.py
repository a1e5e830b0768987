"""Reads a spec from YAML, dict and `--set`, and tells the place of everything that is wrong."""

import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

import pydantic
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from hpo.errors import InputError, Problem, SpecError, first_line
from hpo.plugins import did_you_mean, import_paths, note_stored, trust
from hpo.spec import families
from hpo.spec.document import Source, Unreadable, parse_plain, plain
from hpo.spec.extending import read_file, read_mapping, read_stored_file
from hpo.spec.own_task import with_own_task
from hpo.spec.parameter import Parameter
from hpo.spec.rules import command_problems, copy_problems, in_our_words, parameter_problems, warmup_problems
from hpo.spec.section import DataSettings
from hpo.spec.study_spec import SearchSpec, StudySpec

SpecLike = str | Path | Mapping[str, Any] | SearchSpec
"""A YAML file's path, a dict of the same shape, or a spec."""

_Spec = TypeVar("_Spec", bound=SearchSpec)
_MOST_WORDED = 100
"""Problems that are told in our words, with what may have been meant: looking for that takes its time."""


@dataclass(frozen=True)
class Written(Generic[_Spec]):
    """A spec as somebody wrote it: read and validated once, with the places of its keys for what further rules say."""

    spec: _Spec | None
    """None where it is not sound in itself."""
    source: Source
    problems: tuple[Problem, ...]

    @property
    def notes(self) -> list[str]:
        """What was taken from the environment, and so will be stored; a sentence each."""
        return [
            f"{'.'.join(key)} is taken from {' and '.join(f'${{{name}}}' for name in dict.fromkeys(names))}; the study"
            " stores the value that it has now."
            for key, names in self.source.variables.items()
            if not self.source.place(key).startswith("--set")
        ]

    def checked(
        self,
        checks: Sequence[Callable[[_Spec], Iterable[Problem]]] = (),
        last_check: Callable[[_Spec], Iterable[Problem]] | None = None,
    ) -> _Spec:
        """The spec, held to further rules.

        Args:
            checks: the rules, asked only where the spec is sound in itself.
            last_check: an expensive rule, asked only where there is no problem yet.

        Raises:
            SpecError: with every problem found, each with its place.
        """
        problems = list(self.problems)
        if self.spec is not None:
            problems += [problem for check in checks for problem in check(self.spec)]
            if last_check is not None and not problems:
                problems += last_check(self.spec)
        if problems or self.spec is None:
            raise SpecError([self.source.line(problem) for problem in dict.fromkeys(problems)])
        return self.spec


def read(space: SpecLike, overrides: Mapping[str, Any] | None = None) -> Written[SearchSpec]:
    """Reads a search whose trials are trained, and validates it; what is wrong is told when it is `checked`.

    It is one over models, a `StudySpec`, unless it has a training function or a program of its own and neither `data`
    nor `model`.

    Import paths and programs in a file, in a dict and in the overrides are trusted from now on: the user names them.

    Args:
        space: a YAML file's path, a dict of the same shape, or a spec.
        overrides: dotted name -> value, laid over what the file says.

    Raises:
        SpecError: it cannot be read at all.
    """
    document, source = _read(space)
    named = {*document, *(name.partition(".")[0] for name in overrides or {})}
    own = named & {"train", "command"} and not document.keys() & {"data", "model"}
    return _written(SearchSpec if own else StudySpec, document, source, space, overrides)


def load(
    space: SpecLike,
    overrides: Mapping[str, Any] | None = None,
    checks: Sequence[Callable[[StudySpec], Iterable[Problem]]] = (),
    last_check: Callable[[StudySpec], Iterable[Problem]] | None = None,
) -> StudySpec:
    """Reads and validates a search over models.

    Args:
        space: a YAML file's path, a dict of the same shape, or a spec.
        overrides: dotted name -> value, laid over what the file says.
        checks: further rules, asked only where the spec is sound in itself.
        last_check: an expensive rule, asked only where there is no problem yet.

    Raises:
        SpecError: with every problem found, each with its place.
    """
    document, source = _read(space)
    return _written(StudySpec, document, source, space, overrides).checked(checks, last_check)


def load_search(
    space: SpecLike,
    overrides: Mapping[str, Any] | None = None,
    checks: Sequence[Callable[[SearchSpec], Iterable[Problem]]] = (),
    last_check: Callable[[SearchSpec], Iterable[Problem]] | None = None,
) -> SearchSpec:
    """Reads and validates a search that need not say what its trials are: `data` and `model` may be missing.

    Arguments are those of `load`.

    Raises:
        SpecError: with every problem found, each with its place.
    """
    document, source = _read(space)
    return _written(_kind(document), document, source, space, overrides).checked(checks, last_check)


def load_stored(stored: Path | Mapping[str, Any]) -> SearchSpec:
    """Reads the spec that a study has stored, in a file or as a dict; the import paths in it are not trusted.

    Raises:
        SpecError: with every problem found, each with its place.
    """
    document, source = _read(stored, stored=True)
    spec = _validated(_kind(document), document, source).checked()
    if isinstance(stored, Path):
        note_stored(spec.import_paths, stored)
    return spec


def _kind(document: Mapping[str, Any]) -> type[SearchSpec]:
    return StudySpec if document.keys() & {"data", "model"} else SearchSpec


def _written(
    kind: type[_Spec],
    document: dict[str, Any],
    source: Source,
    space: SpecLike,
    overrides: Mapping[str, Any] | None,
) -> Written[_Spec]:
    overrides = dict(overrides or {})
    trust(import_paths([overrides, {} if isinstance(space, SearchSpec) else document]))
    by_hand = sorted(overrides.items(), key=lambda one: one[0] == "data.name")  # which the path's ending may say, too
    problems = [problem for name, value in by_hand for problem in _override(document, name, value)]
    source = replace(source, overridden=frozenset(overrides))
    task, known = document.get("task"), isinstance(space, SearchSpec) and "task" not in overrides
    if isinstance(task, str) and ":" in task and not known:
        try:
            document = with_own_task(document)
        except InputError as error:
            return Written(None, source, (*problems, Problem(("task",), str(error))))
    written = _validated(kind, document, source, problems)
    command = None if written.spec is None else written.spec.command
    if command is not None and ("command" in overrides or not isinstance(space, SearchSpec)):
        trust([command.key])
    return written


def _validated(
    kind: type[_Spec], document: Mapping[str, Any], source: Source, problems: Sequence[Problem] = ()
) -> Written[_Spec]:
    problems, spec = list(problems), None
    try:
        spec = kind.model_validate(document)
        problems += [*parameter_problems(spec), *command_problems(spec), *copy_problems(spec), *warmup_problems(spec)]
    except pydantic.ValidationError as error:
        details = [detail for detail in error.errors() if detail["type"] != "default_factory_not_called"]
        problems += [in_our_words(detail) for detail in details[:_MOST_WORDED]]
        problems += [Problem(tuple(map(str, detail["loc"])), detail["msg"]) for detail in details[_MOST_WORDED:]]
    return Written(spec, source, tuple(problems))


def dump(spec: SearchSpec) -> str:
    """The spec as YAML that `load` reads back into an equal spec."""
    text = io.StringIO()
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]  # a sampler's dimensions keep their order
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
    if value.strip().startswith("+") and name.strip().startswith("budget."):
        raise SpecError([f"--set {text}: a limit that is set is one in all, without a +; --trials +20 is 20 more"])
    try:
        return name.strip(), parse_plain(value)
    except (YAMLError, ValueError) as error:
        raise SpecError([f"--set {text}: the value is not YAML: {first_line(error)}"]) from None


def _read(space: SpecLike, stored: bool = False) -> tuple[dict[str, Any], Source]:
    if isinstance(space, SearchSpec):
        return space.model_dump(exclude_unset=True), Source("spec", {})
    if isinstance(space, Mapping):
        return read_mapping(space, stored)
    return read_stored_file(Path(space)) if stored else read_file(Path(space))


def _override(document: dict[str, Any], name: str, value: Any) -> Iterable[Problem]:
    try:
        value = plain(value)
    except Unreadable as error:
        yield Problem((name, *error.path), str(error))
        return
    section, _, key = name.partition(".")
    if not key:
        document[section] = value
        return
    if section == "parameters":  # their names are dotted themselves; a sub-key comes last
        yield from _override_parameter(document, key, value)
        return
    holder = document.get(section)
    if isinstance(holder, str | list):  # the short forms `sampler: tpe` and `command: train.sh`
        holder = {"run" if section == "command" else "name": holder}
    if holder is None:
        holder = {}
    nested = families.family_of(name) is not None
    if not isinstance(holder, dict) or ("." in key and not nested):
        yield Problem(
            (name,), f"cannot be set: there is no setting of this name.{did_you_mean(section, StudySpec.model_fields)}"
        )
        return
    if name == "data.path" and ":" not in str(holder.get("name")) and _says_what_it_is(value):
        holder = {other: it for other, it in holder.items() if other != "name"}  # of the data set that it replaces
    if name == families.NAME:
        holder = _without_other_families(holder, document.get("parameters"), value)
    document[section] = families.laid_over(holder, key, value) if nested else {**holder, key: value}
    if isinstance(document.get("parameters"), dict):  # a setting fixed by hand is no longer searched
        document["parameters"] = {other: item for other, item in document["parameters"].items() if other != name}


def _says_what_it_is(path: Any) -> bool:
    """Whether the name of a file of data ends in what says how it is read."""
    try:
        DataSettings.model_validate({"path": path})
    except pydantic.ValidationError:
        return False
    return True


def _without_other_families(model: dict[str, Any], parameters: Any, chosen: Any) -> dict[str, Any]:
    """A `model` section of which one of the searched families is chosen by hand: the settings of the others go."""
    searched = parameters.get(families.NAME) if isinstance(parameters, dict) else None
    values = searched.get("values") if isinstance(searched, dict) else None
    others = [value for value in values if value != chosen] if isinstance(values, list | tuple) else []
    return {key: value for key, value in model.items() if key not in others or not isinstance(value, dict)}


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
    elif isinstance(parameters.get(parent), dict):
        yield Problem(
            ("parameters", key), f"a parameter has no key '{leaf}'.{did_you_mean(leaf, Parameter.model_fields)}"
        )
    else:
        yield Problem(("parameters", key), f"a parameter is a mapping such as {{min: 0, max: 1}}, got {value!r}")
