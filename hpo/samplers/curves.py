"""Freeze-thaw Bayesian optimization: what a trial, begun or new, will be worth decides which one gets the next epochs.

One Gaussian process over (config, epoch) sees every trial's curve. Whatever may be trained next, a paused trial or a
new config, is judged by its probability to exceed a threshold at a horizon, both drawn anew for each decision
(MFPI-random, Rakotoarison et al. 2024, "In-Context Freeze-Thaw Bayesian Optimization", section 4.2); where the budget
counts trials, the horizon is the full resource. So no rate of promotion is fixed beforehand: few configs are tried
where the first epochs tell little, and many where they tell all.
"""

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import cached_property, lru_cache, partial
from itertools import islice
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.trial import FrozenTrial, TrialState
from threadpoolctl import ThreadpoolController

from hpo.history import history_of
from hpo.history.configs import known_configs
from hpo.history.measured import Yardstick
from hpo.history.table import Table
from hpo.samplers.curve_arrays import CurveArrays, curves_of
from hpo.samplers.curve_model import Array, Inputs, posterior
from hpo.samplers.reward_scale import RewardScale
from hpo.schedulers import first_rung
from hpo.schedulers.rungs import rungs
from hpo.spec import Config
from hpo.spec.dimension import distribution
from hpo.spec.space import Space

_STARTUP = 6
_FEWEST = 3
"""Random configs, and trials with a value, before the model decides."""
_TRIALS, _POINTS, _FITTED = 1000, 250, 100
"""The most that the model is told: trials, points of their curves, points that its hyperparameters are fitted to. The
best half of them, and others at random."""
_WAITING = 200
"""The most paused trials that are judged at once."""
_UNIFORM, _TOP, _NEAR, _STEPS = 500, 8, 12, (0.03, 0.1, 0.25)
"""Candidates: so many from the whole space, and so many with each step about each of the best trials."""
_HOPE, _EVEN = -0.8416, 0.0
"""The normal quantiles of one in five and of one in two. One in twenty trained 48 epochs instead of 45 for the same
accuracy (LCBench); where new configs are judged by what they are in full, one in five trained 74 instead of 67."""
_MOVED = 0.6
"""The chance of each parameter to differ from the trial that a candidate is drawn about."""


