"""Optuna's samplers but for TPE, with the settings that suit parallel trials and conditional spaces."""

import warnings
from typing import Any

import optuna
from optuna.samplers import BaseSampler


def gp(seed: int, **settings: Any) -> BaseSampler:
    """Bayesian optimization with a Gaussian process (Matérn 5/2) and log expected improvement."""
    return built(optuna.samplers.GPSampler, seed, {"warn_independent_sampling": False} | settings)


def cmaes(seed: int, **settings: Any) -> BaseSampler:
    """CMA-ES (Hansen and Ostermeier 2001); its state is in the study. Categorical parameters are drawn at random."""
    from hpo.samplers.cmaes import NumbersCmaEs

    return built(NumbersCmaEs, seed, {"warn_independent_sampling": False} | settings)


def random(seed: int, **settings: Any) -> BaseSampler:
    """Independent draws from the space."""
    return built(optuna.samplers.RandomSampler, seed, settings)


def qmc(seed: int, **settings: Any) -> BaseSampler:
    """A scrambled Sobol' sequence; the same one for all trials of the study, which remembers the place in it."""
    chosen = {"scramble": True, "warn_independent_sampling": False, "warn_asynchronous_seeding": False}
    return built(optuna.samplers.QMCSampler, seed, chosen | settings)


def nsga2(seed: int, **settings: Any) -> BaseSampler:
    """NSGA-II (Deb et al. 2002)."""
    return built(optuna.samplers.NSGAIISampler, seed, settings)


def built(kind: type[BaseSampler], seed: int, settings: dict[str, Any]) -> BaseSampler:
    """A sampler of a kind, without its warnings of what is experimental."""
    with warnings.catch_warnings():  # called experimental since 2020; the versions are pinned
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return kind(**{"seed": seed, **settings})
