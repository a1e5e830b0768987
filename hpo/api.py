"""What the commands and Python users call. Wires the rooms; every function says what it raises."""

import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from hpo import datasets, models, samplers, schedulers, tasks
from hpo import spec as specs
from hpo.errors import InputError, Problem, StudyError
from hpo.registry import Registry
from hpo.results import EnsembleResult, Predictions, SearchResult, SimulationResult
from hpo.spec import SearchSpec, Space, StudySpec
from hpo.study import DataFacts, Observer, Study, differences

if TYPE_CHECKING:
    from hpo.datasets.dataset import Inputs
    from hpo.engine.simulated import Curve
    from hpo.ensemble.contribution import Contributions, Source
    from hpo.ensemble.model import Ensemble
    from hpo.forecast import Plan

SEARCH_CHECKS = (tasks.check_goal, samplers.check, schedulers.check)
"""What can be known of a search whatever its trials are."""
CHECKS = (tasks.check, datasets.check, models.check, samplers.check, schedulers.check)
"""Everything that can be known of a spec before its data are read."""


def validate(space: Space, overrides: Mapping[str, Any] | None = None) -> StudySpec:
    """Checks a search without running it: the YAML, the plug-ins that it names, its data, its model on these data.

    Data that would have to be downloaded are left alone.

    Args:
        space: a YAML file, a dict of the same shape, or a spec.
        overrides: dotted name -> value, as `--set` has it.

    Raises:
        SpecError: with every problem found, each with its file and line.
        DataError: the data cannot be used.
    """
    return specs.load(space, overrides, CHECKS, partial(_last_problems, data_dir=Path("data"), download=False))


def search(
    space: Space,
    *,
    study: str | None = None,
    trials: int | None = None,
    epochs: int | None = None,
    time_limit: float | None = None,
    concurrency: int | None = None,
    storage: str | Path = "studies",
    data_dir: str | Path = "data",
    seed: int | None = None,
    warm_start: str | None = None,
    overrides: Mapping[str, Any] | None = None,
    console: Console | None = None,
) -> SearchResult:
    """Searches: Ray Tune runs the trials, the study records them, MLflow is told.

    A study of the same name and the same spec goes on: its trials count against the budget.

    Args:
        space: a YAML file, a dict of the same shape, or a spec.
        study: its name, instead of the one in the spec.
        trials: budget, instead of the one in the spec; of the whole study.
        epochs: budget of all trials together, instead of the one in the spec.
        time_limit: seconds for this search.
        concurrency: how many trials at once at most; by default as many as there is room for.
        storage: the folder of all studies.
        data_dir: the folder of downloaded data sets.
        seed: instead of the one in the spec.
        warm_start: a study of the same storage, data and model; its trials are taken over where their configs lie in
            the space of this one. They cost no budget.
        overrides: dotted name -> value, as `--set` has it.
        console: where progress goes; None is silent.

    Raises:
        SpecError: the spec has problems, all of them in one message.
        DataError: the data cannot be used.
        StudyError: there is a study of this name with another spec, or another process is searching it.
        ResourceError: no machine has what a trial asks for.
    """
    started = time.monotonic()
    if concurrency is not None and concurrency < 1:
        raise InputError(f"--concurrency must be at least 1, got {concurrency}")
    arguments = {
        "study": study,
        "budget.trials": trials,
        "budget.epochs": epochs,
        "budget.time_limit": time_limit,
        "seed": seed,
    }
    given = {name: value for name, value in arguments.items() if value is not None}
    storage, data_dir = Path(storage), Path(data_dir)
    spec = specs.load(
        space, {**(overrides or {}), **given}, CHECKS, partial(_last_problems, data_dir=data_dir, download=True)
    )

    from hpo.engine import ray as engine
    from hpo.report.progress import Progress
    from hpo.tracking.writer import Tracker
    from hpo.training import train

    console = console or Console(quiet=True)
    budget = spec.budget
    if warm_start is not None:
        Study.open(storage, warm_start)  # told before Ray starts
        if spec.study in Study.names(storage):
            console.print(f"Study '{spec.study}' goes on; --from is for new ones, and is left out.", highlight=False)
    spent = _already_spent(spec, storage, data_dir)
    if spent is not None:
        by_trials = spent.spent().left(budget).trials == 0
        spent_on = f"{budget.trials} trials" if by_trials else f"{budget.epochs} epochs"
        console.print(f"Study '{spec.study}' has spent its budget of {spent_on}; --trials or --epochs raises it.")
        return SearchResult(spent, time.monotonic() - started, interrupted=False)
    console.print(f"Study '{spec.study}': starting Ray ...", style="dim", highlight=False)
    with engine.cluster():
        engine.trial_resources(spec.resources)  # nothing is made on disk for a search that could never start
        opened = _open_or_create(spec, storage, data_dir, warm_start)
        taken = sum(trial.taken_over for trial in opened.trials())
        if taken and warm_start is not None:
            console.print(f"{taken} trials of study '{warm_start}' are taken over.", style="dim", highlight=False)
        with opened.searching():
            left = opened.spent().left(budget)
            if left.nothing:  # another search ran them while this one was starting
                return SearchResult(opened, time.monotonic() - started, interrupted=False)
            opened.use(samplers.build(spec, len(opened.trials()), _rewards(opened)))
            limit = budget.time_limit
            with Tracker(opened, storage) as tracker, Progress(opened, left, limit, console) as progress:
                interrupted = engine.run(
                    opened,
                    train,
                    resources=spec.resources,
                    left=left,
                    data_dir=data_dir,
                    deadline=None if limit is None else started + limit,
                    concurrency=concurrency,
                    observers=(tracker, progress),
                )
    return SearchResult(opened, time.monotonic() - started, interrupted, tracker.problem)


