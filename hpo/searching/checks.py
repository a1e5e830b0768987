"""What is checked of a spec before its search begins, and what is said of it."""

import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from hpo import datasets, models, samplers, schedulers, tasks
from hpo.datasets import Dataset
from hpo.errors import Problem
from hpo.schedulers import PAUSING
from hpo.spec import SearchSpec, StudySpec
from hpo.spec.command import Command, variable
from hpo.spec.space import never_active, possible_configs
from hpo.spec.study_spec import GRID, NEVER_PAUSING
from hpo.study import callbacks

_READ = frozenset({"epochs", "patience", "min_delta", "folds", "seeds", "device"})
"""What `training` says of trials whatever trains them."""


_COLUMNS = 40
"""Columns of a table that are shown."""


def check_ends(spec: SearchSpec) -> Iterable[Problem]:
    """A target, or a plateau, of a search that has no single best trial; and a plateau without its rule."""
    budget = spec.budget
    for key in ("target", "plateau"):
        if getattr(budget, key) is not None and spec.objective.others:
            yield Problem(
                ("budget", key), "is of one objective, and this search has several, of which no trial is the best"
            )
    if budget.plateau is not None and spec.target == "ensemble":
        yield Problem(("budget", "plateau"), "is of the best trial, and `target: ensemble` wants an ensemble of many")
    for key in ("plateau_epochs", "plateau_gpu_hours", "plateau_trials"):
        if budget.plateau is None and key in budget.model_fields_set and getattr(budget, key) is not None:
            yield Problem(("budget", key), "says nothing without `plateau`, the least improvement; give that too")


SEARCH_CHECKS = (tasks.check_goal, samplers.check, schedulers.check, callbacks.check, check_ends)
"""What can be known of a search whatever its trials are."""


def check_resources(spec: SearchSpec) -> Iterable[Problem]:
    """CPUs and GPUs that a trial would reserve and never use."""
    cpu, gpu = spec.resources.cpu, spec.resources.gpu
    if cpu > 1 and not float(cpu).is_integer():
        yield Problem(
            ("resources", "cpu"),
            f"must be a whole number, or a fraction below 1, got {cpu:g}: a trial has a thread for each whole CPU and"
            f" would hold the rest unused; write {math.floor(cpu)} or {math.ceil(cpu)}",
        )
    if gpu != "auto" and gpu > 0 and spec.training.device in ("cpu", "mps"):
        why = "a trial would hold a GPU unused" if spec.training.device == "cpu" else "Ray counts none of Apple's GPUs"
        yield Problem(
            ("resources", "gpu"),
            f"must be 0 where training.device is {spec.training.device}, got {gpu:g}: {why}; write 0, or leave one of"
            " the two out",
        )
    elif gpu == 0 and spec.training.device in ("cuda", "xpu"):
        yield Problem(
            ("resources", "gpu"),
            f"is 0, but training.device is {spec.training.device}; give a trial a share of a GPU, or leave one out",
        )
    elif gpu != "auto" and gpu > 1:
        yield Problem(
            ("resources", "gpu"),
            f"must be at most 1, got {gpu:g}: a trial trains on one GPU and would hold the others unused; write 1, or a"
            " fraction such as 0.5 where several trials are to share one",
        )


def check(spec: SearchSpec, train: Callable[..., Any] | str | None = None) -> Iterable[Problem]:
    """Everything that can be known of a spec before its data are read.

    Args:
        spec: of a search whose trials are trained.
        train: the training function, where Python has given one.
    """
    if isinstance(spec, StudySpec):
        for models_check in (datasets.check, models.check):
            yield from models_check(spec)
    metrics = tasks.check if isinstance(spec, StudySpec) and spec.train is None else tasks.check_goal
    for search_check in (
        metrics,
        *(() if metrics is tasks.check else (tasks.check_metrics,)),
        samplers.check,
        schedulers.check,
        check_resources,
        callbacks.check,
        check_ends,
    ):
        yield from search_check(spec)
    yield from own_problems(spec, train)


def own_problems(spec: SearchSpec, given: Callable[..., Any] | str | None = None) -> Iterable[Problem]:
    """What is wrong with a training function or a program of the user's own, if there is one."""
    if spec.train is not None or spec.command is not None:
        from hpo.training import own_function

        yield from own_function.problems(spec, given)


