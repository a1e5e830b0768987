"""A place for files: a folder, a prefix in an object store, or nowhere.

A file appears in it whole or not at all, so the order in which files are written says what is whole.
"""

import contextlib
import errno
import os
import re
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from hpo import files
from hpo.errors import InputError, StudyError

Content = bytes | memoryview
_STORES = ("s3", "gs", "gcs", "abfs", "abfss")
"""Schemes that are passed on to pyarrow; by others it would load libraries, run code, or follow links."""
_SECRET = re.compile(r"(^|_)(secret|password|token|key|credentials?|sig(nature)?)(_|$)", re.IGNORECASE)
"""What an option of a URI is called that nobody else may read."""


@dataclass
class Lock:
    """Whether the files of a place, and of all places below it, are kept from being changed."""

    closed: bool = False
    """Nothing is changed."""
    sealed: bool = False
    """An object store is not even asked for anything, since its host may be anybody's."""


@dataclass(frozen=True)
class Place(ABC):
    """Files by name; a name may have slashes."""

    lock: Lock = field(default_factory=Lock, kw_only=True, repr=False, compare=False)
    """Closed until it is known that the place is the study's own; the places below have the same one."""

    @abstractmethod
    def __truediv__(self, name: str) -> "Place":
        """The place below."""

    @abstractmethod
    def files(self) -> dict[str, int]:
        """All files here and below, name -> bytes; none where nothing was written."""

    @property
    def is_empty(self) -> bool:
        """Whether nothing at all is here."""
        return not self.files()

    @abstractmethod
    def read(self, name: str, most: int | None = None) -> bytes:
        """A file.

        Args:
            name: of the file.
            most: bytes that it may have.

        Raises:
            TooLarge: it has more.
            OSError: it is not there, or the place cannot be reached.
        """

    @abstractmethod
    def write(self, name: str, content: Content) -> None:
        """Writes a file, or replaces it.

        Raises:
            OSError: the place cannot be written.
        """

    @abstractmethod
    def remove(self, name: str) -> None:
        """Removes a file, where there is one."""

    @abstractmethod
    def clear(self) -> None:
        """Removes everything here and below."""

    @property
    def path(self) -> Path:
        """The folder.

        Raises:
            StudyError: it is none.
        """
        raise StudyError(f"'{self}' is no folder of this machine")

    def check_open(self) -> None:
        """Holds back who would change a file.

        Raises:
            StudyError: the lock is closed.
        """
        if self.lock.closed:
            raise StudyError(f"nothing is changed in '{self}' before it is known whose it is")


def place(uri: str | Path) -> Place:
    """The place of a path or of a URI such as `s3://bucket/prefix`, `gs://bucket/prefix` or `file:///folder`.

    Options of an object store are its URI's query, such as `?region=eu-west-1` or `?endpoint_override=host:9000`, as
    `pyarrow.fs.FileSystem.from_uri` has them. Credentials come from the environment of every machine.

    Raises:
        InputError: it is of no known form, or there are credentials in the URI; nothing else is looked at.
    """
    if {"\n", "\r"} & set(str(uri)):
        raise InputError(f"a place for artifacts has no line break in its name, got {str(uri)!r:.200}")
    if isinstance(uri, Path) or "://" not in uri:
        return _folder(str(uri))
    shown, scheme = _without_credentials(uri), uri.partition("://")[0]
    if scheme not in (*_STORES, "file"):
        raise InputError(
            f"'{shown}' names no place for artifacts: a folder is named by its path, without '://', or as"
            " file:///folder, and object stores are s3://, gs:// and abfs://"
        )
    if shown != uri:
        raise InputError(
            f"'{shown}' was given with credentials, which would be written down; give them by the environment"
            " (such as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY)"
        )
    return _folder(unquote(urlsplit(uri).path)) if scheme == "file" else Bucket(uri)


def _folder(path: str) -> "Folder":
    if "\0" in path:
        raise InputError(f"{path!r} is no path of a folder: it has a character 0")
    return Folder(Path(path))


