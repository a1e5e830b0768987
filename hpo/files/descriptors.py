"""Files below a folder, reached without following links: who can write in it cannot lead us to files elsewhere.

Names are relative to the folder and may have slashes. The folder itself may be reached through links, since the user
names it; nothing below it may.
"""

import errno
import os
import shutil
import stat
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath

_FOLDER = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_CLOEXEC
LARGEST = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
"""The largest file that is read, where nothing less is known: content and what is made of it must be in memory."""

_MOST_FOLDERS = 100
"""How many folders deep a folder is read; Python's own ways go deeper by recursion, with a descriptor each."""


class NotAFile(OSError):
    """A link, a pipe or a device stands where a file or a folder should."""

    def __init__(self, path: str | Path, what: str) -> None:
        super().__init__(errno.ELOOP, f"is {what}, and no file", str(path))
        self.what, self.is_link = what, what.startswith("a link")

    def __str__(self) -> str:
        return f"'{self.filename}' is {self.what}"


class TooDeep(OSError):
    """Folders are in each other without an end."""

    def __init__(self, path: Path) -> None:
        super().__init__(errno.ENAMETOOLONG, "has more folders in each other than are read", str(path))

    def __str__(self) -> str:
        return f"'{self.filename}' has more folders in each other than the {_MOST_FOLDERS} that are read"


class TooLarge(OSError, ValueError):
    """A file has more bytes than it may."""

    def __init__(self, size: int, most: int) -> None:
        super().__init__(f"it has {size:,} bytes, and {most:,} are the most")


def open_regular(path: str | Path, flags: int = os.O_RDONLY, *, follow: bool = False, at: int | None = None) -> int:
    """The descriptor of a regular file.

    Args:
        path: of the file.
        flags: as `os.open` has them; a file that is made has the permissions of the umask.
        follow: a link is followed; so for what the user names.
        at: the descriptor of the folder that the path is relative to.

    Raises:
        NotAFile: it is a link, a pipe, a device or a folder, or is to be written and has another name elsewhere;
            nothing waits for a pipe's other end.
        OSError: it cannot be opened.
    """
    try:
        own = 0 if follow else os.O_NOFOLLOW
        descriptor = os.open(path, flags | own | os.O_NONBLOCK | os.O_CLOEXEC, 0o666, dir_fd=at)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):
            raise NotAFile(path, "a link" if error.errno == errno.ELOOP else "a pipe or a device") from None
        raise
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        os.close(descriptor)
        raise NotAFile(path, "a folder" if stat.S_ISDIR(found.st_mode) else "a pipe or a device")
    if found.st_nlink > 1 and flags & (os.O_WRONLY | os.O_RDWR):
        os.close(descriptor)
        raise NotAFile(path, "a hard link: the same file has another name elsewhere")
    return descriptor


def read_regular(path: str | Path, most: int | None = None, *, follow: bool = False, at: int | None = None) -> bytes:
    """The content of a regular file.

    Args:
        path: of the file.
        most: bytes that it may have; half of this machine's memory where None.
        follow: a link is followed.
        at: the descriptor of the folder that the path is relative to.

    Raises:
        NotAFile: as of `open_regular`.
        TooLarge: it is larger.
        OSError: it cannot be read.
    """
    with os.fdopen(open_regular(path, follow=follow, at=at), "rb") as file:
        return file.read(checked_size(file.fileno(), most))


def checked_size(descriptor: int, most: int | None = None) -> int:
    """The bytes of a file, which are not too many.

    Args:
        descriptor: of the file.
        most: bytes that it may have; half of this machine's memory where None.

    Raises:
        TooLarge: it has more.
    """
    size, most = os.fstat(descriptor).st_size, LARGEST if most is None else most
    if size > most:
        raise TooLarge(size, most)
    return size


def check_own(folder: Path, names: Iterable[str]) -> None:
    """Holds what is there of these names to be files and folders of this folder's own.

    Raises:
        NotAFile: one is a link, a pipe or a device.
    """
    for name in names:
        with suppress(FileNotFoundError):
            kind = os.lstat(folder / name).st_mode
            if stat.S_ISLNK(kind):
                target = ""
                with suppress(OSError):  # it is no link any more
                    target = f" to '{(folder / name).readlink()}'"
                raise NotAFile(folder / name, f"a link{target}")
            if not stat.S_ISREG(kind) and not stat.S_ISDIR(kind):
                raise NotAFile(folder / name, "a pipe or a device")


def opened(base: Path, name: str, flags: int = os.O_RDONLY) -> int:
    """The descriptor of a regular file, as `open_regular` has it; folders are made where the flags make the file.

    Raises:
        OSError: it cannot be opened, or is reached through a link.
    """
    folder, own = _split(name)
    with _opened(base, folder, make=bool(flags & os.O_CREAT)) as at:
        return open_regular(own, flags, at=at)


def read(base: Path, name: str, most: int | None = None) -> bytes:
    """A file.

    Args:
        base: a folder.
        name: of the file below it.
        most: bytes that it may have; half of this machine's memory where None.

    Raises:
        TooLarge: it has more.
        OSError: it is not there, or is reached through a link.
    """
    folder, own = _split(name)
    with _opened(base, folder) as at:
        return read_regular(own, most, at=at)