def remarks(spec: SearchSpec) -> Iterable[str]:
    """What is valid in a spec, and may yet not be what was meant; a sentence each."""
    possible, trials = possible_configs(spec), spec.budget.trials
    if spec.sampler.name == GRID and possible is not None:
        rest = "" if trials is None or trials >= possible else f", of which the budget lets {trials} be tried"
        yield f"the grid has {possible:,} configs{rest}."
    elif possible is not None and trials is not None and possible < trials:
        yield (
            f"the space has {possible} possible configs, fewer than the budget of {trials} trials: the search ends when"
            " all have been tried."
        )
    yield from never_active(spec)
    yield from _unread(spec)
    if spec.command is not None:
        yield from _remarks_on(spec, spec.command)


def _unread(spec: SearchSpec) -> Iterable[str]:
    """What is said of settings of the built-in loop where code of the user's own trains."""
    if isinstance(spec, StudySpec) or not (spec.train or spec.command):
        return
    for name in sorted(spec.training.model_fields_set - _READ):
        where = f"'{spec.train}' finds it only as context.spec.training.{name}"
        yield (
            f"training.{name} is of the built-in loop, and {where if spec.train else 'a program is not told of it'}."
        )


def _remarks_on(spec: SearchSpec, command: Command) -> Iterable[str]:
    """What may not be meant of a command: parameters that stand nowhere in it, and trials that are trained again."""
    unused = [name for name in spec.parameters if name not in command.named]
    if unused:
        variables = ", ".join(map(variable, unused))
        yield (
            f"the command names no {', '.join(f'{{{name}}}' for name in unused)}: the program must read {variables} of"
            " its environment, or all trials are the same."
        )
    if command.resumes or spec.training.epochs == 1:
        return
    name = spec.scheduler.name
    if name in PAUSING:
        yield (
            f"scheduler '{name}' pauses trials, and a program begins again when one goes on: write `resumes: true` in"
            f" `command` if it goes on from HPO_CHECKPOINT, or `scheduler: {NEVER_PAUSING}`."
        )
    elif name == NEVER_PAUSING:
        yield (
            f"scheduler '{name}' stops the worst trials and pauses none: a program is paused only where it goes on from"
            " HPO_CHECKPOINT (`resumes: true` in `command`)."
        )


def data_notes(spec: SearchSpec, data_dir: Path) -> Sequence[str]:
    """What the columns of a table are taken for, and what is left out or changed of the data when they are read.

    Nothing is said where they would have to be downloaded.
    """
    if not isinstance(spec, StudySpec) or spec.data.name in datasets.DOWNLOADED:
        return ()
    dataset = datasets.of(spec, data_dir)
    found = dataset.encoding.columns
    shown = [f"column {column.name!r}: {column.told()}." for column in found[:_COLUMNS]]
    more = [f"and {len(found) - _COLUMNS} more columns."] if len(found) > _COLUMNS else []
    series = dataset.encoding.series
    of_series = () if series is None else (f"{line}." for line in series.told())
    return (*shown, *more, *of_series, *dataset.notes, *fine_tuning_notes(spec, dataset))


def fine_tuning_notes(spec: SearchSpec, dataset: Dataset | None) -> Sequence[str]:
    """What training takes of the weights that it begins from, and what it leaves as it is; nothing where all is new."""
    if not isinstance(spec, StudySpec) or dataset is None or spec.train is not None:
        return ()
    frozen = ("model.frozen", *(f"model.{family}.frozen" for family in spec.families))
    named = {*frozen, "optimizer.body_lr", "training.unfreeze_epochs"}
    if spec.model.weights is None and not any(spec.written(name) or name in spec.parameters for name in named):
        return ()
    from hpo.training import fine_tuning

    return tuple(
        note if len(spec.families) == 1 else f"{family}: {note}"
        for family in spec.families
        for note in fine_tuning.notes(spec.of_family(family), dataset)
    )


def last_problems(spec: SearchSpec, data_dir: Path, download: bool) -> Iterable[Problem]:
    """What shows only when the sampler proposes and the model meets the data, where they may be fetched for that."""
    yield from samplers.try_proposal(spec)
    if spec.command is not None and not download:
        from hpo.training.programs import Program

        if (missing := Program.of(spec.command).missing) is not None:
            yield Problem(("command", "run"), missing)
    if not isinstance(spec, StudySpec):
        return
    from hpo.training import rehearsal

    if download or spec.data.name not in datasets.DOWNLOADED:
        dataset = datasets.of(spec, data_dir)
        yield from datasets.check_fit(spec, dataset)
        yield from tasks.check_fit(spec, dataset.outputs)
        yield from rehearsal.problems(spec, dataset, trained=spec.train is None)
