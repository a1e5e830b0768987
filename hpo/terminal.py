"""What goes to a terminal: nothing of the user's is markup, and no control character reaches it raw."""

import contextlib
import io
import logging
import re
import sys
import threading
from collections.abc import Iterator
from typing import Any, Protocol, TextIO

from rich.console import Console
from rich.text import Text

from hpo.errors import HpoError

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters but newlines and tabs, those that turn the direction of a line, and bytes that are no text."""

SAID = "hpo.said"
"""The logger of what was printed for people, so that a log file has it too."""
_said = logging.getLogger(SAID)
_said.addHandler(logging.NullHandler())  # or warnings would be printed twice
_RAY_THREAD = "ray_listen_error_messages"
"""The thread in which Ray prints the errors of its nodes, whatever it is told of logs (`log_to_driver`)."""


class Unread(HpoError):
    """The reader of stdout has ended, as `head` does: that is no error, and nothing is printed of it."""

    exit_code = 141  # of other programs, which SIGPIPE kills


class Say(Protocol):
    """Prints lines."""

    def __call__(self, line: str, style: str = "") -> None:
        """Prints one line in a style of rich's."""


def plain(value: object) -> str:
    r"""A value as text that is safe to print: what a terminal would obey is shown, as `\x1b` for an escape."""
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), str(value))


def number(value: float) -> str:
    """A metric's value: four decimals, or three digits where these would show little of it."""
    return f"{value:.4f}" if value == 0 or 0.01 <= abs(value) < 1e5 or value != value else f"{value:.3g}"


def text(value: object, style: str = "") -> Text:
    """A value for rich to print as it is, without markup or emoji codes."""
    return Text(plain(value), style)


def saying(console: Console, style: str = "") -> Say:
    """A function that prints lines, in a style of their own or in the given one."""

    def say(line: str, style: str = style) -> None:
        _said.info("%s", line)
        console.print(text(line, style), soft_wrap=True)

    return say


def warn(console: Console, title: str, message: str) -> None:
    """Prints a message after a title in yellow, on a quiet console too."""
    _said.warning("%s: %s", title, message)
    loud = _on_stderr() if console.quiet else console
    loud.print(Text.assemble((f"{title}:", "yellow"), " ", text(message)), soft_wrap=True)


def progress_console() -> Console:
    """A console on stderr that never fails: a search goes on when nobody reads it any more, or its log is full."""
    return _on_stderr(_quiet)


def default_console() -> Console:
    """A silent console; in a notebook one whose lines stand below the cell, as they come.

    A live display would need ipywidgets there, and prints a warning at each refresh where it is not installed.
    """
    if not Console().is_jupyter:
        return Console(quiet=True)
    unfailing: Any = Unfailing(sys.stdout)  # has what Console uses of a stream
    return Console(file=unfailing, force_jupyter=False, force_terminal=False, width=120)


def _on_stderr(quiet: bool = False) -> Console:
    unfailing: Any = Unfailing(sys.stderr)  # has what Console uses of a stream
    return Console(file=unfailing, stderr=True, quiet=quiet)


def set_quiet(quiet: bool) -> None:
    """Sets whether progress and notes are left out, by `progress_console`."""
    global _quiet
    _quiet = quiet


_quiet = False


class Unfailing:
    """A text stream that drops what cannot be written.

    Args:
        stream: None where the process was started without it.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream

    def write(self, content: str) -> int:
        """Writes, if that is possible."""
        with contextlib.suppress(OSError, ValueError):
            if self._stream is not None:
                self._stream.write(content)
        return len(content)

    def flush(self) -> None:
        """Flushes, if that is possible."""
        with contextlib.suppress(OSError, ValueError):
            if self._stream is not None:
                self._stream.flush()

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        return self._stream is not None and self._stream.isatty()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class Libraries(Unfailing):
    """What libraries print, but not what Ray prints of its nodes: the search says itself what has become of them."""

    def write(self, content: str) -> int:
        """Writes, if that is possible and is not Ray's."""
        return len(content) if threading.current_thread().name == _RAY_THREAD else super().write(content)


class Answer:
    """The real stdout, to which a command's answer goes, whatever libraries print.

    Raises:
        HpoError: it is closed, or the disk that it goes to is full.
        Unread: who read it has ended.
    """

    def __init__(self) -> None:
        if sys.__stdout__ is None or sys.__stdout__.closed:
            raise HpoError("stdout is closed, and the answer was to go there")
        self._stream = sys.__stdout__
        self.terminal = self._stream.isatty()

    def print(self, what: object) -> None:
        """Prints a text, or what rich can render; in plain text where stdout is no terminal."""
        page = _Page(self._stream)
        console = Console(file=page, width=None if self.terminal else 120)
        console.print(text(what) if isinstance(what, str) else what, soft_wrap=isinstance(what, str))
        self._write(page.getvalue())
        self.flush()

    def write(self, content: str) -> int:
        """Writes data: as they are, but to a terminal as `plain`."""
        self._write(plain(content.replace("\r\n", "\n")) if self.terminal else content)
        return len(content)

    def flush(self) -> None:
        """Lets it be seen whether everything was written."""
        with self._telling():
            self._stream.flush()

    def _write(self, content: str) -> None:
        with self._telling():
            self._stream.write(content)

    @contextlib.contextmanager
    def _telling(self) -> Iterator[None]:
        try:
            yield
        except BrokenPipeError:
            raise Unread from None
        except OSError as error:
            raise HpoError(f"stdout cannot be written: {error.strerror or error}") from None
        except UnicodeEncodeError as error:
            raise HpoError(
                f"stdout cannot be written: its encoding {error.encoding} has no {error.object[error.start]!r}; set"
                " PYTHONUTF8=1"
            ) from None


class _Page(io.StringIO):
    """What is to be written to a stream, made for that stream."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self._like = stream

    @property
    def encoding(self) -> str:  # type: ignore[override]  # of StringIO it is None
        """The encoding in which it will be written; rich draws the lines of tables in it."""
        return self._like.encoding

    def isatty(self) -> bool:
        """Whether it will be seen."""
        return self._like.isatty()
