"""The record of a study in a journal: Optuna's, with lines that are checked and flushed together."""

import json
import os
import re
import uuid
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shlex import quote
from typing import Any

from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.storages.journal._storage import JournalOperation

from hpo import files
from hpo.errors import StudyError
from hpo.files import open_regular

_CHECK, _CHECK_BYTES = re.compile(rb',"check":"([0-9a-f]{8})"}\n'), 21
"""The end of a line of a journal: the CRC-32 of the file up to here. Optuna passes over a key that it does not know."""


JOURNAL = "journal.log"
"""The file in a study's folder that has its record."""
MOST_LINE_BYTES = 2**26
"""The longest line of a journal that is read."""


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
                lines.append(_checked(held.encode(), checksum))
                checksum = zlib.crc32(lines[-1], checksum)
            _append(Path(self._file_path), b"".join(lines))
            for line in lines:
                self._enter(line)
        finally:
            self._held, self._first = [], -1
            self._release()

    def _release(self) -> None:
        try:
            self._lock.release()
        except RuntimeError:  # it is not there any more
            file = Path(self._file_path)
            raise StudyError(
                f"study '{file.parent.name}': '{file}.lock' was removed while this command wrote, so another may have"
                " written too; run one command at a time"
            ) from None


def journal(folder: Path, new: bool = False) -> JournalStorage:
    """The journal in a study's folder.

    Raises:
        FileNotFoundError: there is none, and it is not a new one.
        NotAFile: it is a link.
    """
    return JournalStorage(Journal(str(folder / JOURNAL), new))


def give_name(folder: Path, old: str, new: str) -> None:
    """Gives the study in a journal another name; the journal is replaced as a whole, with its checksums.

    Args:
        folder: of the study, which this process holds.
        old: its name in the journal.
        new: its name from now on.

    Raises:
        StudyError: a line is not as it was written.
        OSError: the folder cannot be written.
    """
    known = Journal(str(folder / JOURNAL), new=False)
    draft = f".{JOURNAL}.{uuid.uuid4().hex}"
    known._lock.acquire()
    try:
        with os.fdopen(files.opened(folder, draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "wb") as file:
            checksum = 0
            for number, line in enumerate(known._lines(0), 1):
                body, check = _parted(line)
                entry = known._entry(line, number)
                if entry.get("op_code") == JournalOperation.CREATE_STUDY and entry.get("study_name") == old:
                    body = json.dumps({**entry, "study_name": new}, separators=(",", ":")).encode() + b"\n"
                elif check is None:
                    body = line
                written = body if check is None else _checked(body.rstrip(b"\n"), checksum)
                checksum = zlib.crc32(written, checksum)
                file.write(written)
            file.flush()
            os.fsync(file.fileno())
        files.rename(folder, draft, JOURNAL)
    finally:
        files.remove(folder, draft)
        known._release()


def _checked(body: bytes, checksum: int) -> bytes:
    """An entry as a line with the checksum of the file up to there, which is `checksum` before it."""
    return b'%b,"check":"%08x"}\n' % (body[:-1], zlib.crc32(body, checksum))


def mend(folder: Path) -> None:
    """Cuts off a last line that a crash left half-written: what is appended to it would be lost, and all after it."""
    with os.fdopen(open_regular(folder / JOURNAL, os.O_RDWR), "rb+") as file:
        size = file.seek(0, os.SEEK_END)
        first = file.seek(max(0, size - MOST_LINE_BYTES))
        whole = first + file.read(size - first).rfind(b"\n") + 1
        if whole < size and (whole > first or first == 0):
            file.truncate(whole)


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
