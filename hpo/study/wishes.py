"""Wishes: what another process asks of a search, such as to stop or to try a config, in a folder of the study.

A search is the only writer of its study's record. So whoever wishes something leaves a small file, whole or not at all;
the search that holds the study looks there about once a second, does it, records it and removes the file. A wish is
held to a form and to the study's space when it is read, since whoever can write to the study's folder can leave one.
"""

import contextlib
import json
import logging
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hpo import files
from hpo.errors import InputError, on_one_line
from hpo.spec import Config
from hpo.spec.config import checked_config
from hpo.study.optuna_trial import WISH

if TYPE_CHECKING:
    from hpo.study.study import Study

FOLDER = "wishes"
"""The folder in a study's folder that has them, a file each; their names are in the order of time."""
_MOST_BYTES, _MOST = 2**16, 1000
"""Bytes of a wish, and how many are read; what is beyond waits."""
_MOST_NUMBER = 2**31
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StopSearch:
    """End the search as Ctrl-C does."""

    searcher: str
    """The process that is meant, as `Hold.searcher` names it: a later search is not."""


@dataclass(frozen=True)
class StopTrial:
    """End one trial, and keep what it leaves."""

    number: int


@dataclass(frozen=True)
class TryConfig:
    """Try a config next."""

    config: Config
    """It may lack parameters, which the sampler fills in."""


@dataclass(frozen=True)
class RetryTrial:
    """Begin a failed trial again, as a new one with the same config."""

    number: int


Wish = StopSearch | StopTrial | TryConfig | RetryTrial


class Wishes:
    """The wishes of one study that no search has fulfilled yet.

    Args:
        study: whose wishes.
    """

    def __init__(self, study: "Study") -> None:
        self._study = study
        self._read: dict[str, Wish | None] = {}
        """Name -> wish, of those that were read; None is no wish, and stays unread."""
        self._told = False
        """Whether it was said that the folder cannot be read."""

    def leave(self, wish: Wish) -> None:
        """Leaves a wish for the search that holds the study, or for the next one.

        Raises:
            OSError: the folder cannot be written.
        """
        name = f"{time.time_ns():020d}-{uuid.uuid4().hex[:12]}"
        if self._study.is_in_memory:
            self._read[name] = wish
        else:
            files.write(self._study.folder, f"{FOLDER}/{name}", json.dumps(_written(wish)).encode())

    def waiting(self) -> dict[str, Wish]:
        """Name -> wish, of those that wait, the oldest first; what is no wish is told once and left out."""
        if not self._study.is_in_memory:
            names = self._names()
            self._read = {name: self._read[name] if name in self._read else self._load(name) for name in names}
        return {name: wish for name, wish in self._read.items() if wish is not None}

    @property
    def fulfilled(self) -> frozenset[str]:
        """The names of the wishes by which trials of the study have begun."""
        trials = self._study.record.get_trials(deepcopy=False)
        return frozenset(trial.user_attrs[WISH] for trial in trials if WISH in trial.user_attrs)

    def remove(self, name: str) -> None:
        """Removes a wish that is fulfilled, or that cannot be; one whose file stays is not fulfilled again."""
        self._read.pop(name, None)
        if not self._study.is_in_memory:
            with contextlib.suppress(OSError):
                files.remove(self._study.folder, f"{FOLDER}/{name}")

    def _names(self) -> list[str]:
        try:
            return sorted(name for name in files.sizes(self._study.folder, FOLDER) if not name.startswith("."))[:_MOST]
        except OSError as error:  # a link, which is never followed
            if not self._told:
                _log.warning("the wishes of study '%s' are left alone: %s", self._study.name, error)
            self._told = True
            return []

    def _load(self, name: str) -> Wish | None:
        try:
            read = json.loads(files.read(self._study.folder, f"{FOLDER}/{name}", _MOST_BYTES))
            return _checked(self._study, read)
        except FileNotFoundError:  # fulfilled or taken back meanwhile
            return None
        except (OSError, ValueError, TypeError, LookupError, RecursionError, InputError) as error:
            place = self._study.folder / FOLDER / name
            _log.warning("'%s' is no wish that can be fulfilled, and is left alone: %s", place, on_one_line(error))
            return None


def _written(wish: Wish) -> dict[str, Any]:
    match wish:
        case StopSearch(searcher):
            return {"wish": "stop", "searcher": searcher}
        case StopTrial(number):
            return {"wish": "stop trial", "trial": number}
        case TryConfig(config):
            return {"wish": "try", "config": config}
        case RetryTrial(number):
            return {"wish": "retry", "trial": number}


def _checked(study: "Study", read: Any) -> Wish:
    """The wish in a document.

    Raises:
        InputError: its config is none of the study's space.
        TypeError, ValueError, LookupError: it is none.
    """
    if not isinstance(read, Mapping):
        raise TypeError("it is no mapping")
    match read["wish"]:
        case "stop":
            if not isinstance(read["searcher"], str):
                raise TypeError("it names no process")
            return StopSearch(read["searcher"])
        case "stop trial" | "retry" as kind:
            number = read["trial"]
            if type(number) is not int or not 0 <= number <= _MOST_NUMBER:
                raise TypeError("it names no trial")
            return StopTrial(number) if kind == "stop trial" else RetryTrial(number)
        case "try":
            if not isinstance(read["config"], Mapping):
                raise TypeError("its config is no mapping")
            return TryConfig(checked_config(study.spec, read["config"]))
        case other:
            raise ValueError(f"nothing is known of a wish '{other!s:.40}'")
