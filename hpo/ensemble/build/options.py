"""The options of an ensemble, each declared once: for `hpo ensemble` and `hpo.build_ensemble`."""

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, field

from hpo.errors import InputError
from hpo.options import StoredStudyOptions, TrainingOptions, option
from hpo.study import MEMBERS, POOL
from hpo.tracking.registry import DEFAULT_ALIAS, check_name

RETRAINING = ("bagging", "boosting", "deep")
"""Methods that train members anew."""


@dataclass(frozen=True)
class EnsembleOptions(TrainingOptions, StoredStudyOptions):
    """An ensemble as it is wanted.

    Raises:
        InputError: a number is out of range, a name is not known, or two wishes exclude each other.
    """

    _: KW_ONLY
    top: int = field(
        default=MEMBERS,
        metadata=option(
            "Members at most; of methods that train, configs at most.",
            "whole",
            metavar="K",
            flag="--top --max-members",
            short="k",
        ),
    )
    pool: int = field(default=POOL, metadata=option("How many of the best trials are candidates.", "whole"))
    method: str = field(
        default="auto",
        metadata=option(
            "auto compares all that train nothing by nested cross-validation, and takes the best single trial where"
            " none is surely better: voting, weighted, greedy, bagged_greedy, hard_voting, median, stacking,"
            " stacking_ridge, stacking_boosting. soup averages weights. bagging, boosting and deep train members.",
            metavar="METHOD",
            short="m",
        ),
    )
    trial: int | None = field(
        default=None,
        metadata=option("The trial that single takes; by default the best one.", "whole", metavar="NUMBER"),
    )
    epochs: int | None = field(
        default=None, metadata=option("Trains the one config of single again, from the beginning, so long.", "python")
    )
    all_data: bool = field(
        default=False,
        metadata=option("Trains the one config of single again, on training and validation rows.", "python"),
    )
    other_studies: Sequence[str] = field(
        default=(),
        metadata=option(
            "Further studies of the same data, whose trials are candidates too; the ensemble is the first one's.",
            "python",
        ),
    )
    select: str = field(
        default="score",
        metadata=option("How voting and stacking come by their members: score, gain or diversity.", metavar="HOW"),
    )
    bags: int | None = field(
        default=None, metadata=option("Members that bagging, boosting and deep train; 8 by default.", "whole")
    )
    folds: int | None = field(
        default=None,
        metadata=option(
            "Stacking learns from the out-of-fold predictions of so many retrainings of each member.",
            "whole",
            metavar="K",
        ),
    )
    level: float | None = field(
        default=None,
        metadata=option(
            "The share of new values that the interval around numbers is to hold; 0.9 by default.",
            "number",
            metavar="SHARE",
        ),
    )
    max_latency: float | None = field(
        default=None, metadata=option("Of one example on the machine that trained.", "milliseconds")
    )
    distill: str | None = field(
        default=None,
        metadata=option(
            "Trains one model on what the ensemble says: a trial's number, or a YAML file with a config.",
            metavar="CONFIG",
        ),
    )
    register: str | None = field(
        default=None, metadata=option("Puts the model into MLflow's registry.", metavar="NAME")
    )
    alias: str = field(default=DEFAULT_ALIAS, metadata=option("Of the registered version.", metavar="NAME"))
    name: str | None = field(
        default=None, metadata=option("Of the ensemble; by default the study's and a number.", metavar="NAME")
    )

    @property
    def count(self) -> int:
        """How many members bagging, boosting and deep train."""
        return 8 if self.bags is None else self.bags

    @property
    def least(self) -> int:
        """How many candidates there must be."""
        from hpo.ensemble.method_choice import SINGLE

        return 1 if self.method == SINGLE else 2

    @property
    def needs_data(self) -> bool:
        """Whether the study's data are read."""
        return self.trains or self.method == "soup"

    @property
    def trains(self) -> bool:
        """Whether members are trained anew."""
        return self.method in RETRAINING or self.folds is not None or self.epochs is not None or self.all_data

    def __post_init__(self) -> None:
        super().__post_init__()
        from hpo.ensemble.member_choice import SELECTIONS
        from hpo.ensemble.method_choice import CHOOSE_THEMSELVES, SINGLE
        from hpo.ensemble.methods import METHODS
        from hpo.plugins import did_you_mean

        methods = ["auto", SINGLE, *METHODS, "soup", *RETRAINING]
        for name, value, known in (("method", self.method, methods), ("select", self.select, list(SELECTIONS))):
            if value not in known:
                raise InputError(f"unknown --{name} '{value}'.{did_you_mean(value, known)}")
        least = {"top": 1, "pool": 2, "bags": 2, "folds": 2, "trial": 0, "epochs": 1}
        for name, smallest in least.items():
            number = getattr(self, name)
            if number is not None and number < smallest:
                raise InputError(f"--{name} must be at least {smallest}, got {number}")
        if self.bags is not None and self.method not in RETRAINING:
            raise InputError(f"--bags is of {', '.join(RETRAINING)}; leave it out of {self.method}")
        for name in ("trial", "epochs", "all_data"):
            if getattr(self, name) not in (None, False) and self.method != SINGLE:
                option_ = name.replace("_", "-")
                raise InputError(f"--{option_} is of --method {SINGLE}; leave it out of {self.method}")
        if self.other_studies and (self.needs_data or self.distill is not None or self.trial is not None):
            what = "distill" if self.distill is not None else "trial" if self.trial is not None else self.method
            raise InputError(f"an ensemble over several studies is of stored trials; {what} is of one study: name one")
        if self.select != "score" and (self.needs_data or self.method in (SINGLE, *CHOOSE_THEMSELVES)):
            raise InputError(f"--select is of voting and stacking; {self.method} has members of its own: leave it out")
        if self.folds is not None and not self.method.startswith("stacking"):
            raise InputError(f"--folds is of stacking; write --method stacking, or leave --folds out of {self.method}")
        if self.level is not None and not 0 < self.level < 1:
            raise InputError(f"--level must be between 0 and 1, got {self.level:g}")
        if self.max_latency is not None and self.max_latency <= 0:
            raise InputError(f"--max-latency must be above 0, got {self.max_latency:g} ms")
        if self.max_latency is not None and self.needs_data:
            raise InputError(f"--max-latency is for stored trials, and {self.method} makes members; leave it out")
        if self.register is not None:
            check_name(self.register, self.alias)
