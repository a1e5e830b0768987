"""The way of an ensemble, from top to bottom."""

import json
import uuid
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial

from hpo.display.page import PAGE
from hpo.ensemble import model
from hpo.ensemble.build import mlflow_run, report
from hpo.ensemble.build.draft import Draft, Say, from_pool, stored_part
from hpo.ensemble.build.folders import folder_of, free_name
from hpo.ensemble.build.listing import RESULT
from hpo.ensemble.build.misfits import misfits
from hpo.ensemble.build.options import EnsembleOptions
from hpo.ensemble.build.own_code import import_own_code, paths_of, predict_path
from hpo.ensemble.build.prediction import predict_test_rows
from hpo.ensemble.build.result import EnsembleResult
from hpo.ensemble.calibration import LEVEL
from hpo.ensemble.cost import cost, fits
from hpo.ensemble.diversity import diversity
from hpo.ensemble.method_choice import choose
from hpo.ensemble.pool import Pool
from hpo.ensemble.score import Predictions
from hpo.errors import InputError, StudyError
from hpo.spec import StudySpec
from hpo.study.artifacts import Folder
from hpo.study.code import TrainingCode
from hpo.study.study import Study
from hpo.tasks.features import history
from hpo.tasks.measuring import measured
from hpo.training.own_function import own_function


def build(study: Study, options: EnsembleOptions, say: Say, others: Sequence[Study] = ()) -> EnsembleResult:
    """Makes an ensemble of a study as it was asked for.

    Args:
        study: whose trials.
        options: what is wanted; data are read where members are trained, or predict the test rows.
        say: is told of members that are trained or predict the test rows, and of what takes long, a line each.
        others: studies of the same data, whose trials are candidates too; the ensemble is the first one's.

    Raises:
        InputError: the study is nothing for what is asked, or its model is of the user's own and is not trusted.
        StudyError: there are fewer than two usable trials (for `single` none), or the ensemble's name is taken.
        DataError: the data are needed, and cannot be read.
    """
    name = free_name(study, options.name)
    student_name = None if options.distill is None else free_name(study, f"{name}-student")
    for one in (study, *others):
        import_own_code(one)  # what is not trusted is refused before anything is done
        _check_method(one, options)
    _check_code(study, options)
    mlflow_run.open_ahead(options.studies)
    if others:
        pool = Pool.of_studies([study, *others], options.pool)
    else:
        pool = Pool.load(study, options.pool, least=options.least, wanted=None if options.trains else options.trial)
    if options.max_latency is not None:
        pool = _fast_enough(pool, options.max_latency)
    _check_series(pool, options)
    pool, draft = _fitting(pool, options, say)
    finished = partial(_finished, pool=pool, say=say)
    if draft is not None and student_name is None:
        return finished(name, draft, options=options)

    study.hold.claim()  # members are trained there in place of earlier ones
    from hpo.ensemble.build import retraining

    trainer = retraining.trainer(study, options.downloads, say, own_function(study.spec, options.train))
    student = None if options.distill is None else retraining.read_student(trainer, options.distill)
    result = finished(name, draft or retraining.draft(trainer, options, pool), options=options)
    if student is None or student_name is None:
        return result
    taught = retraining.taught(trainer, student, model.Ensemble(folder_of(study, name)))
    return replace(result, student=finished(student_name, taught, options=replace(options, register=None)))


def _check_method(study: Study, options: EnsembleOptions) -> None:
    """Refuses what needs models, where a training function has data of its own, and rows that no trial has learned.

    Raises:
        InputError: the method trains, averages or measures models of which there are none, or needs such rows.
    """
    needs_data = options.needs_data or options.distill is not None
    what = f"--method {options.method}" if options.distill is None else "--distill"
    if isinstance(study.spec, StudySpec):
        if needs_data and study.spec.training.folds is not None and not options.all_data:
            raise InputError(
                f"{what} needs validation rows that no member is trained on, and study '{study.name}' is"
                " cross-validated (training.folds), which leaves none; take voting, weighted, greedy or stacking, or"
                " train the best config on all rows by `hpo train --all-data`"
            )
        return
    if needs_data:
        raise InputError(
            f"{what} trains or averages models of the search file, and the trials of study '{study.name}' are of a"
            " training function with data of its own; take voting, weighted, greedy or stacking"
        )
    if options.max_latency is not None:
        raise InputError(
            f"--max-latency is of models of the search file, which study '{study.name}' has not; leave it out"
        )


def _check_code(study: Study, options: EnsembleOptions) -> None:
    """Checks that members are trained by the code that trained the study's trials."""
    if options.train is not None and not options.trains and options.distill is None:
        raise InputError(f"a training function trains members, and --method {options.method} trains none; leave it out")
    if options.trains or options.distill is not None:
        code = TrainingCode.of(
            own_function(study.spec, options.train), *study.spec.own_code("model"), learning=study.spec.learning_code
        )
        folds = "" if options.folds is None else f", folds={options.folds}"
        wish = f"method='{options.method}'{folds}" if options.distill is None else f"distill='{options.distill}'"
        study.check_code(code, options.accept_code, f"hpo.build_ensemble('{study.name}', {wish}, train=...)")


def _check_series(pool: Pool, options: EnsembleOptions) -> None:
    """Refuses what is no sense for the task: intervals of classes, and folds of rows that overlap."""
    if options.level is not None and pool.task != "regression":
        raise InputError(f"--level is of the interval around numbers, and the task is {pool.study.spec.task}")
    if options.folds is not None and history(pool.layout) is not None:
        raise InputError(
            "--folds would train on what follows the windows that it predicts; forecasts are stacked on validation"
            " windows: leave it out"
        )


