"""`hpo search` from beginning to end: the spec is checked, Ray starts, the study is opened, its trials are run.

What takes seconds and needs no other is done side by side: Ray and its workers start while the models are imported and
the data are read, and MLflow is reached while the first trials train.
"""

import math
import re
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from hpo import datasets, models, samplers, schedulers, tasks
from hpo import spec as specs
from hpo.datasets import Dataset
from hpo.errors import InputError, Problem, ResourceError, StudyError, TrialsError
from hpo.searching.options import SearchOptions
from hpo.searching.results import SearchResult
from hpo.spec import Budget, Resources, SearchSpec, SpecLike, StudySpec
from hpo.spec.space import never_active, possible_configs
from hpo.study.budget import Spent
from hpo.study.code import TrainingCode
from hpo.study.data import remember_place
from hpo.study.data_summary import DataSummary
from hpo.study.differences import differences
from hpo.study.folder import check_writable, study_names
from hpo.study.locations import own_place
from hpo.study.storage.lock import of_this_machine
from hpo.study.study import Study
from hpo.study.trial import LIVE
from hpo.terminal import Say, saying
from hpo.tracking.writer import Tracker

if TYPE_CHECKING:
    from signal import Signals

    from hpo.ensemble.contribution import Contributions, Source
    from hpo.training import Objective

SEARCH_CHECKS = (tasks.check_goal, samplers.check, schedulers.check)
"""What can be known of a search whatever its trials are."""


def check_resources(spec: StudySpec) -> Iterable[Problem]:
    """CPUs and GPUs that a trial would reserve and never use."""
    cpu, gpu = spec.resources.cpu, spec.resources.gpu
    if cpu > 1 and not float(cpu).is_integer():
        yield Problem(
            ("resources", "cpu"),
            f"must be a whole number, or a fraction below 1, got {cpu:g}: a trial has a thread for each whole CPU and"
            f" would hold the rest unused; write {math.floor(cpu)} or {math.ceil(cpu)}",
        )
    if gpu != "auto" and gpu > 0 and spec.training.device == "cpu":
        yield Problem(
            ("resources", "gpu"),
            f"must be 0 where training.device is cpu, got {gpu:g}: a trial would hold a GPU unused; write 0, or"
            " leave one of the two out",
        )
    elif gpu != "auto" and gpu > 1:
        yield Problem(
            ("resources", "gpu"),
            f"must be at most 1, got {gpu:g}: a trial trains on one GPU and would hold the others unused; write 1, or a"
            " fraction such as 0.5 where several trials are to share one",
        )


CHECKS = (tasks.check, datasets.check, models.check, samplers.check, schedulers.check, check_resources)
"""Everything that can be known of a spec before its data are read."""


_COUNTED = {"budget.trials": int, "budget.epochs": int, "budget.gpu_hours": float}
"""The limits that count over all searches of a study, and their kind."""
_UNKNOWN_CODE = (
    "Study '{study}' is of release 0.1, which kept nothing of the code: whether this is the objective and the model of"
    " its trials is not checked."
)
_ENSEMBLE_SECONDS, _NUMBER_SECONDS = 7.0, 2e-6
"""Seconds of a time limit reserved for an ensemble: to import, report and log it, and for each number predicted."""
_LOOK_SECONDS = 0.5
"""Seconds between two looks whether the search that was joined is over."""
_CLOSING_SECONDS = 2.0
"""Seconds of a time limit for what comes after the last trial: it is stored, Ray stops, MLflow is told."""


