"""Samplers by name: who proposes configs.

A sampler is an `optuna.samplers.BaseSampler`; any other than ours goes by `module:Class`, with its keyword arguments.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from graphlib import CycleError
from typing import Any, Protocol, runtime_checkable

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.samplers import BaseSampler, RandomSampler
from optuna.trial import FrozenTrial

from hpo import tasks
from hpo.errors import InputError, Problem
from hpo.plugins import Registry
from hpo.samplers.proposer import Proposer
from hpo.samplers.view import WINDOW
from hpo.spec import SearchSpec
from hpo.spec.space import Space
from hpo.study.storage import quiet

SAMPLERS = Registry(
    "sampler",
    {
        "curves": "hpo.samplers.curves:CurveSampler",
        "tpe": "hpo.samplers.tpe:tpe",
        "gp": "hpo.samplers.standard:gp",
        "cmaes": "hpo.samplers.standard:cmaes",
        "random": "hpo.samplers.standard:random",
        "qmc": "hpo.samplers.standard:qmc",
        "nsga2": "hpo.samplers.standard:nsga2",
        "evolution": "hpo.samplers.evolution:EvolutionSampler",
        "portfolio": "hpo.samplers.portfolio:PortfolioSampler",
    },
)
_ONE_SEED = frozenset({"curves", "evolution", "portfolio"})
"""These draw by the trial's number themselves."""
_SEE_ALL = frozenset({"curves", "evolution", "portfolio", "random", "qmc"})
"""These compare at equal resource themselves, or not at all."""
_FORGET = frozenset({"tpe", "gp"})
"""These keep nothing, and what they do with each trial takes time: they see a part of a long study."""
_ASKED_AGAIN = frozenset({"tpe", "gp", "cmaes", "qmc", "nsga2", "evolution", "portfolio"})
"""These propose something else with another seed; `curves` itself passes over what the study has."""
_CONSTRAINED_BY_OPTUNA = frozenset({"tpe", "gp", "nsga2", "portfolio"})
"""These leave constraints to Optuna, `portfolio` by its arm `tpe`."""
_ENOUGH = 8
"""Trials at a resource, before a sampler sees the study at it."""


@runtime_checkable
class Resuming(Protocol):
    """A sampler that can say whether a paused trial promises more than a new config."""

    def resume(self, study: optuna.Study, paused: NDArray[np.intp], new: bool) -> int | None:
        """The trial to go on with, or None for a new config; without `new`, None where none is worth it."""


def check(spec: SearchSpec) -> Iterable[Problem]:
    """Problems with the sampler that the spec names and with its settings: it is built once, to see."""
    name, settings = spec.sampler.name, spec.sampler.settings
    if spec.target == "ensemble" and spec.objective.others:
        yield Problem(("target",), "an ensemble is rewarded by one number: name one objective, or leave the target out")
    try:
        sampler = _made(spec, 0)
        if not isinstance(sampler, BaseSampler):
            yield Problem(("sampler", "name"), f"'{name}' is not an optuna.samplers.BaseSampler")
    except CycleError:  # of conditions, which the spec tells
        return
    except InputError as error:
        yield Problem(("sampler", "name"), str(error))
    except Exception as error:  # whatever a user's sampler raises
        yield Problem(("sampler",), f"sampler '{name}' refuses {settings}: {error}")


def try_proposal(spec: SearchSpec) -> Iterable[Problem]:
    """Lets the sampler propose one config, into no study: some settings fail only when they are used."""
    directions = [tasks.goal_of(objective) for objective in spec.objectives]
    try:
        with quiet():
            Space.of(spec).suggest(optuna.create_study(directions=directions, sampler=build(spec, started=0)).ask())
    except Exception as error:  # whatever a user's sampler raises
        yield Problem(
            ("sampler",), f"sampler '{spec.sampler.name}' cannot propose with {spec.sampler.settings}: {error}"
        )


def build(spec: SearchSpec, started: int, rewards: Callable[[], Mapping[int, float]] | None = None) -> BaseSampler:
    """The sampler of a spec.

    Args:
        spec: names it and its keyword arguments.
        started: how many trials the study already has. It matters to a user's own sampler alone, which may keep what it
            likes from trial to trial: so that a study that goes on does not repeat its first draws.
        rewards: what trials are worth to an ensemble, number -> reward; where that is the search's target.
    """
    name = spec.sampler.name
    make: Callable[[int], BaseSampler] = partial(_made, spec)
    if name not in SAMPLERS.names:
        sampler = make(int(np.random.SeedSequence([spec.seed, started]).generate_state(1)[0]))
        make = lambda seed: sampler  # noqa: E731
    elif name == "qmc":  # one sequence for the study; what it leaves to chance is drawn anew for every trial
        make = lambda seed: _made(spec, spec.seed, independent_sampler=RandomSampler(seed))  # noqa: E731
    elif name in _ONE_SEED:
        sampler = make(spec.seed)
        make = lambda seed: sampler  # noqa: E731
    metrics = tuple(objective.metric for objective in spec.objectives) if spec.objective.others else None
    least = None if name in _SEE_ALL and rewards is None else _ENOUGH
    most = WINDOW if name in _FORGET else None
    again = (partial(_made, spec) if name in _ONE_SEED else make) if name in _ASKED_AGAIN else None
    return Proposer(make, spec.seed, Space.of(spec), least, metrics, rewards, most, again)


def resumption(study: optuna.Study) -> Callable[[NDArray[np.intp], bool], int | None] | None:
    """What the sampler of a study would train next, of its paused trials; None where it has no opinion."""
    sampler = study.sampler.make(0) if isinstance(study.sampler, Proposer) else None
    return partial(sampler.resume, study) if isinstance(sampler, Resuming) else None


def _made(spec: SearchSpec, seed: int, **own: Any) -> BaseSampler:
    name = spec.sampler.name
    if spec.constraints and name in _CONSTRAINED_BY_OPTUNA and not hasattr(FrozenTrial, "constraints"):
        raise InputError(
            f"'{name}' keeps to constraints with Optuna 5 or newer, and this is Optuna {optuna.__version__}: install"
            " 'optuna>=5', or take the sampler 'curves' or, for several objectives, 'evolution'"
        )
    settings = {"seed": seed, **own, **spec.sampler.settings}
    if name == "evolution" and spec.objective.others:
        settings["metrics"] = [objective.metric for objective in spec.objectives]
    if name in ("curves", "tpe"):
        settings["space"] = Space.of(spec)
    if name == "curves":
        settings |= {"epochs": spec.training.epochs, "by_trials": spec.budget.by_trials, "repeats": spec.repeats}
    sampler: BaseSampler = SAMPLERS.load(name)(**settings)
    return sampler
