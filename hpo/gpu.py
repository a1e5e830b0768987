"""How long the trials of a study have held GPUs: a budget that holds while it is searched."""

from hpo.study import Metrics, State, Study, TrialRecord

_WRITE_SECONDS = 10.0
"""Between two notes in the study; of a driver that is killed so much is not counted."""


class GpuBudget:
    """Counts the GPU hours of a study's trials, from when each is to run until it pauses or ends.

    What earlier searches have used is in the study, and counts too. It is told what happens in the search, as
    `hpo.study.Observer`.

    Args:
        study: that is searched; its clock counts.
        left: hours of one GPU that may still be used.
        gpus: that each trial gets.
    """

    def __init__(self, study: Study, left: float, gpus: float) -> None:
        self._study, self._gpus = study, gpus
        self._rested = study.spent().gpu_hours * 3600.0
        self._limit = self._rested + left * 3600.0
        self._since: dict[int, float] = {}
        self._written = study.clock()

    @property
    def seconds(self) -> float:
        """Of one GPU, until now, by all searches of the study."""
        now = self._study.clock()
        return self._rested + self._gpus * sum(now - since for since in self._since.values())

    @property
    def spent(self) -> bool:
        """Whether the search is to end."""
        return self.seconds >= self._limit

    def trial_started(self, trial: TrialRecord) -> None:
        """It holds its GPUs, unless an earlier search has left it paused."""
        if trial.state is not State.PAUSED:
            self._since[trial.number] = self._study.clock()

    def trial_reported(self, number: int, epoch: int, metrics: Metrics) -> None:
        """Notes what all have used, now and then."""
        if self._study.clock() - self._written >= _WRITE_SECONDS:
            self._write()

    def trial_paused(self, number: int) -> None:
        """It gives them back."""
        since = self._since.pop(number, None)
        if since is not None:
            self._rested += self._gpus * (self._study.clock() - since)
            self._write()

    def trial_resumed(self, number: int) -> None:
        """It holds them again."""
        self._since[number] = self._study.clock()

    def trial_ended(self, trial: TrialRecord) -> None:
        """It gives them back."""
        self.trial_paused(trial.number)

    def _write(self) -> None:
        self._written = self._study.clock()
        self._study.note_gpu_seconds(self.seconds)