def search(options: SearchOptions) -> SearchResult:
    """Runs a search; `hpo.search` says what it raises."""
    started = time.monotonic()
    say = saying(options.told)
    settings = in_all(options.space, options.settings, options.studies, options.database)
    written = specs.read(options.space, settings)
    first = written.checked()  # what is wrong at first sight is told before anything is started
    check_writable(options.studies, first.study)

    from hpo.engine.ray.cluster import starting

    _check_sendable(options.objective)
    with ExitStack() as held, starting(options.address, _modules(first, options)) as wait:
        spec, dataset = _read(written, options, say)
        known = _known(spec, options, dataset, say)
        if known is not None and _is_spent(known, spec.budget):
            say(f"Study '{spec.study}' {_why_over(known, spec.budget)}.")
            with Tracker(known, options.studies, say) as tracker:  # if the search before was killed at its end
                pass
            return SearchResult(known, time.monotonic() - started, tracking_problem=tracker.problem)
        say(f"Study '{spec.study}': starting Ray ...", style="dim")
        _import_engine()
        wait()
        _check_counted(spec)  # nothing is made on disk for a search that could never start
        share = _share(spec, options, dataset, say)
        study = _ready(spec, options, dataset, say)
        held.enter_context(study.hold.searching(told=_invitation(study, spec, share)))
        study.accept_code(_code(spec, options))
        remember_place(study, spec)
        if study.spent().left(spec.budget).nothing:  # another search ran them while this one was starting
            return SearchResult(study, time.monotonic() - started)
        study.writer.use(samplers.build(spec, len(study.trials()), rewards(study)))
        tracker = held.enter_context(Tracker(study, options.studies, say))  # MLflow is told the last while Ray stops
        interrupted = _run(study, spec, dataset, share, options, tracker, started)
    return SearchResult(study, time.monotonic() - started, interrupted, tracker.problem)


def _run(
    study: Study,
    spec: StudySpec,
    dataset: Dataset,
    share: "_Share",
    options: SearchOptions,
    tracker: Tracker,
    started: float,
) -> "Signals | None":
    """Runs the trials of a study that is held and has some left.

    Args:
        study: whose trials.
        spec: of this search.
        dataset: what they train on.
        share: what each gets.
        options: of this search.
        tracker: tells MLflow.
        started: when this search began, in seconds of the monotonic clock.

    Returns:
        The signal that has ended it; None where none has.
    """
    from hpo.controller.disk import DiskBudget
    from hpo.engine.ray import run as engine
    from hpo.report.progress import Progress

    say = saying(options.told)
    limit, left = spec.budget.time_limit, study.spent().left(spec.budget)
    disk = None if options.max_disk is None else DiskBudget(study, options.max_disk)
    with Progress(study, left, limit, options.told) as progress:
        interrupted = engine.run(
            study,
            _objective(options),
            resources=share.resources,
            left=left,
            dataset=dataset,
            deadline=None if limit is None else started + limit - _held_back(limit, dataset, options.ensemble),
            concurrency=share.trials,
            until=(lambda: None) if disk is None else (lambda: disk.problem),
            failures=spec.failures,
            say=say,
            grace_period=engine.GRACE_PERIOD if options.grace_period is None else options.grace_period,
            observers=(tracker, progress) if disk is None else (tracker, disk, progress),
        )
    if disk is not None and disk.problem:
        say(f"The search has ended: {disk.problem}.")
    elif study.writer.used_up is not None and not interrupted:
        say(f"Study '{spec.study}' {_why_over(study, spec.budget)}.")
    return interrupted


def _check_sendable(objective: "Objective | None") -> None:
    """Refuses an objective that cannot be sent to another process, before anything is made."""
    if objective is not None:
        from hpo.engine.ray.pickling import Sent

        Sent(objective)


def _import_engine() -> None:
    """Imports what runs trials and shows them, while Ray starts."""
    for module in ("controller.disk", "engine.ray.joining", "engine.ray.run", "report.progress"):
        import_module(f"hpo.{module}")


def _check_counted(spec: StudySpec) -> None:
    """Refuses a budget of GPU hours on a cluster that gives trials no GPU, and resources that it does not have."""
    from hpo.engine.ray.cluster import trial_resources

    if not trial_resources(spec.resources)["gpu"] and spec.budget.gpu_hours is not None:
        raise InputError(
            "budget.gpu_hours (--gpu-hours) limits nothing, since trials get no GPU here; use budget.time_limit"
        )


def _invitation(study: Study, spec: StudySpec, share: "_Share") -> str:
    """What other machines need to know to work for this search."""
    from hpo.engine.ray import joining
    from hpo.engine.ray.cluster import trial_resources

    each, limit = trial_resources(share.resources), spec.budget.time_limit
    return str(joining.Invitation.here(each, study.place, _identity(study), limit))


