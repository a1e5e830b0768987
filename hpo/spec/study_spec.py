"""A whole search."""

import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import AfterValidator, BaseModel, Field, ValidationError, field_validator, model_validator

from hpo.plugins import did_you_mean, import_paths
from hpo.spec import families
from hpo.spec.command import Command
from hpo.spec.forbidden import Clause
from hpo.spec.own_task import with_goals
from hpo.spec.parameter import Parameter, Value
from hpo.spec.section import (
    BASES,
    TASKS,
    Base,
    Budget,
    Constraint,
    DataSettings,
    Failures,
    ImportPath,
    Metric,
    ModelSettings,
    Named,
    Objective,
    Objectives,
    OptimizerSettings,
    Resources,
    Section,
    TrainingSettings,
)

Config = dict[str, Any]
"""Parameter name -> value, for the parameters that are active in a trial."""


GRID = "grid"
"""The sampler that tries all configs, each once."""
DEFAULT_SAMPLER, DEFAULT_SCHEDULER = "curves", "freeze_thaw"
"""They belong together; another sampler gets `asha`, and several objectives get `tpe`."""
NEVER_PAUSING = "asha_stop"
"""The scheduler of a program that cannot go on from where it was, unless another one is named."""

_METRICS = {"multilabel": "macro_f1", "regression": "rmse", "forecasting": "mase"}
"""Task -> its objective by default; of classification it is the accuracy."""

_NAME, _LONGEST_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]*", 80
StudyName = Annotated[str, Field(pattern=f"^{_NAME}$", max_length=_LONGEST_NAME)]


def _task(value: str) -> str:
    if value not in TASKS and ":" not in value:
        hint = did_you_mean(value, TASKS)
        raise ValueError(
            f"must be {', '.join(map(repr, TASKS))}, or module:Class of your own, got {value!r:.80}."
            f"{hint if 'Did' in hint else ''}"
        )
    return value


def _base(read: dict[str, Any]) -> Base:
    task = read.get("task", BASES[0])
    base: Base = TASKS.get(task, task)  # one of the user's own has it written
    return base


_MLFLOWS = re.compile(r"mlflow\.db(-journal|-wal|-shm)?|mlflow-artifacts|mlartifacts|mlruns", re.IGNORECASE)


def is_study_name(text: str) -> bool:
    """Whether a study, or an ensemble, can have this name."""
    return len(text) <= _LONGEST_NAME and re.fullmatch(_NAME, text) is not None


