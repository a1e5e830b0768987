"""Artifacts and drafts of a study that nobody will use: `hpo gc` removes them."""

import re
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from pydantic import ByteSize

from hpo import files
from hpo.errors import InputError
from hpo.study import POOL
from hpo.study.artifacts import leaves, leftovers
from hpo.study.folder import ENSEMBLES
from hpo.study.study import Study
from hpo.study.trial import LIVE

_DAY = 24 * 3600.0


@dataclass(frozen=True)
class Freed:
    """What was removed, or would be: bytes, trials that have no artifacts now, and files that nobody needed."""

    bytes: int = 0
    trials: tuple[int, ...] = ()
    leftovers: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{shown(self.bytes)}: what {len(self.trials)} trials had stored, and {len(self.leftovers)} leftovers"


def collect(study: Study, keep: int = POOL, dry_run: bool = True, artifacts: str | None = None) -> Freed:
    """Removes what nobody will use of a study that is not searched now.

    These are drafts, states of trials that have ended, epochs older than the best one, the artifacts of all trials but
    the best, and studies and ensembles that were never finished, of a day ago or more. Ensembles have copies of what
    they need, so they stay as they are; the reports of all trials stay in the record.

    Args:
        study: whose folder is cleared up.
        keep: so many of the best trials keep their artifacts, and the incumbent.
        dry_run: only says what would be removed.
        artifacts: the place of its artifacts, where that is outside of its folder and does not say whose it is.

    Raises:
        InputError: `keep` is below 0.
        StudyError: the study is being searched, or its artifacts are in a place that is not known to be its own.
        OSError: something cannot be removed.
    """
    if keep < 0:
        raise InputError(f"the number of trials to keep must be 0 or more, got {keep}")
    if not dry_run:
        study.hold.claim(artifacts)  # before anything is changed, as a study of an earlier release is when it is held
    with nullcontext() if dry_run else study.hold.held():
        stored = study.artifacts.files()
        ended = {trial.number for trial in study.trials() if trial.state not in LIVE} & stored.keys()
        evicted = sorted(number for number in ended - _kept(study, keep, ended) if leaves(stored[number]))
        unused = {number: leftovers(stored[number]) for number in sorted(ended.difference(evicted))}
        half_made = list(_half_made(study))
        freed = Freed(
            sum(sum(stored[number].values()) for number in evicted)
            + sum(stored[number][name] for number, names in unused.items() for name in names)
            + sum(sum(files.sizes(*draft).values()) for draft in half_made),
            tuple(evicted),
            tuple(f"{number:05d}/{name}" for number, names in unused.items() for name in names)
            + tuple(str(folder / name) for folder, name in half_made),
        )
        if not dry_run:
            for number in evicted:
                study.artifacts.evict(number)
            for number, names in unused.items():
                for name in names:
                    study.artifacts.trial(number).remove(name)
            for draft in half_made:
                files.clear(*draft)
    return freed


def shown(number: int) -> str:
    """A number of bytes as one reads it, such as `20.0GB`."""
    return ByteSize(number).human_readable(decimal=True)


def _kept(study: Study, keep: int, stored: set[int]) -> set[int]:
    """The best of the trials that have artifacts, and the incumbent."""
    best = [trial.number for trial in study.leaderboard() if trial.number in stored][:keep]
    incumbent = study.best()
    return {*best} if incumbent is None else {*best, incumbent.number}


def _half_made(study: Study) -> Iterator[tuple[Path, str]]:
    """Drafts of studies beside it, and of its ensembles, that nobody has touched for a day; each as a name in a folder.

    No link is followed to them.
    """
    for base, below in ((study.folder.parent, ""), (study.folder, f"{ENSEMBLES}/")):
        for name in files.folders(base, below):
            if re.fullmatch(r"\..+\.[0-9a-f]{32}", name) and time.time() - files.newest(base, below + name) > _DAY:
                yield base, below + name
