"""What the commands and Python users call. Wires the rooms; every function says what it raises."""

import json
import math
import shutil
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pydantic
from numpy.typing import NDArray
from rich.console import Console

from hpo import datasets, models, samplers, schedulers, tasks
from hpo import spec as specs
from hpo.errors import InputError, Problem, StudyError
from hpo.registry import Registry, did_you_mean
from hpo.results import EnsembleResult, Predictions, SearchResult, SimulationResult
from hpo.spec import SearchSpec, Space, StudySpec
from hpo.study import DataFacts, Observer, Study, differences

if TYPE_CHECKING:
    from hpo.engine.simulated import Curve
    from hpo.ensemble.combiner import Combiner
    from hpo.ensemble.contribution import Contributions, Source
    from hpo.ensemble.pool import Pool
    from hpo.ensemble.selection import Choice
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
    name: str | None = None,
    storage: str | Path = "studies",
) -> EnsembleResult:
    """Builds an ensemble of a study's trials from their stored predictions; nothing is retrained.

    Members and weights are chosen on validation rows; test rows are scored once, afterwards.

    Args:
        study: its name; the one touched last where None.
        top: members at most.
        pool: how many of the best trials are candidates.
        method: auto, voting, hard_voting, greedy or stacking.
        name: of the ensemble; `<study>-<number>` where None.
        storage: the folder of all studies.

    Raises:
        InputError: a number is out of range, or there is no such method.
        StudyError: there is no such study, or it has fewer than two usable trials, or the ensemble's name is taken.
    """
    from hpo.ensemble.pool import Pool
    from hpo.ensemble.selection import check_method, choose

    if top < 1:
        raise InputError(f"--top must be at least 1, got {top}")
    if pool < 2:
        raise InputError(f"--pool must be at least 2, got {pool}")
    check_method(method)
    opened = open_study(study, storage)
    name = _ensemble_name(opened, name)
    candidates = Pool.load(opened, pool)
    choice = choose(method, candidates.validation, candidates.labels, top)
    result = _scored(opened, name, candidates, choice)
    _write_ensemble(result, candidates, choice.combiner)
    result = _tracked(result, Path(storage))
    (result.folder / "result.json").write_text(json.dumps(result.to_json(), indent=1), encoding="utf-8")
    return result


def predict(ensemble: str, input: str | Path | NDArray[np.uint8], *, storage: str | Path = "studies") -> Predictions:
    """Predicts with an ensemble.

    Args:
        ensemble: its name.
        input: an image file, a folder of image files, an .npy file or the `x_test` (else `x`) of an .npz file with
            uint8 images `(n, h, w)` or `(n, h, w, c)`, or such an array itself.
        storage: the folder of all studies.

    Raises:
        StudyError: there is no such ensemble.
        DataError: the input cannot be read, or does not fit the ensemble.
    """
    from hpo.datasets.inputs import read_inputs
    from hpo.ensemble.model import EnsembleModel

    folder = find_ensemble(ensemble, Path(storage))
    model = EnsembleModel(folder)
    names, images = read_inputs(input, model.input_shape)
    return Predictions(names, model.outputs, model.predict_proba(images))


def find_ensemble(name: str, storage: Path) -> Path:
    """The folder of an ensemble.

    Raises:
        StudyError: no study has one of this name, or several have.
    """
    folders = _ensembles(storage)
    found = [folder for folder in folders if folder.name == name]
    if not found:
        names = [folder.name for folder in folders]
        hint = did_you_mean(name, names) if names else " There are none yet: run `hpo ensemble` first."
        raise StudyError(f"no ensemble '{name}' in '{storage}'.{hint}")
    if len(found) > 1:
        owners = ", ".join(sorted(folder.parent.parent.name for folder in found))
        raise StudyError(f"ensemble '{name}' exists in several studies ({owners}); build one with a --name of its own")
    return found[0]


