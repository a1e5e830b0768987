"""What the commands and Python users call. Wires the rooms; every function says what it raises."""

import atexit
import gc
import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from numpy.typing import NDArray
from rich.console import Console

from hpo import plugins, samplers
from hpo import spec as specs
from hpo.errors import HpoError, InputError, StudyError, shortened
from hpo.searching import search as searching
from hpo.searching.results import SearchResult, SimulationResult
from hpo.spec import SearchSpec, SpecLike, StudySpec
from hpo.study.data import check_there
from hpo.study.folder import study_names
from hpo.study.study import Study
from hpo.study.trial import Observer
from hpo.terminal import saying

if TYPE_CHECKING:
    from hpo.controller.disk import Freed
    from hpo.datasets.dataset import Inputs
    from hpo.engine.simulated import Curve
    from hpo.ensemble.build.result import EnsembleResult
    from hpo.ensemble.contribution import Source
    from hpo.ensemble.model import Ensemble
    from hpo.ensemble.predictions import Predictions
    from hpo.searching.ask_tell import AskAndTell
    from hpo.searching.plan import Plan
    from hpo.searching.reproduce import Reproduction
    from hpo.training import Objective

atexit.register(gc.freeze)  # or the interpreter would look for garbage in all that was imported, for a second or two


def validate(
    space: SpecLike,
    overrides: Mapping[str, Any] | None = None,
    *,
    tell: Callable[[str], None] = warnings.warn,
    trust: bool = False,
) -> StudySpec:
    """Checks a search without running it: the YAML, the plug-ins that it names, its data, its model on these data.

    Data that would have to be downloaded are left alone.

    Args:
        space: a YAML file, a dict of the same shape, or a spec.
        overrides: dotted name -> value, as `--set` has it.
        tell: is told what may not be meant (`remarks`), and what is left out or changed when the data are read, a line
            each; a warning by default.
        trust: code that a spec object names (`module:function`) may be imported. What a file or a dict names always is.

    Raises:
        SpecError: with every problem found, each with its file and line.
        DataError: the data cannot be used.
    """
    _trust(space, trust)
    spec = specs.load(
        space, overrides, searching.CHECKS, partial(searching.last_problems, data_dir=Path("data"), download=False)
    )
    for note in (*searching.remarks(spec), *searching.data_notes(spec, Path("data"))):
        tell(note)
    return spec


def remarks(space: SpecLike, overrides: Mapping[str, Any] | None = None) -> list[str]:
    """What is valid in a search, and may yet not be what was meant; a sentence each.

    Args:
        space: a YAML file, a dict of the same shape, or a spec.
        overrides: dotted name -> value, as `--set` has it.

    Raises:
        SpecError: with every problem found, each with its file and line.
    """
    return list(searching.remarks(specs.load_search(space, overrides)))


