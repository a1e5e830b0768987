"""`hpo search` from beginning to end: the spec is checked, Ray starts, the study is opened, its trials are run.

What takes seconds and needs no other is done side by side: Ray and its workers start while the models are imported and
the data are read, and MLflow is reached while the first trials train.
"""

import math
import re
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from hpo import datasets, models, plugins, samplers
from hpo import spec as specs
from hpo.datasets import Dataset
from hpo.errors import InputError, TrialsError
from hpo.searching.checks import check, last_problems, own_problems, remarks
from hpo.searching.ending import Ending
from hpo.searching.joining import invitation_to
from hpo.searching.opening import code_of, is_spent, known_study, ready
from hpo.searching.options import SearchOptions
from hpo.searching.results import SearchResult
from hpo.spec import Budget, Resources, SearchSpec, SpecLike, StudySpec
from hpo.study import POOL
from hpo.study.budget import ON_PLATEAU, Spent, ended_by, reached
from hpo.study.callbacks import Callbacks, checked, named
from hpo.study.data import remember_place
from hpo.study.folder import check_writable, study_names
from hpo.study.study import Study
from hpo.study.trial import LIVE, State
from hpo.terminal import Say, saying
from hpo.tracking.writer import Tracker

if TYPE_CHECKING:
    from signal import Signals

    from hpo.ensemble.contribution import Contributions, Source
    from hpo.training import TrainingFunction

_COUNTED = {"budget.trials": int, "budget.epochs": int, "budget.gpu_hours": float}
"""The limits that count over all searches of a study, and their kind."""
_ENSEMBLE_SECONDS, _NUMBER_SECONDS = 7.0, 2e-6
"""Seconds of a time limit reserved for an ensemble: to import, report and log it, and for each number predicted."""
_CLOSING_SECONDS = 2.0
"""Seconds of a time limit for what comes after the last trial: it is stored, Ray stops, MLflow is told."""


def search(options: SearchOptions) -> SearchResult:
    """Runs a search; `hpo.search` says what it raises."""
    started = time.monotonic()
    say = saying(options.told)
    checked(options.callbacks)
    settings = in_all(options.space, options.settings, options.studies, options.database)
    written = specs.read(options.space, settings)
    first = written.checked((partial(own_problems, given=options.train),))  # told before anything is started
    check_writable(options.studies, first.study)

    from hpo.engine.ray.cluster import starting

    own = own_function(first, options)
    _check_sendable(own)
    _check_there(own, options.address)
    with ExitStack() as held, starting(options.address, _modules(first, own, options)) as wait:
        spec, dataset = _read(written, options, say)
        known = known_study(spec, options, dataset, say)
        if known is not None and is_spent(known, spec.budget):
            say(f"Study '{spec.study}' {_why_over(known, spec.budget)}.")
            with Tracker(known, options.studies, say) as tracker:  # if the search before was killed at its end
                pass
            return SearchResult(known, time.monotonic() - started, tracking_problem=tracker.problem)
        say(f"Study '{spec.study}'{'' if known is None else _stands(known)}: starting Ray ...", style="dim")
        _import_engine()
        wait()
        _check_counted(spec)  # nothing is made on disk for a search that could never start
        work = _Work(own or _built_in(), spec, dataset)
        share = _share(work, options, say)
        study = ready(spec, options, dataset, say)
        invitation = invitation_to(study, share.resources, spec.budget.time_limit)
        held.enter_context(study.hold.searching(invitation, spec.budget))
        study.accept_code(code_of(spec, options))
        remember_place(study, spec)
        if is_spent(study, spec.budget):  # another search ran them while this one was starting
            return SearchResult(study, time.monotonic() - started)
        study.writer.use(samplers.build(spec, len(study.trials()), rewards(study)))
        tracker = held.enter_context(Tracker(study, options.studies, say))  # MLflow is told the last while Ray stops
        interrupted = _run(study, work, share, options, tracker, started)
    return SearchResult(study, time.monotonic() - started, interrupted, tracker.problem)