def _known(spec: StudySpec, options: SearchOptions, dataset: Dataset, say: Say) -> Study | None:
    """The study that goes on; None where it is a new one. What forbids either is told before Ray is waited for."""
    is_known = spec.study in study_names(options.studies)
    if options.warm_start is not None:
        Study.open(options.studies, options.warm_start)
        if is_known:
            say(f"Study '{spec.study}' goes on; --from is for new ones, and is left out.")
    if not is_known:
        return None
    known = _reopen(spec, options, dataset)
    if not _is_spent(known, spec.budget):
        known.hold.check_free()  # who begins in between is refused when Ray is there
    return known


def _read(written: specs.Written[StudySpec], options: SearchOptions, say: Say) -> tuple[StudySpec, Dataset]:
    """The whole spec, checked, and its data; what may not be meant, or is left out of the data, is said."""
    own = options.objective is not None
    last = partial(last_problems, data_dir=options.downloads, download=True, own_objective=own)
    spec = written.checked(CHECKS, last)
    dataset = datasets.load(spec.data, options.downloads, spec.seed)
    for note in (*remarks(spec), *dataset.notes):
        say(f"Note: {note}")
    return spec, dataset


def _ready(spec: StudySpec, options: SearchOptions, dataset: Dataset, say: Say) -> Study:
    """The study, made where it is not there, whose artifacts are in a place of its own."""
    study = _open_or_create(spec, options, dataset)
    study.hold.claim(options.artifacts)
    if not study.code:
        say(_UNKNOWN_CODE.format(study=spec.study))
    taken = sum(trial.taken_over for trial in study.trials())
    if taken and options.warm_start is not None:
        say(f"{taken} trials of study '{options.warm_start}' are taken over.", style="dim")
    return study


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
    if causes:
        (cause, often), *_ = causes.most_common()
        told = f"{causes.total()} of {len(trials)} have failed or diverged, {often} of them: {cause}"
    raise TrialsError(
        f"no trial of study '{study.name}' has a value: {told}; the study is kept: `{study.command('trials')}` shows"
        f" all, and with a larger budget `{study.command('resume')}` goes on"
    )


def _held_back(limit: float, dataset: Dataset, ensemble: bool) -> float:
    """Seconds of a time limit that trials may not use."""
    if not ensemble:
        return min(_CLOSING_SECONDS, limit / 10)
    from hpo.controller.disk import POOL

    numbers = POOL * (len(dataset.validation) + len(dataset.test)) * len(dataset.outputs)
    return min(_CLOSING_SECONDS + _ENSEMBLE_SECONDS + _NUMBER_SECONDS * numbers, limit / 2)


def join(options: SearchOptions) -> SearchResult:
    """Works for the search of another process until that is over.

    Its driver decides and records everything; this machine is a node of its Ray.

    Raises:
        InputError: this machine works for it already, and nothing says how many trials more; or the invitation to its
            Ray is not proven to be the user's own.
        StudyError: nobody searches the study.
        ResourceError: its Ray cannot be joined from here.
    """
    started = time.monotonic()
    spec = specs.load(options.space, options.settings)
    study = same_spec(Study.open(options.studies, spec.study, options.database), spec, options.studies)
    searcher = study.hold.searcher
    if searcher is None:
        raise StudyError(f"nobody searches study '{spec.study}' now; leave --join out to search it")
    who, told = searcher
    if options.concurrency == "auto":
        raise InputError("--join --concurrency auto: a search measures that before its trials begin; give a number")
    if options.concurrency is None and of_this_machine(who):
        raise InputError("this machine works for that search already; --concurrency N says how many trials more")

    from hpo.engine.ray import joining

    invitation = joining.Invitation.read(told)
    if invitation is None:
        raise StudyError(f"study '{spec.study}' is held by {who}, which is no search that can be joined; wait")
    invitation.check(_identity(study), options.address)
    with joining.node(invitation, options.concurrency) as node:
        saying(options.told)(
            f"Study '{spec.study}': this machine works for the search of {who}, until that is over; Ctrl-C leaves."
        )
        while study.hold.searcher == searcher:
            if (problem := node.problem) is not None and study.hold.searcher == searcher:
                raise ResourceError(f"this machine could not stay in the Ray of {who}: {problem}")
            time.sleep(_LOOK_SECONDS)
    return SearchResult(Study.open(options.studies, spec.study, options.database), time.monotonic() - started)