def search(
    space: SpecLike,
    *,
    study: str | None = None,
    trials: int | str | None = None,
    epochs: int | str | None = None,
    gpu_hours: float | str | None = None,
    time_limit: float | None = None,
    concurrency: int | Literal["auto"] | None = None,
    max_disk: int | None = None,
    address: str | None = None,
    join: bool = False,
    ensemble: bool = False,
    storage: str | Path = "studies",
    artifacts: str | None = None,
    database: str | None = None,
    data_dir: str | Path = "data",
    seed: int | None = None,
    warm_start: str | None = None,
    overrides: Mapping[str, Any] | None = None,
    objective: "Objective | None" = None,
    accept_code: bool = False,
    grace_period: float | None = None,
    console: Console | None = None,
    trust: bool = False,
) -> SearchResult:
    """Searches: Ray Tune runs the trials, the study records them, MLflow is told.

    A study of the same name and the same spec goes on: its trials count against the budget.

    Args:
        space: a YAML file, a dict of the same shape, or a spec.
        study: its name, instead of the one in the spec.
        trials: budget, instead of the one in the spec; of the whole study. The text "+20" is 20 more than have ended.
        epochs: budget of all trials together, instead of the one in the spec; "+20" is 20 more than were trained.
        gpu_hours: budget of all trials together, in hours of one GPU, instead of the one in the spec; or "+2.5".
        time_limit: seconds for this search.
        concurrency: how many trials at once at most; by default as many as there are CPUs and GPUs for. `auto` measures
            the memory of the largest model first, and shares a GPU among as many trials as fit.
        max_disk: bytes that all trials' files together may take; those of the weakest trials are removed first.
        address: of the Ray cluster that runs the trials: auto or HOST:PORT.
        join: works for the search of this study that another process runs, until that is over. Then `concurrency` is
            how many trials more; by default as many as another machine has CPUs and GPUs for.
        ensemble: builds one of the best trials afterwards, as `build_ensemble` does, within the time limit.
        storage: the folder of all studies.
        artifacts: where trials store weights and predictions, as a path or a URI; of a new study.
        database: `postgresql://` URL of the record of trials, in place of a file; of a new study.
        data_dir: the folder of downloaded data sets.
        seed: instead of the one in the spec.
        warm_start: a study of the same storage, data and model; its trials are taken over where their configs lie in
            the space of this one. They cost no budget.
        overrides: dotted name -> value, as `--set` has it.
        objective: is trained instead of the built-in one, `hpo.training.train`.
        accept_code: an objective or a model of your own that has changed since the study's trials is taken for the
            same from now on.
        grace_period: seconds that running trials have to end their epoch and store their state, once a signal (Ctrl-C,
            SIGTERM, SIGHUP) has come; 30 where None. A second signal ends the search at once.
        console: where progress goes; None is silent.
        trust: code that a spec object names (`module:function`) may be imported. What a file or a dict names always is.

    Raises:
        SpecError: the spec has problems, all of them in one message.
        DataError: the data cannot be used.
        StudyError: there is a study of this name with another spec or other code, or another process is searching it.
        ResourceError: no machine has what a trial asks for.
        TrialsError: the search has ended and no trial has a value: all have failed or diverged. The study is kept, and
            named with the commonest cause. A search that a signal has interrupted does not raise it.
    """
    _trust(space, trust)
    given = {**_budget(trials, epochs, gpu_hours, time_limit), **_given(study=study, seed=seed)}
    request = searching.Request(
        storage=Path(storage),
        data_dir=Path(data_dir),
        concurrency=concurrency,
        max_disk=max_disk,
        address=address,
        artifacts=artifacts,
        database=database,
        warm_start=warm_start,
        ensemble=ensemble,
        objective=objective,
        accept_code=accept_code,
        grace_period=grace_period,
    )
    told = console or Console(quiet=True)
    if join:
        limits = {"trials": trials, "epochs": epochs, "gpu_hours": gpu_hours, "time_limit": time_limit}
        others = {"artifacts": artifacts, "from": warm_start, "ensemble": ensemble or None}
        _check_none(**limits, max_disk=max_disk, **others, accept_code=accept_code or None, grace_period=grace_period)
        return searching.join(space, {**(overrides or {}), **given}, request, told)
    result = searching.search(space, {**(overrides or {}), **given}, request, told)
    searching.check_found(result)
    return _with_ensemble(result, request, told) if ensemble and not result.interrupted else result


def _with_ensemble(result: SearchResult, request: searching.Request, told: Console) -> SearchResult:
    """The result, and an ensemble of its best trials, if there can be one."""
    from hpo.ensemble.build import Request, build

    say = saying(told, "dim")
    try:
        built = build(result.study, Request(), request.storage, request.data_dir, say)
    except (HpoError, OSError) as error:  # what was searched is none the worse
        saying(told)(f"There is no ensemble: {error}")
        return result
    return replace(result, ensemble=built)


def _check_none(**options: Any) -> None:
    """Refuses options of a search that another process decides.

    Raises:
        InputError: something is.
    """
    for name in _given(**options):
        raise InputError(f"--{name.replace('_', '-')} is the business of the search that is joined; leave it out")


def _trust(space: SpecLike, trust: bool) -> None:
    """Lets code be imported that a spec object names, which may be of a stored file; `trust` is the user's word."""
    if trust and isinstance(space, SearchSpec):
        plugins.trust(space.import_paths)


