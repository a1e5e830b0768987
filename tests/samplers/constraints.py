"""Constraints of trials that no study of hpo has recorded."""

import optuna

from hpo.study.optuna_trial import CONSTRAINT


def constrain(trial: optuna.Trial, name: str, excess: float) -> None:
    """Writes by how much a trial breaks a constraint, as Optuna 5 and newer do by `set_constraint`."""
    trial.storage.set_trial_system_attr(trial._trial_id, f"{CONSTRAINT}:{name}", excess)
