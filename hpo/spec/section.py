"""The parts of the YAML that hold fixed settings."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import pydantic
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from hpo.plugins import did_you_mean

Fraction = Annotated[float, Field(gt=0, lt=1)]
MOST_COPIES = 100
"""The most folds of a study, and the most seeds of a config."""


Duration = Annotated[
    float, BeforeValidator(lambda value: seconds(value) if isinstance(value, str) else value), Field(gt=0)
]
"""Seconds, in the YAML also as `90s`, `30m` or `2h`."""


COLUMN_KINDS = ("number", "category", "entity", "date", "ids", "tokens", "audio", "image")
"""What a column of a table may be.

`entity` is one of thousands, such as a user or an item; `ids` names rows in predictions; `tokens` is text; `audio` and
`image` are paths.
"""
IGNORED = "ignore"
"""What a column of a table is said to be that is not read."""
ColumnKind = Annotated[str, AfterValidator(lambda kind: known_column(kind))]
TABLES = (".csv", ".tsv", ".parquet", ".jsonl", ".ndjson")
"""How the name of a file with a table ends."""
Augmentation = Literal[
    "random_crop",
    "horizontal_flip",
    "vertical_flip",
    "rotation",
    "color_jitter",
    "cutout",
    "mixup",
    "token_dropout",
    "time_mask",
    "band_mask",
]

OF_SEQUENCES = ("token_dropout", "time_mask", "band_mask")
"""Augmentations of texts, clips and series alone."""

_TRIALS = 32
_LIMITS = ("trials", "epochs", "time_limit", "gpu_hours")
"""The keys of a budget by one of which a search surely ends."""


BASES = ("classification", "multilabel", "regression")
"""What predictions can be: probabilities of classes, independent probabilities of labels, values."""
Base = Literal["classification", "multilabel", "regression"]
TASKS: Mapping[str, Base] = {
    "classification": "classification",
    "multilabel": "multilabel",
    "regression": "regression",
    "forecasting": "regression",
}
"""Task of ours -> its base."""


def _import_path(value: str) -> str:
    module, colon, name = value.partition(":")
    if not (module and colon and name):
        raise ValueError(f"must be module:function, such as net:train for function train of net.py, got {value!r:.80}")
    return value


ImportPath = Annotated[str, AfterValidator(_import_path)]
"""A function of the user's own, as `module:function`."""


class Section(BaseModel):
    """A mapping of the YAML in which unknown keys are errors."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        validate_default=True,
        allow_inf_nan=False,
        ser_json_inf_nan="constants",  # of settings of plug-ins, which may be anything
        use_attribute_docstrings=True,
    )


class Named(Section):
    """A plug-in by its name; the other keys are its keyword arguments."""

    model_config = ConfigDict(extra="allow", frozen=True)
    name: str
    """The plug-in's name, or `module:attribute` of your own code."""

    @property
    def settings(self) -> dict[str, Any]:
        """The keyword arguments."""
        return dict(self.model_extra or {})


class ModelSettings(Named):
    """The model that is trained, and what its training begins from; the other keys are its own settings."""

    name: str
    """A family of models, `torchvision/NAME`, `timm/NAME`, or `module:function` of your own code."""
    weights: str | None = None
    """A file of weights that training begins from: safetensors, or what `torch.save` writes."""
    frozen: tuple[str, ...] = ()
    """Names or globs of layers that are not trained, such as `features.*`; `body` is all but the last layer."""

    @field_validator("frozen", mode="before")
    @classmethod
    def _one_name_is_a_list(cls, value: Any) -> Any:
        if isinstance(value, str):
            return () if value == "none" else (value,)
        return value

    @field_validator("weights")
    @classmethod
    def _absolute_weights(cls, value: str | None) -> str | None:
        return None if value is None else _absolute(value)

    def moved(self, weights: str) -> Self:
        """These settings where the file of weights is somewhere else now."""
        return self.model_copy(update={"weights": weights})