def _budget(
    trials: int | str | None, epochs: int | str | None, gpu_hours: float | str | None, time_limit: float | None
) -> dict[str, Any]:
    limits = _given(trials=trials, epochs=epochs, gpu_hours=gpu_hours, time_limit=time_limit)
    return {f"budget.{name}": value for name, value in limits.items()}


def _given(**arguments: Any) -> dict[str, Any]:
    """Those that are not None, by name."""
    return {name: value for name, value in arguments.items() if value is not None}


def resume(
    study: str | None = None,
    *,
    trials: int | str | None = None,
    epochs: int | str | None = None,
    gpu_hours: float | str | None = None,
    time_limit: float | None = None,
    concurrency: int | Literal["auto"] | None = None,
    max_disk: int | None = None,
    address: str | None = None,
    join: bool = False,
    ensemble: bool = False,
    storage: str | Path = "studies",
    database: str | None = None,
    data_dir: str | Path = "data",
    data_path: str | Path | None = None,
    objective: "Objective | None" = None,
    accept_code: bool = False,
    grace_period: float | None = None,
    console: Console | None = None,
    trust: bool = False,
) -> SearchResult:
    """Goes on with a search by the spec that its study was started with; arguments and errors are those of `search`.

    Args:
        study: its name; the one touched last where None.
        data_path: where the file or folder of its data set is now; where it was last, if None.
        trust: code that the stored spec names (`module:function`) may be imported.
    """
    opened = open_study(study, storage, trust=trust, data_path=data_path)
    if not join:  # who joins is sent the data
        check_there(opened)
    return search(
        opened.study_spec,
        trials=trials,
        epochs=epochs,
        gpu_hours=gpu_hours,
        time_limit=time_limit,
        concurrency=concurrency,
        max_disk=max_disk,
        address=address,
        join=join,
        ensemble=ensemble,
        storage=storage,
        database=database,
        data_dir=data_dir,
        objective=objective,
        accept_code=accept_code,
        grace_period=grace_period,
        console=console,
    )


def reproduce(
    trial: int,
    study: str | None = None,
    *,
    storage: str | Path = "studies",
    data_dir: str | Path = "data",
    data_path: str | Path | None = None,
    objective: "Objective | None" = None,
    accept_code: bool = False,
    trust: bool = False,
) -> "Reproduction":
    """Trains one trial again, from its study alone, and holds it against what it reported and left.

    Args:
        trial: its number.
        study: its name; the one touched last where None.
        storage: the folder of all studies.
        data_dir: the folder of downloaded data sets.
        data_path: where the file or folder of its data set is now; where it was last, if None.
        objective: that it was trained by, if not the built-in one.
        trust: code that the stored spec names (`module:function`) may be imported.
        accept_code: an objective or a model of your own that has changed since is taken for the same.

    Raises:
        StudyError: there is no such study or trial, it has no report, it began with another's state, or was trained by
            other code.
        DataError: the data cannot be read.
    """
    from hpo.searching.reproduce import reproduce as train_again

    opened = open_study(study, storage, trust=trust, data_path=data_path)
    return train_again(opened, trial, Path(data_dir), objective, accept_code=accept_code)


