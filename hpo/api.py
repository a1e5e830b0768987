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
from types import ModuleType
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from hpo import datasets, models, plugins, samplers, schedulers
from hpo import spec as specs
from hpo.datasets.kept import with_files
from hpo.ensemble.build.options import EnsembleOptions
from hpo.errors import HpoError, InputError, StudyError, shortened
from hpo.options import arguments, declared
from hpo.searching import checks, joining, opening
from hpo.searching import search as searching
from hpo.searching.ending import Ending
from hpo.searching.options import LIMITS, ResumeOptions, SearchOptions
from hpo.searching.results import SearchResult, SimulationResult
from hpo.spec import TABLES, SearchSpec, SpecLike, StudySpec
from hpo.study import MEMBERS, POOL
from hpo.study.callbacks import Callbacks, checked, named
from hpo.study.data import check_there
from hpo.study.folder import study_names
from hpo.study.study import Study
from hpo.study.trial import Observer
from hpo.terminal import saying

if TYPE_CHECKING:
    from rich.console import Console

    from hpo.datasets.conversion import Wanted
    from hpo.datasets.dataset import Inputs
    from hpo.engine.simulated import Curve
    from hpo.ensemble.build.given import GivenResult
    from hpo.ensemble.build.listing import EnsembleSummary
    from hpo.ensemble.build.result import EnsembleResult
    from hpo.ensemble.contribution import Source
    from hpo.ensemble.model import Ensemble
    from hpo.ensemble.predictions import Predictions
    from hpo.searching.ask_tell import AskAndTell
    from hpo.searching.plan import Plan
    from hpo.searching.reproduce import Reproduction
    from hpo.searching.status import Status
    from hpo.spec import Config
    from hpo.study.callbacks import Callback
    from hpo.study.comparison import Comparison
    from hpo.study.garbage import Freed
    from hpo.study.removal import Removal
    from hpo.training import TrainingFunction

atexit.register(gc.freeze)  # or the interpreter would look for garbage in all that was imported, for a second or two


def validate(
    space: SpecLike,
    overrides: Mapping[str, Any] | None = None,
    *,
    tell: Callable[[str], None] = warnings.warn,
    trust: bool = False,
) -> SearchSpec:
    """Checks a search without running it: the YAML, the plug-ins that it names, its data, its model on these data.

    Data that would have to be downloaded are left alone.

    Args:
        space: a YAML file, a dict of the same shape, or a spec. In a dict `data.path` may also be a DataFrame, a
            Dataset of Hugging Face, arrays, or torch Datasets, as `hpo.search` takes them.
        overrides: dotted name -> value, as `--set` has it.
        tell: is told what may not be meant (`remarks`), and what is left out or changed when the data are read, a line
            each; a warning by default.
        trust: code that a spec object names (`module:function`) may be imported. What a file or a dict names always is.

    Raises:
        SpecError: with every problem found, each with its file and line.
        DataError: the data cannot be used.
    """
    _trust(space, trust)
    written = specs.read(with_files(space, Path("data")), overrides)
    last = partial(checks.last_problems, data_dir=Path("data"), download=False)
    spec = written.checked((checks.check,), last)
    for note in (*written.notes, *checks.remarks(spec), *checks.data_notes(spec, Path("data"))):
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
    return list(checks.remarks(specs.load_search(space, overrides)))


def schema() -> dict[str, Any]:
    """The JSON schema of a search file, for editors. What it refuses, `validate` refuses too."""
    from hpo.spec.schema import schema

    registries = {
        "data": datasets.DATASETS,
        "model": models.MODELS,
        "sampler": samplers.SAMPLERS,
        "scheduler": schedulers.SCHEDULERS,
    }
    return schema({section: registry.names for section, registry in registries.items()})


def init(data: str | Path, target: str, *, output: str | Path | None = None, header: bool = True) -> str:
    """Makes a search file to start from by a look at a table, with comments.

    Args:
        data: the path of a .csv, .tsv, .parquet, .jsonl or .ndjson file.
        target: the column that is to be predicted.
        output: the file that is written; none where None. One that is there is left alone.
        header: whether the first line of a .csv or .tsv file names the columns.

    Returns:
        The text of the file.

    Raises:
        DataError: the table cannot be read, or has no such column.
        InputError: the file is no table by its name, or `output` is there already or cannot be written.
    """
    from hpo.searching.first_file import first_file

    made = first_file(str(data), target, "search.yaml" if output is None else str(output), header)
    if output is not None:
        try:
            with Path(output).open("x", encoding="utf-8") as file:
                file.write(made)
        except FileExistsError:
            raise InputError(f"{output}: is there already; name another file by --output") from None
        except OSError as error:
            raise InputError(f"{output}: cannot be written: {error.strerror or error}") from error
    return made


