"""How long a study would take: it is run in virtual time with different numbers of workers."""

import hashlib
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hpo import samplers, schedulers, tasks
from hpo.engine import simulated
from hpo.engine.simulated import Curve
from hpo.errors import InputError
from hpo.searching.results import SimulationResult
from hpo.spec import Config, Named, SearchSpec
from hpo.spec.study_spec import GRID
from hpo.study.study import Study
from hpo.study.trial import Metrics, State

SYNTHETIC = "synthetic (a power law of the epoch, drawn by chance for each config; {seconds:g} s an epoch on average)"
"""What stands in for a curve that was not given."""
_BETWEEN, _WITHIN = 0.5, 0.1
"""Standard deviations of the logarithm of an epoch's seconds, between configs and between epochs of one."""


@dataclass(frozen=True)
class SyntheticCurve:
    """Learning curves out of nothing but chance: they show what a scheduler does to time, not how good a search is.

    The cost after epoch t is a + (1 - a) * t^-b. Its end a and its speed b follow from the config and the seed alone.

    Args:
        spec: names the metrics; constraints hold.
        seconds: what an epoch takes on average.
    """

    spec: SearchSpec
    seconds: float

    def __call__(self, config: Config, epoch: int) -> tuple[Metrics, float]:
        """The metrics after an epoch, and the seconds that it takes."""
        chance = self._stream(config, 0)
        end, speed, pace = chance.uniform(0.05, 0.6), chance.uniform(0.3, 1.2), _lognormal(chance, _BETWEEN)
        moment = self._stream(config, epoch)
        cost = end + (1 - end) * epoch**-speed + 0.01 * moment.normal()
        metrics = {rule.metric: rule.bound for rule in self.spec.constraints}
        for objective in self.spec.objectives:
            metrics[objective.metric] = cost if tasks.goal_of(objective) == "minimize" else 1 - cost
            cost = chance.uniform()  # of the second objective and those after it
        return metrics, self.seconds * pace * _lognormal(moment, _WITHIN)

    def _stream(self, config: Config, epoch: int) -> np.random.Generator:
        text = json.dumps([self.spec.seed, epoch, sorted(config.items())], default=str)
        return np.random.default_rng(int.from_bytes(hashlib.sha256(text.encode()).digest()[:16]))


@dataclass(frozen=True)
class Forecast:
    """What a study takes with so many workers; `busy` is the share of their time in which they train, 0 to 1."""

    workers: int
    seconds: float
    trials: int
    complete: int
    epochs: int
    busy: float
    speedup: float
    """How many times as fast as with the fewest workers: by the clock, or where the time limit ends both, by epochs."""

    @property
    def hours(self) -> float:
        """The time that it takes."""
        return self.seconds / 3600

    def to_json(self) -> dict[str, Any]:
        """The document of one number of workers, in what `hpo plan --format json` prints."""
        return {
            "workers": self.workers,
            "hours": round(self.hours, 4),
            "trials": self.trials,
            "complete": self.complete,
            "epochs": self.epochs,
            "busy": round(self.busy, 4),
            "speedup": round(self.speedup, 3),
        }


@dataclass(frozen=True)
class Plan:
    """A study with different numbers of workers, the fewest first."""

    study: str
    curve: str
    """Where the learning curves came from."""
    forecasts: Sequence[Forecast]

    def to_json(self) -> dict[str, Any]:
        """The document that `hpo plan --format json` prints."""
        return {
            "study": self.study,
            "curve": self.curve,
            "forecasts": [forecast.to_json() for forecast in self.forecasts],
        }


def forecasts(spec: SearchSpec, curve: Curve, workers: Iterable[int]) -> tuple[Forecast, ...]:
    """Runs the study once for each number of workers, the fewest first.

    Raises:
        InputError: the curve failed in all trials, takes no time, or returned something else than it should.
    """
    results = [_simulated(spec, curve, count) for count in sorted(set(workers))]
    return tuple(_forecast(result, results[0]) for result in results)


def without_proposals(spec: SearchSpec) -> SearchSpec:
    """The spec with random configs, since to a synthetic curve all are alike; and without a target or a plateau.

    A sampler stays that ends the search, as a grid does and one that is not ours may, or that the scheduler asks.
    """
    if spec.budget.target is not None or spec.budget.plateau is not None:
        spec = spec.model_copy(update={"budget": spec.budget.model_copy(update={"target": None, "plateau": None})})
    random = spec.model_copy(update={"sampler": Named(name="random")})
    own = spec.sampler.name not in samplers.SAMPLERS.names or spec.sampler.name == GRID
    return spec if own or any(schedulers.check(random)) else random


def worker_counts(most: int) -> tuple[int, ...]:
    """The powers of two up to `most`, and `most`."""
    return tuple(sorted({most, *(2**power for power in range(most.bit_length()))}))


def _simulated(spec: SearchSpec, curve: Curve, workers: int) -> SimulationResult:
    study = Study.in_memory(spec)
    study.writer.use(samplers.build(spec, 0))
    left, limit = study.spent().left(spec.budget), spec.budget.time_limit
    elapsed = simulated.run(study, curve, workers=workers, left=left, time_limit=limit)
    result = SimulationResult(study, workers, elapsed.seconds, elapsed.worked)
    if not study.spent().epochs:
        causes = [trial.cause for trial in study.trials() if trial.cause]
        cause = f"it fails: {causes[0]}" if causes else "no epoch ended in time"
        raise InputError(f"there is no study to plan with this curve, {cause}")
    if not result.seconds:
        raise InputError("there is no study to plan with this curve, since none of its epochs takes any time")
    return result


def _forecast(result: SimulationResult, fewest: SimulationResult) -> Forecast:
    trials, limit = result.study.trials(), result.study.spec.budget.time_limit
    spent, base = result.study.spent(), fewest.study.spent()
    speedup = fewest.seconds / result.seconds
    if limit is not None and fewest.seconds >= limit:
        speedup *= spent.epochs / base.epochs
    return Forecast(
        workers=result.workers,
        seconds=result.seconds,
        trials=len(trials),
        complete=sum(trial.state is State.COMPLETE for trial in trials),
        epochs=spent.epochs,
        busy=min(1.0, result.busy),
        speedup=speedup,
    )


def _lognormal(chance: np.random.Generator, deviation: float) -> float:
    """A positive number whose mean is 1."""
    return math.exp(deviation * chance.normal() - deviation**2 / 2)