@dataclass(frozen=True)
class _Work:
    """What is done: which function trains, as the spec of this search says, and on which data."""

    function: "TrainingFunction"
    spec: SearchSpec
    dataset: Dataset | None


def _run(
    study: Study,
    work: _Work,
    share: "_Share",
    options: SearchOptions,
    tracker: Tracker,
    started: float,
) -> "Signals | None":
    """Runs the trials of a study that is held and has some left.

    Args:
        study: whose trials.
        work: what they train.
        share: what each gets.
        options: of this search.
        tracker: tells MLflow.
        started: when this search began, in seconds of the monotonic clock.

    Returns:
        The signal that has ended it; None where none has.
    """
    from hpo.controller.disk import DiskBudget
    from hpo.display.progress import Progress
    from hpo.engine.ray import run as engine

    say = saying(options.told)
    spec, limit = work.spec, work.spec.budget.time_limit
    left = study.spent().left(spec.budget)
    disk = None if options.max_disk is None else DiskBudget(study, options.max_disk)
    callbacks = Callbacks(study, [*named(spec), *options.callbacks])
    with Ending(study, spec.budget, callbacks).told() as ending, Progress(study, left, limit, options.told) as progress:
        ending.interrupted = interrupted = engine.run(
            study,
            work.function,
            resources=share.resources,
            left=left,
            dataset=work.dataset,
            deadline=None if limit is None else started + limit - _held_back(limit, work.dataset, options.ensemble),
            concurrency=share.trials,
            until=(lambda: None) if disk is None else (lambda: disk.problem),
            failures=spec.failures,
            say=say,
            grace_period=engine.GRACE_PERIOD if options.grace_period is None else options.grace_period,
            observers=(tracker, *(() if disk is None else (disk,)), progress, callbacks),
        )
        ending.reason = None if disk is None else disk.problem
    if disk is not None and disk.problem:
        say(f"The search has ended: {disk.problem}.")
    elif _is_over_early(study, spec.budget) and not interrupted:
        say(f"Study '{spec.study}' {_why_over(study, spec.budget)}.")
    return interrupted


def _is_over_early(study: Study, budget: Budget) -> bool:
    """Whether something else than the numbers of the budget has ended a search."""
    tried = study.writer.used_up is not None
    return tried or reached(study, budget.target) is not None or ended_by(study) == ON_PLATEAU


def _check_sendable(function: "Callable[..., Any] | None") -> None:
    """Refuses a training function that cannot be sent to another process, before anything is made."""
    if function is not None:
        from hpo.engine.ray.pickling import Sent

        Sent(function)


def _check_there(function: "Callable[..., Any] | None", address: str | None) -> None:
    """Refuses a program that this machine does not have, where no other one is to run it."""
    if function is None:  # nothing is imported then
        return
    from hpo.engine.ray.cluster import joined
    from hpo.training.programs import Program

    if isinstance(function, Program) and not joined(address) and (missing := function.missing) is not None:
        raise InputError(f"the command '{function.command.text}' cannot be run: {missing}")


def _import_engine() -> None:
    """Imports what runs trials and shows them, while Ray starts."""
    for module in ("controller.disk", "engine.ray.joining", "engine.ray.run", "display.progress"):
        import_module(f"hpo.{module}")


def _check_counted(spec: SearchSpec) -> None:
    """Refuses a budget of GPU hours on a cluster that gives trials no GPU, and resources that it does not have."""
    from hpo.engine.ray.cluster import trial_resources

    if trial_resources(spec.resources)["gpu"]:
        return
    if spec.budget.gpu_hours is not None:
        raise InputError(
            "budget.gpu_hours (--gpu-hours) limits nothing, since trials get no GPU here; use budget.time_limit"
        )
    if spec.budget.plateau_gpu_hours is not None:
        raise InputError("budget.plateau_gpu_hours: trials get no GPU here; use budget.plateau_epochs")