def _without_credentials(uri: str) -> str:
    """The URI, if it has none; what is shown of it, if it has.

    They stand before an @ (a secret may have slashes and question marks), but for Azure's container, or are options, by
    their names or within their values.
    """
    scheme, _, rest = uri.partition("://")
    if scheme == "file":
        return uri
    before, at, _ = rest.rpartition("@")
    container = scheme.startswith("abfs") and not {":", "/", "?"} & set(before)
    if at and not container and (":" in before or not {"/", "?"} & set(before)):
        rest = rest.removeprefix(f"{before}@")
    where, mark, options = rest.partition("?")
    kept = [option for option in options.split("&") if not _SECRET.search(option.partition("=")[0])]
    return f"{scheme}://{where}{mark}{'&'.join(kept)}"


@dataclass(frozen=True)
class Folder(Place):
    """A folder that this machine sees, below which no link is followed. Sent to another process, it is absolute.

    Links that lead to `base` are followed once, when this object is made: its copies, the places below, and what other
    processes are sent, have the same folder. So it is the one that was held to be a study's own, whoever turns a link
    later.
    """

    base: Path
    """The folder, as the user gave it; it may be reached through links."""
    below: str = ""
    """The path below `base`, with slashes; empty is `base` itself."""
    found: str | None = field(default=None, repr=False, compare=False)
    """The path of `base` below the root, on which no link was when it was found."""

    def __post_init__(self) -> None:
        if self.found is None:
            object.__setattr__(self, "found", os.path.realpath(self.base).lstrip("/"))

    def __str__(self) -> str:
        return str(self.folder)

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(Folder, lock=self.lock), (self.base.absolute(), self.below, self.found)

    def __truediv__(self, name: str) -> "Folder":
        return replace(self, below=f"{self.below}/{name}" if self.below else name)

    @property
    def folder(self) -> Path:
        """The whole path."""
        return self.base / self.below

    @property
    def path(self) -> Path:
        """The folder."""
        return self.folder

    def files(self) -> dict[str, int]:
        """All files here and below, name -> bytes; links are none."""
        return files.sizes(*self._at(""))

    @property
    def is_empty(self) -> bool:
        """Whether nothing at all is here, not even a link or an empty folder."""
        return files.is_empty(*self._at(""))

    def opened(self, name: str, flags: int = os.O_RDONLY) -> int:
        """The descriptor of a regular file, as `hpo.files.opened` has it."""
        if flags & (os.O_WRONLY | os.O_RDWR):
            self.check_open()
        return files.opened(*self._at(name), flags)

    def read(self, name: str, most: int | None = None) -> bytes:
        """A file."""
        return files.read(*self._at(name), most)

    def write(self, name: str, content: Content) -> None:
        """Writes a draft beside it and renames that."""
        self.check_open()
        files.write(*self._at(name), content)

    def remove(self, name: str) -> None:
        """Removes a file."""
        self.check_open()
        files.remove(*self._at(name))

    def clear(self) -> None:
        """Removes the folder."""
        self.check_open()
        files.clear(*self._at(""))

    def move_to(self, new: str) -> None:
        """Gives the folder another name where it is."""
        self.check_open()
        root, name = self._at("")
        files.rename(root, name, f"{name.rpartition('/')[0]}/{new}")

    def _at(self, name: str) -> tuple[Path, str]:
        """A file, or the folder itself, as a name below the root of all folders: no link is on the way."""
        return _ROOT, "/".join(part for part in (self.found, self.below, name) if part)

    @property
    def real(self) -> Path:
        """The path that files are reached by: without links, as it was found when this object was made."""
        root, name = self._at("")
        return root / name


_ROOT = Path("/")


@dataclass(frozen=True)
class Nowhere(Place):
    """The place of a study in memory: nothing is in it, and nothing can be written to it."""

    def __str__(self) -> str:
        return "(nowhere)"

    def __truediv__(self, name: str) -> "Nowhere":
        return self

    def files(self) -> dict[str, int]:
        """None."""
        return {}

    def read(self, name: str, most: int | None = None) -> bytes:
        """No file is there."""
        raise FileNotFoundError(errno.ENOENT, "a study in memory has no files", name)

    def write(self, name: str, content: Content) -> None:
        """Nothing can be written."""
        raise OSError(errno.EROFS, "a study in memory keeps no files", name)

    def remove(self, name: str) -> None:
        """There is nothing to remove."""

    def clear(self) -> None:
        """There is nothing to remove."""


