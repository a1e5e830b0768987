"""The limit of the disk that a study takes while it is searched."""

from hpo.study import MEMBERS, ranking
from hpo.study.garbage import Freed, shown
from hpo.study.ranking import Fitness
from hpo.study.study import Study
from hpo.study.trial import LIVE, Metrics, State, TrialRecord


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
        ended = {number: self._ended[number] for number in sorted(self._sizes) if number in self._ended}  # as ranked
        worth = {number: value for number, value in ended.items() if value is not None}
        ranked = ranking.best_first(worth)
        kept = {*ranked[: self._members], *[number for number in ranked if number in self._complete][:1]}
        without = sorted((number for number, value in ended.items() if value is None), reverse=True)
        return without + [number for number in reversed(ranked) if number not in kept]