def _identity(study: Study) -> str:
    """What an invitation is proven for: who can write to a study's folder can give it another's id."""
    return f"{study.name} {study.id}"


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


def _why_over(study: Study, budget: Budget) -> str:
    """Why a study is not searched any longer, and what there is to do."""
    left = study.spent().left(budget)
    if study.writer.used_up is not None and not left.nothing:
        return f"has tried every one of the {study.writer.used_up} configs that its space has, so the search has ended"
    if left.trials == 0:
        used_up = f"{budget.trials} trials; --trials"
    else:
        used_up = (
            f"{budget.epochs} epochs; --epochs" if left.epochs == 0 else f"{budget.gpu_hours:g} GPU hours; --gpu-hours"
        )
    return f"has spent its budget of {used_up} raises it"


def remarks(spec: SearchSpec) -> Iterable[str]:
    """What is valid in a spec, and may yet not be what was meant; a sentence each."""
    possible, trials = possible_configs(spec), spec.budget.trials
    if possible is not None and trials is not None and possible < trials:
        yield (
            f"the space has {possible} possible configs, fewer than the budget of {trials} trials: the search ends when"
            " all have been tried."
        )
    yield from never_active(spec)


def _objective(options: SearchOptions) -> "Objective":
    from hpo.training import train

    return options.objective or train


def _modules(spec: StudySpec, options: SearchOptions) -> list[Path]:
    """The user's own model, which the machines of a cluster that is joined may not have."""
    from hpo.engine.ray.cluster import joined

    source = models.source(spec.model.name) if joined(options.address) else None
    return [] if source is None else [source]


@dataclass(frozen=True)
class _Share:
    """What each trial gets, and how many run at once at most."""

    resources: Resources
    trials: int | None


def _share(spec: StudySpec, options: SearchOptions, dataset: Dataset, say: Say) -> _Share:
    if options.concurrency != "auto":
        return _Share(spec.resources, options.concurrency)
    from hpo.engine.ray.occupancy import fitting

    say(f"Study '{spec.study}': measuring how many trials fit ...", style="dim")
    occupancy = fitting(spec, dataset, _objective(options), spec.resources)
    say(f"Study '{spec.study}': {occupancy}.", style="dim")
    return _Share(occupancy.resources, occupancy.trials)


def rewards(study: Study, predictions: "tuple[NDArray[Any], Source] | None" = None) -> "Contributions | None":
    """What trials are worth, where the target is an ensemble; from stored predictions unless others are given."""
    if study.spec.target != "ensemble":
        return None
    from hpo.ensemble.contribution import Contributions
    from hpo.ensemble.pool import stored_predictions

    if predictions is not None:
        task = study.spec.task if isinstance(study.spec, StudySpec) else "classification"
        return Contributions(study, *predictions, task)
    targets = study.data_summary.targets["validation"]
    return Contributions(study, targets, partial(stored_predictions, study), study.study_spec.task)


def _open_or_create(spec: StudySpec, options: SearchOptions, dataset: Dataset) -> Study:
    if spec.study in study_names(options.studies):
        return _reopen(spec, options, dataset)
    data_summary = DataSummary(
        outputs=dataset.outputs,
        targets={"validation": dataset.validation.targets, "test": dataset.test.targets},
        example=dataset.validation.inputs[:1],
        fingerprint=dataset.fingerprint,
        encoding=dataset.encoding,
    )
    name, code = options.warm_start, _code(spec, options)
    earlier = None if name is None else _earlier(name, spec, data_summary, options.studies)
    if earlier is not None:
        earlier.check_code(code, options.accept_code, f"hpo.search(..., warm_start='{name}', objective=...)")
    places = {"artifacts": options.artifacts, "database": options.database}
    return Study.create(options.studies, spec, data_summary, earlier, code=code, **places)


