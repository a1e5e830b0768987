"""The options of a search, each declared once: for `hpo search`, `hpo resume`, `hpo.search` and `hpo.resume`."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal

from hpo.errors import InputError
from hpo.options import StoredStudyOptions, TrainingOptions, option
from hpo.plugins import import_name

if TYPE_CHECKING:
    from hpo.spec import SpecLike
    from hpo.study.callbacks import Callback

LIMITS = ("trials", "epochs", "gpu_hours", "time_limit", "target", "plateau")
"""The options that are limits of the budget."""


@dataclass(frozen=True, kw_only=True)
class RunOptions(TrainingOptions):
    """How and where trials run, beside what the spec of their study says.

    A field here is an option of `hpo search`, `hpo resume`, `hpo.search` and `hpo.resume`; it is added here only, and
    read in `searching.search`.
    """

    trials: int | str | None = field(
        default=None,
        metadata=option("Budget: how many trials in all, instead of the one in the spec.", "more", short="n"),
    )
    epochs: int | str | None = field(
        default=None, metadata=option("Budget: how many epochs all trials together may take.", "more")
    )
    gpu_hours: float | str | None = field(
        default=None,
        metadata=option("Budget: how many hours of one GPU all trials together may take.", "more hours"),
    )
    time_limit: float | None = field(
        default=None,
        metadata=option("Budget: from start to end; trials then running are stopped and kept.", "time"),
    )
    target: float | None = field(
        default=None,
        metadata=option(
            "Ends the search with the first report whose objective is as good as this, or better.", "number"
        ),
    )
    plateau: float | None = field(
        default=None,
        metadata=option(
            "Ends the search where the last epochs have improved the objective by less than this, and the next ones"
            " promise less; 0 never ends it.",
            "number",
        ),
    )
    concurrency: int | Literal["auto"] | None = field(
        default=None,
        metadata=option(
            "Trials at once at most; by default as many as there are CPUs and GPUs for. `auto` measures the memory of"
            " the largest model first, and shares a GPU among as many trials as fit.",
            "concurrency",
        ),
    )
    max_disk: int | None = field(
        default=None,
        metadata=option(
            "Budget: of all that the study's trials store. The files of the weakest trials are removed first.", "size"
        ),
    )
    address: str | None = field(
        default=None,
        metadata=option(
            "The Ray cluster that runs the trials: auto or HOST:PORT. Without it, or RAY_ADDRESS, Ray starts on this"
            " machine.",
            metavar="ADDRESS",
        ),
    )
    join: bool = field(
        default=False,
        metadata=option(
            "Works for the search of this study that runs already, of this machine or another, until that is over."
            " The concurrency is how many trials more; by default as many as another machine has CPUs and GPUs for.",
            "flag",
        ),
    )
    ensemble: bool = field(
        default=False,
        metadata=option(
            "Builds an ensemble of the best trials afterwards, as `hpo ensemble` does, within the time limit.", "flag"
        ),
    )
    retry_failed: bool = field(
        default=False,
        metadata=option(
            "Begins the study's failed trials again, each as a new trial with the same config that costs no trial of"
            " the budget.",
            "flag",
        ),
    )
    database: str | None = field(
        default=None,
        metadata=option(
            "postgresql://USER@HOST/NAME has the record of trials, in place of the study's folder.",
            metavar="URL",
            variable="HPO_DATABASE",
        ),
    )
    grace_period: float | None = field(
        default=None,
        metadata=option(
            "What running trials have to end their epoch and store their state, after Ctrl-C, SIGTERM or SIGHUP; 30s by"
            " default. A second signal ends the search at once.",
            "time",
        ),
    )

    callbacks: "Sequence[Callback]" = field(
        default=(),
        metadata=option(
            "Objects of `hpo.Callback`, which hear what happens, beside those that the spec names.", "python"
        ),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.concurrency, int) and self.concurrency < 1:
            raise InputError(f"--concurrency must be at least 1, got {self.concurrency}")
        if self.grace_period is not None and not 0 <= self.grace_period < math.inf:
            raise InputError(f"--grace-period must be 0 s or more, got {self.grace_period}")

    @property
    def limits(self) -> dict[str, Any]:
        """The limits of the budget that are given, by their dotted names in the spec."""
        return {f"budget.{name}": limit for name in LIMITS if (limit := getattr(self, name)) is not None}


@dataclass(frozen=True)
class SearchOptions(RunOptions):
    """All that a search is asked for."""

    space: "SpecLike" = field(
        metadata=option(
            "The YAML file that says what is searched.",
            metavar="FILE",
            short="f",
            python="It may be a dict of the same shape, or a spec. In a dict `data.path` may also be a DataFrame, a"
            " Dataset of Hugging Face (several as a dict with the keys train, validation and test), a dict of arrays"
            " x_train, y_train, x_test and y_test, or a dict with a torch Dataset as train and as test; what is given"
            " is kept as a file below `data_dir`.",
        )
    )
    _: KW_ONLY
    study: str | None = field(
        default=None, metadata=option("Names the study, instead of `study:` in the file.", metavar="NAME", short="s")
    )
    seed: int | None = field(default=None, metadata=option("Of the split, the sampler and every trial.", "whole"))
    warm_start: str | None = field(
        default=None,
        metadata=option(
            "Takes over the trials of another study of the same storage, data and model, where their configs lie in"
            " this space. They cost no budget.",
            metavar="STUDY",
            flag="--from",
        ),
    )
    artifacts: str | None = field(
        default=None,
        metadata=option(
            "Where the trials of a new study store weights and predictions, such as s3://bucket/folder or a shared"
            " folder; by default the study's own folder.",
            metavar="URI",
        ),
    )
    overrides: Mapping[str, Any] | None = field(
        default=None,
        metadata=option(
            "Overrides a setting by its dotted name, such as training.epochs. A parameter set this way is no longer"
            " searched.",
            "settings",
            flag="--set",
            python="Dotted name -> value.",
        ),
    )
    trust: bool = field(
        default=False,
        metadata=option(
            "Code that a spec object names (module:function) may be imported. What a file or a dict names always is.",
            "python",
        ),
    )

    @property
    def settings(self) -> dict[str, Any]:
        """What takes the place of settings of the spec: dotted name -> value."""
        named = {name: value for name in ("study", "seed") if (value := getattr(self, name)) is not None}
        if self.train is not None:
            named["train"] = self.train if isinstance(self.train, str) else import_name(self.train)
        return {**(self.overrides or {}), **self.limits, **named}


@dataclass(frozen=True)
class ResumeOptions(RunOptions, StoredStudyOptions):
    """All that is asked for where a search goes on."""

    def of(self, space: "SpecLike") -> SearchOptions:
        """The search that goes on.

        Args:
            space: the spec that the study was started with.
        """
        return SearchOptions(space, **{shared.name: getattr(self, shared.name) for shared in fields(RunOptions)})
