"""The choice of a library's metrics to report, and of their names."""

from collections.abc import Iterable, Mapping
from typing import Any

from hpo.errors import TrainingError
from hpo.plugins import did_you_mean

Wanted = Iterable[str] | Mapping[str, str] | None
"""Names, or the name to report -> the library's name; all metrics where None."""


def chosen(found: Mapping[str, Any], wanted: Wanted, library: str) -> dict[str, Any]:
    """The metrics to report.

    Args:
        found: what the library has measured.
        wanted: which of it, by which names.
        library: for the message.

    Raises:
        TrainingError: one is not among them.
    """
    if wanted is None:
        return dict(found)
    names = dict(wanted) if isinstance(wanted, Mapping) else {name: name for name in wanted}
    for name in names.values():
        if name not in found:
            raise TrainingError(f"{library} has measured no '{name}' in this epoch.{did_you_mean(name, found)}")
    return {reported: found[name] for reported, name in names.items()}