class DataSettings(Section):
    """The data set, how it is split, and how training images are varied."""

    name: str
    """A data set that comes along, or the form of your own data."""
    path: str | None = None
    """The file or folder of your own data."""
    target: str | tuple[str, ...] | None = None
    """The column of a table that is to be predicted; several for labels that hold or not, or for several numbers."""
    columns: Mapping[str, ColumnKind] = {}
    """What columns of a table are, where `hpo validate` shows that they were taken for something else."""
    missing: tuple[str, ...] = ()
    """Texts that mean a missing value in a table, such as `?`; an empty cell always does."""
    length: Annotated[float, Field(gt=0, le=1_000_000)] | None = None
    """The most tokens of a text that are kept, 256 where not given; of clips the most seconds, 10 where not given."""
    vocabulary: Annotated[int, Field(ge=1, le=1_000_000)] = 20_000
    """How many different tokens of texts a model knows: the most frequent ones."""
    tokens: Literal["words", "letters"] = "words"
    """What a token of a text is."""
    mels: Annotated[int, Field(ge=4, le=1024)] = 64
    """Bands of frequencies in the spectrogram of a clip."""
    header: bool = True
    """Whether the first line of a table's file names its columns; else they are `column_1`, `column_2`, ..."""
    test: Fraction | str = 0.2
    """Rows of a table on which ensembles are scored once: a file, or a share that is the same in every study."""
    validation: Fraction | str = 0.1
    """Rows on which trials are compared: a share of the training rows, drawn from the seed, or a file of a table."""
    groups: str | None = None
    """The column of a table whose values no split parts: all rows of a patient, a user, a speaker are on one side."""
    time: str | None = None
    """The column of a table that says when: the past is trained on, and what follows validates and tests."""
    split: str | None = None
    """The column of a table that says of each row whether it is for train, validation or test."""
    horizon: Annotated[int, Field(ge=1, le=10_000)] | None = None
    """How many steps are forecast, where `task` is forecasting."""
    window: Annotated[int, Field(ge=1, le=100_000)] | None = None
    """How many steps before are given to forecast from; four times the horizon where not given."""
    series: str | None = None
    """The column of a table that says which of several series a step is of."""
    known: tuple[str, ...] = ()
    """Columns of which the future is known as far as forecasts go, such as holidays; of other numbers the past is."""
    stride: Annotated[int, Field(ge=1, le=100_000)] = 1
    """How many steps lie between two windows: more make fewer windows of long series."""
    season: Annotated[int, Field(ge=1, le=100_000)] | None = None
    """Steps after which a series repeats, by which MASE is measured; 24 of hours, 7 of days, 12 of months, else 1."""
    normalize: Literal["window", "last", "none"] = "window"
    """What a window is given, and forecasts are made, in relation to: its own mean and deviation, its last value, or
    what all training windows have."""
    size: Annotated[int, Field(ge=4, le=1024)] = 64
    """Pixels of a side, to which images in files are scaled and centre-cropped."""
    positive: str | None = None
    """The class that ranking metrics and metrics at a threshold are of; of two classes the second where not given."""
    classes: Annotated[int, Field(ge=2)] | None = None
    """The number of classes of `npz`; counted where it is left out."""
    augment: tuple[Augmentation, ...] = ()
    """How training rows are varied; of tables `mixup` alone, of texts `token_dropout`, of sound and series masks."""
    crop_padding: Annotated[int, Field(ge=1, le=64)] = 4
    """Pixels around an image before `random_crop`."""
    cutout_size: Annotated[int, Field(ge=1, le=512)] = 8
    """Pixels of a side of what `cutout` blanks."""
    rotation_degrees: Annotated[float, Field(gt=0, le=180)] = 15.0
    """The largest angle of `rotation`, in both directions; what comes in from outside has the mean colour."""
    color_jitter: Annotated[float, Field(gt=0, le=1)] = 0.2
    """How far from 1 the factors of brightness, contrast and saturation are that `color_jitter` draws."""
    mixup_alpha: Annotated[float, Field(gt=0)] = 0.2
    """Both parameters of the beta distribution of which `mixup` draws its shares."""
    token_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """The share of tokens that `token_dropout` makes unknown."""
    time_mask: Annotated[float, Field(ge=0, lt=1)] = 0.2
    """The largest share of the steps of a clip or a series that `time_mask` blanks."""
    band_mask: Annotated[float, Field(ge=0, lt=1)] = 0.2
    """The largest share of the bands of a clip that `band_mask` blanks."""

    @model_validator(mode="before")
    @classmethod
    def _named_by_its_path(cls, value: Any) -> Any:
        """A file's name says what it is."""
        if not isinstance(value, dict) or value.get("name") is not None or not isinstance(value.get("path"), str):
            return value
        suffix = Path(value["path"]).suffix.lower()
        name = "npz" if suffix == ".npz" else "table" if suffix in TABLES else None
        return value if name is None else {**value, "name": name}

    @field_validator("positive", mode="before")
    @classmethod
    def _a_text(cls, value: Any) -> Any:
        return value if value is None or isinstance(value, Mapping | list) else str(value)

    @field_validator("missing", "known", mode="before")
    @classmethod
    def _one_text_is_a_list(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @field_validator("path", "test", "validation")
    @classmethod
    def _absolute_files(cls, value: str | float | None) -> str | float | None:
        return _absolute(value) if isinstance(value, str) else value

    def __hash__(self) -> int:
        return hash(self.model_dump_json())  # a mapping has none

    def moved(self, path: str) -> Self:
        """These settings where `path` is somewhere else now; other files that stood beside it still do."""
        folder, changed = Path(str(self.path)).parent, {"path": path}
        for key in ("test", "validation"):
            value = getattr(self, key)
            if isinstance(value, str) and Path(value).is_relative_to(folder):
                changed[key] = str(Path(path).parent / Path(value).relative_to(folder))
        return self.model_copy(update=changed)


LOSSES = ("auto", "cross_entropy", "focal", "squared", "mae", "huber", "quantile")
"""What a loss of ours is called; `hpo.tasks.LOSSES` says which base has which."""


def _loss(value: str) -> str:
    if value not in LOSSES and ":" not in value:
        hint = did_you_mean(value, LOSSES)
        raise ValueError(
            f"must be {', '.join(map(repr, LOSSES))}, or module:function of your own, got {value!r:.80}."
            f"{hint if 'Did' in hint else ''}"
        )
    return value


def _texts_as_keys(value: Any) -> Any:
    """Names of classes, of which YAML reads some as numbers or switches."""
    return {str(key): one for key, one in value.items()} if isinstance(value, Mapping) else value


class TrainingSettings(Section):
    """How long and how a trial is trained; `epochs` is the full resource."""

    epochs: Annotated[int, Field(ge=1, lt=2**31)] = 10
    """The full resource: what a trial trains that nothing stops."""
    batch_size: Annotated[int, Field(ge=1)] = 128
    """Rows of a training step."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """The type of numbers in training; `auto` is bfloat16 where the device computes in it."""
    device: Literal["auto", "cpu", "cuda", "mps", "xpu"] = "auto"
    """Where trials train; `auto` is the accelerator that torch has where the worker runs, else the CPU."""
    patience: Annotated[int, Field(ge=1)] | None = None
    """So many epochs without a better objective end a trial: it is complete then."""
    min_delta: Annotated[float, Field(ge=0)] = 0.0
    """How much better the objective must be to count, for `patience`."""
    loss: Annotated[str, AfterValidator(_loss)] = "auto"
    """What is minimized: `auto` is cross-entropy, of regression the squared error; or `module:function` of your own."""
    loss_settings: Mapping[str, bool | int | float | str] = {}
    """Keyword arguments of a loss of your own."""
    focal_gamma: Annotated[float, Field(ge=0)] = 2.0
    """How much less the loss `focal` counts rows that are right already; 0 is cross-entropy."""
    huber_delta: Annotated[float, Field(gt=0)] = 1.0
    """The error up to which the loss `huber` is a square, in standard deviations of the target."""
    quantile: Fraction = 0.5
    """What the loss `quantile` learns: the value below which this share of the truth lies."""
    class_weights: Annotated[
        Literal["none", "auto"] | Mapping[str, Annotated[float, Field(gt=0)]], BeforeValidator(_texts_as_keys)
    ] = "none"
    """How much rows of a class count: `auto` is one over its frequency, with mean 1; or class -> weight, others 1."""
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """The share of each target that is spread over all classes; labels move towards one half."""
    clip_norm: Annotated[float, Field(gt=0)] | None = None
    """Gradients are clipped to this norm."""
    compile: Literal["auto"] | bool = "auto"
    """Whether `torch.compile` is used; `auto` never does on a CPU, where it did not pay."""
    kernels: Literal["auto"] | bool = "auto"
    """Whether kernels of our own are used on a CPU; `auto` where they were faster."""
    deterministic: bool = False
    """Whether only operations are used that repeat to the bit."""
    folds: Annotated[int, Field(ge=2, le=MOST_COPIES)] | None = None
    """Cross-validation: a config is trained so many times, each without another part of the training rows."""
    unfreeze_epochs: Annotated[int, Field(ge=1)] | None = None
    """Gradual unfreezing: the last layer is trained alone for so many epochs, then a stage more every so many."""
    seeds: Annotated[int, Field(ge=1, le=MOST_COPIES)] = 1
    """A config is trained so many times, each with another seed; with `folds`, so many times a fold."""

    @property
    def copies(self) -> int:
        """How many times a config is trained: the copies of a trial."""
        return (self.folds or 1) * self.seeds

    def __hash__(self) -> int:
        return hash(self.model_dump_json())  # a mapping has none


class OptimizerSettings(Section):
    """The optimizer and its learning-rate schedule; settings that an optimizer does not have are left unused."""

    name: Literal["sgd", "adam", "adamw", "rmsprop", "adagrad"] = "sgd"
    """The optimizer of torch."""
    lr: Annotated[float, Field(gt=0)] = 0.1
    """The learning rate, before the schedule."""
    body_lr: Annotated[float, Field(gt=0)] | None = None
    """The learning rate of all but the last layer, before the schedule; `lr` where it is left out."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """The momentum of sgd and rmsprop."""
    nesterov: bool = True
    """Whether sgd's momentum is Nesterov's."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    """How much weights are drawn towards 0."""
    l1: Annotated[float, Field(ge=0)] = 0.0
    """The weight of the sum of all weights' sizes in the loss, which makes many of them small."""
    beta1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """The decay of the mean of gradients, of adam and adamw."""
    beta2: Annotated[float, Field(ge=0, lt=1)] = 0.999
    """The decay of the mean of their squares, of adam and adamw."""
    schedule: Literal["none", "cosine", "step", "one_cycle"] = "cosine"
    """How the learning rate changes over all epochs."""
    warmup_epochs: Annotated[float, Field(ge=0)] = 0.0
    """Epochs in which the learning rate rises evenly from 0, before the schedule; below `training.epochs`."""
    step_epochs: Annotated[int, Field(ge=1)] = 10
    """Epochs between two steps of the schedule `step`."""
    step_factor: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """The factor of each step of the schedule `step`."""


class Objective(Section):
    """A metric and what is better; the goal follows from the metric where it is left out."""

    metric: str = "accuracy"
    """A name in the reports of a trial."""
    goal: Literal["maximize", "minimize"] | None = None
    """What is better; it follows from the metric where it is left out."""

    @model_validator(mode="before")
    @classmethod
    def _a_metric_alone(cls, value: Any) -> Any:
        return {"metric": value} if isinstance(value, str) else value


class Objectives(Objective):
    """What ranks trials. In the YAML a list of several is this one, the first, with the `others`.

    The first decides which epoch of a trial is its best; together they make a Pareto set.
    """

    others: tuple[Objective, ...] = ()
    """The objectives behind the first."""

    @model_validator(mode="before")
    @classmethod
    def _a_list(cls, value: Any) -> Any:
        if not isinstance(value, list | tuple):
            return value
        if not value:
            raise ValueError("name at least one metric")
        first = {"metric": value[0]} if isinstance(value[0], str) else value[0]
        return {**first, "others": value[1:]} if isinstance(first, dict) else first


class Metric(Section):
    """A metric beside those of the task: one at a threshold, or a function of the user's own with its settings."""

    model_config = ConfigDict(extra="allow", frozen=True)
    name: str
    """Such as `f1_at_0.3`, or `module:function` of your own, reported by the function's name."""
    goal: Literal["maximize", "minimize"] | None = None
    """What is better; required of your own."""

    @model_validator(mode="after")
    def _own_with_a_goal(self) -> Self:
        if ":" in self.name:
            _import_path(self.name)
            if self.goal is None:
                raise ValueError(f"'{self.name}' needs its goal: write `goal: maximize` or `goal: minimize`")
        return self

    @property
    def reported(self) -> str:
        """The name by which it is reported."""
        return self.name.rpartition(":")[2]

    @property
    def settings(self) -> dict[str, Any]:
        """The keyword arguments of a function of the user's own."""
        return dict(self.model_extra or {})


class Constraint(Section):
    """What a trial must keep to, such as `latency_ms <= 5`."""

    metric: str
    """A name in the reports of a trial."""
    relation: Literal["<=", ">="]
    """What the metric must be to the bound."""
    bound: float
    """The number to keep to, in the unit of the metric."""

    @model_validator(mode="before")
    @classmethod
    def _a_line(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        match = re.fullmatch(r"\s*([\w.-]+)\s*(<=|>=)\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*", value)
        if not match:
            raise ValueError(f"a constraint is written `metric <= number` or `metric >= number`, got '{value}'")
        return {"metric": match[1], "relation": match[2], "bound": float(match[3])}

    def excess(self, value: float) -> float:
        """How much `value` breaks the constraint; 0 and below is fine."""
        return value - self.bound if self.relation == "<=" else self.bound - value

    def __str__(self) -> str:
        return f"{self.metric} {self.relation} {self.bound:g}"


class Budget(Section):
    """The limits, of which the first that is met ends a search.

    `trials`, `epochs` and `gpu_hours` (of all trials together) are of the whole study, `time_limit` is seconds of one
    search. `target` and `plateau` end it before.
    """

    trials: Annotated[int, Field(ge=1)] | None = None
    """How many trials, of the whole study; 32 where there is no limit at all."""
    epochs: Annotated[int, Field(ge=1)] | None = None
    """How many epochs all trials together, of the whole study."""
    time_limit: Duration | None = None
    """How long one search lasts, from start to end."""
    gpu_hours: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """How many hours of one GPU all trials together, of the whole study."""
    target: float | None = None
    """A value of the objective that is good enough: the search ends with the first report that has it."""
    plateau: Annotated[float, Field(ge=0)] | None = None
    """The least improvement of the objective that is worth going on for: the search ends where the last epochs have
    brought less, and the next ones promise less. 0 never ends it."""
    plateau_epochs: Annotated[int, Field(ge=1)] | None = None
    """How many epochs, of all trials together, are meant by that; 10 times those of a trial in full where not given."""
    plateau_gpu_hours: Annotated[float, Field(gt=0)] | None = None
    """Hours of one GPU, at the pace of the last epochs, in place of `plateau_epochs`."""
    plateau_trials: Annotated[int, Field(ge=1)] = 16
    """How many trials must have begun before a plateau ends a search."""

    @model_validator(mode="before")
    @classmethod
    def _some_limit(cls, value: Any) -> Any:
        """Limits a search to 32 trials where nothing else limits it."""
        if not isinstance(value, dict):
            return value
        for key, limit in value.items():
            if isinstance(limit, str) and limit.strip().startswith("+"):
                raise ValueError(
                    f"{key} is of the whole study here, got {limit!r}; --{key.replace('_', '-')} takes a +"
                )
        return value if any(value.get(key) is not None for key in _LIMITS) else {**value, "trials": _TRIALS}

    @model_validator(mode="after")
    def _one_span(self) -> Self:
        if self.plateau_epochs is not None and self.plateau_gpu_hours is not None:
            raise ValueError("plateau_epochs and plateau_gpu_hours say the same in two ways; leave one out")
        return self

    @property
    def by_trials(self) -> bool:
        """Whether the number of trials is all that ends a search."""
        return self.trials is not None and self.epochs is self.time_limit is self.gpu_hours is None


class Failures(Section):
    """What is done about trials that fail; a study may go on with other rules than it began with."""

    max_retries: Annotated[int, Field(ge=0, le=100)] = 0
    """How often a trial begins again after it has failed: an error, out of memory, a hang, a dead worker."""
    trial_timeout: Duration | None = None
    """How long an epoch may take before its trial counts as hung."""
    max_failures: Annotated[int, Field(ge=1)] = 5
    """How many trials may fail one after another before the search ends."""


class Resources(Section):
    """What one trial gets; `gpu: auto` is one GPU where the machine or cluster has any."""

    cpu: Annotated[float, Field(ge=0.01, le=10_000)] = 1
    """CPUs of one trial."""
    gpu: Annotated[float, Field(ge=0)] | Literal["auto"] = "auto"
    """GPUs of one trial: 0, 1, a fraction, or `auto`."""

    @field_validator("gpu", mode="wrap")
    @classmethod
    def _gpu(cls, value: Any, handler: Callable[[Any], Any]) -> Any:
        try:
            return handler(value)
        except pydantic.ValidationError:
            raise ValueError("must be 'auto', 0, 1, or a fraction of one GPU such as 0.5") from None


def known_column(kind: str) -> str:
    """A kind of column as it is written, if there is one of that name, or it is the import path of a user's own.

    Raises:
        ValueError: there is none.
    """
    if kind not in (*COLUMN_KINDS, IGNORED) and ":" not in kind:
        raise ValueError(f"must be {', '.join(COLUMN_KINDS)}, {IGNORED}, or module:Class of your own, got '{kind}'")
    return kind


def _absolute(path: str) -> str:
    """A path from the root on, without links.

    Raises:
        ValueError: it is no path.
    """
    try:
        return str(Path(path).expanduser().resolve())
    except (OSError, RuntimeError, ValueError) as error:
        raise ValueError(f"is not a path: {error}") from None


def seconds(text: str) -> float:
    """`90s`, `30m`, `1.5h`, `2d` or a plain number -> seconds.

    Raises:
        ValueError: the text is none of these.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([smhd]?)\s*", text)
    if not match:
        raise ValueError(f"must be a duration such as 90s, 30m or 2h, got '{text}'")
    return float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}[match[2]]