def _code(spec: StudySpec, options: SearchOptions) -> TrainingCode:
    return TrainingCode.of(options.objective, spec.model.name)


def _earlier(name: str, spec: StudySpec, data_summary: DataSummary, storage: Path) -> Study:
    """The study to take trials from; only where the same config would have been the same trial."""
    earlier = Study.open(storage, name)
    theirs = earlier.study_spec
    if earlier.data_summary.fingerprint != data_summary.fingerprint:
        splits = [(one.seed, one.data.validation) for one in (theirs, spec)]
        reason = "has other data" if splits[0] == splits[1] else f"split its data otherwise (seed {theirs.seed})"
        raise StudyError(f"--from {name}: that study {reason}, so its trials say nothing about this one's")
    if (theirs.task, theirs.model.name) != (spec.task, spec.model.name):
        raise StudyError(f"--from {name}: that study is about model '{theirs.model.name}', not '{spec.model.name}'")
    return earlier


def _reopen(spec: StudySpec, options: SearchOptions, dataset: Dataset) -> Study:
    study = same_spec(Study.open(options.studies, spec.study, options.database), spec, options.studies)
    if study.data_summary.fingerprint != dataset.fingerprint:
        raise StudyError(
            f"study '{spec.study}' in '{options.studies}' was started with other data:"
            f" '{spec.data.path or spec.data.name}' has changed since. Give the new search a name of its own with"
            " --study"
        )
    if options.artifacts is not None and str(study.locations.artifacts) != str(
        own_place(options.artifacts, spec.study)
    ):
        raise StudyError(
            f"study '{spec.study}' stores its artifacts in '{study.place}', not in '{options.artifacts}'; leave"
            " --artifacts out, or give the new search a name of its own with --study"
        )
    if options.database is not None and study.locations.database is None:
        raise StudyError(
            f"study '{spec.study}' has its record in its folder, not in a database; leave --database (HPO_DATABASE)"
            " out, or give the new search a name of its own with --study"
        )
    study.check_code(_code(spec, options), options.accept_code, f"hpo.resume('{spec.study}', objective=...)")
    return study


def same_spec(study: Study, spec: SearchSpec, storage: Path) -> Study:
    """The study, if it was started with this spec.

    Raises:
        StudyError: it was not; what differs is shown.
    """
    _ = study.record  # its own file may have been changed, which is what is told then
    changed = differences(study.spec, spec)
    if changed:
        shown = (f"{name} was {_shown(old)}, is {_shown(new)}" for name, (old, new) in changed.items())
        raise StudyError(
            f"study '{spec.study}' in '{storage}' was started with another spec: {'; '.join(shown)}. Put that back, or"
            f" give the new search a name of its own with --study, and --from {spec.study} to take over what fits"
        )
    return study


def _shown(value: Any) -> str:
    return "not set" if value is None else str(value)


def _is_spent(study: Study, budget: Budget) -> bool:
    """Whether a study has no trial left to run."""
    return study.spent().left(budget).nothing or (study.writer.used_up is not None and not study.live)


def data_notes(spec: StudySpec, data_dir: Path) -> Sequence[str]:
    """What is left out or changed of the data when they are read; nothing where they would have to be downloaded."""
    return () if spec.data.name in datasets.DOWNLOADED else datasets.load(spec.data, data_dir, spec.seed).notes


def last_problems(spec: StudySpec, data_dir: Path, download: bool, own_objective: bool = False) -> Iterable[Problem]:
    """What shows only when the sampler proposes and the model meets the data, where they may be fetched for that."""
    from hpo.training import rehearsal

    yield from samplers.try_proposal(spec)
    if download or spec.data.name not in datasets.DOWNLOADED:
        dataset = datasets.load(spec.data, data_dir, spec.seed)
        yield from datasets.check_fit(spec, dataset)
        yield from rehearsal.problems(spec, dataset, trained=not own_objective)
