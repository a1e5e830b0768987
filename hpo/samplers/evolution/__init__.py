"""Evolutionary samplers, one file a kind of strategy; selection and CMA-ES by DEAP."""

from hpo.samplers.evolution.sampler import STRATEGIES, EvolutionSampler

__all__ = ["STRATEGIES", "EvolutionSampler"]
