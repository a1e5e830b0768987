"""How much of the disk a study takes: a budget that holds while it is searched, and a clearing up after."""

import re
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from pydantic import ByteSize

from hpo import files
from hpo.errors import InputError
from hpo.study import ranking
from hpo.study.artifacts import leftovers, whole_epoch
from hpo.study.folder import ENSEMBLES
from hpo.study.ranking import Fitness
from hpo.study.study import Study
from hpo.study.trial import LIVE, Metrics, State, TrialRecord

MEMBERS = 5
"""So many of the best trials always stay: the members of an ensemble, by default."""
POOL = 50
"""So many of the best trials are candidates for an ensemble, by default."""
_DAY = 24 * 3600.0


@dataclass(frozen=True)
class Freed:
    """What was removed, or would be: bytes, trials that have no artifacts now, and files that nobody needed."""

    bytes: int = 0
    trials: tuple[int, ...] = ()
    leftovers: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{shown(self.bytes)}: what {len(self.trials)} trials had stored, and {len(self.leftovers)} leftovers"


class DiskBudget:
    """Keeps the artifacts of a study's trials within a number of bytes, while it is searched.

    When a trial ends and they are above it, those of the weakest trials that have ended are removed, as many as needed.
    The best trials and the incumbent stay, and all that run or are paused: nothing goes that the scheduler may still
    promote or breed from. Bytes are counted once, and then only those of trials that have changed.

    It is told what happens in the search, as `hpo.study.trial.Observer`.

    Args:
        study: that is searched.
        limit: bytes.
        members: so many of the best trials stay.
    """

    def __init__(self, study: Study, limit: int, members: int = MEMBERS) -> None:
        self._study, self._limit, self._members = study, limit, members
        self._sizes = {number: sum(files.values()) for number, files in study.artifacts.files().items()}
        self._ended: dict[int, Fitness | None] = {}
        self._complete: set[int] = set()
        self._changed: set[int] = set()
        for trial in study.trials():
            if trial.state not in LIVE:
                self._note(trial)

    @property
    def used(self) -> int:
        """Bytes, as far as they are known: those of a running trial grow until the next one ends."""
        return sum(self._sizes.values())

    @property
    def problem(self) -> str | None:
        """Why the search cannot go on: what must be kept is above the budget."""
        if self.used <= self._limit or self._weakest():
            return None
        waiting = len([number for number in self._sizes if number not in self._ended])
        return (
            f"the disk budget of {shown(self._limit)} is spent: the best {self._members} trials and {waiting} that run"
            f" or are paused take {shown(self.used)}, and they must stay"
        )

    def trial_started(self, trial: TrialRecord) -> None:
        """It may have files soon: a child has its parent's state."""
        self._changed.add(trial.number)

    def trial_reported(self, number: int, epoch: int, metrics: Metrics) -> None:
        """It may have stored its best epoch."""
        self._changed.add(number)

    def trial_paused(self, number: int) -> None:
        """It stores its state."""
        self._changed.add(number)

    def trial_resumed(self, number: int) -> None:
        """Nothing has changed on disk."""

    def trial_ended(self, trial: TrialRecord) -> None:
        """Counts again, and removes what is above the budget."""
        self._note(trial)
        try:
            self._count()
            self.evict()
        except OSError:  # a store that cannot be reached now; the next trial's end is soon enough
            return
        self._changed = {trial.number}  # its worker may still be writing

    def evict(self) -> Freed:
        """Removes the artifacts of the weakest trials that have ended, until the budget holds.

        Raises:
            OSError: they cannot be removed.
        """
        if self.used <= self._limit:
            return Freed()
        freed, trials = 0, []
        for number in self._weakest():
            if self.used <= self._limit:
                break
            self._study.artifacts.evict(number)
            freed += self._sizes.pop(number)
            trials.append(number)
        return Freed(freed, tuple(trials))

    def _note(self, trial: TrialRecord) -> None:
        self._ended[trial.number] = trial.fitness
        self._changed.add(trial.number)
        if trial.state is State.COMPLETE:
            self._complete.add(trial.number)

    def _count(self) -> None:
        for number in self._changed:
            self._sizes[number] = self._study.artifacts.size(number)
            if not self._sizes[number]:
                del self._sizes[number]

    def _weakest(self) -> list[int]:
        """The trials that may go, the weakest first; of those that never had a finite value the youngest."""
        ended = {number: self._ended[number] for number in self._sizes if number in self._ended}
        worth = {number: value for number, value in ended.items() if value is not None}
        ranked = ranking.best_first(worth)
        kept = {*ranked[: self._members], *[number for number in ranked if number in self._complete][:1]}
        without = sorted((number for number, value in ended.items() if value is None), reverse=True)
        return without + [number for number in reversed(ranked) if number not in kept]


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
        evicted = sorted(
            number for number in ended - _kept(study, keep, ended) if whole_epoch(stored[number]) is not None
        )
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