def write(base: Path, name: str, content: bytes | memoryview) -> None:
    """Writes a file or replaces it: a draft beside it is renamed. Folders are made.

    Raises:
        OSError: it cannot be written, or its folder is reached through a link.
    """
    folder, own = _split(name)
    draft = f".{own}.{uuid.uuid4().hex}"
    with _opened(base, folder, make=True) as at:
        try:
            with os.fdopen(open_regular(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, at=at), "wb") as file:
                file.write(content)
            os.replace(draft, own, src_dir_fd=at, dst_dir_fd=at)
        except BaseException:  # a signal too
            with suppress(OSError):
                os.unlink(draft, dir_fd=at)
            raise


def rename(base: Path, name: str, new: str) -> None:
    """Renames a file or a folder; a file, or an empty folder, that has the new name is replaced.

    Raises:
        OSError: it cannot be renamed, or one of the folders is reached through a link.
    """
    (folder, own), (new_folder, new_own) = _split(name), _split(new)
    with _opened(base, folder) as at, _opened(base, new_folder) as there:
        os.rename(own, new_own, src_dir_fd=at, dst_dir_fd=there)


def remove(base: Path, name: str) -> None:
    """Removes a file, where there is one; of a link the link.

    Raises:
        OSError: it cannot be removed, or its folder is reached through a link.
    """
    folder, own = _split(name)
    with suppress(FileNotFoundError), _opened(base, folder) as at:
        os.unlink(own, dir_fd=at)


def clear(base: Path, name: str) -> None:
    """Removes a folder and all in it, where there is one; links in it are removed, what they point to stays.

    Raises:
        OSError: it cannot be removed, or is reached through a link.
    """
    folder, own = _split(name)
    with suppress(FileNotFoundError), _opened(base, folder) as at:
        try:
            shutil.rmtree(own, dir_fd=at)
        except RecursionError:
            raise TooDeep(base / name) from None


def sizes(base: Path, name: str) -> dict[str, int]:
    """All files of a folder and below, name -> bytes; none where it is not there. Links are left out.

    Raises:
        OSError: it is reached through a link.
    """
    return {file: kept.st_size for file, kept in _walked(base, name) if stat.S_ISREG(kept.st_mode)}


def newest(base: Path, name: str) -> float:
    """The time when anything in a folder and below has changed last; 0 where it is not there.

    Raises:
        OSError: it is reached through a link.
    """
    return max((kept.st_mtime for _, kept in _walked(base, name)), default=0.0)


def folders(base: Path, name: str = "") -> list[str]:
    """The names of the folders in a folder, in order; none where it is not there, or is reached through a link."""
    with suppress(FileNotFoundError, NotADirectoryError, NotAFile), _opened(base, name) as at, _listed(at) as found:
        return sorted(entry.name for entry in found if entry.is_dir(follow_symlinks=False))
    return []


@contextmanager
def _listed(at: int) -> "Iterator[Iterator[os.DirEntry[str]]]":
    """What is in an open folder."""
    listed = os.open(".", os.O_RDONLY | os.O_CLOEXEC, dir_fd=at)
    try:
        with os.scandir(listed) as found:
            yield found
    finally:
        os.close(listed)


def is_empty(base: Path, name: str) -> bool:
    """Whether a folder has nothing at all, not even a link or an empty folder; also where it is not there.

    Raises:
        OSError: it is reached through a link.
    """
    with suppress(FileNotFoundError), _opened(base, name) as at, _listed(at) as found:
        return next(found, None) is None
    return True


def has(base: Path, name: str) -> bool:
    """Whether there is a regular file of this name, which no link leads to."""
    folder, own = _split(name)
    with suppress(OSError), _opened(base, folder) as at:
        return stat.S_ISREG(os.stat(own, dir_fd=at, follow_symlinks=False).st_mode)
    return False


def _walked(base: Path, name: str) -> Iterator[tuple[str, os.stat_result]]:
    """A folder and all folders and files below, name -> what it is; links are not followed."""
    with suppress(FileNotFoundError), _opened(base, name) as at:
        for folder, below, files, descriptor in os.fwalk(".", dir_fd=at):
            if below and folder.count("/") >= _MOST_FOLDERS:
                raise TooDeep(base / name)
            yield folder, os.fstat(descriptor)
            for file in files:
                with suppress(FileNotFoundError):  # removed meanwhile
                    kept = os.stat(file, dir_fd=descriptor, follow_symlinks=False)
                    yield PurePosixPath(folder, file).as_posix(), kept


def _split(name: str) -> tuple[str, str]:
    folder, _, own = name.rpartition("/")
    if own == "..":
        raise NotAFile(name, "a name that leads out of its folder")
    return folder, own


@contextmanager
def _opened(base: Path, name: str, make: bool = False) -> Iterator[int]:
    """The descriptor of a folder below another."""
    if make:
        base.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(base, _FOLDER)
    try:
        for part in PurePosixPath(name).parts:
            if part in ("..", "/"):
                raise NotAFile(base / name, "a name that leads out of its folder")
            try:
                below = _below(descriptor, part, make)
            except OSError as error:
                if error.errno in (errno.ELOOP, errno.ENOTDIR):
                    raise NotAFile(base / name, "reached through a link") from None
                raise
            os.close(descriptor)
            descriptor = below
        yield descriptor
    finally:
        os.close(descriptor)


def _below(at: int, part: str, make: bool) -> int:
    """The descriptor of a folder in another, which is made where that is wanted."""
    try:
        return os.open(part, _FOLDER | os.O_NOFOLLOW, dir_fd=at)
    except FileNotFoundError:
        if not make:
            raise
    with suppress(FileExistsError):
        os.mkdir(part, dir_fd=at)
    return os.open(part, _FOLDER | os.O_NOFOLLOW, dir_fd=at)
