"""What a controller and an engine say to each other."""

from dataclasses import dataclass

from hpo.study.trial import Failure, TrialRecord


@dataclass(frozen=True)
class Start:
    """Train this trial from its beginning, from its parent's state, or from its own stored state."""

    trial: TrialRecord


@dataclass(frozen=True)
class Resume:
    """Go on with this paused trial, which the engine has."""

    number: int


@dataclass(frozen=True)
class Drop:
    """Forget this paused trial: it has ended."""

    number: int


@dataclass(frozen=True)
class Wait:
    """Nothing is to be trained until a trial reports or ends, or a slot is free."""


@dataclass(frozen=True)
class NothingLeft:
    """No trial is live, and none will come."""


Order = Start | Resume | Drop | Wait | NothingLeft
"""What an engine is to do."""


@dataclass(frozen=True)
class Finished:
    """The training function has returned."""


@dataclass(frozen=True)
class Failed:
    """The trial has failed by itself."""

    kind: Failure
    reason: str


@dataclass(frozen=True)
class Lost:
    """The trial's machine was lost."""


@dataclass(frozen=True)
class SetAside:
    """The engine has given the trial up, through no fault of the trial's."""


@dataclass(frozen=True)
class Late:
    """The time limit was over within an epoch."""


End = Finished | Failed | Lost | SetAside | Late
"""What has become of a trial in the engine."""
