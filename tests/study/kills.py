"""Kills of this process, as the files of a study see them: from one change of a file on, there is no other."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_CHANGES = ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.truncate")
_left: int | None = None


class Killed(BaseException):
    """What runs is killed."""


@contextmanager
def killed_after(changes: int) -> Iterator[None]:
    """Lets so many changes of files be made within; each one that follows raises, also in what clears up."""
    global _left
    _left = changes
    try:
        yield
    finally:
        _left = None


def _hook(event: str, arguments: tuple[object, ...]) -> None:
    global _left
    if _left is None:
        return
    flags = arguments[2] if event == "open" and isinstance(arguments[2], int) else 0
    if event in _CHANGES or flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
        if _left <= 0:
            raise Killed(event)
        _left -= 1


sys.addaudithook(_hook)
