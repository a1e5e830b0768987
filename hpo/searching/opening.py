"""The study that a search goes on with, or begins: held to the spec, the data and the code that it was begun with."""

from pathlib import Path
from typing import Any

from hpo.datasets import Dataset, Examples
from hpo.datasets.dataset import dense
from hpo.errors import StudyError
from hpo.searching.options import SearchOptions
from hpo.searching.wishing import retry_failed
from hpo.spec import Budget, SearchSpec, StudySpec
from hpo.study.artifacts import Split
from hpo.study.budget import reached
from hpo.study.code import TrainingCode
from hpo.study.data import check_weights
from hpo.study.data_summary import DataSummary
from hpo.study.differences import differences
from hpo.study.folder import study_names
from hpo.study.locations import own_place
from hpo.study.study import Study
from hpo.study.wishes import RetryTrial, TryConfig
from hpo.terminal import Say

_UNKNOWN_CODE = (
    "Study '{study}' is of release 0.1, which kept nothing of the code: whether this is the training function and the"
    " model of its trials is not checked."
)


def known_study(spec: SearchSpec, options: SearchOptions, dataset: Dataset | None, say: Say) -> Study | None:
    """The study that goes on; None where it is a new one. What forbids either is told before Ray is waited for."""
    is_known = spec.study in study_names(options.studies)
    if options.warm_start is not None:
        Study.open(options.studies, options.warm_start)
        if is_known:
            say(f"Study '{spec.study}' goes on; --from is for new ones, and is left out.")
    if not is_known:
        return None
    known = _reopen(spec, options, dataset)
    if options.retry_failed:
        known.hold.check_free()
        count = len(retry_failed(known))
        say(f"Study '{spec.study}': {count or 'no'} failed trial{'' if count == 1 else 's'} to begin again.")
    if not is_spent(known, spec.budget):
        known.hold.check_free()  # who begins in between is refused when Ray is there
    return known


def ready(spec: SearchSpec, options: SearchOptions, dataset: Dataset | None, say: Say) -> Study:
    """The study, made where it is not there, whose artifacts are in a place of its own."""
    study = _open_or_create(spec, options, dataset)
    study.hold.claim(options.artifacts)
    if not study.code:
        say(_UNKNOWN_CODE.format(study=spec.study))
    taken = sum(trial.taken_over for trial in study.trials())
    if taken and options.warm_start is not None:
        say(f"{taken} trials of study '{options.warm_start}' are taken over.", style="dim")
    return study


def _open_or_create(spec: SearchSpec, options: SearchOptions, dataset: Dataset | None) -> Study:
    if spec.study in study_names(options.studies):
        return _reopen(spec, options, dataset)
    data_summary = None if dataset is None else _summary(dataset)
    name, code = options.warm_start, code_of(spec, options)
    earlier = None if name is None else _earlier(name, spec, data_summary, options.studies)
    if earlier is not None:
        earlier.check_code(code, options.accept_code, f"hpo.search(..., warm_start='{name}', train=...)")
    places = {"artifacts": options.artifacts, "database": options.database}
    return Study.create(options.studies, spec, data_summary, earlier, code=code, **places)


def _summary(dataset: Dataset) -> DataSummary:
    splits: dict[Split, Examples] = {"validation": dataset.validation, "test": dataset.test}
    known = {split: dataset.spreads(examples) for split, examples in splits.items()}
    return DataSummary(
        outputs=dataset.outputs,
        targets={split: examples.targets for split, examples in splits.items()},
        example=dense(dataset.validation.inputs[:1]),
        fingerprint=dataset.fingerprint,
        encoding=dataset.encoding,
        weights="" if dataset.pretrained is None else dataset.pretrained.digest,
        spreads={split: spreads for split, spreads in known.items() if spreads is not None},
    )


def code_of(spec: SearchSpec, options: SearchOptions) -> TrainingCode:
    """The identity of the code that the trials of a search run."""
    from hpo.training.own_function import own_function

    return TrainingCode.of(own_function(spec, options.train), *spec.own_code("model"), learning=spec.learning_code)


def _earlier(name: str, spec: SearchSpec, data_summary: DataSummary | None, storage: Path) -> Study:
    """The study to take trials from; only where the same config would have been the same trial."""
    earlier = Study.open(storage, name)
    theirs = earlier.spec
    if not isinstance(spec, StudySpec) or not isinstance(theirs, StudySpec) or data_summary is None:
        if isinstance(spec, StudySpec):
            _ = earlier.study_spec  # which says why it has no models
        if isinstance(theirs, StudySpec):
            raise StudyError(f"--from {name}: one of the two studies has data and a model, and the other has not")
        return earlier
    if earlier.data_summary.fingerprint != data_summary.fingerprint:
        splits = [(one.seed, one.data.validation) for one in (theirs, spec)]
        reason = "has other data" if splits[0] == splits[1] else f"split its data otherwise (seed {theirs.seed})"
        raise StudyError(f"--from {name}: that study {reason}, so its trials say nothing about this one's")
    if theirs.task != spec.task or not {*theirs.families} & {*spec.families}:
        models = [" and ".join(f"'{family}'" for family in one.families) for one in (theirs, spec)]
        raise StudyError(f"--from {name}: that study is about model {models[0]}, not {models[1]}")
    if earlier.data_summary.weights != data_summary.weights:
        raise StudyError(f"--from {name}: that study's trials did not begin from the weights of this one's")
    return earlier


def _reopen(spec: SearchSpec, options: SearchOptions, dataset: Dataset | None) -> Study:
    study = same_spec(Study.open(options.studies, spec.study, options.database), spec, options.studies)
    if isinstance(spec, StudySpec) and dataset is not None and study.data_summary.fingerprint != dataset.fingerprint:
        raise StudyError(
            f"study '{spec.study}' in '{options.studies}' was started with other data:"
            f" '{spec.data.path or spec.data.name}' has changed since. Give the new search a name of its own with"
            " --study"
        )
    if isinstance(spec, StudySpec) and dataset is not None:
        check_weights(study, spec, dataset)
    places = [] if options.artifacts is None else [str(own_place(options.artifacts, name)) for name in study.names]
    if places and str(study.locations.artifacts) not in places:
        raise StudyError(
            f"study '{spec.study}' stores its artifacts in '{study.place}', not in '{options.artifacts}'; leave"
            " --artifacts out, or give the new search a name of its own with --study"
        )
    if options.database is not None and study.locations.database is None:
        raise StudyError(
            f"study '{spec.study}' has its record in its folder, not in a database; leave --database (HPO_DATABASE)"
            " out, or give the new search a name of its own with --study"
        )
    study.check_code(code_of(spec, options), options.accept_code, f"hpo.resume('{spec.study}', train=...)")
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


def is_spent(study: Study, budget: Budget) -> bool:
    """Whether a study has no trial left to run."""
    left, wishes = study.spent().left(budget), study.wishes.waiting().values()
    if reached(study, budget.target) is not None or 0 in (left.epochs, left.gpu_hours):
        return True
    if any(isinstance(wish, RetryTrial) for wish in wishes):
        return False
    tried = study.writer.used_up is not None and not any(isinstance(wish, TryConfig) for wish in wishes)
    return left.trials == 0 or (tried and not study.live)
