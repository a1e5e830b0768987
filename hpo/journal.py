"""What a search keeps between itself and the storage of its study, so that a trial costs the same in any study.

A search is the only one that writes to its study's trials. So it reads each trial once, and again only after it has
changed it: `CachedStorage`, over any storage of Optuna's. What belongs together goes to the disk at once: `Journal`.
"""

import copy
import json
import os
import re
import zlib
from collections.abc import Container, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from shlex import quote
from typing import Any, Protocol, runtime_checkable

from optuna.distributions import BaseDistribution
from optuna.storages import BaseStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.study._frozen import FrozenStudy
from optuna.study._study_direction import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from hpo.errors import StudyError
from hpo.files import open_regular

_CHECK, _CHECK_BYTES = re.compile(rb',"check":"([0-9a-f]{8})"}\n'), 21
"""The end of a line of a journal: the CRC-32 of the file up to here. Optuna passes over a key that it does not know."""


MOST_LINE_BYTES = 2**26
"""The longest line of a journal that is read."""


@runtime_checkable
class Together(Protocol):
    """A storage several of whose writes can be one."""

    def together(self) -> AbstractContextManager[None]:
        """What is written within goes out at its end."""


class Journal(JournalFileBackend):
    """Optuna's journal in a file, with writes that are flushed together, and checked lines.

    Each line that is written here ends with a checksum of the file up to there, so that a line which was altered, moved
    or removed later is noticed. Lines of other writers, and of release 0.1, have none and are read as they are.

    Args:
        path: of the file.
        new: it is made where it is not there.

    Raises:
        OSError: it is not there, or a link is.
    """

    def __init__(self, path: str, new: bool = True) -> None:
        # not that of the class above, which makes what a link points to
        os.close(open_regular(path, os.O_WRONLY | os.O_CREAT if new else os.O_RDONLY))
        self._file_path = path
        self._lock = JournalFileOpenLock(path)  # Optuna's default is a symbolic link, which exFAT has not
        self._log_number_offset = {0: 0}
        self._depth = 0
        self._held: list[str] = []
        self._first = -1
        """The place in the journal of the first held entry; -1 until it is known."""
        self._known, self._checksum = 0, 0
        """How many lines were read or written, and the CRC-32 of the file up to there."""

    @contextmanager
    def together(self) -> Iterator[None]:
        """What is written within is one flush at the end; other writers wait from the first entry on."""
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1
            if self._held and not self._depth:
                self._flush()

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Holds entries, until what belongs together is written."""
        with self.together():
            if not self._held:
                self._lock.acquire()
            self._held += [json.dumps(log, separators=(",", ":")) for log in logs]

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:  # type: ignore[override]
        """The entries from a place on, those that are held at the end.

        Raises:
            StudyError: a line is not as it was written.
        """
        place = log_number_from
        if not self._held or self._first < 0:
            for line in self._lines(place):
                place += 1
                yield self._entry(line, place)
        if self._held:
            if self._first < 0:
                self._first = place
            yield from map(json.loads, self._held[place - self._first :])

    def _lines(self, first: int) -> Iterator[bytes]:
        """The whole lines of the file from a place on; what a writer has not finished, or a crash has torn, is none."""
        place = min(first, self._known)
        with os.fdopen(open_regular(self._file_path), "rb") as file:
            file.seek(self._log_number_offset[place])
            while line := file.readline(MOST_LINE_BYTES):
                if not line.endswith(b"\n"):
                    if len(line) == MOST_LINE_BYTES:
                        raise self._damaged(place + 1)
                    return
                if place == self._known:
                    self._check(line)
                    self._enter(line)
                place += 1
                if place > first:
                    yield line

    def _check(self, line: bytes) -> None:
        """Compares a line at the end of what is known with its checksum."""
        body, check = _parted(line)
        if check is not None and check != zlib.crc32(body, self._checksum):
            raise self._damaged(self._known + 1)

    def _entry(self, line: bytes, number: int) -> dict[str, Any]:
        """The entry in a line."""
        try:
            entry = json.loads(_parted(line)[0])
        except (ValueError, RecursionError):  # no UTF-8, no JSON, or JSON that is nested without an end
            raise self._damaged(number) from None
        if not isinstance(entry, dict):
            raise self._damaged(number)
        return entry

    def _damaged(self, number: int) -> StudyError:
        file = Path(self._file_path)
        return StudyError(
            f"study '{file.parent.name}': line {number} of '{file}' is not as it was written: it, or a line before"
            f" it, was changed, moved or removed. Put the file back as it was; or remove line {number} and all"
            f" after it (sed -i '{number},$d' {quote(str(file))}): a search goes on from there, and trains the rest"
            " again"
        )

    def _enter(self, line: bytes) -> None:
        """A line at the end of what is known of the file."""
        self._checksum = zlib.crc32(line, self._checksum)
        self._log_number_offset[self._known + 1] = self._log_number_offset[self._known] + len(line)
        self._known += 1

    def _flush(self) -> None:
        try:
            for _ in self._lines(self._known):
                pass  # what others have written since
            lines, checksum = [], self._checksum
            for held in self._held:
                body = held.encode()
                lines.append(b'%b,"check":"%08x"}\n' % (body[:-1], zlib.crc32(body, checksum)))
                checksum = zlib.crc32(lines[-1], checksum)
            _append(Path(self._file_path), b"".join(lines))
            for line in lines:
                self._enter(line)
        finally:
            self._held, self._first = [], -1
            self._lock.release()


def _parted(line: bytes) -> tuple[bytes, int | None]:
    """A line of a journal as it was before its checksum was added, and that; None where it has none."""
    check = _CHECK.fullmatch(line, max(0, len(line) - _CHECK_BYTES))
    return (line, None) if check is None else (line[: check.start()] + b"}", int(check[1], 16))


def _append(path: Path, content: bytes) -> None:
    """Writes all to the end of a file and flushes it, or nothing: half a line would make the next ones unreadable.

    Raises:
        OSError: the disk is full.
    """
    with os.fdopen(open_regular(path, os.O_WRONLY | os.O_APPEND), "ab", buffering=0) as file:
        whole, written = file.tell(), 0
        try:
            while written < len(content):
                written += file.write(content[written:])
            os.fsync(file.fileno())
        except OSError:
            file.truncate(whole)
            raise


class CachedStorage(BaseStorage):
    """A storage to whose trials nobody else writes: a trial that was not changed is the same object as before.

    Args:
        inner: where everything is.
    """

    def __init__(self, inner: BaseStorage) -> None:
        self.inner = inner
        self._trials: dict[int, list[FrozenTrial]] = {}
        """Study -> its trials, by number."""
        self._touched: dict[int, list[int]] = {}
        """Study -> the number of a trial for each time that it was read."""
        self._places: dict[int, tuple[int, int]] = {}
        """Trial -> its study and number there."""
        self._changed: set[int] = set()
        self._waiting: set[int] = set()

    def together(self) -> AbstractContextManager[None]:
        """What is written within may be flushed at once, at the end."""
        inner = self.inner._backend if isinstance(self.inner, JournalStorage) else self.inner
        return inner.together() if isinstance(inner, Together) else nullcontext()

    # ---- trials: read once --------------------------------------------------------------------------------------

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        """A study's trials, by number."""
        trials = self._read(study_id)
        if states == (TrialState.WAITING,):  # asked for before every trial, and there is hardly ever one
            waiting = [self._places[trial_id] for trial_id in self._waiting]
            found = [trials[number] for study, number in sorted(waiting) if study == study_id]
        else:
            found = list(trials) if states is None else [trial for trial in trials if trial.state in states]
        return copy.deepcopy(found) if deepcopy else found

    def log(self, study_id: int) -> tuple[Sequence[FrozenTrial], Sequence[int]]:
        """A study's trials by number, and the number of one for each time that it has changed, its first included.

        Both go on as the study does. A copy of a long list, or a look at each of its trials, costs more than a report.
        """
        return self._read(study_id), self._touched[study_id]

    def get_trial(self, trial_id: int) -> FrozenTrial:
        """One trial."""
        if trial_id not in self._places:
            return self.inner.get_trial(trial_id)
        study_id, number = self._places[trial_id]
        return self._read(study_id)[number]

    def get_trial_id_from_study_id_trial_number(self, study_id: int, trial_number: int) -> int:
        """The id of a trial."""
        trials = self._read(study_id)
        if not 0 <= trial_number < len(trials):
            raise KeyError(f"no trial {trial_number}")
        return trials[trial_number]._trial_id

    def get_n_trials(self, study_id: int, state: tuple[TrialState, ...] | TrialState | None = None) -> int:
        """How many trials there are."""
        states = (state,) if isinstance(state, TrialState) else state
        return len(self.get_all_trials(study_id, deepcopy=False, states=states))

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        """Adds a trial."""
        trials = self._read(study_id)
        trial_id = self.inner.create_new_trial(study_id, template_trial)
        self._enter(self.inner.get_trial(trial_id), study_id, len(trials))
        return trial_id

    def _read(self, study_id: int) -> list[FrozenTrial]:
        if study_id not in self._trials:
            self._trials[study_id], self._touched[study_id] = [], []
            for number, trial in enumerate(self.inner.get_all_trials(study_id, deepcopy=False)):
                self._enter(trial, study_id, number)
        for trial_id in list(self._changed):
            self._enter(self.inner.get_trial(trial_id), *self._places[trial_id])
        self._changed.clear()
        return self._trials[study_id]

    def _enter(self, trial: FrozenTrial, study_id: int, number: int) -> None:
        trials = self._trials[study_id]
        self._places[trial._trial_id] = (study_id, number)
        if trial.state is TrialState.WAITING:
            self._waiting.add(trial._trial_id)
        else:
            self._waiting.discard(trial._trial_id)
        trials[number : number + 1] = [trial]
        self._touched[study_id].append(number)

    # ---- trials: written through --------------------------------------------------------------------------------

    def set_trial_param(
        self, trial_id: int, param_name: str, param_value_internal: float, distribution: BaseDistribution
    ) -> None:
        """Writes a parameter."""
        self._changed.add(trial_id)
        self.inner.set_trial_param(trial_id, param_name, param_value_internal, distribution)

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        """Writes the state, and how a trial ended."""
        self._changed.add(trial_id)
        return self.inner.set_trial_state_values(trial_id, state, values)

    def set_trial_intermediate_value(self, trial_id: int, step: int, intermediate_value: float) -> None:
        """Writes a report."""
        self._changed.add(trial_id)
        self.inner.set_trial_intermediate_value(trial_id, step, intermediate_value)

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Writes an attribute."""
        self._changed.add(trial_id)
        self.inner.set_trial_user_attr(trial_id, key, value)

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Writes an attribute of Optuna's own."""
        self._changed.add(trial_id)
        self.inner.set_trial_system_attr(trial_id, key, value)

    # ---- studies: passed on -------------------------------------------------------------------------------------

    def create_new_study(self, directions: Sequence[StudyDirection], study_name: str | None = None) -> int:
        """Passed on."""
        return self.inner.create_new_study(directions, study_name)

    def delete_study(self, study_id: int) -> None:
        """Passed on."""
        self.inner.delete_study(study_id)

    def set_study_user_attr(self, study_id: int, key: str, value: Any) -> None:
        """Passed on."""
        self.inner.set_study_user_attr(study_id, key, value)

    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> None:
        """Passed on."""
        self.inner.set_study_system_attr(study_id, key, value)

    def get_study_id_from_name(self, study_name: str) -> int:
        """Passed on."""
        return self.inner.get_study_id_from_name(study_name)

    def get_study_name_from_id(self, study_id: int) -> str:
        """Passed on."""
        return self.inner.get_study_name_from_id(study_id)

    def get_study_directions(self, study_id: int) -> list[StudyDirection]:
        """Passed on."""
        return self.inner.get_study_directions(study_id)

    def get_study_user_attrs(self, study_id: int) -> dict[str, Any]:
        """Passed on."""
        return self.inner.get_study_user_attrs(study_id)

    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        """Passed on."""
        return self.inner.get_study_system_attrs(study_id)

    def get_all_studies(self) -> list[FrozenStudy]:
        """Passed on."""
        return self.inner.get_all_studies()

    def remove_session(self) -> None:
        """Passed on."""
        self.inner.remove_session()

    def check_trial_is_updatable(self, trial_id: int, trial_state: TrialState) -> None:
        """Passed on."""
        self.inner.check_trial_is_updatable(trial_id, trial_state)