def _ensembles(storage: Path) -> list[Path]:
    folders = [path.parent for path in storage.glob("*/ensembles/*/ensemble.json")]
    return [folder for folder in folders if not folder.name.startswith(".")]


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
        raise StudyError(f"--from {name}: that study has other data, so its trials say nothing about this one's")
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


def _ensemble_name(study: Study, wanted: str | None) -> str:
    """A name that no ensemble of the storage has, since `hpo predict` finds an ensemble by its name alone."""
    taken = {folder.name for folder in _ensembles(study.folder.parent)}
    if wanted is None:
        return next(name for number in range(1, len(taken) + 2) if (name := f"{study.name}-{number}") not in taken)
    try:
        pydantic.TypeAdapter(specs.StudyName).validate_python(wanted)
    except pydantic.ValidationError:
        rule = "letters, digits, '.', '_' and '-', beginning with a letter or digit, 80 at most"
        raise InputError(f"--name must be {rule}, got {wanted!r}") from None
    if wanted in taken:
        raise StudyError(f"there is an ensemble '{wanted}' already; choose another --name")
    return wanted


def _scored(study: Study, name: str, pool: "Pool", choice: "Choice") -> EnsembleResult:
    """Scores what was chosen, beside the best single trial: here, and nowhere before, test rows are read."""
    labels, combiner, task = study.facts.targets, choice.combiner, study.study_spec.task
    places = list(combiner.members)
    test = pool.test_predictions([*places, pool.best])  # all calibrated alike, the best single trial too
    return EnsembleResult(
        name=name,
        study=study,
        folder=study.folder / "ensembles" / name,
        method=choice.method,
        members=[
            {"trial": pool.trials[place].number, "weight": weight}
            for place, weight in zip(places, combiner.weights, strict=True)
        ],
        validation=_measure(task, combiner.combine(pool.validation[places]), labels["validation"]),
        test=_measure(task, combiner.combine(test[:-1]), labels["test"]),
        best_single=pool.trials[pool.best].number,
        best_single_test=_measure(task, test[-1], labels["test"]),
        compared=dict(choice.costs),
        skipped=pool.skipped,
    )


def _write_ensemble(result: EnsembleResult, pool: "Pool", combiner: "Combiner") -> None:
    """Writes the ensemble's folder, whole or not at all."""
    from hpo.ensemble import model

    study = result.study
    draft = result.folder.with_name(f".{result.name}.{uuid.uuid4().hex}")
    try:
        model.write(
            draft,
            study.study_spec,
            study.facts,
            [(pool.trials[place], pool.temperatures[place]) for place in combiner.members],
            study.artifacts,
            combiner,
        )
        model.EnsembleModel(draft)  # what cannot be loaded again is not an ensemble
        draft.rename(result.folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _measure(task: str, probabilities: NDArray[np.float32], labels: NDArray[Any]) -> dict[str, float]:
    import torch

    from hpo.tasks.kinds import kind

    return kind(task).measure(torch.from_numpy(probabilities), torch.from_numpy(labels))


def _tracked(result: EnsembleResult, storage: Path) -> EnsembleResult:
    from hpo.ensemble.model import LOADER_MODULE
    from hpo.tracking.ensembles import EnsembleRecord, log_ensemble

    metrics = {
        **{f"validation_{name}": value for name, value in result.validation.items()},
        **{f"test_{name}": value for name, value in result.test.items()},
        **{f"best_single_test_{name}": value for name, value in result.best_single_test.items()},
    }
    facts = result.study.facts
    record = EnsembleRecord(
        name=result.name,
        method=result.method,
        folder=result.folder,
        loader=LOADER_MODULE,
        members=result.members,
        metrics=metrics,
        example=facts.example,
        classes=len(facts.outputs),
        code=[path for path in [models.source(result.study.study_spec.model.name)] if path],
    )
    try:
        return replace(result, run_id=log_ensemble(result.study, storage, record))
    except Exception as error:  # the ensemble is on disk, whatever MLflow's client or its transport raises
        problem = f"MLflow lacks ensemble '{result.name}', which is in '{result.folder}': {error}"
        return replace(result, tracking_problem=problem)
