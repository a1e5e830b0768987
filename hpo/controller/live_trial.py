"""The trials that have not ended, and the phase that each is in."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum


class Phase(Enum):
    """What a trial that has not ended is doing."""

    TRAINING = "training"
    """Holds a slot and is in the middle of an epoch."""
    REPORTED = "reported"
    """Holds a slot and has just reported; what is next for it is being decided."""
    PAUSED = "paused"
    """Holds no slot. The engine can resume it."""
    PAUSED_LOST = "paused, lost"
    """Holds no slot. The engine has lost it, so it restarts from its stored state when the scheduler wants it."""
    LOST = "lost"
    """Holds no slot. The engine has lost it, so it restarts from its stored state as soon as a slot is free."""


_ALLOWED = {
    Phase.TRAINING: {Phase.REPORTED, Phase.LOST},
    Phase.REPORTED: {Phase.TRAINING, Phase.PAUSED, Phase.LOST},
    Phase.PAUSED: {Phase.TRAINING, Phase.PAUSED_LOST},
    Phase.PAUSED_LOST: {Phase.LOST, Phase.PAUSED},
    Phase.LOST: {Phase.TRAINING},
}
"""Phase -> the phases that may follow."""
IN_SLOT = (Phase.TRAINING, Phase.REPORTED)
RESTING = (Phase.PAUSED, Phase.PAUSED_LOST)


@dataclass
class LiveTrial:
    """A trial that has not ended."""

    number: int
    phase: Phase
    recorded: int = 0
    """The last epoch in the study when the trial was lost. Reports up to this epoch repeat what is recorded."""
    repeating: bool = False
    """Whether the last report repeated a recorded epoch."""
    stored: bool = False
    """Whether the engine has stored the state of the trial, while it is paused."""
    lent: int = 0
    """Slots that the trial uses beside its own, while no other trial needs them."""
    heard: float = 0.0
    """Time of `time.monotonic` when the trial began or reported last."""
    not_before: float = 0.0
    """Time of `time.monotonic` before which the trial does not restart after a failure."""
    alone: bool = False
    """Whether the trial ran out of memory beside others, so that it restarts alone."""
    losses: int = 0
    """How many machines were lost under this trial."""


class LiveTrials:
    """The table of all live trials, number -> `LiveTrial`, with an index by phase.

    Long studies have thousands of paused trials, so no question may walk through all of them.
    """

    def __init__(self) -> None:
        self._trials: dict[int, LiveTrial] = {}
        self._by_phase: dict[Phase, set[int]] = {phase: set() for phase in Phase}

    def __len__(self) -> int:
        return len(self._trials)

    def __getitem__(self, number: int) -> LiveTrial:
        return self._trials[number]

    def __iter__(self) -> Iterator[LiveTrial]:
        return iter(self._trials.values())

    def get(self, number: int) -> LiveTrial | None:
        """The trial of this number, None where it is not live."""
        return self._trials.get(number)

    def add(self, trial: LiveTrial) -> None:
        """Enters a trial.

        Raises:
            ValueError: a trial of this number is live.
        """
        if trial.number in self._trials:
            raise ValueError(f"trial {trial.number} is live already")
        self._trials[trial.number] = trial
        self._by_phase[trial.phase].add(trial.number)

    def move(self, number: int, phase: Phase) -> LiveTrial:
        """Changes the phase of a trial.

        Raises:
            ValueError: no trial goes from its phase to this one.
        """
        trial = self._trials[number]
        if phase is not trial.phase:
            if phase not in _ALLOWED[trial.phase]:
                raise ValueError(f"trial {number} cannot go from '{trial.phase.value}' to '{phase.value}'")
            self._by_phase[trial.phase].discard(number)
            self._by_phase[phase].add(number)
            trial.phase = phase
        return trial

    def remove(self, number: int) -> LiveTrial:
        """Takes a trial out of the table."""
        trial = self._trials.pop(number)
        self._by_phase[trial.phase].discard(number)
        return trial

    def numbers(self, *phases: Phase) -> set[int]:
        """The numbers of the trials in these phases, as a new set."""
        return set().union(*(self._by_phase[phase] for phase in phases))

    def count(self, *phases: Phase) -> int:
        """How many trials are in these phases."""
        return sum(len(self._by_phase[phase]) for phase in phases)

    def among(self, *phases: Phase) -> Iterator[LiveTrial]:
        """The trials in these phases."""
        return (self._trials[number] for phase in phases for number in self._by_phase[phase])

    @property
    def lent(self) -> int:
        """All slots that are lent."""
        return sum(trial.lent for trial in self.among(*IN_SLOT))
