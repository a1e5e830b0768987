"""A Gaussian process over configs and epochs: what a learning curve will be worth at an epoch that it has not reached.

The kernel is a Matérn 5/2 with a length scale for each parameter and one for the logarithm of the epoch (Rasmussen and
Williams 2006, equations 4.17 and 5.1), so curves of similar configs inform each other, as in freeze-thaw Bayesian
optimization (Swersky et al. 2014). Values are rewards in any unit; the model standardizes them.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution
from scipy.linalg import cho_solve, solve_triangular
from scipy.linalg.blas import dtrmm
from scipy.linalg.lapack import dpotrf, dpotri, dtrtri
from scipy.optimize import minimize

from hpo.samplers.evolution.encoding import from_unit, size, to_unit
from hpo.spec.space import Space

Array = NDArray[np.float64]

_SQRT5 = math.sqrt(5.0)
_LENGTH, _EPOCH_LENGTH = (math.log(0.8), 1.0), (1.0, 1.0)
_SCALE = (0.0, 1.0)
_NOISE = (math.log(1e-2), 2.0)
"""Mean and deviation of the normal priors on the logarithms of the length scales (a curve is smoother along its epochs
than configs are along a parameter) and of the signal's and the noise's variance."""
_BOUNDS = {"length": (math.log(0.03), math.log(30.0)), "scale": (-3.0, 4.0), "noise": (math.log(1e-6), 0.0)}
_ITERATIONS = 15
_JITTER = 1e-7
_CHOICE = math.sqrt(0.5)
"""The value of a choice's column: two choices are one range of a numerical parameter apart."""
_ROWS = 128
"""Candidates whose deviations are found at once."""
_GRID = 1000
"""A parameter with more values counts as continuous."""


@dataclass(frozen=True, eq=False)
class Hyperparameters:
    """Settings of the kernel: a length scale per column, the signal's and the noise's variance."""

    lengths: Array
    scale: float
    noise: float


def posterior(x: Array, y: Array, fitted: NDArray[np.intp], groups: NDArray[np.intp]) -> "GaussianProcess":
    """The process given values, with hyperparameters that are fitted to some of them.

    The last ones are kept, since a decision and the new config that it calls for look at the same values.

    Args:
        x: inputs (n, columns).
        y: standardized values (n,).
        fitted: rows of these.
        groups: (columns,) the length scale of each column, 0 to g - 1, which columns of one group share; the last is
            the epoch's.
    """
    return _posterior(x.tobytes(), y.tobytes(), fitted.tobytes(), groups.tobytes(), len(y))


@lru_cache(maxsize=4)
def _posterior(x_bytes: bytes, y_bytes: bytes, fitted_bytes: bytes, groups_bytes: bytes, n: int) -> "GaussianProcess":
    x, y = np.frombuffer(x_bytes).reshape(n, -1), np.frombuffer(y_bytes)
    fitted, groups = np.frombuffer(fitted_bytes, dtype=np.intp), np.frombuffer(groups_bytes, dtype=np.intp)
    return GaussianProcess(fit(x[fitted], y[fitted], groups), x, y)