def simulate(
    space: SpecLike,
    curve: "Curve",
    *,
    workers: int = 4,
    trials: int | None = None,
    epochs: int | None = None,
    gpu_hours: float | None = None,
    time_limit: float | None = None,
    storage: str | Path | None = None,
    seed: int | None = None,
    overrides: Mapping[str, Any] | None = None,
    observers: Sequence[Observer] = (),
    predictions: "tuple[NDArray[Any], Source] | None" = None,
) -> SimulationResult:
    """Searches in virtual time: the sampler, scheduler, study and budget of a real search, over given learning curves.

    Args:
        space: a YAML file, a dict of the same shape, or a spec. Without `data` and `model` its parameters may have any
            names, and `objective` says what is better.
        curve: (config, epoch) -> (metrics after that epoch, seconds that it takes); called once an epoch, when it
            begins, in the order of virtual time. What it raises fails its trial.
        workers: how many trials run at once.
        trials: budget, instead of the one in the spec.
        epochs: budget of all trials together, instead of the one in the spec.
        gpu_hours: budget of all trials together, in hours of one GPU, instead of the one in the spec.
        time_limit: budget in virtual seconds, instead of the one in the spec.
        storage: the folder of all studies; in memory where None.
        seed: instead of the one in the spec.
        overrides: dotted name -> value, as `--set` has it.
        observers: are told what has been recorded.
        predictions: for `target: ensemble`: the targets of the validation rows, and a function from a trial to what it
            predicts of them at its best epoch. They are those of the spec's `task`, as `npz` has them; without a task
            labels `(rows,)` and probabilities `(rows, classes)`.

    Raises:
        SpecError: the spec has problems, all of them in one message.
        InputError: there is no worker, or the curve returned something else.
        StudyError: there is a study of this name with another spec, or another process is searching it.
    """
    if workers < 1:
        raise InputError(f"workers must be at least 1, got {workers}")
    given = {**_budget(trials, epochs, gpu_hours, time_limit), **_given(seed=seed)}
    spec = specs.load_search(space, {**(overrides or {}), **given}, searching.SEARCH_CHECKS, samplers.try_proposal)

    from hpo.engine import simulated as engine

    if (spec.target == "ensemble") != (predictions is not None):
        raise InputError("target: ensemble needs the argument predictions, and no other target takes it")
    study = _without_data(spec, storage)
    with study.hold.searching():
        study.writer.use(samplers.build(spec, len(study.trials()), searching.rewards(study, predictions)))
        elapsed = engine.run(
            study,
            curve,
            workers=workers,
            left=study.spent().left(spec.budget),
            time_limit=spec.budget.time_limit,
            observers=observers,
        )
    return SimulationResult(study, workers, elapsed.seconds, elapsed.worked)


@contextmanager
def ask_and_tell(
    space: SpecLike,
    *,
    workers: int = 1,
    trials: int | str | None = None,
    epochs: int | str | None = None,
    time_limit: float | None = None,
    storage: str | Path | None = "studies",
    seed: int | None = None,
    overrides: Mapping[str, Any] | None = None,
    observers: Sequence[Observer] = (),
) -> "Iterator[AskAndTell]":
    """Searches by your own loop: it asks for a trial, reports its epochs, and tells how it has ended.

        with hpo.ask_and_tell("space.yaml") as search:
            while (trial := search.ask()) is not None:
                for epoch in range(trial.epoch + 1, search.epochs + 1):
                    if search.report(trial, epoch, train(trial.config)) is not hpo.Decision.CONTINUE:
                        break

    Everything is recorded in the study before a call returns, and MLflow is told. After a kill at any moment the same
    code goes on: `ask` gives the trials that were being trained first. Ctrl-C and an error in the loop leave the study
    to be gone on with too.

    Args:
        space: a YAML file, a dict of the same shape, or a spec, without `data` and `model`. Its parameters may have any
            names, and `objective` says what is better.
        workers: how many trials may be asked for before one of them has paused or ended.
        trials: budget, instead of the one in the spec; a text such as `+20` is so many more than the study has.
        epochs: budget of all trials together, instead of the one in the spec; `+200` likewise.
        time_limit: budget in seconds, instead of the one in the spec; `ask` gives nothing more afterwards.
        storage: the folder of all studies; in memory, without MLflow, where None.
        seed: instead of the one in the spec.
        overrides: dotted name -> value, as `--set` has it.
        observers: are told what has been recorded.

    Raises:
        SpecError: the spec has problems, all of them in one message.
        InputError: there is no worker, or the spec has `data` or `model`, which only `hpo.search` trains.
        StudyError: there is a study of this name with another spec, or another process is searching it.
    """
    from hpo.searching import ask_tell

    if workers < 1:
        raise InputError(f"workers must be at least 1, got {workers}")
    given = {**(overrides or {}), **_budget(trials, epochs, None, time_limit), **_given(seed=seed)}
    folder = None if storage is None else Path(storage)
    if folder is not None:
        given = searching.in_all(space, given, folder, None)
    spec = specs.load_search(space, given, searching.SEARCH_CHECKS, samplers.try_proposal)
    if isinstance(spec, StudySpec):
        raise InputError(
            "a search by ask and tell trains nothing itself: leave `data` and `model` out, or use hpo.search"
        )
    if spec.target == "ensemble":
        raise InputError("target: ensemble needs predictions, which ask and tell are not told; leave it out")
    study = _without_data(spec, folder)
    with ask_tell.searching(study, spec.budget, folder, workers, observers) as (search, tracker):
        yield search
    if tracker is not None and tracker.problem is not None:
        warnings.warn(tracker.problem, stacklevel=3)


