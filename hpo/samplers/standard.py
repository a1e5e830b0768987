"""Optuna's samplers, with the settings that suit parallel trials and conditional spaces."""

import warnings
from typing import Any

import optuna
from optuna.samplers import BaseSampler


def tpe(seed: int, **settings: Any) -> BaseSampler:
    """The tree-structured Parzen estimator (Bergstra et al. 2011), multivariate (Falkner et al. 2018).

    One group per branch of the conditions. Running trials count as bad (`constant_liar`), so that parallel workers do
    not propose the same config.
    """
    chosen = {"multivariate": True, "group": True, "constant_liar": True}
    return _built(optuna.samplers.TPESampler, seed, chosen | settings)


def gp(seed: int, **settings: Any) -> BaseSampler:
    """Bayesian optimization with a Gaussian process (Matérn 5/2) and log expected improvement."""
    return _built(optuna.samplers.GPSampler, seed, {"warn_independent_sampling": False} | settings)


def cmaes(seed: int, **settings: Any) -> BaseSampler:
    """CMA-ES (Hansen and Ostermeier 2001); its state is in the study. Categorical parameters are drawn at random."""
    return _built(optuna.samplers.CmaEsSampler, seed, {"warn_independent_sampling": False} | settings)


def random(seed: int, **settings: Any) -> BaseSampler:
    """Independent draws from the space."""
    return _built(optuna.samplers.RandomSampler, seed, settings)


def qmc(seed: int, **settings: Any) -> BaseSampler:
    """A scrambled Sobol' sequence; the same one for all trials of the study, which remembers the place in it."""
    chosen = {"scramble": True, "warn_independent_sampling": False, "warn_asynchronous_seeding": False}
    return _built(optuna.samplers.QMCSampler, seed, chosen | settings)


def nsga2(seed: int, **settings: Any) -> BaseSampler:
    """NSGA-II (Deb et al. 2002)."""
    return _built(optuna.samplers.NSGAIISampler, seed, settings)


def _built(kind: type[BaseSampler], seed: int, settings: dict[str, Any]) -> BaseSampler:
    with warnings.catch_warnings():  # called experimental since 2020; the versions are pinned
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return kind(**{"seed": seed, **settings})