class CurveSampler(BaseSampler):
    """Proposes the config that is most likely to beat the incumbent, by a model of all learning curves.

    It keeps nothing: what it proposes follows from the seed, the trial's number and the study.

    Args:
        seed: decides everything together with the study.
        epochs: the full resource; 1 where trials report nothing.
        space: what is searched; None leaves it to the parameters that all trials have had so far.
        startup: how many configs are random, one in each stratum of each parameter.
        by_trials: whether the number of trials is what ends the search. Then epochs cost nothing, and a new config is
            judged by what it is worth in full: a short horizon is for what can be had soon.
        repeats: whether a config that the study has may be proposed again.

    Raises:
        ValueError: epochs or startup is below 1.
    """

    def __init__(
        self,
        seed: int = 0,
        *,
        epochs: int = 1,
        space: Space | None = None,
        startup: int = _STARTUP,
        by_trials: bool = False,
        repeats: bool = False,
    ) -> None:
        for name, value in (("epochs", epochs), ("startup", startup)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value!r}")
        self.seed, self.epochs, self.space, self.startup = seed, epochs, space, startup
        self._by_trials, self._hope = by_trials, _EVEN if by_trials else _HOPE
        self._repeats = repeats

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """All parameters of the space, or those that all trials have had."""
        _check_objectives(study)
        return self._search_space(study)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """A config: of these parameters those that are active in it."""
        _check_objectives(study)
        if not search_space:
            return {}
        inputs = Inputs(search_space, self.space)
        table, curves = self._known(study, inputs)
        measured = curves.measured()
        measured = measured[measured != trial.number]
        if not self._ready(table.trials[: trial.number], len(measured)):
            return inputs.config(self._stratum(trial.number, len(search_space)))
        rng = _stream(self.seed, trial.number, table.reports - len(trial.intermediate_values))
        started = [table.trials[number] for number in sorted(table.begun - {trial.number})]
        with _one_thread():
            outlook = _Outlook(table, curves, measured, started, inputs, self.epochs, rng, self._by_trials)
            return inputs.config(outlook.new(self._had(study, trial.number))[0])

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """A random value of a parameter that the model does not know."""
        _check_objectives(study)
        seed = _stream(self.seed, trial.number, *param_name.encode()).integers(2**32)
        return RandomSampler(seed=int(seed)).sample_independent(study, trial, param_name, param_distribution)

    def resume(self, study: optuna.Study, paused: Sequence[int] | NDArray[np.intp], new: bool = True) -> int | None:
        """What a free worker should train: the number of a paused trial, or None for a new config.

        A pure function of the study and of which of its running trials are paused.

        Args:
            study: every report is recorded in it.
            paused: numbers of trials that can go on.
            new: whether a new config may start. If none may, None means that no paused trial has a chance of one in
                five (where trials are counted, one in two) to beat the incumbent.
        """
        _check_objectives(study)
        search_space = self._search_space(study)
        inputs = Inputs(search_space, self.space)
        table, curves = self._known(study, inputs)
        measured = curves.measured()
        paused = np.sort(np.asarray(paused, dtype=np.intp))
        waiting = _promising(curves, paused)
        if not len(waiting) or not search_space or not self._ready(table.trials, len(measured)):
            return None
        rng = _stream(self.seed, len(table.trials), table.reports)  # as the new trial's, if it comes to that
        running = [table.trials[number] for number in np.setdiff1d(table.running.array(), paused, assume_unique=True)]
        with _one_thread():
            outlook = _Outlook(table, curves, measured, running, inputs, self.epochs, rng, self._by_trials)
            odds = outlook.odds_of(waiting) if new else outlook.odds_in_the_end(waiting)
            least = outlook.new(self._had(study))[1] if new else self._hope
        return int(waiting[np.argmax(odds)]) if odds.max() >= least else None

    def promise(self, study: optuna.Study, epochs: int) -> float | None:
        """Forecasts the improvement of the best objective within the next epochs; None before the model is ready.

        A pure function of the study. It is more than can be expected rather than less: the sum of what is expected of
        each trial that goes on, and of each new config, for which the epochs are enough.

        Args:
            study: every report is recorded in it.
            epochs: of all trials together.
        """
        _check_objectives(study)
        search_space = self._search_space(study)
        inputs = Inputs(search_space, self.space)
        table, curves = self._known(study, inputs)
        measured = curves.measured()
        if not search_space or not self._ready(table.trials, len(measured)):
            return None
        live = np.intersect1d(table.running.array(), measured, assume_unique=True)
        rng = _stream(self.seed, len(table.trials), table.reports)
        with _one_thread():
            outlook = _Outlook(table, curves, measured, [], inputs, self.epochs, rng, self._by_trials)
            return outlook.promise(_promising(curves, live), epochs, self._had(study))

    def reseed_rng(self) -> None:
        """Nothing to do: every trial has a seed of its own."""

    def _had(self, study: optuna.Study, own: int | None = None) -> Callable[[Config], bool]:
        """Says of a config whether it is no candidate: it is not allowed, or a trial but this one has it."""
        known = (lambda config: False) if self._repeats else partial(known_configs(study).has, own=own)
        space = self.space
        if space is None or not space.is_restricted:
            return known
        return lambda config: not space.allows(config) or known(config)

    def _known(self, study: optuna.Study, inputs: Inputs) -> tuple[Table, CurveArrays]:
        history = history_of(study, Yardstick(tuple(study.directions)))
        return history.table, curves_of(history, inputs, rungs(self.epochs, first_rung(self.epochs)))

    def _search_space(self, study: optuna.Study) -> dict[str, BaseDistribution]:
        if self.space is not None:
            return {name: distribution(parameter) for name, parameter in self.space.parameters.items()}
        known = [trial.distributions for trial in study.get_trials(deepcopy=False) if _has_begun(trial)]
        return {
            name: wanted
            for name, wanted in sorted(known[-1].items() if known else ())
            if not wanted.single() and all(others.get(name) == wanted for others in known)
        }

    def _ready(self, trials: Sequence[FrozenTrial], measured: int) -> bool:
        begun = (trial for trial in trials if trial.state not in (TrialState.FAIL, TrialState.WAITING))
        enough = len(list(islice(begun, self.startup))) == self.startup
        return enough and measured >= min(_FEWEST, self.startup)

    def _stratum(self, number: int, count: int) -> Array:
        """A row of a Latin hypercube (McKay et al. 1979), which no trial needs to have whole."""
        block, row = divmod(number, self.startup)
        rng = _stream(self.seed, block)
        strata = np.array([rng.permutation(self.startup)[row] for _ in range(count)])
        return np.asarray((strata + _stream(self.seed, number).random(count)) / self.startup)


