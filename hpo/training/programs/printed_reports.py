"""Reports in what a program prints: lines of JSON, and what a regular expression finds."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from hpo.errors import TrainingError, shown
from hpo.spec import SearchSpec
from hpo.spec.command import EPOCH

_LONGEST = 2**20
"""Bytes of a line; a longer one is no report."""
_BREAK = re.compile(rb"[\r\n]")


@dataclass(frozen=True)
class Told:
    """Metrics that a program has reported; `epoch` is None where it did not say which."""

    metrics: dict[str, Any]
    epoch: Any = None


class PrintedReports:
    """Finds reports in the output of a program, a piece at a time.

    Args:
        spec: names the objective, by which a report is known, and the pattern.
    """

    def __init__(self, spec: SearchSpec) -> None:
        assert spec.command is not None
        self._objective = spec.objective.metric
        self._wanted = {one.metric for one in spec.objectives} | {rule.metric for rule in spec.constraints}
        self._pattern = None if spec.command.metrics is None else re.compile(spec.command.metrics)
        self._mark = json.dumps(self._objective).encode()
        self._rest, self._too_long = b"", False
        self._found: dict[str, str] = {}
        """What the pattern has found since the last report."""
        self.torn: str | None = None
        """The last line that looks like a report of JSON, and is none."""

    def feed(self, content: bytes) -> Iterator[Told]:
        """Takes what was printed; the reports in its whole lines.

        Raises:
            TrainingError: what the pattern found is no number.
        """
        *lines, rest = _BREAK.split(self._rest + content)
        if lines and self._too_long:
            lines, self._too_long = lines[1:], False
        if len(rest) > _LONGEST:
            rest, self._too_long = b"", True
        self._rest = rest
        for line in lines:
            yield from self._reports(line)

    def end(self) -> Iterator[Told]:
        """Takes the last line, which no line break has ended."""
        line, self._rest = self._rest, b""
        yield from self._reports(line)

    def _reports(self, line: bytes) -> Iterator[Told]:
        if len(line) <= _LONGEST:
            yield from self._json(line)
            if self._pattern is not None:
                yield from self._matches(line.decode(errors="replace"))

    def _json(self, line: bytes) -> Iterator[Told]:
        if not line.lstrip().startswith(b"{"):
            return
        try:
            document = json.loads(line)
        except (ValueError, RecursionError):  # as bytes that are no UTF-8 are
            if self._mark in line or b'"epoch"' in line:
                self.torn = line.decode(errors="replace").strip()
            return
        if isinstance(document, dict) and self._objective in document:
            metrics = {
                name: value
                for name, value in document.items()
                if name != EPOCH and (name in self._wanted or _is_number(value))
            }
            yield Told(metrics, document.get(EPOCH))

    def _matches(self, line: str) -> Iterator[Told]:
        assert self._pattern is not None
        for match in self._pattern.finditer(line):
            found = {name: text for name, text in match.groupdict().items() if text is not None}
            self._found |= found
            if self._objective in found:
                numbers = {name: _number(name, text) for name, text in self._found.items()}
                self._found = {}
                yield Told({name: value for name, value in numbers.items() if name != EPOCH}, numbers.get(EPOCH))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _number(name: str, text: str) -> float | int:
    try:
        number = float(text)
    except ValueError:
        raise TrainingError(
            f"the program printed {shown(text)}, which `command.metrics` takes for '{name}': it is no number"
        ) from None
    return int(number) if name == EPOCH and number.is_integer() else number
