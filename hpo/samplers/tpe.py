"""The tree-structured Parzen estimator (Bergstra et al. 2011), as Optuna has it."""

import warnings
from typing import Any

import optuna


def tpe(seed: int, **settings: Any) -> optuna.samplers.TPESampler:
    """Multivariate TPE (Falkner et al. 2018), one group per branch of the conditions.

    Running trials count as bad (`constant_liar`), so that parallel workers do not propose the same config.
    """
    chosen = {"multivariate": True, "group": True, "constant_liar": True, **settings}
    with warnings.catch_warnings():  # the three have been called experimental since 2020; the versions are pinned
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.samplers.TPESampler(seed=seed, **chosen)