def _read(written: specs.Written[SearchSpec], options: SearchOptions, say: Say) -> tuple[SearchSpec, Dataset | None]:
    """The whole spec, checked, and its data; what may not be meant, or is left out of the data, is said."""
    last = partial(last_problems, data_dir=options.downloads, download=True)
    spec = written.checked((partial(check, train=options.train),), last)
    dataset = datasets.of(spec, options.downloads) if isinstance(spec, StudySpec) else None
    for note in (*written.notes, *remarks(spec), *(() if dataset is None else dataset.notes)):
        say(f"Note: {note}")
    return spec, dataset


def check_found(result: SearchResult) -> None:
    """Checks that a search which nothing has interrupted has found something.

    Raises:
        TrialsError: no trial has a value; the commonest cause is told.
    """
    if result.interrupted is not None or result.best is not None:
        return
    study, trials = result.study, result.study.trials()
    causes = Counter(trial.cause or "no reason was given" for trial in trials if trial.state not in LIVE)
    told = "none has reported before the search ended"
    way = f"`{study.command('trials')}` shows all, and with a larger budget `{study.command('resume')}` goes on"
    if causes:
        (cause, often), *_ = causes.most_common()
        told = f"{causes.total()} of {len(trials)} have failed or diverged, {often} of them: {cause}"
    if failed := [trial for trial in trials if trial.state is State.FAILED]:
        first = next((trial.number for trial in failed if trial.has_traceback), None)
        shown = study.command("trials" if first is None else f"log {first}")
        way = (
            f"`{shown}` shows {'all' if first is None else 'a traceback'}; when the cause is mended,"
            f" `{study.command('resume')} --retry-failed` begins what has failed again"
        )
    raise TrialsError(f"no trial of study '{study.name}' has a value: {told}; the study is kept: {way}")


def _held_back(limit: float, dataset: Dataset | None, ensemble: bool) -> float:
    """Seconds of a time limit that trials may not use."""
    if not ensemble:
        return min(_CLOSING_SECONDS, limit / 10)
    rows = 0 if dataset is None else (len(dataset.validation) + len(dataset.test)) * len(dataset.outputs)
    return min(_CLOSING_SECONDS + _ENSEMBLE_SECONDS + _NUMBER_SECONDS * POOL * rows, limit / 2)


def in_all(space: SpecLike, overrides: Mapping[str, Any], storage: Path, database: str | None) -> dict[str, Any]:
    """The overrides, in which a limit of the budget such as `+20` has become a total: what the study has used, and 20.

    Raises:
        InputError: behind the sign is no number of the limit's kind, or 0.
    """
    more = {name: value for name, value in overrides.items() if name in _COUNTED and isinstance(value, str)}
    if not more:
        return dict(overrides)
    others = {name: value for name, value in overrides.items() if name not in more}
    name = specs.load_search(space, others).study
    spent = Study.open(storage, name, database).spent() if name in study_names(storage) else Spent(0, 0)
    used = {"budget.trials": spent.trials, "budget.epochs": spent.epochs, "budget.gpu_hours": spent.gpu_hours}
    return others | {limit: used[limit] + _more(limit, text) for limit, text in more.items()}


def _more(limit: str, text: str) -> float:
    kind = _COUNTED[limit]
    pattern = r"\+\d+" if kind is int else r"\+(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?"
    if not re.fullmatch(pattern, text, re.ASCII) or not 0 < float(text) < math.inf:
        raise InputError(f"{limit} must be a number, or a text such as '+20' for so many more, got {text!r}")
    return int(text) if kind is int else float(text)


def _stands(study: Study) -> str:
    """How many trials of a study that goes on have ended, and how many an earlier search has begun, in words."""
    states = Counter(trial.state for trial in study.trials())
    live = sum(states[state] for state in LIVE)
    ended = states.total() - live
    waiting = f", {live} begun" if live else ""
    return f" goes on ({ended} ended{waiting})" if states else ""


