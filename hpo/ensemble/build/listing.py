"""Ensembles that were built, as `hpo ensembles` lists them."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pydantic

from hpo import files
from hpo.ensemble.build.folders import all_ensembles
from hpo.study.folder import ENSEMBLES

RESULT = "result.json"
"""The file in an ensemble's folder that says what was built."""
_MOST_BYTES = 64 * 2**20


@dataclass(frozen=True)
class EnsembleSummary:
    """One ensemble: how it was made and how good it is; `validation` and `test` map metric -> value."""

    name: str
    study: str
    method: str
    members: tuple[str, ...]
    """Names of the members, such as `trial 12`."""
    validation: dict[str, float]
    test: dict[str, float]
    built: datetime
    """When its files were written, UTC."""

    def to_json(self) -> dict[str, Any]:
        """One of the documents that `hpo ensembles --format json` prints."""
        return {
            "ensemble": self.name,
            "study": self.study,
            "method": self.method,
            "members": list(self.members),
            "validation": self.validation,
            "test": self.test,
            "built": self.built.isoformat(timespec="seconds"),
        }


def listed(storage: Path, study: str | None = None) -> tuple[list[EnsembleSummary], dict[str, str]]:
    """All ensembles of a storage folder, the newest last.

    Args:
        storage: the folder of all studies.
        study: whose ensembles; all where None.

    Returns:
        The ensembles, and name -> the problem of each whose result cannot be read.
    """
    found: list[EnsembleSummary] = []
    problems: dict[str, str] = {}
    for owner, name in all_ensembles(storage):
        if study not in (owner, None):
            continue
        try:
            found.append(_summary(storage / owner, name))
        except (OSError, ValueError) as error:
            problems[name] = f"ensemble '{name}' of study '{owner}': {RESULT} cannot be read: {error}"
    return sorted(found, key=lambda one: (one.built, one.name)), problems


def _summary(folder: Path, name: str) -> EnsembleSummary:
    try:
        read = _Result.model_validate_json(files.read(folder, f"{ENSEMBLES}/{name}/{RESULT}", _MOST_BYTES))
    except pydantic.ValidationError as error:
        raise ValueError(f"it is damaged: {error.errors(include_url=False)[0]['msg']}") from None
    built = datetime.fromtimestamp(files.newest(folder, f"{ENSEMBLES}/{name}"), UTC)
    members = tuple(member.name for member in read.members)
    return EnsembleSummary(name, folder.name, read.method, members, read.validation, read.test, built)


class _Member(pydantic.BaseModel):
    name: str


class _Result(pydantic.BaseModel):
    """What is read of a result; whoever can write to the folder may have written anything."""

    method: str
    members: tuple[_Member, ...]
    validation: dict[str, float]
    test: dict[str, float]
