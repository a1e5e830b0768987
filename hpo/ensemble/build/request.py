"""What a user asks of `hpo ensemble`."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hpo.ensemble.members import SELECTIONS
from hpo.ensemble.selection import CHOOSE_THEMSELVES, METHODS, SINGLE
from hpo.errors import InputError
from hpo.plugins import did_you_mean
from hpo.tracking.registry import DEFAULT_ALIAS, check_name

if TYPE_CHECKING:
    from hpo.training import Objective

RETRAINING = ("bagging", "boosting", "deep")
"""Methods that train members anew."""


@dataclass(frozen=True)
class Request:
    """An ensemble as it is wanted.

    `top` is how many members at most (of methods that train: how many configs), `pool` how many of the best trials are
    candidates, `select` how voting and stacking come by their members, `bags` how many members bagging, boosting and
    deep train, `folds` of out-of-fold stacking, `max_latency` milliseconds for one example, `distill` the student, and
    `register` a name in MLflow's registry.

    Raises:
        InputError: a number is out of range, a name is not known, or two wishes exclude each other.
    """

    method: str = "auto"
    top: int = 5
    pool: int = 50
    select: str = "score"
    bags: int | None = None
    folds: int | None = None
    max_latency: float | None = None
    distill: str | None = None
    name: str | None = None
    register: str | None = None
    alias: str = DEFAULT_ALIAS
    objective: "Objective | None" = None
    """Trains the members; the built-in one where None."""
    accept_code: bool = False
    """Whether code that has changed since the study's trials is taken for the same."""

    @property
    def count(self) -> int:
        """How many members bagging, boosting and deep train."""
        return 8 if self.bags is None else self.bags

    @property
    def least(self) -> int:
        """How many candidates there must be."""
        return 1 if self.method == SINGLE else 2

    @property
    def needs_data(self) -> bool:
        """Whether the study's data are read."""
        return self.trains or self.method == "soup"

    @property
    def trains(self) -> bool:
        """Whether members are trained anew."""
        return self.method in RETRAINING or self.folds is not None

    def __post_init__(self) -> None:
        methods = ["auto", SINGLE, *METHODS, "soup", *RETRAINING]
        for option, value, known in (("method", self.method, methods), ("select", self.select, list(SELECTIONS))):
            if value not in known:
                raise InputError(f"unknown --{option} '{value}'.{did_you_mean(value, known)}")
        least = {"top": 1, "pool": 2, "bags": 2, "folds": 2}
        for option, smallest in least.items():
            number = getattr(self, option)
            if number is not None and number < smallest:
                raise InputError(f"--{option} must be at least {smallest}, got {number}")
        if self.bags is not None and self.method not in RETRAINING:
            raise InputError(f"--bags is of {', '.join(RETRAINING)}; leave it out of {self.method}")
        if self.select != "score" and (self.needs_data or self.method in (SINGLE, *CHOOSE_THEMSELVES)):
            raise InputError(f"--select is of voting and stacking; {self.method} has members of its own: leave it out")
        if self.folds is not None and not self.method.startswith("stacking"):
            raise InputError(f"--folds is of stacking; write --method stacking, or leave --folds out of {self.method}")
        if self.max_latency is not None and self.max_latency <= 0:
            raise InputError(f"--max-latency must be above 0, got {self.max_latency:g} ms")
        if self.max_latency is not None and self.needs_data:
            raise InputError(f"--max-latency is for stored trials, and {self.method} makes members; leave it out")
        if self.register is not None:
            check_name(self.register, self.alias)
