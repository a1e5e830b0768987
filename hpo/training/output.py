"""What a trial prints, as much of it as is kept: the beginning and the end."""

from hpo.study.artifacts import MOST_PRINTED

_HALF = MOST_PRINTED // 2
_SHORT, _LETTERS = 20, 300
"""Lines and letters of a line that are shown of what was printed last."""


class Output:
    """One stream of a trial: its first and its last half MiB.

    Args:
        before: what was kept of the stream when the trial ran before.
    """

    def __init__(self, before: bytes = b"") -> None:
        self._head, self._tail = bytearray(), bytearray()
        self._left_out = 0
        self.add(before)

    def add(self, content: bytes) -> None:
        """Takes what was printed."""
        free = max(0, _HALF - len(self._head))
        self._head += content[:free]
        self._tail += content[free:]
        if len(self._tail) > 2 * _HALF:  # not at each line
            self._trim()

    @property
    def kept(self) -> bytes:
        """The content of the file."""
        self._trim()
        if not self._left_out:
            return bytes(self._head + self._tail)
        return bytes(self._head) + f"\n... {self._left_out:,} bytes left out ...\n".encode() + bytes(self._tail)

    @property
    def last(self) -> list[str]:
        """The last lines of the output that are not empty, each shortened."""
        text = bytes(self._tail or self._head)[-2 * _SHORT * _LETTERS :].decode(errors="replace")
        lines = [line.strip() for line in text.replace("\r", "\n").splitlines() if line.strip()]
        return [line if len(line) <= _LETTERS else f"{line[:_LETTERS]} ..." for line in lines[-_SHORT:]]

    def _trim(self) -> None:
        over = len(self._tail) - _HALF
        if over > 0:
            del self._tail[:over]
            self._left_out += over
