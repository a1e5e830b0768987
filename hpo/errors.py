"""What can go wrong, as one tree.

HpoError                 exit code 1: the work itself failed
├── TrainingError       a training function cannot be loaded, or reports what is no report
├── TrialsError          a search has ended and no trial has a value
└── InputError           exit code 2: something that the user wrote, named or pointed at
    ├── SpecError        the YAML, or a --set; carries every problem at once
    ├── DataError        a data set or an input file
    ├── StudyError       a study or an ensemble that is not there, or is not what was asked for
    └── ResourceError    the machine lacks what was asked for (a GPU, CPUs)
"""

from collections.abc import Sequence
from dataclasses import dataclass

_MUCH, _MANY = 1000, 100
"""Letters of an error that is one among many, and lines of a spec's errors; more are made to fill a terminal."""


class HpoError(Exception):
    """The work itself failed; the message says what and where."""

    exit_code = 1


class TrainingError(HpoError):
    """A training function cannot be loaded, or reports what is no report; its trial fails, the search goes on."""


class TrialsError(HpoError):
    """A search has ended, and none of its trials has a value; the study is kept, and the message names it."""


class InputError(HpoError):
    """The user's input cannot be used; nothing was started and nothing was left on disk."""

    exit_code = 2


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a spec.

    `key` is the dotted name (`optimizer.lr`), `message` the rule, the value and, where there is one, the way out.
    """

    key: tuple[str, ...]
    message: str


class SpecError(InputError):
    """Everything that is wrong with a spec, each line with its place: `file:line: key: message`."""

    def __init__(self, lines: Sequence[str]) -> None:
        self.lines = tuple(lines)
        shown = [f"{line:.{_MUCH}}" for line in self.lines[:_MANY]]
        if len(self.lines) > _MANY:
            shown.append(f"... and {len(self.lines) - _MANY:,} more")
        super().__init__("\n".join(shown))

    def __reduce__(self) -> tuple[type["SpecError"], tuple[tuple[str, ...]]]:
        """Pickled by its lines, since it comes from other processes too."""
        return type(self), (self.lines,)


class DataError(InputError):
    """A data set or an input file cannot be read, or does not hold what it should."""


class StudyError(InputError):
    """A study, a trial or an ensemble is missing, or is not the one that was asked for."""


class ResourceError(InputError):
    """The machine or the cluster does not have what every trial asks for."""


def first_line(error: object) -> str:
    """The first line of what an error says, or its type where it says nothing."""
    return _said(error).splitlines()[0]


def last_line(error: object) -> str:
    """The last line of what an error says, where Ray puts what another process has raised; or its type."""
    return _said(error).splitlines()[-1]


def on_one_line(error: object) -> str:
    """All that an error says, on one line, or its type where it says nothing."""
    return " ".join(_said(error).split())


def shortened(error: object) -> str:
    """What an error says, cut where that is more than one reads of one among many."""
    said = _said(error)
    return said if len(said) <= _MUCH else f"{said[:_MUCH]} ..."


def _said(error: object) -> str:
    return str(error).strip() or type(error).__name__


def shown(value: object) -> str:
    """A value in a message: its type, and what it looks like where that is short."""
    text = " ".join(repr(value).split())
    kind = type(value).__name__
    return text if value is None else f"{text if len(text) <= 60 else text[:57] + '...'} ({kind})"
