"""A config as settings that can be pasted: into a search file, or behind a command."""

import io
from collections.abc import Mapping
from shlex import quote
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.nodes import ScalarNode
from ruamel.yaml.representer import SafeRepresenter

from hpo.errors import InputError
from hpo.spec import families
from hpo.spec.extending import EXTENDS
from hpo.spec.rules import SEARCHABLE
from hpo.spec.study_spec import SearchSpec, StudySpec


class _Representer(SafeRepresenter):
    """Texts with line breaks or control characters stand in double quotes: otherwise some are read back as others."""

    def represent_text(self, text: str) -> ScalarNode:
        """A text as a node."""
        return self.represent_scalar("tag:yaml.org,2002:str", text, style=None if text.isprintable() else '"')


_Representer.add_representer(str, _Representer.represent_text)


def as_yaml(config: Mapping[str, Any]) -> str:
    """A config as the sections of a search file, where its values become fixed settings: `model:`, `  width: 64`.

    Args:
        config: parameter name -> value; a name without a dot stands at the top.

    Raises:
        InputError: a parameter has the name of a key that is none of its settings, such as `command`.
    """
    document: dict[str, Any] = {}
    for name, value in config.items():
        section, dot, key = name.partition(".")
        if section in (*StudySpec.model_fields, EXTENDS) and section not in SEARCHABLE:
            raise InputError(
                f"parameter '{name}' has the name of a key of search files, so it is no setting there; take --format"
                " json or flags"
            )
        if dot and families.family_of(name) is not None:
            document[section] = families.laid_over(document.get(section, {}), key, value)
        elif dot:
            document.setdefault(section, {})[key] = value
        else:
            document[name] = value
    return _dumped(document, flow=False).replace("${", "$${")  # a search file would put a variable's value there


def as_options(spec: SearchSpec, config: Mapping[str, Any]) -> str:
    """A config as options of a command, quoted for a shell.

    Args:
        spec: of the study. Where it trains a model of a search file, they are options of `hpo search`: `--set
            model.width=64`. Where its parameters are somebody's own, they are that program's: `--width=64`.
        config: parameter name -> value.
    """
    if isinstance(spec, StudySpec):
        return " ".join(f"--set {quote(f'{name}={written(value)}')}" for name, value in config.items())
    own = {name: value if isinstance(value, str) else written(value) for name, value in config.items()}
    return " ".join(quote(f"--{name}={value}") for name, value in own.items())


def written(value: Any) -> str:
    """A value as YAML on one line, as `--set` reads it back."""
    return _dumped(value, flow=True).removesuffix("\n").removesuffix("...").removesuffix("\n")


def _dumped(value: Any, flow: bool) -> str:
    text = io.StringIO()
    yaml = YAML(typ="safe", pure=True)
    yaml.Representer = _Representer
    yaml.default_flow_style = flow
    yaml.width = 2**20
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    yaml.dump(value, text)
    return text.getvalue()
