"""A program of the user's own that trains one config: its words, and how it reports."""

import json
import re
import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import Field, field_validator, model_validator

from hpo.spec.section import Duration, Section

PLACES = ("epochs", "seed", "trial", "checkpoint")
"""What `{name}` in a command may be beside a parameter."""
_PIECE = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
EPOCH = "epoch"
"""The group of `metrics`, and the key of a line of JSON, that says which epoch is reported."""


class Command(Section):
    """A program of your own that trains one config, in place of the built-in loop; a text alone is its `run`."""

    run: tuple[str, ...]
    """The program and its arguments, as a text or a list; no shell is asked. `{lr}` is the value of parameter `lr`."""
    metrics: str | None = None
    """A regular expression for lines of its output: each named group is a metric, the group `epoch` the epoch."""
    environment: dict[str, str] = Field(default_factory=dict)
    """Further environment variables; `{lr}` is the value of a parameter here too."""
    folder: str | None = None
    """The folder in which it runs; where `hpo` was started, if none is named."""
    resumes: bool = False
    """Whether it goes on from what it has written into the folder that `HPO_CHECKPOINT` names."""
    grace: Duration = 10.0
    """What it has from SIGTERM to SIGKILL when it is stopped."""

    @model_validator(mode="before")
    @classmethod
    def _words_alone(cls, value: Any) -> Any:
        return {"run": value} if isinstance(value, str | list | tuple) else value

    @field_validator("run", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        if isinstance(value, str):
            try:
                value = shlex.split(value)
            except ValueError as error:
                raise ValueError(f"its quotes are not balanced ({error}): {value!r:.80}") from None
        if not isinstance(value, list | tuple):
            raise ValueError(f"must be the words of a program, such as python train.py --lr {{lr}}, got {value!r:.80}")
        return tuple(_text(word) for word in value)

    @field_validator("run")
    @classmethod
    def _some_words(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value or not value[0]:
            raise ValueError("names no program: write for example python train.py --lr {lr}")
        for word in value:
            _check_text(word)
        return value

    @field_validator("environment", mode="before")
    @classmethod
    def _texts(cls, value: Any) -> Any:
        return {str(name): _text(one) for name, one in value.items()} if isinstance(value, Mapping) else value

    @field_validator("environment")
    @classmethod
    def _variables(cls, value: dict[str, str]) -> dict[str, str]:
        for name, text in value.items():
            if not _VARIABLE.fullmatch(name):
                raise ValueError(f"a variable's name is letters, digits and '_', got {name!r:.80}")
            if name.startswith("HPO_"):
                raise ValueError(f"'{name}' is taken: names that begin with HPO_ are what the search tells the program")
            _check_text(text)
        return value

    @field_validator("metrics")
    @classmethod
    def _pattern(cls, value: str | None) -> str | None:
        if value is None:
            return None
        try:
            groups = re.compile(value).groupindex
        except (re.error, OverflowError, RecursionError) as error:
            raise ValueError(f"is no regular expression ({error}): {value!r:.80}") from None
        if not groups.keys() - {EPOCH}:
            raise ValueError(
                f"has no named group: name the metric in it, such as 'loss=(?P<loss>[\\d.]+)', got {value!r:.80}"
            )
        return value

    @field_validator("folder")
    @classmethod
    def _path(cls, value: str | None) -> str | None:
        if value is not None:
            if "\0" in value:
                raise ValueError(f"has a character 0 in {value!r:.80}")
            try:
                Path(value).expanduser()
            except (OSError, RuntimeError, ValueError) as error:
                raise ValueError(f"is not a path: {error}") from None
        return value

    @property
    def text(self) -> str:
        """The words as one would type them, for messages."""
        return " ".join(word if re.fullmatch(r"[\w@%+=:,./{}-]+", word) else shlex.quote(word) for word in self.run)

    @property
    def key(self) -> str:
        """What a user trusts who lets the program run: all that says what is run, and how."""
        return f"command: {json.dumps(self.model_dump(mode='json'), sort_keys=True)}"

    @property
    def named(self) -> frozenset[str]:
        """The names in braces, of its words and of its variables."""
        return frozenset(name for text in (*self.run, *self.environment.values()) for name in names(text))

    def filled(self, values: Mapping[str, str | None]) -> Self:
        """The command with values for its names.

        A word with the name of a parameter that the config does not have is left out, and so is the option before it
        where the word is nothing but that name (`--momentum {momentum}`).

        Args:
            values: name -> text; None for a parameter that is not active.
        """
        words: list[str] = []
        for word in self.run:
            if all(values[name] is not None for name in names(word)):
                words.append(_replaced(word, values))
            elif _PIECE.fullmatch(word) and len(words) > 1 and words[-1].startswith("-"):
                words.pop()
        environment = {
            name: _replaced(text, values)
            for name, text in self.environment.items()
            if all(values[inside] is not None for inside in names(text))
        }
        return self.model_copy(update={"run": tuple(words), "environment": environment})


def names(text: str) -> Iterable[str]:
    """The names in braces of a text; `{{` and `}}` are braces themselves."""
    return [found[1] for found in _PIECE.finditer(text) if found[1] is not None]


def variable(parameter: str) -> str:
    """The environment variable of a parameter, such as `HPO_PARAM_OPTIMIZER_LR` for `optimizer.lr`."""
    return f"HPO_PARAM_{re.sub(r'[^A-Za-z0-9]', '_', parameter).upper()}"


def written(value: Any) -> str:
    """The value of a parameter as a program is given it: numbers as Python writes them, `true`, `false` and `null`."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)


def _replaced(text: str, values: Mapping[str, str | None]) -> str:
    def piece(found: re.Match[str]) -> str:
        return found[0][0] if found[1] is None else str(values[found[1]])

    return _PIECE.sub(piece, text)


def _text(word: Any) -> str:
    """A word that YAML may have read as a number."""
    if isinstance(word, bool) or not isinstance(word, str | int | float):
        raise ValueError(f"takes texts and numbers, got {word!r:.80}; write it in quotes")
    return str(word)


def _check_text(text: str) -> None:
    if "\0" in text:
        raise ValueError(f"has a character 0 in {text!r:.80}")
    for found in _PIECE.finditer(text):
        if found[0] in ("{", "}"):
            raise ValueError(
                f"has a brace alone in {text!r:.80}; write {{{{ or }}}} for a brace, {{lr}} for a parameter"
            )