def simulate(
    space: Space,
    curve: "Curve",
    *,
    workers: int = 4,
    trials: int | None = None,
    epochs: int | None = None,
    time_limit: float | None = None,
    storage: str | Path | None = None,
    seed: int | None = None,
    overrides: Mapping[str, Any] | None = None,
    observers: Sequence[Observer] = (),
    predictions: "tuple[NDArray[np.int64], Source] | None" = None,
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
        time_limit: budget in virtual seconds, instead of the one in the spec.
        storage: the folder of all studies; in memory where None.
        seed: instead of the one in the spec.
        overrides: dotted name -> value, as `--set` has it.
        observers: are told what has been recorded.
        predictions: for `target: ensemble`: the labels of the validation rows `(rows,)`, and a function from a trial to
            its probabilities `(rows, classes)` at its best epoch.

    Raises:
        SpecError: the spec has problems, all of them in one message.
        InputError: there is no worker, or the curve returned something else.
        StudyError: there is a study of this name with another spec, or another process is searching it.
    """
    if workers < 1:
        raise InputError(f"workers must be at least 1, got {workers}")
    arguments = {"budget.trials": trials, "budget.epochs": epochs, "budget.time_limit": time_limit, "seed": seed}
    given = {name: value for name, value in arguments.items() if value is not None}
    spec = specs.load_search(space, {**(overrides or {}), **given}, SEARCH_CHECKS, samplers.try_proposal)

    from hpo.engine import simulated as engine

    if (spec.target == "ensemble") != (predictions is not None):
        raise InputError("target: ensemble needs the argument predictions, and no other target takes it")
    study = _simulated_study(spec, storage)
    with study.searching():
        study.use(samplers.build(spec, len(study.trials()), _rewards(study, predictions)))
        elapsed = engine.run(
            study,
            curve,
            workers=workers,
            left=study.spent().left(spec.budget),
            time_limit=spec.budget.time_limit,
            observers=observers,
        )
    return SimulationResult(study, workers, elapsed.seconds, elapsed.worked)


def _rewards(study: Study, predictions: "tuple[NDArray[np.int64], Source] | None" = None) -> "Contributions | None":
    """What trials are worth, where the target is an ensemble; from stored predictions unless others are given."""
    if study.spec.target != "ensemble":
        return None
    from hpo.ensemble.contribution import Contributions
    from hpo.ensemble.pool import stored_predictions

    if predictions is not None:
        return Contributions(study, *predictions)
    return Contributions(study, study.facts.targets["validation"], partial(stored_predictions, study))


def _simulated_study(spec: SearchSpec, storage: str | Path | None) -> Study:
    if storage is None:
        return Study.in_memory(spec)
    if spec.study not in Study.names(Path(storage)):
        return Study.create(Path(storage), spec)
    return _same_spec(Study.open(Path(storage), spec.study), spec, Path(storage))


def plan(
    space: Space,
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
    from hpo import forecast

    counts = tuple(workers)
    if not counts:
        raise InputError("name at least one number of workers")
    if min(counts) < 1:
        raise InputError(f"workers must be at least 1, got {min(counts)}")
    if not 0 < seconds_per_epoch < math.inf:
        raise InputError(f"seconds per epoch must be above 0, got {seconds_per_epoch}")
    spec = specs.load_search(space, overrides, SEARCH_CHECKS)
    if curve is None:
        synthetic = forecast.SyntheticCurve(spec, seconds_per_epoch)
        rows = forecast.forecasts(forecast.without_proposals(spec), synthetic, counts)
        return forecast.Plan(spec.study, forecast.SYNTHETIC.format(seconds=seconds_per_epoch), rows)
    name = curve if isinstance(curve, str) else getattr(curve, "__name__", repr(curve))
    given = Registry("curve", {}).load(curve) if isinstance(curve, str) else curve
    if not callable(given):
        raise InputError(f"curve '{name}' must be a function (config, epoch) -> (metrics, seconds), got {given!r:.80}")
    return forecast.Plan(spec.study, name, forecast.forecasts(spec, given, counts))


def open_study(name: str | None = None, storage: str | Path = "studies") -> Study:
    """A study of the storage folder; without a name the one that was touched last.

    Raises:
        StudyError: there is none.
    """
    names = Study.names(Path(storage))
    if name is None and not names:
        raise StudyError(
            f"there are no studies in '{storage}'. Run `hpo search` first, or name the folder with --storage"
        )
    return Study.open(Path(storage), name or names[-1])


def all_studies(storage: str | Path = "studies") -> list[Study]:
    """Every study of the storage folder, the one touched last at the end."""
    return [Study.open(Path(storage), name) for name in Study.names(Path(storage))]


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
    console: Console | None = None,
) -> EnsembleResult:
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
        data_dir: the folder of downloaded data sets; read where members are trained.
        console: where progress goes; None is silent.

    Raises:
        InputError: a number is out of range, there is no such method, or the study is nothing for it.
        StudyError: there is no such study, or it has fewer than two usable trials, or the ensemble's name is taken.
        DataError: the data are needed, and cannot be read.
    """
    from hpo import assembly

    told = console or Console(quiet=True)
    request = assembly.Request(
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
    )
    opened = open_study(study, storage)
    say = partial(told.print, style="dim", highlight=False, markup=False)
    return assembly.build(opened, request, Path(storage), Path(data_dir), say)


def predict(ensemble: str, input: str | Path | NDArray[Any], *, storage: str | Path = "studies") -> Predictions:
    """Predicts with an ensemble, everything at once.

    Args:
        ensemble: its name.
        input: of images an image file, a folder of image files, an .npy file or the `x_test` (else `x`) of an .npz file
            with uint8 images `(n, h, w)` or `(n, h, w, c)`; of a table a .csv, .npy or .npz file; or such an array.
        storage: the folder of all studies.

    Raises:
        StudyError: there is no such ensemble.
        DataError: the input cannot be read, or does not fit the ensemble.
    """
    from hpo.datasets.inputs import read_inputs

    model = open_ensemble(ensemble, storage)
    names, inputs = read_inputs(input, model.input_shape)
    return _predictions(model, names, inputs)


def predict_batches(
    ensemble: str, input: str | Path | NDArray[Any], *, storage: str | Path = "studies"
) -> Iterator[Predictions]:
    """Predicts as `predict` does, a batch at a time: memory stays flat however large the input is.

    Raises:
        StudyError: there is no such ensemble.
        DataError: the input cannot be read, or does not fit the ensemble.
    """
    from hpo.datasets.inputs import input_batches

    model = open_ensemble(ensemble, storage)
    for names, inputs in input_batches(input, model.input_shape):
        yield _predictions(model, names, inputs)


def open_ensemble(name: str, storage: str | Path = "studies") -> "Ensemble":
    """An ensemble, ready to predict.

    Raises:
        StudyError: there is no ensemble of this name, or several have it.
        DataError: its folder is damaged.
    """
    from hpo.assembly import find
    from hpo.ensemble.model import Ensemble

    return Ensemble(find(name, Path(storage)))


def export(ensemble: str, output: str | Path, *, member: int | None = None, storage: str | Path = "studies") -> float:
    """Writes an ensemble as ONNX, and runs that beside PyTorch.

    Args:
        ensemble: its name.
        output: the file.
        member: the place of the one member to write, from 0 on; all of them and what joins them where None.
        storage: the folder of all studies.

    Returns:
        The largest difference between the predictions of ONNX Runtime and of PyTorch.

    Raises:
        StudyError: there is no such ensemble.
        InputError: `hpo[onnx]` is not installed, there is no such member, or the combiner cannot be exported.
        HpoError: PyTorch cannot export a network, or the file predicts something else.
    """
    from hpo.assembly import find
    from hpo.ensemble.onnx import export_onnx

    return export_onnx(find(ensemble, Path(storage)), output, member)


def _predictions(model: "Ensemble", names: Sequence[str], inputs: "Inputs") -> Predictions:
    widths = () if model.interval is None else model.interval.half_widths
    return Predictions(names, model.outputs, model.combined_predictions(inputs), model.task, widths)


def _open_or_create(spec: StudySpec, storage: Path, data_dir: Path, warm_start: str | None) -> Study:
    dataset = datasets.load(spec.data, data_dir, spec.seed)
    if spec.study in Study.names(storage):
        return _reopen(spec, storage, dataset)
    facts = DataFacts(
        outputs=dataset.outputs,
        targets={"validation": dataset.validation.targets, "test": dataset.test.targets},
        example=dataset.validation.inputs[:1],
        fingerprint=dataset.fingerprint,
    )
    return Study.create(
        storage, spec, facts, None if warm_start is None else _earlier(warm_start, spec, facts, storage)
    )


def _earlier(name: str, spec: StudySpec, facts: DataFacts, storage: Path) -> Study:
    """The study to take trials from; only where the same config would have been the same trial."""
    earlier = Study.open(storage, name)
    theirs = earlier.study_spec
    if earlier.facts.fingerprint != facts.fingerprint:
        splits = [(one.seed, one.data.validation) for one in (theirs, spec)]
        reason = "has other data" if splits[0] == splits[1] else f"split its data otherwise (seed {theirs.seed})"
        raise StudyError(f"--from {name}: that study {reason}, so its trials say nothing about this one's")
    if (theirs.task, theirs.model.name) != (spec.task, spec.model.name):
        raise StudyError(f"--from {name}: that study is about model '{theirs.model.name}', not '{spec.model.name}'")
    return earlier


def _reopen(spec: StudySpec, storage: Path, dataset: datasets.Dataset) -> Study:
    study = _same_spec(Study.open(storage, spec.study), spec, storage)
    if study.facts.fingerprint != dataset.fingerprint:
        raise StudyError(
            f"study '{spec.study}' in '{storage}' was started with other data: '{spec.data.path or spec.data.name}'"
            " has changed since. Give the new search a name of its own with --study"
        )
    return study


def _same_spec(study: Study, spec: SearchSpec, storage: Path) -> Study:
    changed = differences(study.spec, spec)
    if changed:
        raise StudyError(
            f"study '{spec.study}' in '{storage}' was started with another spec; they differ in"
            f" {', '.join(changed)}. Give the new search a name of its own with --study"
        )
    return study


def _already_spent(spec: StudySpec, storage: Path, data_dir: Path) -> Study | None:
    """The study, where it has no trial left to run."""
    if spec.study not in Study.names(storage):
        return None
    study = _reopen(spec, storage, datasets.load(spec.data, data_dir, spec.seed))
    return study if study.spent().left(spec.budget).nothing else None


def _last_problems(spec: StudySpec, data_dir: Path, download: bool) -> Iterable[Problem]:
    """What shows only when the sampler proposes and the model meets the data, where they may be fetched for that."""
    yield from samplers.try_proposal(spec)
    if download or spec.data.name not in datasets.DOWNLOADED:
        dataset = datasets.load(spec.data, data_dir, spec.seed)
        yield from datasets.check_fit(spec, dataset)
        yield from models.try_build(spec, dataset.input_shape, len(dataset.outputs))