@arguments(SearchOptions)
def search(options: SearchOptions) -> SearchResult:
    """Searches: Ray Tune runs the trials, the study records them, MLflow is told.

    A study of the same name and the same spec goes on: its trials count against the budget.

    Raises:
        SpecError: the spec has problems, all of them in one message.
        DataError: the data cannot be used.
        StudyError: there is a study of this name with another spec or other code, or another process is searching it.
        ResourceError: no machine has what a trial asks for.
        TrialsError: the search has ended and no trial has a value: all have failed or diverged. The study is kept, and
            named with the commonest cause. A search that a signal has interrupted does not raise it.
    """
    return _searched(options)


def _searched(options: SearchOptions) -> SearchResult:
    _trust(options.space, options.trust)
    options = replace(options, space=with_files(options.space, options.downloads))
    if options.join:
        _check_joinable(options)
        return joining.join(options)
    result = searching.search(options)
    searching.check_found(result)
    return _with_ensemble(result, options) if options.ensemble and not result.interrupted else result


def _with_ensemble(result: SearchResult, options: SearchOptions) -> SearchResult:
    """The result, and an ensemble of its best trials, if there can be one."""
    from hpo.ensemble.build.build import build

    wanted = EnsembleOptions(storage=options.storage, data_dir=options.data_dir)
    try:
        built = build(result.study, wanted, saying(options.told, "dim"))
    except (HpoError, OSError) as error:  # what was searched is none the worse
        saying(options.told)(f"There is no ensemble: {error}")
        return result
    return replace(result, ensemble=built)


def _check_joinable(options: SearchOptions) -> None:
    """Refuses options that the search which is joined decides.

    Raises:
        InputError: one is given.
    """
    decided = (
        *(*LIMITS, "max_disk", "artifacts", "warm_start", "ensemble", "accept_code", "grace_period"),
        *("callbacks", "retry_failed"),
    )
    for field, option in declared(SearchOptions):
        if field.name in decided and getattr(options, field.name) != field.default:
            raise InputError(f"{option.flag} is the business of the search that is joined; leave it out")


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


@arguments(ResumeOptions)
def resume(options: ResumeOptions) -> SearchResult:
    """Goes on with a search by the spec that its study was started with.

    Raises:
        StudyError: there is no such study, its code is another one, or another process is searching it.
        HpoError: as `search` does.
    """
    opened = open_study(options.study, options.storage, trust=options.trust, data_path=options.data_path)
    if not options.join:  # who joins is sent the data
        check_there(opened)
    _check_trained(opened)
    return _searched(options.of(opened.spec))


def _check_trained(study: Study) -> None:
    """Refuses to go on with a study whose trials nobody here can train."""
    if study.spec.train is None and study.spec.command is None and not isinstance(study.spec, StudySpec):
        raise StudyError(
            f"study '{study.name}' was simulated, or told its results (hpo.ask_and_tell); the same call goes on with it"
        )


