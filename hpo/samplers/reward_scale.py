"""The scale on which a model of learning curves sees costs: a logarithm of the distance to the best."""

import math
from dataclasses import dataclass
from typing import Self

import numpy as np
from scipy.special import ndtr

from hpo.samplers.curve_model import Array

_DELTA, _WORST = 0.1, 100.0
"""A cost is seen on a logarithm, in units of the median's distance to the best: how close to the best, and how far."""


@dataclass(frozen=True)
class RewardScale:
    """Turns costs into standardized rewards, more is better: -log((cost - least) / (median - least) + delta).

    Infinite costs are the worst.
    """

    least: float
    """The best cost."""
    spread: float
    """The distance of the median to the best; 0 where there is none."""
    mean: float
    deviation: float

    @classmethod
    def of(cls, costs: Array) -> tuple[Self, Array]:
        """The scale of costs (n,), and their rewards (n,)."""
        finite = costs[np.isfinite(costs)]
        if not len(finite):
            return cls(math.inf, 0.0, 0.0, 1.0), np.zeros(len(costs))
        least = finite.min()
        spread = np.median(finite) - least or finite.mean() - least
        if not spread > 0.0 or not np.isfinite(spread):
            spread, excess = 0.0, np.where(np.isfinite(costs), 0.0, 1.0)
        else:
            share = np.minimum((costs - least) / spread, _WORST)
            excess = np.where(np.isfinite(costs), share, share[np.isfinite(costs)].max())
        rewards = -np.log(excess + _DELTA)
        mean, deviation = rewards.mean(), rewards.std() or 1.0
        return cls(float(least), float(spread), float(mean), float(deviation)), np.asarray((rewards - mean) / deviation)

    def expected_improvements(self, means: Array, deviations: Array) -> Array:
        """(n,) expected improvements on the best cost, where rewards are normal.

        The expectation of max(0, least - cost) in closed form: the cost is lognormal, up to a shift.

        Args:
            means: (n,) of standardized rewards.
            deviations: (n,) their standard deviations, above 0.
        """
        mean, deviation = means * self.deviation + self.mean, deviations * self.deviation
        above = (mean + math.log(_DELTA)) / deviation
        expected = _DELTA * ndtr(above) - np.exp(deviation**2 / 2 - mean) * ndtr(above - deviation)
        return np.asarray(self.spread * np.maximum(expected, 0.0))