class _Outlook:
    """What is expected of trials begun and new, for one decision.

    Args:
        table: all trials; those that failed by their config are as bad as the worst.
        curves: of the others.
        measured: the numbers of trials with a value that count.
        running: trials that are believed to get what the model expects of them at their next rung.
        inputs: of the search space.
        epochs: the full resource.
        rng: of this decision.
        in_full: whether the horizon is the full resource, instead of drawn.
    """

    def __init__(
        self,
        table: Table,
        curves: CurveArrays,
        measured: NDArray[np.intp],
        running: Sequence[FrozenTrial],
        inputs: Inputs,
        epochs: int,
        rng: np.random.Generator,
        in_full: bool,
    ) -> None:
        self._inputs, self._epochs, self._curves = inputs, epochs, curves
        self._rungs = rungs(epochs, first_rung(epochs))
        some = measured[_some(curves.best[measured], _TRIALS, rng)]
        rows, points = np.nonzero(~np.isnan(curves.costs[some]))
        numbers, failed = some[rows], [trial.params for trial in _failed(table)[-_TRIALS:]]
        units = np.concatenate([curves.units[numbers], inputs.units(failed)])
        reached = np.concatenate([curves.epochs[numbers, points], np.full(len(failed), float(self._rungs[0]))])
        costs = np.concatenate([curves.costs[numbers, points], np.full(len(failed), math.inf)])
        self._scale, rewards = RewardScale.of(costs)
        told = _some(-rewards, _POINTS, rng)
        x, y = inputs.columns(units[told], self._share(reached[told])), rewards[told]
        model = posterior(x, y, _some(-y, _FITTED, rng), inputs.groups)
        ahead = self._share(np.array([self._next_rung(trial) for trial in running]))
        begun = inputs.units([trial.params for trial in running])
        self._model = model.believing(inputs.columns(begun, ahead))
        self._best = some[np.argsort(curves.best[some], kind="stable")[:_TOP]]
        self._incumbent, self._rng, self._in_full = float(y.max()), rng, in_full

    @cached_property
    def _drawn(self) -> tuple[Array, float, float]:
        """Units of new configs (n, parameters), and a horizon and a threshold to judge them and others by."""
        candidates = self._candidates(self._curves.units[self._best], self._rng)
        longest = float(self._epochs)
        horizon = longest if self._in_full else math.exp(self._rng.uniform(0.0, math.log(longest)))
        return candidates, horizon, self._incumbent + 10.0 ** self._rng.uniform(-2.0, 0.0)

    def new(self, had: Callable[[Config], bool]) -> tuple[Array, float]:
        """The units of the most promising new config, and its odds as those of `odds_of`.

        Args:
            had: whether the study has a config already. Where it has all candidates, the odds are minus infinity.
        """
        candidates, horizon, threshold = self._drawn
        epochs = np.full(len(candidates), horizon)
        odds = self._odds(self._inputs.columns(candidates, self._share(epochs)), threshold)
        ranked = np.argsort(-odds, kind="stable")
        best = next((place for place in ranked if not had(self._inputs.config(candidates[place]))), None)
        return (candidates[ranked[0]], -math.inf) if best is None else (candidates[best], float(odds[best]))

    def odds_of(self, numbers: NDArray[np.intp]) -> Array:
        """(n,) how likely trials that go on exceed the threshold at the horizon, as a normal quantile."""
        _, horizon, threshold = self._drawn
        return self._odds(self._columns(numbers, self._curves.reached[numbers] + horizon), threshold)

    def odds_in_the_end(self, numbers: NDArray[np.intp]) -> Array:
        """(n,) how likely each beats the incumbent when it is trained in full."""
        return self._odds(self._columns(numbers, np.full(len(numbers), float(self._epochs))), self._incumbent)

    def promise(self, live: NDArray[np.intp], epochs: int, had: Callable[[Config], bool]) -> float:
        """What so many epochs are expected to gain, by those that gain most an epoch.

        Args:
            live: trials that can go on.
            epochs: of all trials together.
            had: whether the study has a config already.
        """
        ends = np.minimum(self._curves.reached[live] + epochs, float(self._epochs))
        new = self._drawn[0]
        new = new[[place for place, row in enumerate(new) if not had(self._inputs.config(row))]]
        full = np.full(len(new), float(min(epochs, self._epochs)))
        x = np.concatenate([self._columns(live, ends), self._inputs.columns(new, self._share(full))])
        cost = np.concatenate([ends - self._curves.reached[live], full])
        gains = self._scale.expected_improvements(*self._model.predict(x))
        ranked = np.argsort(-gains / np.maximum(cost, 1.0), kind="stable")
        paid = np.cumsum(cost[ranked]) - cost[ranked] < epochs
        return float(gains[ranked][paid].sum())

    def _odds(self, x: Array, threshold: float) -> Array:
        mean, deviation = self._model.predict(x)
        return (mean - threshold) / deviation

    def _columns(self, numbers: NDArray[np.intp], epochs: Array) -> Array:
        return self._inputs.columns(self._curves.units[numbers], self._share(epochs))

    def _share(self, epochs: Array) -> Array:
        return np.asarray(np.log(np.clip(epochs, 1.0, self._epochs)) / math.log(max(self._epochs, 2)))

    def _next_rung(self, trial: FrozenTrial) -> float:
        reached = max(trial.intermediate_values, default=0)
        return float(next((rung for rung in self._rungs if rung > reached), self._epochs))

    def _candidates(self, best: Array, rng: np.random.Generator) -> Array:
        """Candidates from the whole space, and about the best trials with some parameters moved."""
        everywhere = rng.random((_UNIFORM, best.shape[1]))
        near = [everywhere]
        for step in _STEPS:
            about = np.repeat(best, _NEAR, axis=0)
            moved = np.clip(about + rng.normal(0.0, step, about.shape), 0.0, 1.0 - 1e-9)
            moved = np.where(self._inputs.categorical, rng.random(about.shape), moved)
            chance = np.where(self._inputs.categorical, step, _MOVED)
            chosen = np.where(rng.random(about.shape) < chance, moved, about)
            near.append(np.where(np.isnan(chosen), rng.random(about.shape), chosen))
        return self._inputs.settled(np.vstack(near))