def reproduce(
    trial: int,
    study: str | None = None,
    *,
    storage: str | Path = "studies",
    data_dir: str | Path = "data",
    data_path: str | Path | None = None,
    train: "Callable[..., Any] | str | None" = None,
    objective: "TrainingFunction | None" = None,
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
        train: the training function of your own, where the study's spec names none that can be imported.
        objective: the former name of `train`; gone in 0.4.
        trust: code that the stored spec names (`module:function`) may be imported.
        accept_code: a training function or a model of your own that has changed since is taken for the same.

    Raises:
        StudyError: there is no such study or trial, it has no report, it began with another's state, or was trained by
            other code.
        DataError: the data cannot be read.
    """
    from hpo.searching.reproduce import reproduce as train_again

    if objective is not None:
        warnings.warn("the argument objective is called train now; gone in 0.4", FutureWarning, stacklevel=2)
    opened = open_study(study, storage, trust=trust, data_path=data_path)
    return train_again(opened, trial, Path(data_dir), train or objective, accept_code=accept_code)


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
    callbacks: "Sequence[Callback]" = (),
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
        callbacks: objects of `hpo.Callback`, which hear what happens, beside those that the spec names.
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
    spec = specs.load_search(space, {**(overrides or {}), **given}, checks.SEARCH_CHECKS, samplers.try_proposal)

    from hpo.engine import simulated as engine

    if (spec.target == "ensemble") != (predictions is not None):
        raise InputError("target: ensemble needs the argument predictions, and no other target takes it")
    own = [*named(spec), *checked(callbacks)]
    study = _without_data(spec, storage)
    heard = Callbacks(study, own)
    with study.hold.searching(budget=spec.budget), Ending(study, spec.budget, heard).told() as ending:
        study.writer.use(samplers.build(spec, len(study.trials()), searching.rewards(study, predictions)))
        elapsed = engine.run(
            study,
            curve,
            workers=workers,
            left=study.spent().left(spec.budget),
            time_limit=spec.budget.time_limit,
            failures=spec.failures,
            observers=(*observers, heard),
        )
        ending.stopped = elapsed.stopped
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
    callbacks: "Sequence[Callback]" = (),
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
        callbacks: objects of `hpo.Callback`, which hear what happens, beside those that the spec names.

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
    spec = specs.load_search(space, given, checks.SEARCH_CHECKS, samplers.try_proposal)
    if isinstance(spec, StudySpec) or spec.train is not None or spec.command is not None:
        raise InputError(
            "a search by ask and tell trains nothing itself: leave `train`, `command`, `data` and `model` out, or use"
            " hpo.search"
        )
    if spec.target == "ensemble":
        raise InputError("target: ensemble needs predictions, which ask and tell are not told; leave it out")
    own = [*named(spec), *checked(callbacks)]
    study = _without_data(spec, folder)
    heard = Callbacks(study, own)
    with (
        Ending(study, spec.budget, heard).told() as ending,
        ask_tell.searching(study, spec, folder, workers, (*observers, heard)) as (search, tracker),
    ):
        yield search
        ending.stopped = search.stopped
    if tracker is not None and tracker.problem is not None:
        warnings.warn(tracker.problem, stacklevel=3)


def _without_data(spec: SearchSpec, storage: str | Path | None) -> Study:
    if storage is None:
        return Study.in_memory(spec)
    if spec.study not in study_names(Path(storage)):
        return Study.create(Path(storage), spec)
    return opening.same_spec(Study.open(Path(storage), spec.study), spec, Path(storage))


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
    spec = specs.load_search(space, overrides, checks.SEARCH_CHECKS)
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
        InputError: its code is to be trusted, and there are several studies and none is named.
        StudyError: there is none.
    """
    names = study_names(Path(storage))
    if name is None and not names:
        raise StudyError(
            f"there are no studies in '{storage}'. Run `hpo search` first, or name the folder with --storage"
        )
    if trust:
        _check_named(name, storage, "trust (--trust)")
    study = Study.open(Path(storage), name or names[-1], data_path=data_path)
    if trust:
        plugins.trust(study.spec.import_paths)
    return study


def _check_named(study: str | None, storage: str | Path, wish: str) -> None:
    """Holds a wish that gives a study power over more than its own folder to a study that is named, if there are more.

    Which one was touched last can be changed by whoever can write to any of them.
    """
    names = study_names(Path(storage))
    if study is None and len(names) > 1:
        raise InputError(
            f"{wish} is a wish for one study, and '{storage}' has {len(names)}: name it by study (--study)"
        )


def status(study: str | None = None, *, storage: str | Path = "studies") -> "Status":
    """What a study is doing now: who searches it, which trials run and where, what is spent, and the best so far.

    Args:
        study: its name; the one touched last where None.
        storage: the folder of all studies.

    Raises:
        StudyError: there is no such study, or its record cannot be read.
    """
    from hpo.searching.status import status as status_of

    return status_of(open_study(study, storage))


def stop(study: str | None = None, *, trial: int | None = None, storage: str | Path = "studies") -> str | None:
    """Asks a running search, of any process that sees the storage, to end as Ctrl-C does, or to end one trial.

    The search looks for it about once a second, and lets running trials end their epoch. It is not waited for.

    Args:
        study: its name; the one touched last where None.
        trial: the number of the trial to end, which is pruned then and keeps what it leaves; all of the search if None.
        storage: the folder of all studies.

    Returns:
        The process that searches the study; None where none does, and the next search ends the trial.

    Raises:
        StudyError: nobody searches the study, there is no such study or trial, or the trial has ended.
    """
    from hpo.searching import wishing

    return wishing.stop(open_study(study, storage), trial)


def enqueue(
    config: Mapping[str, Any], study: str | None = None, *, storage: str | Path = "studies"
) -> "tuple[Config, str | None]":
    """Has a config tried next, by the search that runs, of any process, or by the next one.

    Args:
        config: parameter name -> value; the sampler fills in what is missing.
        study: its name; the one touched last where None.
        storage: the folder of all studies.

    Returns:
        The config, as its parameters have it, and the process that searches the study; None where none does.

    Raises:
        SpecError: the config is none of the study's; all problems come at once.
        StudyError: there is no such study, or it cannot be written.
    """
    from hpo.searching import wishing

    opened = open_study(study, storage)
    searcher = opened.hold.searcher
    return wishing.enqueue(opened, config), None if searcher is None else searcher[0]


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
    keep: int = POOL,
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
        InputError: the place of artifacts is named, and of several studies none.
        StudyError: there is no such study, it is being searched, or its artifacts are in a place that is not known to
            be its own.
    """
    from hpo.study.garbage import collect

    if artifacts is not None:
        _check_named(study, storage, "artifacts (--artifacts)")
    return collect(open_study(study, storage), keep, dry_run, artifacts)


def compare(study: str, other: str, *, storage: str | Path = "studies") -> "Comparison":
    """Compares two studies: the settings in which they differ, and how good each was for the same price.

    Args:
        study: the name of one.
        other: the name of the other.
        storage: the folder of all studies.

    Raises:
        StudyError: there is no such study, or it is damaged.
    """
    from hpo.study.comparison import compare as compared

    return compared(open_study(study, storage), open_study(other, storage))


def rename(
    study: str, new: str, *, storage: str | Path = "studies", tell: Callable[[str], None] = warnings.warn
) -> Study:
    """Gives a study another name, everywhere: its folder, its record and its runs in MLflow.

    A command that is killed leaves the study whole under one of both names; called again, it does the rest. Ensembles
    keep their names, and artifacts outside of the folder stay where they are.

    Args:
        study: its name.
        new: the name that it gets.
        storage: the folder of all studies.
        tell: is told, in a line, where MLflow could not be; a warning by default.

    Returns:
        The study under its new name.

    Raises:
        InputError: no study can have the name.
        StudyError: there is no such study, it is being searched, or another one has the name.
    """
    from hpo.study.renaming import follow
    from hpo.study.renaming import rename as give_name

    folder = Path(storage)
    if new in study_names(folder) and study not in study_names(folder):  # killed after the folder was renamed
        renamed = Study.open(folder, new)
        if study not in renamed.names:
            raise StudyError(f"no study '{study}' in '{storage}', and '{new}' was never called so")
        with renamed.hold.held():
            renamed = follow(renamed)
    else:
        renamed = give_name(Study.open(folder, study), new)
    _in_mlflow(tell, lambda runs: runs.rename_runs(renamed, folder))
    return renamed


def remove(
    study: str,
    *,
    storage: str | Path = "studies",
    dry_run: bool = False,
    artifacts: str | None = None,
    tell: Callable[[str], None] = warnings.warn,
) -> "Removal":
    """Removes a study: its folder with all ensembles, artifacts outside of it, and its record in a database.

    Its runs are deleted in MLflow's sense: they are hidden, and can be restored until `mlflow gc`. Versions of
    ensembles in MLflow's registry stay.

    Args:
        study: its name.
        storage: the folder of all studies.
        dry_run: only says what would be removed.
        artifacts: the place of its artifacts, where that is outside of its folder and does not say whose it is.
        tell: is told, in a line, where MLflow could not be; a warning by default.

    Raises:
        StudyError: there is no such study, it is being searched, or its artifacts are in a place that is not known to
            be its own.
    """
    from hpo.study import removal

    opened = Study.open(Path(storage), study)
    planned = removal.planned(opened, artifacts)
    if not dry_run:
        if planned.trials is not None:
            _in_mlflow(tell, lambda runs: runs.delete_runs(opened, Path(storage)))
        removal.remove(opened, artifacts)
    return planned


def ensembles(
    study: str | None = None, *, storage: str | Path = "studies", tell: Callable[[str], None] = warnings.warn
) -> "list[EnsembleSummary]":
    """All ensembles of a storage folder, the newest last.

    Args:
        study: whose ensembles; those of all studies where None.
        storage: the folder of all studies.
        tell: is told of each whose files are damaged, a line; a warning by default.

    Raises:
        StudyError: there is no such study.
    """
    from hpo.ensemble.build.listing import listed

    if study is not None:
        Study.open(Path(storage), study)
    found, problems = listed(Path(storage), study)
    for problem in problems.values():
        tell(problem)
    return found


def remove_ensemble(
    ensemble: str,
    *,
    storage: str | Path = "studies",
    dry_run: bool = False,
    tell: Callable[[str], None] = warnings.warn,
) -> Path:
    """Removes an ensemble; its run is deleted in MLflow's sense, and versions of it in the registry stay.

    Args:
        ensemble: its name.
        storage: the folder of all studies.
        dry_run: only looks whether it is there.
        tell: is told, in a line, where MLflow could not be; a warning by default.

    Returns:
        The folder that it had.

    Raises:
        StudyError: there is no ensemble of this name, or several have it.
    """
    from hpo.ensemble.build.folders import find
    from hpo.study.removal import clear

    folder = find(ensemble, Path(storage)).path
    if dry_run:
        return folder
    owner = Study.open(Path(storage), folder.parent.parent.name)
    _in_mlflow(tell, lambda runs: runs.delete_runs(owner, Path(storage), ensemble))
    clear(owner.folder, f"{folder.parent.name}/{folder.name}")
    return folder


def _in_mlflow(tell: Callable[[str], None], change: Callable[[ModuleType], object]) -> None:
    """Changes runs by `hpo.tracking.studies`; what goes wrong there is told, and costs nothing else."""
    from hpo.tracking import studies
    from hpo.tracking.problems import one_line, reason

    try:
        with one_line():
            change(studies)
    except Exception as error:  # whatever MLflow's client or its transport raises
        tell(f"MLflow still has runs as they were: {reason(error)}")


@arguments(EnsembleOptions)
def build_ensemble(options: EnsembleOptions) -> "EnsembleResult":
    """Builds an ensemble of a study's trials from their stored predictions; only methods that say so train.

    Members and weights are chosen on validation rows; test rows are scored once, afterwards.

    Raises:
        InputError: a number is out of range, there is no such method, or the study is nothing for it.
        StudyError: there is no such study, or it has fewer than two usable trials (for `single` none), or the name of
            the ensemble is taken, or members would be trained by other code than its trials.
        DataError: the data are needed, and cannot be read.
    """
    from hpo.ensemble.build.build import build

    if options.register is not None:
        _check_named(options.study, options.storage, "register (--register)")
    opened = open_study(options.study, options.storage, trust=options.trust, data_path=options.data_path)
    others = [open_study(name, options.storage, trust=options.trust) for name in dict.fromkeys(options.other_studies)]
    if opened.name in options.other_studies:
        raise InputError(f"study '{opened.name}' is named twice; name it once")
    return build(opened, options, saying(options.told, "dim"), others)


def predict(
    ensemble: "str | Ensemble",
    input: Any,
    *,
    storage: str | Path = "studies",
    trust: bool = False,
    tell: Callable[[str], None] = warnings.warn,
) -> "Predictions":
    """Predicts with an ensemble, everything at once.

    Args:
        ensemble: its name, or one that is open: `open_trial` opens a single trial.
        input: of images an image file, a folder of image files, an .npy file or the `x_test` (else `x`) of an .npz file
            with uint8 images `(n, h, w)` or `(n, h, w, c)`; of a table a .csv, .npy or .npz file; or such an array.
            Columns that have names are put into the order of the training; of a table whose columns have a meaning, a
            .csv, .tsv, .parquet or .jsonl file, a DataFrame, or a mapping of names to lists; where forecasts are made,
            their rows are the latest steps of each series. A function of your own that predicts is given arrays, a
            DataFrame of a .csv or .parquet file, and the path of anything else.
        storage: the folder of all studies.
        trust: models of your own that the ensemble names (`module:function`) may be imported.
        tell: is told of what was left out or changed in reading, a line each; a warning by default.

    Raises:
        StudyError: there is no such ensemble.
        DataError: the input cannot be read, or does not fit the ensemble.
    """
    from hpo.datasets.inputs import read_inputs
    from hpo.datasets.notes import Notes

    model, notes = _opened(ensemble, storage, trust), Notes()
    if model.wanted is None:
        return _own_predictions(model, input)
    wanted = replace(model.wanted, notes=notes)
    if _is_history(model, input):
        predictions = _forecast(model, input, wanted)
    else:
        predictions = _predictions(model, *read_inputs(input, wanted))
    for line in notes.lines():
        tell(line)
    return predictions


def predict_batches(
    ensemble: "str | Ensemble",
    input: Any,
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

    model, notes = _opened(ensemble, storage, trust), Notes()
    if model.wanted is None:
        yield _own_predictions(model, input)
        return
    wanted = replace(model.wanted, notes=notes)
    if _is_history(model, input):
        yield _forecast(model, input, wanted)
    else:
        for names, inputs in input_batches(input, wanted):
            yield _predictions(model, names, inputs)
    for line in notes.lines():
        tell(line)


def _opened(ensemble: "str | Ensemble", storage: str | Path, trust: bool) -> "Ensemble":
    return open_ensemble(ensemble, storage, trust=trust) if isinstance(ensemble, str) else ensemble


def combine_predictions(
    folder: str | Path,
    *,
    method: str = "auto",
    top: int = MEMBERS,
    select: str = "score",
    name: str | None = None,
    console: "Console | None" = None,
) -> "GivenResult":
    """Builds an ensemble of predictions that any other tool has made: weights, scores and a report, without networks.

    Args:
        folder: has `targets/validation.npy` and `targets/test.npy`, and of each model `NAME/validation.npy` and
            `NAME/test.npy`: labels `(rows,)` and probabilities `(rows, classes)`, 0 or 1 `(rows, labels)` and
            probabilities, or floats and values `(rows, targets)`. `outputs.txt` may name the outputs. What is made
            stands there in `ensembles/NAME`.
        method: as in `build_ensemble`, of those that train nothing.
        top: members at most.
        select: how voting and stacking come by their members: score, gain or diversity.
        name: of the ensemble; the next number that is free where None.
        console: where progress goes.

    Raises:
        InputError: there is no such method, or it trains members; or the name is taken.
        DataError: an array is missing or is not what it should be; all that is wrong is told at once.
    """
    from hpo.ensemble.build.given import build, read

    options = EnsembleOptions(method=method, top=top, select=select, name=name, console=console)
    if options.needs_data:
        raise InputError(f"--method {method} needs networks, and --predictions has none; take auto")
    return build(read(Path(folder)), method, top, select, name, saying(options.told, "dim"))


def open_trial(
    number: int | None = None,
    study: str | None = None,
    storage: str | Path = "studies",
    *,
    trust: bool = False,
) -> "Ensemble":
    """A stored trial, ready to predict: an ensemble of one member, calibrated, of which nothing is written.

    Args:
        number: of the trial; the incumbent where None.
        study: its name; the one touched last where None.
        storage: the folder of all studies.
        trust: a model of your own that the stored spec names (`module:function`) may be imported.

    Raises:
        StudyError: there is no such study or trial, or the trial has no stored weights and predictions.
        InputError: its model is of your own, and is not trusted.
    """
    from hpo.ensemble.build.alone import stored_trial

    return stored_trial(open_study(study, storage, trust=trust), number)


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
    from hpo.ensemble.build.folders import find
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
    from hpo.ensemble.build.folders import find
    from hpo.ensemble.onnx import export_onnx

    return export_onnx(find(ensemble, Path(storage)), output, member, trust=trust)


def _own_predictions(model: "Ensemble", source: Any) -> "Predictions":
    """What members predict by a function of the user's own, which takes all inputs at once."""
    from hpo.ensemble.own_inputs import own_inputs
    from hpo.ensemble.predictions import Predictions

    values = model.combined_predictions(own_inputs(source))
    widths = () if model.interval is None else model.interval.half_widths
    return Predictions([str(row) for row in range(len(values))], model.outputs, values, model.task, widths)


def _is_history(model: "Ensemble", source: Any) -> bool:
    """Whether an input is a table whose rows are the latest steps of series; arrays have windows already."""
    if model.wanted is None or model.wanted.encoding.series is None:
        return False
    return str(source).lower().endswith(TABLES) if isinstance(source, str | Path) else not hasattr(source, "dtype")


def _forecast(model: "Ensemble", source: Any, wanted: "Wanted") -> "Predictions":
    from hpo.datasets.inputs import latest_of
    from hpo.ensemble.forecasts import forecast

    return forecast(model, latest_of(source, wanted))


def _predictions(model: "Ensemble", names: Sequence[str], inputs: "Inputs") -> "Predictions":
    from hpo.ensemble.predictions import Predictions

    values = model.combined_predictions(inputs)
    return Predictions(names, model.outputs, values, model.task, model.half_widths(inputs))