@dataclass(frozen=True)
class Bucket(Place):
    """A prefix in an object store."""

    uri: str
    """The URI, as the user gave it."""
    below: str = ""
    """The path under the URI, with a slash before each name."""

    def __str__(self) -> str:
        before, _, query = self.uri.partition("?")
        return f"{before.rstrip('/')}{self.below}" + (f"?{query}" if query else "")

    def __truediv__(self, name: str) -> "Bucket":
        return replace(self, below=f"{self.below}/{name}")

    def files(self) -> dict[str, int]:
        """All files here and below, name -> bytes; what has `..` in its name is none, since that leads elsewhere."""
        from pyarrow.fs import FileSelector, FileType

        with self._opened() as (system, base):
            found = system.get_file_info(FileSelector(base, allow_not_found=True, recursive=True))
        below = {info.path.removeprefix(f"{base}/"): info for info in found if info.type == FileType.File}
        return {name: info.size for name, info in below.items() if _is_below(name) and info.path != base}

    def read(self, name: str, most: int | None = None) -> bytes:
        """A file."""
        most, content = files.LARGEST if most is None else most, bytearray()
        with self._opened(name) as (system, path), system.open_input_stream(path, compression=None) as stream:
            while chunk := stream.read(min(_CHUNK, most + 1 - len(content))):
                content += chunk
        if len(content) > most:
            raise files.TooLarge(len(content), most)
        return bytes(content)

    def write(self, name: str, content: Content) -> None:
        """Puts an object, which appears whole."""
        self.check_open()
        with self._opened(name) as (system, path), system.open_output_stream(path, compression=None) as stream:
            stream.write(content)

    def remove(self, name: str) -> None:
        """Removes a file."""
        self.check_open()
        with self._opened(name) as (system, path), contextlib.suppress(FileNotFoundError):
            system.delete_file(path)

    def clear(self) -> None:
        """Removes all files under the prefix, one by one: a store would be asked for what leads elsewhere, too."""
        for name in self.files():
            self.remove(name)

    @contextmanager
    def _opened(self, name: str = "") -> Iterator[tuple[Any, str]]:
        """The store, and the whole path of a file here; what pyarrow raises becomes an OSError.

        Raises:
            StudyError: the lock is sealed.
        """
        from pyarrow.lib import ArrowException

        if self.lock.sealed:
            raise StudyError(
                f"nothing is asked of '{self}', which is not proven to be this study's by your secret; if it is, name"
                " it once: by `--artifacts` of `hpo search` or `hpo gc`, or by HPO_ARTIFACTS for any command"
            )
        if not _is_below(below := f"{self.below}/{name}".strip("/")) and below:
            raise OSError(f"'{below}' is no name below '{self.uri}'")
        try:
            with _OPENING:
                system, base = _open(self.uri)
            yield system, "/".join(part for part in (base, below) if part)
        except (ArrowException, NotImplementedError) as error:
            raise error if isinstance(error, OSError) else OSError(str(error)) from None


def _is_below(name: str) -> bool:
    """Whether a name leads below the place that it is looked for in, however a store reads it."""
    return not {"", ".", ".."} & set(name.split("/"))


_CHUNK = 2**26
"""Bytes that are asked of a store at once."""
_OPENING = threading.Lock()


@cache
def _open(uri: str) -> tuple[Any, str]:
    """pyarrow's file system and the path in it; one a process, since its connections are kept."""
    from pyarrow.fs import FileSystem

    try:
        system, base = FileSystem.from_uri(uri)
    except (ValueError, NotImplementedError) as error:  # pyarrow's own: no bucket, or a store that it was built without
        raise OSError(str(error)) from None
    if not base:
        raise OSError("the URI names no bucket")
    return system, base.rstrip("/")