def _without_data(spec: SearchSpec, storage: str | Path | None) -> Study:
    if storage is None:
        return Study.in_memory(spec)
    if spec.study not in study_names(Path(storage)):
        return Study.create(Path(storage), spec)
    return searching.same_spec(Study.open(Path(storage), spec.study), spec, Path(storage))


def plan(
    space: SpecLike,
    curve: "Curve | str | None" = None,
    *,
    workers: Iterable[int] = (1, 2, 4),
    seconds_per_epoch: float = 60.0,
    overrides: Mapping[str, Any] | None = None,
) -> "Plan":
    """Says how long a study would take with different numbers of workers, by running it in virtual time.

    Args:
        space: a YAML file, a dict of the same shape, or a spec. Its data are not read.
        curve: as in `simulate`, or its import path; None is a synthetic one, to which all configs are alike.
        workers: how many at once; every number is a simulation.
        seconds_per_epoch: of the synthetic curve, on average.
        overrides: dotted name -> value, as `--set` has it.

    Raises:
        SpecError: the spec has problems, all of them in one message.
        InputError: a number is out of range, or the curve cannot be imported, fails, or returned something else.
    """
    from hpo.searching import plan as planning

    counts = tuple(workers)
    if not counts:
        raise InputError("name at least one number of workers")
    if min(counts) < 1:
        raise InputError(f"workers must be at least 1, got {min(counts)}")
    if not 0 < seconds_per_epoch < math.inf:
        raise InputError(f"seconds per epoch must be above 0, got {seconds_per_epoch}")
    spec = specs.load_search(space, overrides, searching.SEARCH_CHECKS)
    if curve is None:
        synthetic = planning.SyntheticCurve(spec, seconds_per_epoch)
        rows = planning.forecasts(planning.without_proposals(spec), synthetic, counts)
        return planning.Plan(spec.study, planning.SYNTHETIC.format(seconds=seconds_per_epoch), rows)
    name = curve if isinstance(curve, str) else getattr(curve, "__name__", repr(curve))
    if isinstance(curve, str):
        plugins.trust([curve])
    given = plugins.Registry("curve", {}).load(curve) if isinstance(curve, str) else curve
    if not callable(given):
        raise InputError(f"curve '{name}' must be a function (config, epoch) -> (metrics, seconds), got {given!r:.80}")
    return planning.Plan(spec.study, name, planning.forecasts(spec, given, counts))


def open_study(
    name: str | None = None,
    storage: str | Path = "studies",
    *,
    trust: bool = False,
    data_path: str | Path | None = None,
) -> Study:
    """A study of the storage folder; without a name the one that was touched last.

    Args:
        name: of the study.
        storage: the folder of all studies.
        trust: code that its stored spec names (`module:function`) may be imported by this process. Without it only
            what the process has been given by name elsewhere is; to read a study needs neither.
        data_path: where the file or folder of its data set is now; where it was last, if None.

    Raises:
        StudyError: there is none.
    """
    names = study_names(Path(storage))
    if name is None and not names:
        raise StudyError(
            f"there are no studies in '{storage}'. Run `hpo search` first, or name the folder with --storage"
        )
    study = Study.open(Path(storage), name or names[-1], data_path=data_path)
    if trust:
        plugins.trust(study.spec.import_paths)
    return study