def fit(x: Array, y: Array, groups: NDArray[np.intp]) -> Hyperparameters:
    """The most likely hyperparameters a posteriori, by L-BFGS from the mode of the prior; arguments of `posterior`."""
    count = int(groups.max()) + 1
    mean, deviation = np.array([_LENGTH] * (count - 1) + [_EPOCH_LENGTH, _SCALE, _NOISE]).T
    bounds = [_BOUNDS["length"]] * count + [_BOUNDS["scale"], _BOUNDS["noise"]]

    def loss(theta: Array) -> tuple[float, Array]:
        value, gradient = _negative_log_likelihood(theta, x, y, groups)
        off = (theta - mean) / deviation
        return value + 0.5 * float(off @ off), gradient + off / deviation

    found = minimize(loss, mean, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": _ITERATIONS})
    theta = np.asarray(found.x if np.all(np.isfinite(found.x)) else mean)
    return Hyperparameters(np.exp(theta[:count])[groups], math.exp(theta[-2]), math.exp(theta[-1]))


def _negative_log_likelihood(theta: Array, x: Array, y: Array, groups: NDArray[np.intp]) -> tuple[float, Array]:
    """Rasmussen and Williams 2006, equations 5.8 and 5.9, up to a constant; the gradient is by the logarithms."""
    n, count = len(y), len(theta) - 2
    scale, noise = math.exp(theta[-2]), math.exp(theta[-1])
    scaled = x / np.exp(theta[:count])[groups]
    r = _distance(scaled, scaled)
    signal, slope = _matern(r, scale)
    covariance = signal.copy()
    covariance.flat[:: n + 1] += noise + _JITTER
    factor, failed = dpotrf(covariance.T, lower=1, overwrite_a=1)
    if failed:
        return 1e10, np.zeros_like(theta)
    diagonal = np.diag(factor).copy()
    lower = dpotri(factor, lower=1, overwrite_c=1)[0]  # above it is zero
    inverse = lower + lower.T
    inverse.flat[:: n + 1] *= 0.5
    alpha = inverse @ y
    outer = np.outer(alpha, alpha) - inverse
    # The derivative of the kernel by a log length scale is 5/3 s (1 + r) exp(-r) times that column's squared distance.
    weight = outer * slope
    by_column = np.einsum("ij,ij->j", scaled, weight @ scaled) - weight.sum(axis=1) @ (scaled * scaled)
    lengths = np.bincount(groups, weights=by_column, minlength=count)
    gradient = np.concatenate([lengths, [-0.5 * np.vdot(outer, signal), -0.5 * noise * np.trace(outer)]])
    return 0.5 * float(y @ alpha) + float(np.log(diagonal).sum()), gradient


def _matern(r: Array, scale: float) -> tuple[Array, Array]:
    """The kernel at distances, and 5/3 s (1 + r) exp(-r); r, the distance times the root of 5, takes its place."""
    r *= _SQRT5
    decay = np.exp(-r)
    decay *= scale
    slope = 1.0 + r
    slope *= decay
    r *= r
    r *= decay
    r /= 3.0
    r += slope
    slope *= 5.0 / 3.0
    return r, slope


def _distance(a: Array, b: Array) -> Array:
    squares: Array = a @ b.T
    squares *= -2.0
    squares += (a * a).sum(axis=1)[:, None]
    squares += (b * b).sum(axis=1)
    return np.sqrt(np.maximum(squares, 0.0, out=squares), out=squares)


class GaussianProcess:
    """The posterior given values at inputs.

    Args:
        known: the hyperparameters.
        x: inputs (n, columns).
        y: standardized values (n,).
    """

    def __init__(self, known: Hyperparameters, x: Array, y: Array) -> None:
        self._known = known
        self._x = self._scaled(x)
        self._factor = self._factored(self._kernel(self._x, self._x))
        self._alpha = cho_solve((self._factor, True), y, check_finite=False)
        self._believed: _Beliefs | None = None

    def predict(self, x: Array) -> tuple[Array, Array]:
        """Mean and standard deviation, without the noise (equations 2.25 and 2.26).

        Rows are looked at a few at a time, whose numbers the processor's cache holds.
        """
        x = self._scaled(x)
        mean, variance = np.empty(len(x)), np.full(len(x), self._known.scale)
        for start in range(0, len(x), _ROWS):
            rows = slice(start, start + _ROWS)
            cross = self._kernel(x[rows], self._x)
            mean[rows] = cross @ self._alpha
            explained = self._explained(cross)
            variance[rows] -= np.einsum("ij,ij->j", explained, explained)
            if self._believed is not None:
                rest = self._kernel(self._believed.x, x[rows]) - self._believed.explained.T @ explained
                explained = solve_triangular(self._believed.factor, rest, lower=True, check_finite=False)
                variance[rows] -= np.einsum("ij,ij->j", explained, explained)
        return mean, np.sqrt(np.maximum(variance, 1e-10))

    def believing(self, x: Array) -> "GaussianProcess":
        """The posterior after its own means were observed at `x`: what runs already need not be tried again.

        The kriging believer of Ginsbourger et al. 2010. What was expected changes no mean, so only deviations are
        others: the Cholesky factor gets some rows more, which are kept beside it.
        """
        if not len(x):
            return self
        x = self._scaled(x)
        if self._believed is not None:
            x = np.vstack([self._believed.x, x])
        explained = self._explained(self._kernel(x, self._x))
        other = copy(self)
        other._believed = _Beliefs(x, explained, self._factored(self._kernel(x, x) - explained.T @ explained))
        return other

    @cached_property
    def _inverse(self) -> Array:
        """The inverse of the factor, below the diagonal: a product takes half as long as solving for many columns."""
        return np.asarray(dtrtri(self._factor, lower=1)[0])

    def _explained(self, cross: Array) -> Array:
        """The factor's solution (n, rows) of covariances (rows, n), whose place it takes."""
        return np.asarray(dtrmm(1.0, self._inverse, cross.T, lower=1, overwrite_b=1))

    def _factored(self, covariance: Array) -> Array:
        """The Cholesky factor, below the diagonal, of a covariance with noise."""
        for jitter in _JITTER * 10.0 ** np.arange(10):  # the last is above any kernel's rounding error
            noisy = covariance.copy()
            noisy.flat[:: len(noisy) + 1] += self._known.noise + jitter
            factor, failed = dpotrf(noisy.T, lower=1, overwrite_a=1)
            if not failed:
                break
        return np.asarray(factor)

    def _scaled(self, x: Array) -> Array:
        """Inputs in units of the length scales, times the root of 5, which the kernel multiplies all distances by."""
        return np.asarray(x * (_SQRT5 / self._known.lengths))

    def _kernel(self, a: Array, b: Array) -> Array:
        """The covariance (rows of a, rows of b) of scaled inputs: as `_matern`, without the slope for a fit."""
        r = _distance(a, b)
        values: Array = r / 3.0
        values += 1.0
        values *= r
        values += 1.0
        values *= np.exp(np.negative(r, out=r), out=r)
        values *= self._known.scale
        return values


@dataclass(frozen=True, eq=False)
class _Beliefs:
    """What is believed at inputs (m, columns), which are scaled."""

    x: Array
    explained: Array
    """(n, m) of what is known."""
    factor: Array
    """(m, m) of the rest."""


class Inputs:
    """Configs as rows of numbers.

    Units are what candidates are drawn in: (n, parameters) within [0, 1], NaN where a parameter does not exist. Columns
    are what the model sees: a numerical parameter is its unit, a categorical one has a column a choice, and one with a
    condition another that says whether it exists.

    Args:
        distributions: the parameters, parents before children.
        space: knows the conditions; None where there are none.
    """

    def __init__(self, distributions: Mapping[str, BaseDistribution], space: Space | None = None) -> None:
        self.distributions = dict(distributions)
        self._space = space
        self.conditional = [
            space is not None and name in space.parameters and bool(space.parameters[name].when)
            for name in self.distributions
        ]
        self.categorical = [isinstance(wanted, CategoricalDistribution) for wanted in self.distributions.values()]
        groups: list[int] = []
        for place, (wanted, conditional) in enumerate(zip(self.distributions.values(), self.conditional, strict=True)):
            width = len(wanted.choices) if isinstance(wanted, CategoricalDistribution) else 1
            groups += [place] * (width + conditional)
        self.groups = np.array([*groups, len(self.distributions)], dtype=np.intp)
        """(columns + 1,) the parameter of each column; the epoch's column comes last."""

    def units(self, configs: Sequence[Mapping[str, Any]]) -> Array:
        """The units of recorded configs; a value that is out of the parameter's range now is clipped or left out."""
        units = np.full((len(configs), len(self.distributions)), np.nan)
        for place, (name, wanted) in enumerate(self.distributions.items()):
            rows = [row for row, config in enumerate(configs) if name in config]
            values = [configs[row][name] for row in rows]
            if isinstance(wanted, CategoricalDistribution):
                for row, value in zip(rows, values, strict=True):
                    if value in wanted.choices:
                        units[row, place] = (wanted.choices.index(value) + 0.5) / len(wanted.choices)
            elif rows:
                units[rows, place] = to_unit(values, wanted)
        return units

    def settled(self, units: Array) -> Array:
        """Drawn units, moved to values that the parameters can take, and NaN for those without their condition."""
        units = units.copy()
        for place, wanted in enumerate(self.distributions.values()):
            if isinstance(wanted, CategoricalDistribution):
                count = len(wanted.choices)
                units[:, place] = (np.minimum(units[:, place] * count // 1, count - 1) + 0.5) / count
            elif (values := size(wanted)) is not None and values <= _GRID:
                grid = to_unit(np.linspace(wanted.low, wanted.high, values), wanted)  # type: ignore[attr-defined]
                edges = (grid[1:] + grid[:-1]) / 2.0
                units[:, place] = grid[np.searchsorted(edges, units[:, place])]
        if self._space is not None:
            for place, active in enumerate(self._active(units, self._space)):
                units[~active, place] = np.nan
        return units

    def _active(self, units: Array, space: Space) -> list[NDArray[np.bool_]]:
        """A mask for each parameter of the rows that have it; parents come before their children."""
        names = list(self.distributions)
        found: list[NDArray[np.bool_]] = []
        for place, name in enumerate(names):
            active = np.ones(len(units), bool)
            when = space.parameters[name].when if self.conditional[place] else {}
            for parent, wanted in when.items():
                if parent in names:
                    at = names.index(parent)
                    active &= found[at] & self._among(units[:, at], parent, wanted)
                else:
                    active &= parent in space.fixed and space.fixed[parent] in wanted
            found.append(active)
        return found

    def _among(self, column: Array, name: str, wanted: Collection[Any]) -> NDArray[np.bool_]:
        """A mask of a parameter's units that stand for one of the wanted values."""
        values, where = np.unique(column, return_inverse=True)
        hits = [from_unit(float(value), self.distributions[name]) in wanted for value in values]
        return np.array(hits, bool)[where.reshape(-1)]

    def config(self, row: Array) -> dict[str, Any]:
        """The config of one row of units, with the parameters whose conditions hold."""
        config: dict[str, Any] = {}
        for unit, (name, wanted), conditional in zip(row, self.distributions.items(), self.conditional, strict=True):
            if not conditional or (self._space is not None and self._space.active(name, config)):
                value = from_unit(float(unit), wanted)
                config[name] = value if self._space is None else self._space.settled(name, value)
        return config

    def columns(self, units: Array, epochs: Array) -> Array:
        """What the model sees of units and of epochs, which are given as a share of the full ones on a logarithm."""
        columns: list[Array] = []
        for place, (wanted, conditional) in enumerate(zip(self.distributions.values(), self.conditional, strict=True)):
            unit = units[:, place]
            exists = ~np.isnan(unit)
            if isinstance(wanted, CategoricalDistribution):
                index = np.where(exists, unit * len(wanted.choices) // 1, -1.0)
                columns += [_CHOICE * (index == choice) for choice in range(len(wanted.choices))]
            else:
                columns.append(np.where(exists, unit, 0.5))
            if conditional:
                columns.append(_CHOICE * exists)
        return np.column_stack([*columns, epochs])
