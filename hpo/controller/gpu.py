"""How long the trials of a study have held GPUs: a budget that holds while it is searched."""

from hpo.study.study import Study

_WRITE_SECONDS = 10.0
"""Between two notes in the study; of a driver that is killed so much is not counted."""


class GpuBudget:
    """Counts the GPU hours of a study's trials, from when each takes a slot until it gives it back.

    What earlier searches with such a budget have used is in the study, and counts too.

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
        self._written = study.writer.clock()

    @property
    def seconds(self) -> float:
        """Of one GPU, until now, by all searches of the study."""
        now = self._study.writer.clock()
        return self._rested + self._gpus * sum(now - since for since in self._since.values())

    @property
    def spent(self) -> bool:
        """Whether the search is to end; it is asked often, and notes now and then what was used."""
        if self._study.writer.clock() - self._written >= _WRITE_SECONDS:
            self.note()
        return self.seconds >= self._limit

    def begin(self, number: int) -> None:
        """A trial holds its GPUs."""
        self._since.setdefault(number, self._study.writer.clock())

    def rest(self, number: int) -> None:
        """A trial has given them back."""
        since = self._since.pop(number, None)
        if since is not None:
            self._rested += self._gpus * (self._study.writer.clock() - since)
            self.note()

    def note(self) -> None:
        """Writes what was used into the study."""
        self._written = self._study.writer.clock()
        self._study.writer.note_gpu_seconds(self.seconds)
