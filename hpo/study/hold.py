"""The hold on a study: one process searches it at a time, and the others can learn which."""

import json
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import pydantic

from hpo.errors import StudyError
from hpo.files import NotAFile
from hpo.spec import Budget
from hpo.study.artifacts import Folder, Place
from hpo.study.folder import check_writable
from hpo.study.format import migrate
from hpo.study.locations import VARIABLE, claim, own_place
from hpo.study.storage.cached import CachedStorage
from hpo.study.storage.database import DatabaseStorage
from hpo.study.storage.journal import mend
from hpo.study.storage.lock import LOCK, check_free, hold, holder, note, this_process

if TYPE_CHECKING:
    from hpo.study.study import Study


_MOST_SECONDS = 1e11
"""No search has begun so long after 1970."""


@dataclass(frozen=True)
class Search:
    """What a search notes of itself for the others."""

    since: float
    """Seconds since 1970 when it took hold of the study."""
    budget: Budget
    """The budget of this search, which may be another one than the study was made with."""

    def written(self) -> str:
        """A line that `read` reads."""
        return json.dumps({"since": self.since, "budget": self.budget.model_dump(exclude_none=True)})

    @classmethod
    def read(cls, line: str) -> Self | None:
        """What is in a line; None where that is nothing of the kind, as of an earlier release."""
        try:
            read = json.loads(line)
            since = float(read["since"])
            if not 0 <= since <= _MOST_SECONDS:
                return None
            return cls(since, Budget.model_validate(read["budget"]))
        except (LookupError, OverflowError, RecursionError, TypeError, ValueError, pydantic.ValidationError):
            return None


def _same_place(wanted: Place, place: Place) -> bool:
    real = not isinstance(wanted, Folder) or not isinstance(place, Folder) or wanted.real == place.real
    return str(wanted) == str(place) and real


class Hold:
    """Holds a study for a process, and says which process holds it.

    Args:
        study: that is held.
    """

    def __init__(self, study: "Study") -> None:
        self._study = study

    @contextmanager
    def searching(self, told: str = "", budget: Budget | None = None) -> Iterator[None]:
        """Holds the study for one search.

        Args:
            told: what others may read of it, as `searcher`: how to join its Ray.
            budget: of the search, which others may read as `search`; the study's own where None.

        Raises:
            StudyError: another process is searching it (the lock goes with its process, however that ends); or its
                artifacts are in a place that is not known to be its own.
        """
        if self._study.is_in_memory:  # nobody else can
            with self._alone():
                yield
            return
        self.claim()
        with self.held(told, Search(time.time(), budget or self._study.spec.budget)), self._alone():
            yield

    @contextmanager
    def held(self, told: str = "", search: "Search | None" = None) -> Iterator[None]:
        """Holds the study for this process: nobody searches it meanwhile.

        Args:
            told: what others may read, as `searcher`.
            search: for which it is held; None where it is no search.

        Raises:
            StudyError: another process is searching it.
        """
        study = self._study
        check_writable(study.folder.parent, study.folder.name)
        try:
            with ExitStack() as stack:
                stack.enter_context(
                    hold(study.folder / LOCK, study.name, told, "" if search is None else search.written())
                )
                if study.locations.database is not None:
                    connection = stack.enter_context(study.locations.database.hold(study.name))
                    if isinstance(storage := study.record._storage, DatabaseStorage):
                        stack.enter_context(storage.through(connection))
                else:
                    mend(study.folder)
                migrate(study)
                self._remember()
                yield
        except NotAFile as error:
            raise StudyError(
                f"study '{study.name}': {error}; what a study writes to is its own: put a copy in its place"
            ) from None

    def claim(self, named: str | None = None) -> None:
        """Checks that the folder or bucket of the artifacts is this study's, where that is outside of its folder.

        Args:
            named: the place that the user names in this command, as a path or a URI; HPO_ARTIFACTS in the environment
                may name it too.

        Raises:
            StudyError: it is another study's, or is not proven to be this one's and was not named.
        """
        study, place = self._study, self._study.locations.artifacts
        if place is None:
            return

        def names(artifacts: str | None) -> bool:
            if artifacts is None:
                return False
            return any(_same_place(own_place(artifacts, name), place) for name in study.names)

        claim(place, study.name, study.id, study.folder, names(named), names(os.environ.get(VARIABLE) or None))
        self._remember()

    def _remember(self) -> None:
        """Proves by the user's secret what the user has named this time, so that it need not be named again."""
        study, place = self._study, self._study.locations.artifacts
        if (place is None or not place.lock.sealed) and not study.locations.is_proven(study.name):
            study.locations.write(study.folder, study.name)

    @property
    def this_process(self) -> str:
        """The name of this process, as `searcher` has it where it searches the study."""
        return this_process()

    @property
    def searcher(self) -> tuple[str, str] | None:
        """The process that searches the study now, and what that tells the others; None where none does.

        Of a study in memory nobody else can tell, so that is None too.
        """
        if self._study.is_in_memory:
            return None
        return holder(self._study.folder / LOCK)

    @property
    def search(self) -> "Search | None":
        """What the process that searches the study has noted of its search; None where none does, or notes nothing."""
        return None if self._study.is_in_memory else Search.read(note(self._study.folder / LOCK))

    def check_free(self) -> None:
        """Checks that nobody searches the study now.

        Raises:
            StudyError: another process does.
        """
        check_free(self._study.folder / LOCK, self._study.name)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Nobody else changes the study's trials: what was read once is not read again."""
        record = self._study.record
        storage, record._storage = record._storage, CachedStorage(record._storage)
        try:
            yield
        finally:
            record._storage = storage