def _promising(curves: CurveArrays, paused: NDArray[np.intp]) -> NDArray[np.intp]:
    """The paused trials, or where they are too many the best of those that have come equally far."""
    waiting = paused[~np.isnan(curves.best[paused])]
    if len(waiting) <= _WAITING:
        return waiting
    reached = curves.reached[waiting]
    levels = np.unique(reached)
    of_levels = (waiting[reached == level] for level in levels)
    chosen = [numbers[_best(curves.best[numbers], max(1, _WAITING // len(levels)))] for numbers in of_levels]
    kept: NDArray[np.intp] = np.sort(np.concatenate(chosen))
    return kept


@lru_cache(maxsize=1)
def _libraries() -> ThreadpoolController:
    return ThreadpoolController()


def _one_thread() -> AbstractContextManager[object]:
    """Matrices of a few hundred rows gain nothing from threads, and lose much where trials keep all cores busy."""
    limits: AbstractContextManager[object] = _libraries().limit(limits=1, user_api="blas")
    return limits


def _some(costs: Array, most: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """Rows: all, or where they are too many the best half and others at random."""
    if len(costs) <= most:
        return np.arange(len(costs))
    best = _best(costs, most // 2)
    others = np.delete(np.arange(len(costs)), best)
    return np.concatenate([best, rng.choice(others, most - len(best), replace=False)])


def _best(costs: Array, most: int) -> NDArray[np.intp]:
    """The rows of the lowest costs, in order of the rows; so many, or all."""
    if len(costs) <= most:
        return np.arange(len(costs))
    return np.sort(np.argpartition(costs, most)[:most])


def _has_begun(trial: FrozenTrial) -> bool:
    ended = trial.state in (TrialState.COMPLETE, TrialState.PRUNED)
    return ended or (trial.state is TrialState.RUNNING and bool(trial.intermediate_values))


def _failed(table: Table) -> list[FrozenTrial]:
    """Trials without a finite value."""
    ended = [table.trials[number] for number in sorted(table.fruitless)]
    return [
        trial
        for trial in ended
        if trial.state in (TrialState.FAIL, TrialState.PRUNED)
        and not any(map(math.isfinite, trial.intermediate_values.values()))
    ]


def _stream(*key: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(key))


def _check_objectives(study: optuna.Study) -> None:
    if len(study.directions) > 1:
        raise ValueError(f"the sampler 'curves' has one objective, this study {len(study.directions)}")