def all_studies(storage: str | Path = "studies") -> tuple[list[Study], dict[str, str]]:
    """Every study of the storage folder that can be read, the one touched last at the end.

    Returns:
        The studies, and name -> the problem of each that cannot be read.
    """
    found: list[Study] = []
    problems: dict[str, str] = {}
    for name in study_names(Path(storage)):
        try:
            study = Study.open(Path(storage), name)
            study.best()
            found.append(study)
        except HpoError as error:
            problems[name] = shortened(error)
        except Exception as error:  # whatever is wrong in one, the others are listed
            problems[name] = (
                f"study '{name}' cannot be read: {shortened(error)}; put back what was changed in"
                f" '{Path(storage) / name}', or move it away"
            )
    return found, problems


def collect(
    study: str | None = None,
    *,
    keep: int = 50,
    dry_run: bool = False,
    storage: str | Path = "studies",
    artifacts: str | None = None,
) -> "Freed":
    """Removes what trials have stored and nobody will use: the artifacts of all but the best, and torn writes.

    Args:
        study: its name; the one touched last where None.
        keep: so many of the best trials keep their artifacts.
        dry_run: only says what would be removed.
        storage: the folder of all studies.
        artifacts: the place of its artifacts, where that is outside of its folder and does not say whose it is.

    Raises:
        StudyError: there is no such study, it is being searched, or its artifacts are in a place that is not known to
            be its own.
    """
    from hpo.controller import disk

    return disk.collect(open_study(study, storage), keep, dry_run, artifacts)


def build_ensemble(
    study: str | None = None,
    *,
    top: int = 5,
    pool: int = 50,
    method: str = "auto",
    select: str = "score",
    bags: int | None = None,
    folds: int | None = None,
    max_latency: float | None = None,
    distill: str | None = None,
    register: str | None = None,
    alias: str = "champion",
    name: str | None = None,
    storage: str | Path = "studies",
    data_dir: str | Path = "data",
    data_path: str | Path | None = None,
    objective: "Objective | None" = None,
    accept_code: bool = False,
    console: Console | None = None,
    trust: bool = False,
) -> "EnsembleResult":
    """Builds an ensemble of a study's trials from their stored predictions; only methods that say so train.

    Members and weights are chosen on validation rows; test rows are scored once, afterwards.

    Args:
        study: its name; the one touched last where None.
        top: members at most; of methods that train, configs at most.
        pool: how many of the best trials are candidates.
        method: `auto` compares all that train nothing by nested cross-validation, and takes the best single trial where
            none is surely better; `single`, or a key of `hpo.ensemble.selection.METHODS`; `soup` averages weights;
            `bagging`, `boosting` and `deep` train members.
        select: how voting and stacking come by their members: score, gain or diversity.
        bags: members that bagging, boosting and deep train; 8 where None.
        folds: stacking learns from the out-of-fold predictions of so many retrainings of each member.
        max_latency: milliseconds for one example on the machine that trained.
        distill: one model is trained on what the ensemble says: a trial's number, or a YAML file with a config.
        register: a name in MLflow's model registry.
        alias: of the registered version.
        name: of the ensemble; `<study>-<number>` where None.
        storage: the folder of all studies.
        data_dir: the folder of downloaded data sets; read where members are trained or predict the test rows.
        data_path: where the file or folder of the study's data set is now; where it was last, if None.
        objective: that the study's trials were trained by, if not the built-in one; members are trained by it.
        accept_code: an objective or a model of your own that has changed since is taken for the same, where members are
            trained.
        console: where progress goes; None is silent.
        trust: code that the stored spec names (`module:function`) may be imported.

    Raises:
        InputError: a number is out of range, there is no such method, or the study is nothing for it.
        StudyError: there is no such study, or it has fewer than two usable trials (for `single` none), or the name of
            the ensemble is taken, or members would be trained by other code than its trials.
        DataError: the data are needed, and cannot be read.
    """
    from hpo.ensemble.build import Request, build

    told = console or Console(quiet=True)
    request = Request(
        method=method,
        top=top,
        pool=pool,
        select=select,
        bags=bags,
        folds=folds,
        max_latency=max_latency,
        distill=distill,
        name=name,
        register=register,
        alias=alias,
        objective=objective,
        accept_code=accept_code,
    )
    opened = open_study(study, storage, trust=trust, data_path=data_path)
    say = saying(told, "dim")
    return build(opened, request, Path(storage), Path(data_dir), say)


