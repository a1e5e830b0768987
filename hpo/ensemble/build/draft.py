"""An ensemble that is chosen and not yet written: its members, how they are joined, and how they were chosen."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hpo.ensemble.calibration import Calibration, Interval
from hpo.ensemble.combiner import Combiner
from hpo.ensemble.method_choice import Choice, Gain
from hpo.ensemble.model import Part
from hpo.ensemble.pool import Pool
from hpo.ensemble.score import Predictions
from hpo.errors import DataError

if TYPE_CHECKING:
    from hpo.ensemble.retrain import Estimate

Say = Callable[[str], None]
"""Progress, a line at a time."""


@dataclass(frozen=True, eq=False)
class Draft:
    """Members and their combiner.

    `validation` is float32 `(members, rows, outputs)`, calibrated, in the combiner's order, which is the order of
    `parts` too; `test` reads the same of the test rows, once.
    """

    method: str
    parts: Sequence[Part]
    combiner: Combiner
    validation: Predictions = field(repr=False)
    test: Callable[[], Predictions] = field(repr=False)
    compared: Mapping[str, float] = field(default_factory=dict)
    calibration: Calibration | None = None
    interval: Interval | None = None
    estimate: "Estimate | None" = None
    gain: Gain | None = None
    """Over the best single trial, on validation rows that neither was fitted to."""
    note: str | None = None
    """What a reader of the output should know of the choice."""
    skipped: tuple[str, ...] = ()
    places: tuple[int, ...] = ()
    """The members' places in the pool, where they are stored trials."""

    @property
    def members(self) -> list[dict[str, Any]]:
        """Name, trial, weight and config of each member, for the result; of one of another study also that."""
        return [
            {
                **{"name": part.name, "trial": part.trial, "weight": weight, "config": part.config},
                **({} if part.study is None else {"study": part.study}),
            }
            for part, weight in zip(self.parts, self.combiner.weights, strict=True)
        ]


def from_pool(pool: Pool, choice: Choice) -> Draft:
    """The ensemble that was chosen from stored trials.

    Raises:
        DataError: a member has left no checkpoint.
    """
    places = list(choice.combiner.members)
    return Draft(
        choice.method,
        [stored_part(pool, place) for place in places],
        choice.combiner,
        pool.validation[places],
        lambda: pool.test_predictions(places),
        choice.costs,
        choice.calibration,
        choice.interval,
        gain=choice.gain,
        note=choice.note,
        skipped=pool.skipped,
        places=tuple(places),
    )


def stored_part(pool: Pool, place: int) -> Part:
    """A candidate as a part of an ensemble.

    Raises:
        DataError: it has left no checkpoint.
    """
    trial, owner, name = pool.trials[place], pool.owner(place), pool.name(place)
    try:
        stored = owner.artifacts.read(trial.number)
    except OSError as error:
        raise DataError(f"{name}: its artifacts cannot be read: {error}") from error
    if stored is None:
        raise DataError(f"{name} has no stored checkpoint")
    network = None if stored.own else owner.study_spec.apply(trial.config).model
    other = None if owner is pool.study else owner.name
    copies = owner.spec.training.copies
    return Part(name, trial.number, trial.config, network, pool.temperatures[place], stored, other, copies)
