"""What a reader of data leaves out or changes, so that it can be told."""

from collections.abc import Mapping, Sequence
from typing import Any

_SHOWN = 3
"""Names in a line; the others are counted."""


class Notes:
    """Collects what was left out or changed, by kind; of each kind it keeps the count and the first names."""

    def __init__(self) -> None:
        self._kinds: dict[str, tuple[int, list[str]]] = {}

    def add(self, kind: str, name: str) -> None:
        """Counts one more of a kind, such as `hidden files left out`."""
        count, names = self._kinds.get(kind, (0, []))
        self._kinds[kind] = (count + 1, [*names, name] if len(names) < _SHOWN else names)

    def to_json(self) -> dict[str, list[Any]]:
        """What was noted, of each kind the count and the first names."""
        return {kind: [count, names] for kind, (count, names) in self._kinds.items()}

    def merge(self, others: Mapping[str, Sequence[Any]]) -> None:
        """Adds what others have noted, as `to_json` gives it."""
        for kind, (count, names) in others.items():
            own, known = self._kinds.get(kind, (0, []))
            self._kinds[kind] = (own + count, [*known, *names][:_SHOWN])

    def lines(self) -> tuple[str, ...]:
        """One line a kind: what it is, how many, the first names."""
        return tuple(
            f"{kind}: {count} ({', '.join(names)}{', ...' if count > len(names) else ''})"
            for kind, (count, names) in self._kinds.items()
        )