class SearchSpec(Section):
    """What a search is, whatever its trials are: parameters, objective, sampler, scheduler and budget.

    Alone it describes a search over a training function of the user's own, or one that is simulated or told its results
    (ask and tell): its parameters may have any names.
    """

    study: StudyName
    """The study's name, which is its folder's."""
    train: ImportPath | None = None
    """A training function of your own, `module:function`, in place of the built-in loop."""
    command: Command | None = None
    """A program of your own, in place of the built-in loop: its words, such as `python train.py --lr {lr}`."""
    predict: ImportPath | None = None
    """Your function that predicts with what `train` has kept, `module:function`; `predict` beside `train` is found."""
    task: Annotated[str, AfterValidator(_task)] = "classification"
    """What the targets are, and so what is learned and measured: a name, or `module:Class` of a task of your own."""
    base: Base = Field(default_factory=_base)
    """What predictions are: forecasts are values, and those of a task of your own are as its class says, which writes
    it here."""
    training: TrainingSettings = TrainingSettings()
    """How long and how a trial is trained."""
    parameters: dict[str, Parameter] = Field(default_factory=dict)
    """What is searched, by dotted name."""
    forbidden: Annotated[tuple[Clause, ...], Field(max_length=200)] = ()
    """Combinations of values that no trial may have: mappings of which all holds, or comparisons."""
    configs: Annotated[tuple[dict[str, Value], ...], Field(max_length=1000)] = ()
    """Configs that are tried first, in order; what each leaves out is as in the default config."""
    objective: Objectives = Objectives()
    """What ranks trials: a metric, or a list of several."""
    metrics: Annotated[tuple[Metric, ...], Field(max_length=100)] = ()
    """What is measured beside the metrics of the task: those at a threshold, and functions of your own."""
    constraints: tuple[Constraint, ...] = ()
    """What trials must keep to, such as `latency_ms <= 5`."""
    target: Literal["single", "ensemble"] = "single"
    """Whether the best trial is wanted, or the best ensemble of trials."""
    sampler: Named = Named(name=DEFAULT_SAMPLER)
    """The plug-in that proposes configs."""
    scheduler: Named = Named(name=DEFAULT_SCHEDULER)
    """The plug-in that says which trials go on."""
    budget: Budget = Budget()
    """What ends the search."""
    failures: Failures = Failures()
    """What is done about trials that fail."""
    resources: Resources = Resources()
    """What one trial gets."""
    callbacks: tuple[Named, ...] = ()
    """Code of your own that hears what happens: `module:Class` of an `hpo.Callback`, or a mapping with its settings."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """The seed of the split, the sampler and every trial."""

    @model_validator(mode="before")
    @classmethod
    def _one_trainer(cls, value: Any) -> Any:
        """A program, a training function, or the built-in loop on data and a model."""
        if isinstance(value, dict) and value.get("command") is not None:
            others = [name for name in ("train", "predict", "data", "model") if value.get(name) is not None]
            if others:
                raise ValueError(
                    f"`command` runs a program, which has its own code, data and model: leave {', '.join(others)} out,"
                    " or `command`"
                )
        return value

    @model_validator(mode="before")
    @classmethod
    def _suited(cls, value: Any) -> Any:
        """Sampler and scheduler by a name alone or by settings alone; what is left out suits what is there.

        A grid ends by itself, so it needs no budget.
        """
        if not isinstance(value, dict):
            return value
        objective = value.get("objective")
        others = objective[1:] if isinstance(objective, list | tuple) else None
        if isinstance(objective, dict):
            others = objective.get("others")
        sampler = _named(value.get("sampler"), "tpe" if others else DEFAULT_SAMPLER)
        known = isinstance(sampler, dict) and sampler.get("name") == DEFAULT_SAMPLER
        resuming = DEFAULT_SCHEDULER if known else "asha"
        scheduler = _named(value.get("scheduler"), NEVER_PAUSING if _never_resumes(value) else resuming)
        suited = {**value, "sampler": sampler, "scheduler": scheduler}
        if isinstance(sampler, dict) and sampler.get("name") == GRID and not _limited(value.get("budget")):
            suited["budget"] = Budget.model_construct()
        return suited

    @model_validator(mode="before")
    @classmethod
    def _objective_of_the_task(cls, value: Any) -> Any:
        """What is searched for, where nobody says."""
        task = value.get("task") if isinstance(value, dict) else None
        if isinstance(task, str) and task in _METRICS and value.get("objective") is None:
            return {**value, "objective": _METRICS[task]}
        return value

    @model_validator(mode="before")
    @classmethod
    def _one_report(cls, value: Any) -> Any:
        """A training function or a program has one report a trial, where nobody says how many epochs."""
        if not isinstance(value, dict) or value.keys() & {"data", "model"}:
            return value
        if value.get("train") is None and value.get("command") is None:
            return value
        training = {} if value.get("training") is None else value["training"]
        return {**value, "training": {"epochs": 1, **training}} if isinstance(training, dict) else value

    @model_validator(mode="before")
    @classmethod
    def _no_gpu_for_the_cpu(cls, value: Any) -> Any:
        """A trial that trains on the CPU holds no GPU, where nobody says that it is to."""
        if not isinstance(value, dict) or not isinstance(value.get("training"), dict):
            return value
        resources = {} if value.get("resources") is None else value["resources"]
        if value["training"].get("device") not in ("cpu", "mps") or not isinstance(resources, dict):
            return value
        return {**value, "resources": {**resources, "gpu": 0}} if resources.get("gpu", "auto") == "auto" else value

    @model_validator(mode="after")
    def _a_base_of_its_own(self) -> Self:
        if self.task in TASKS and self.base != TASKS[self.task]:
            raise ValueError(f"base is of tasks of your own, and task {self.task} is one of ours; leave it out")
        return self

    @field_validator("study")
    @classmethod
    def _folder_of_its_own(cls, value: str) -> str:
        """A study is a folder beside MLflow's files; some file systems ignore case, and dots at the end of a name."""
        if value.endswith("."):
            raise ValueError(f"must not end in '.', which some file systems leave out, got '{value}'")
        if _MLFLOWS.fullmatch(value):
            raise ValueError(f"'{value}' is a name of MLflow's own files in the storage folder; choose another")
        return value

    @field_validator("constraints", "forbidden", "configs", mode="before")
    @classmethod
    def _one_is_a_list(cls, value: Any) -> Any:
        return value if isinstance(value, list | tuple) else (value,)

    @model_validator(mode="before")
    @classmethod
    def _goals_of_own_metrics(cls, value: Any) -> Any:
        """Metrics by their names alone; what is better for those of the user's own is known to the objective too."""
        if not isinstance(value, dict) or value.get("metrics") is None:
            return value
        given = value["metrics"]
        several = given if isinstance(given, list | tuple) else (given,)
        metrics = [{"name": one} if isinstance(one, str) else one for one in several]
        named = [one for one in metrics if isinstance(one, dict) and isinstance(one.get("name"), str)]
        goals = {one["name"].rpartition(":")[2]: one["goal"] for one in named if one.get("goal") and ":" in one["name"]}
        objective = value.get("objective")
        known = {} if objective is None else {"objective": with_goals(objective, goals)}
        return {**value, "metrics": metrics, **known}

    @field_validator("callbacks", mode="before")
    @classmethod
    def _some_callbacks(cls, value: Any) -> Any:
        """One or several, each by its name alone or with settings."""
        several = value if isinstance(value, list | tuple) else () if value is None else (value,)
        return tuple({"name": one} if isinstance(one, str) else one for one in several)

    @property
    def objectives(self) -> tuple[Objective, ...]:
        """All of them, the first first."""
        return (self.objective, *self.objective.others)

    @property
    def repeats(self) -> bool:
        """Whether a config may come again, with another seed: as a member of an ensemble or of a population.

        So it is where nothing is searched; of a grid each is tried once.
        """
        searched = any(parameter.equals is None for parameter in self.parameters.values())
        if self.sampler.name == GRID and searched:
            return False
        return self.target == "ensemble" or self.scheduler.name == "pbt" or not searched

    @property
    def import_paths(self) -> frozenset[str]:
        """What its values name that is run: the import paths of the user's own code, and the program of `command`."""
        program = frozenset[str]() if self.command is None else frozenset({self.command.key})
        return import_paths(self.model_dump(exclude={"command"})) | program

    @property
    def learning_code(self) -> list[str]:
        """The import paths of the user's own task, losses and metrics."""
        searched = self.parameters.get("training.loss")
        losses = (self.training.loss, *(() if searched is None else searched.values or ()))
        named = (self.task, *losses, *(metric.name for metric in self.metrics))
        return list(dict.fromkeys(name for name in named if ":" in str(name)))

    def own_code(self, *sections: str) -> list[str]:
        """The import paths by which these sections name code of the user's own."""
        holders = (getattr(self, section, None) for section in sections)
        named = (one for holder in holders for one in (holder if isinstance(holder, tuple) else (holder,)))
        names = [one if isinstance(one, str) else getattr(one, "name", "") for one in named]
        learned = self.learning_code if "training" in sections else []
        return list(dict.fromkeys([*(name for name in names if ":" in name), *learned]))

    def setting(self, name: str) -> Any:
        """The fixed setting with this dotted name; None where it is not set."""
        section, _, key = name.partition(".")
        return getattr(getattr(self, section, None), key, None)

    def written(self, name: str) -> bool:
        """Whether the user wrote the setting with this dotted name (rather than leaving it at its default)."""
        section, _, key = name.partition(".")
        holder = getattr(self, section, None)
        return isinstance(holder, BaseModel) and key in holder.model_fields_set

    def trial_seed(self, number: int) -> int:
        """The seed of one trial, from the study's seed and the trial's number."""
        return int(np.random.SeedSequence([self.seed, number]).generate_state(1)[0])


