"""One config alone, trained again: for more epochs, or on all rows that are not of the test."""

from dataclasses import replace

import pydantic

from hpo.engine.ray.member_training import Job
from hpo.ensemble.calibration import Calibration
from hpo.ensemble.pool import Pool
from hpo.ensemble.retrain.retrained import Retrained, TrainedMember, join, survivors, uniform
from hpo.ensemble.retrain.trainer import Trainer
from hpo.errors import InputError, StudyError
from hpo.spec import StudySpec
from hpo.study.trial import TrialRecord

METHOD = "single"


def single(trainer: Trainer, number: int | None, epochs: int | None, all_data: bool) -> Retrained:
    """Trains one config from the beginning, with the seed of its trial.

    Args:
        trainer: of the study.
        number: of the trial whose config it is; the incumbent where None.
        epochs: over which the learning rate falls; those of the study where None.
        all_data: validation rows are trained on too. Then no row is left by which to choose an epoch or a temperature:
            training ends at the last epoch, or where `epochs` is None at the trial's best one, and the temperature is
            the trial's own.

    Raises:
        InputError: the number of epochs is out of range.
        StudyError: there is no such trial.
        HpoError: the training failed.
    """
    trial = trainer.best() if number is None else trainer.study.trial(number)
    spec = trainer.spec if epochs is None else _with_epochs(trainer.spec, epochs)
    config = {name: value for name, value in trial.config.items() if epochs is None or name != "training.epochs"}
    job = Job(
        number=trial.number,
        name=f"trial {trial.number}, trained again",
        config=config,
        seed=spec.trial_seed(trial.number),
        trial=trial.number,
        last_epoch=trial.best_epoch if all_data and epochs is None else None,
        all_rows=all_data,
    )
    members, _ = survivors(trainer.train(METHOD, [job], spec), spec, trainer.dataset)
    if not all_data:
        return join(METHOD, members, uniform(1, spec.base), trainer.dataset)
    member = replace(members[0], temperature=_temperature(trainer, trial))
    return _uncalibrated(member, spec)


def _with_epochs(spec: StudySpec, epochs: int) -> StudySpec:
    try:
        return spec.apply({"training.epochs": epochs})
    except pydantic.ValidationError as error:
        raise InputError(f"--epochs {epochs}: {error.errors(include_url=False)[0]['msg']}") from None


def _temperature(trainer: Trainer, trial: TrialRecord) -> float:
    """The temperature that the trial's own validation predictions want; 1 where it has none any more."""
    try:
        pool = Pool.load(trainer.study, 1, least=1, wanted=trial.number)
    except StudyError:
        return 1.0
    return pool.temperatures[pool.place(trial.number)]


def _uncalibrated(member: TrainedMember, spec: StudySpec) -> Retrained:
    """A member that has learned the validation rows: nothing is fitted to what it says of them."""
    validation = member.predictions("validation")[None]
    return Retrained(METHOD, (member,), validation, uniform(1, spec.base), Calibration(1.0, {}, {}))