def predict(
    ensemble: str,
    input: str | Path | NDArray[Any],
    *,
    storage: str | Path = "studies",
    trust: bool = False,
    tell: Callable[[str], None] = warnings.warn,
) -> "Predictions":
    """Predicts with an ensemble, everything at once.

    Args:
        ensemble: its name.
        input: of images an image file, a folder of image files, an .npy file or the `x_test` (else `x`) of an .npz file
            with uint8 images `(n, h, w)` or `(n, h, w, c)`; of a table a .csv, .npy or .npz file; or such an array.
            Columns that have names are put into the order of the training.
        storage: the folder of all studies.
        trust: models of your own that the ensemble names (`module:function`) may be imported.
        tell: is told of what was left out or changed in reading, a line each; a warning by default.

    Raises:
        StudyError: there is no such ensemble.
        DataError: the input cannot be read, or does not fit the ensemble.
    """
    from hpo.datasets.inputs import read_inputs
    from hpo.datasets.notes import Notes

    model, notes = open_ensemble(ensemble, storage, trust=trust), Notes()
    names, inputs = read_inputs(input, replace(model.wanted, notes=notes))
    for line in notes.lines():
        tell(line)
    return _predictions(model, names, inputs)


def predict_batches(
    ensemble: str,
    input: str | Path | NDArray[Any],
    *,
    storage: str | Path = "studies",
    trust: bool = False,
    tell: Callable[[str], None] = warnings.warn,
) -> "Iterator[Predictions]":
    """Predicts as `predict` does, a batch at a time: memory stays flat however large the input is.

    What was left out or changed is told after the last batch.

    Raises:
        StudyError: there is no such ensemble.
        DataError: the input cannot be read, or does not fit the ensemble.
    """
    from hpo.datasets.inputs import input_batches
    from hpo.datasets.notes import Notes

    model, notes = open_ensemble(ensemble, storage, trust=trust), Notes()
    for names, inputs in input_batches(input, replace(model.wanted, notes=notes)):
        yield _predictions(model, names, inputs)
    for line in notes.lines():
        tell(line)


def open_ensemble(name: str, storage: str | Path = "studies", *, trust: bool = False) -> "Ensemble":
    """An ensemble, ready to predict.

    Args:
        name: of the ensemble.
        storage: the folder of all studies.
        trust: models of your own that it names (`module:function`) may be imported.

    Raises:
        StudyError: there is no ensemble of this name, or several have it.
        DataError: its folder is damaged.
        InputError: it names a model of your own, and is not trusted.
    """
    from hpo.ensemble.build import find
    from hpo.ensemble.model import Ensemble

    return Ensemble(find(name, Path(storage)), trust=trust)


def export(
    ensemble: str,
    output: str | Path,
    *,
    member: int | None = None,
    storage: str | Path = "studies",
    trust: bool = False,
) -> float:
    """Writes an ensemble as ONNX, and runs that beside PyTorch.

    Args:
        ensemble: its name.
        output: the file.
        member: the place of the one member to write, from 0 on; all of them and what joins them where None.
        storage: the folder of all studies.
        trust: models of your own that the ensemble names (`module:function`) may be imported.

    Returns:
        The largest difference between the predictions of ONNX Runtime and of PyTorch.

    Raises:
        StudyError: there is no such ensemble.
        InputError: `hpo[onnx]` is not installed, there is no such member, or the combiner cannot be exported.
        HpoError: PyTorch cannot export a network, or the file predicts something else.
    """
    from hpo.ensemble.build import find
    from hpo.ensemble.onnx import export_onnx

    return export_onnx(find(ensemble, Path(storage)), output, member, trust=trust)


def _predictions(model: "Ensemble", names: Sequence[str], inputs: "Inputs") -> "Predictions":
    from hpo.ensemble.predictions import Predictions

    widths = () if model.interval is None else model.interval.half_widths
    return Predictions(names, model.outputs, model.combined_predictions(inputs), model.task, widths)