def _fitting(pool: Pool, options: EnsembleOptions, say: Say) -> tuple[Pool, Draft | None]:
    """The candidates without those whose weights are of no use, and what is chosen of them, if nothing is trained."""
    while True:
        draft, used = None, {pool.best}
        if options.method == "soup":
            used = set(range(len(pool.trials)))
        elif not options.needs_data:
            draft = _chosen(pool, options, say)
            used |= set(draft.places)
        problems = misfits(pool, used, options.downloads)
        if not problems:
            return pool, draft
        pool = pool.without(problems, options.least)


def _chosen(pool: Pool, options: EnsembleOptions, say: Say) -> Draft:
    """The ensemble of stored trials: nothing is trained, and no test row is read."""
    top = options.top
    if options.max_latency is not None:
        top = min(top, fits([_latency(pool, place) for place in range(len(pool.trials))], options.max_latency))
    choice = choose(
        options.method,
        pool.validation,
        pool.targets,
        top,
        task=pool.task,
        best=pool.best if options.trial is None else pool.place(options.trial),
        select=options.select,
        level=LEVEL if options.level is None else options.level,
        overlap=pool.overlap,
        spreads=pool.spreads,
        say=say,
    )
    if options.trial is not None:
        choice = replace(choice, note=f"trial {options.trial} alone, as asked")
    return from_pool(pool, choice)


def _fast_enough(pool: Pool, limit: float) -> Pool:
    """The candidates that keep to a limit of milliseconds alone, by what their trials measured."""
    latencies = [_latency(pool, place) for place in range(len(pool.trials))]
    places = [place for place, latency in enumerate(latencies) if latency <= limit]
    if not places:
        raise InputError(
            f"--max-latency {limit:g}ms: the fastest of {len(latencies)} candidates takes {min(latencies):.3g} ms for"
            " one example; allow more"
        )
    return pool.only(places)


def _latency(pool: Pool, place: int) -> float:
    trial = pool.trials[place]
    metrics = {} if trial.best_epoch is None else trial.reports[trial.best_epoch]
    return float(metrics.get("latency_ms", float("inf")))


def _finished(name: str, draft: Draft, *, pool: Pool, say: Say, options: EnsembleOptions) -> EnsembleResult:
    """Scores, writes, measures, draws and logs what was chosen; its folder appears whole or not at all."""
    parts = [stored_part(pool, pool.best), *draft.parts]
    predict_test_rows(pool.study, parts, options.downloads, say, pool.others)
    result, test = _scored(name, draft, pool)
    folder = folder_of(pool.study, f".{name}.{uuid.uuid4().hex}")
    try:
        model.write(folder, pool.study.spec, pool.truth, draft.parts, draft.combiner, draft.interval)
        ensemble = model.Ensemble(folder)  # what cannot be loaded again is not an ensemble
        result = _measured(result, ensemble, options.max_latency)
        report.write(folder, report.reported(result, draft, pool), test, (result.best_single_test, result.test))
        result = replace(result, report=result.folder / report.FOLDER / PAGE)
        _write_result(folder, result)
        folder.move_to(name)
    except OSError as error:
        raise StudyError(f"ensemble '{name}' cannot be written to '{result.folder.parent}': {error}") from error
    finally:
        with suppress(OSError):
            folder.clear()
    result = mlflow_run.logged(result, pool.truth, options)
    _write_result(folder_of(pool.study, name), result)  # now with its run
    return result


def _measured(result: EnsembleResult, ensemble: model.Ensemble, limit: float | None) -> EnsembleResult:
    """The result with what the ensemble costs, beside its first member alone, if it is known what they take."""
    if ensemble.wanted is None:
        return result
    result = replace(result, cost=cost(ensemble), member_cost=cost(ensemble.single(0)))
    taken = 0.0 if result.cost is None else result.cost.milliseconds[1]
    if limit is None or taken <= limit:
        return result
    late = f"it takes {taken:.3g} ms here for one example, above the {limit:g} ms that its trials promised"
    return replace(result, note=late if result.note is None else f"{result.note}; {late}")


def _write_result(folder: Folder, result: EnsembleResult) -> None:
    folder.write(RESULT, json.dumps(result.to_json(), indent=1).encode())


def _scored(name: str, draft: Draft, pool: Pool) -> tuple[EnsembleResult, dict[str, Predictions]]:
    """Scores the draft beside the best single trial: here, and nowhere before, test rows are read."""
    study, task = pool.study, pool.task
    targets, test = pool.truth.targets, {}
    measure = partial(measured, study.spec, pool.truth.outputs, layout=pool.layout)
    single, ensemble = dict[str, float](), dict[str, float]()
    if "test" in targets:
        test = {
            report.single_name(pool): pool.test_predictions([pool.best])[0],
            report.ensemble_name(draft.method): draft.combiner.combine(draft.test()),
        }
        single, ensemble = (measure(predictions, targets["test"]) for predictions in test.values())
    result = EnsembleResult(
        name=name,
        study=study,
        folder=folder_of(study, name).path,
        method=draft.method,
        members=draft.members,
        validation=measure(draft.combiner.combine(draft.validation), targets["validation"]),
        test=ensemble,
        best_single=pool.trials[pool.best].number,
        best_single_study=None if pool.owner(pool.best) is study else pool.owner(pool.best).name,
        best_single_test=single,
        compared=dict(draft.compared),
        gain=draft.gain,
        calibration=draft.calibration,
        interval=draft.interval,
        estimate=None if draft.estimate is None else draft.estimate.to_json(),
        diversity=diversity(draft.validation, pool.targets, task),
        note=draft.note,
        skipped=draft.skipped,
        own_models=paths_of(study.spec, draft.parts),
        servable=all(part.model is not None for part in draft.parts) or predict_path(study.spec) is not None,
    )
    return result, test