class StudySpec(SearchSpec):
    """A search over trained models: fixed settings in their sections, what is searched by dotted name."""

    data: DataSettings
    """What is learned from."""
    model: ModelSettings
    """What is trained."""
    optimizer: OptimizerSettings = OptimizerSettings()
    """How it learns."""

    @field_validator("model", "data", mode="before")
    @classmethod
    def _a_name_alone(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @field_validator("parameters")
    @classmethod
    def _of_families(cls, value: dict[str, Parameter]) -> dict[str, Parameter]:
        return families.with_conditions(value)

    @model_validator(mode="after")
    def _layers_of_families(self) -> Self:
        """What a family may have alone of what no model sets: layers that are not trained, and no weights."""
        for family in sorted(self.known_families()):
            own = families.settings_of(self.model, family)
            if "weights" in own:
                raise ValueError(f"model.{family}.weights: weights are of the whole study; write model.weights")
            try:
                ModelSettings.model_validate({"name": family, "frozen": own.get("frozen", ())})
            except ValidationError:
                raise ValueError(f"model.{family}.frozen: must be names of layers, got {own['frozen']!r:.80}") from None
        return self

    @property
    def families(self) -> tuple[str, ...]:
        """The names of the models that its trials train: one, or the values of the parameter `model.name`."""
        searched = self.parameters.get(families.NAME)
        values = () if searched is None else searched.values or ()
        return tuple(value for value in values if isinstance(value, str)) or (self.model.name,)

    def of_family(self, family: str) -> Self:
        """This spec as a search of one of its families: parameters of the others are there, and never active."""
        parameters = {name: parameter for name, parameter in self.parameters.items() if name != families.NAME}
        model = self._resolved(self.model.model_copy(update={"name": family}))
        return self.model_copy(update={"model": model, "parameters": parameters})

    def setting(self, name: str) -> Any:
        """The fixed setting with this dotted name; None where it is not set. One of all families is one of each."""
        family = families.family_of(name)
        if family is None:
            return super().setting(name)
        written = self.model.model_dump(exclude_unset=True, exclude={"name"})
        shared = written if family in (self.model.name, *self.families) else {}
        return {**shared, **families.settings_of(self.model, family)}.get(name.rpartition(".")[2])

    def written(self, name: str) -> bool:
        """Whether the user wrote the setting with this dotted name (rather than leaving it at its default)."""
        return super().written(name) if families.family_of(name) is None else self.setting(name) is not None

    def own_code(self, *sections: str) -> list[str]:
        """The import paths by which these sections name code of the user's own, that of every family included."""
        models = [name for name in self.families if ":" in name] if families.SECTION in sections else []
        return list(dict.fromkeys([*super().own_code(*sections), *models]))

    @property
    def once(self) -> Self:
        """This spec where each config is trained once, without folds, as the members of an ensemble are."""
        return self.apply({"training.folds": None, "training.seeds": 1})

    def apply(self, config: Mapping[str, Any]) -> Self:
        """This spec with the parameters of `config` set to their values; its model is that of one family.

        Raises:
            pydantic.ValidationError: a value breaks the rule of its setting.
        """
        sections: dict[str, dict[str, Any]] = {}
        for name, value in config.items():
            section, _, key = name.partition(".")
            fixed = sections.setdefault(section, getattr(self, section).model_dump())
            sections[section] = (
                families.laid_over(fixed, key, value) if section == families.SECTION else {**fixed, key: value}
            )
        fields = type(self).model_fields
        validated = {name: section_class(fields[name]).model_validate(values) for name, values in sections.items()}
        if families.SECTION in sections or families.NAME not in self.parameters:
            model = validated.get(families.SECTION, self.model)
            assert isinstance(model, Named)
            validated[families.SECTION] = self._resolved(model, config)
        return self.model_copy(update=validated)

    def known_families(self, names: Iterable[str] = ()) -> frozenset[str]:
        """The families that its `model` section may have settings for: those trained, and those that names are of."""
        named = map(families.family_of, (*self.parameters, *names))
        return frozenset({self.model.name, *self.families, *(family for family in named if family is not None)})

    def _resolved(self, model: Named, names: Iterable[str] = ()) -> Named:
        return families.resolved(model, {model.name, *self.known_families(names)})


def _limited(budget: Any) -> bool:
    """Whether a budget, as it is written, has a limit; one that is no mapping is told elsewhere."""
    return budget is not None and (not isinstance(budget, dict) or any(it is not None for it in budget.values()))


def _never_resumes(value: dict[str, Any]) -> bool:
    """Whether what was written trains several epochs by a program that takes up no checkpoint."""
    command, training = value.get("command"), value.get("training")
    if command is None or (isinstance(command, dict) and command.get("resumes")):
        return False
    epochs = training.get("epochs") if isinstance(training, dict) else None
    return isinstance(epochs, int) and epochs > 1


def _named(value: Any, default: str) -> Any:
    if value is None:
        return {"name": default}
    if isinstance(value, str):
        return {"name": value}
    return {"name": default, **value} if isinstance(value, dict) else value


def section_class(field: Any) -> type[BaseModel]:
    """The class of a section, from the field of `StudySpec` that holds it."""
    annotation = field.annotation
    if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
        raise TypeError(f"{annotation} is not a section")
    return annotation