def _why_over(study: Study, budget: Budget) -> str:
    """Why a study is not searched any longer, and what there is to do."""
    left = study.spent().left(budget)
    if (trial := reached(study, budget.target)) is not None:
        return (
            f"has reached its target of {budget.target:g} (trial {trial.number}, {trial.metric} {trial.value:g}), so"
            " the search has ended; --target sets another"
        )
    if study.writer.used_up is not None and not left.nothing:
        return f"has tried every one of the {study.writer.used_up} configs that its space has, so the search has ended"
    if ended_by(study) == ON_PLATEAU and not left.nothing:
        return (
            f"has come to a plateau, on which nothing better by {budget.plateau or 0:g} is to be expected, so the"
            " search has ended; --plateau 0 goes on"
        )
    if left.trials == 0:
        used_up = f"{budget.trials} trials; --trials"
    else:
        used_up = (
            f"{budget.epochs} epochs; --epochs" if left.epochs == 0 else f"{budget.gpu_hours:g} GPU hours; --gpu-hours"
        )
    return f"has spent its budget of {used_up} raises it"


def own_function(spec: SearchSpec, options: SearchOptions) -> "Callable[..., Any] | None":
    """The training function or program of the user's own; None where the built-in one trains: nothing is imported."""
    if spec.train is None and spec.command is None:
        return None
    from hpo.training import own_function as functions

    return functions.own_function(spec, options.train)


def _built_in() -> "TrainingFunction":
    from hpo.training import train

    return train


def _modules(spec: SearchSpec, own: "Callable[..., Any] | None", options: SearchOptions) -> list[Path]:
    """The files of the user's own model and training function, which the machines of a joined cluster may not have."""
    from hpo.engine.ray.cluster import joined

    if not joined(options.address):
        return []
    names = spec.own_code("model")
    for name in names:
        models.MODELS.load(name)  # or it has no module yet
    names += spec.learning_code
    names += [spec.train] if own is not None and spec.train is not None else []
    return list(dict.fromkeys(source for name in names if (source := plugins.source(name)) is not None))


@dataclass(frozen=True)
class _Share:
    """What each trial gets, and how many run at once at most."""

    resources: Resources
    trials: int | None


def _share(work: _Work, options: SearchOptions, say: Say) -> _Share:
    spec = work.spec
    if isinstance(spec, StudySpec) and work.dataset is not None and _shares_a_device(spec, work.dataset):
        if options.concurrency == "auto":
            raise InputError("--concurrency auto: nobody can measure what a trial takes of Apple's GPU; give a number")
        if options.concurrency is None:
            say(f"Study '{spec.study}': trials train one at a time on the GPU; --concurrency says how many at once.")
        return _Share(spec.resources, options.concurrency or 1)
    if options.concurrency != "auto":
        return _Share(spec.resources, options.concurrency)
    if not isinstance(spec, StudySpec) or work.dataset is None:
        raise InputError(
            "--concurrency auto measures models on the data of the search file; with a training function that has its"
            " own data, say how many trials run at once"
        )
    from hpo.engine.ray.occupancy import fitting

    say(f"Study '{spec.study}': measuring how many trials fit ...", style="dim")
    occupancy = fitting(spec, work.dataset, work.function, spec.resources)
    say(f"Study '{spec.study}': {occupancy}.", style="dim")
    return _Share(occupancy.resources, occupancy.trials)


def _shares_a_device(spec: StudySpec, dataset: Dataset) -> bool:
    """Whether all trials train on one accelerator that Ray does not count, and so gives to as many as there are CPUs.

    Raises:
        ResourceError: this machine has no such device.
    """
    if spec.training.device not in ("auto", "mps"):
        return False
    from hpo.models.devices import ACCELERATORS, COUNTED
    from hpo.training.precision import choose_device

    kind = choose_device(spec.training.device, float64=dataset.train.inputs.dtype.itemsize == 8).type
    return kind in ACCELERATORS and kind not in COUNTED


def rewards(study: Study, predictions: "tuple[NDArray[Any], Source] | None" = None) -> "Contributions | None":
    """What trials are worth, where the target is an ensemble; from stored predictions unless others are given."""
    if study.spec.target != "ensemble":
        return None
    from hpo.ensemble.contribution import Contributions
    from hpo.ensemble.pool import stored_predictions

    if predictions is not None:
        return Contributions(study, *predictions, study.spec.base)
    targets = study.data_summary.targets["validation"]
    return Contributions(study, targets, partial(stored_predictions, study), study.study_spec.base)
