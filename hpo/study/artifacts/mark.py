"""The mark of a search in the folder of its artifacts: who reads it there sees that very folder."""

import socket
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from hpo.study.artifacts.place import Folder

_NAME = ".search"
_MOST_BYTES = 2**12


class Unseen(OSError):
    """This machine does not see the folder of the artifacts."""


@dataclass(frozen=True)
class Mark:
    """A file in a folder that only those who share the folder can read.

    `text` is new with each search, so an old copy of the folder on another machine is not taken for it.
    """

    place: Folder
    text: str

    @classmethod
    def leave(cls, place: Folder) -> Self:
        """Marks a folder, which is made where it is not there.

        Raises:
            OSError: the folder cannot be written.
        """
        mark = cls(place, uuid.uuid4().hex)
        place.write(_NAME, mark.text.encode())
        return mark

    @property
    def folder(self) -> Path:
        """The whole path of the folder."""
        return self.place.folder.absolute()

    @property
    def seen(self) -> bool:
        """Whether this machine sees it; not where the folder's server does not answer either."""
        try:
            return self.place.read(_NAME, _MOST_BYTES) == self.text.encode()
        except OSError:
            return False

    def check(self) -> None:
        """Does nothing where it is seen.

        Raises:
            Unseen: it is not.
        """
        if not self.seen:
            raise Unseen(f"machine {socket.gethostname()} does not see '{self.folder}'")
