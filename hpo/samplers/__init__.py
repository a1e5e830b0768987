"""Samplers by name: who proposes configs.

A sampler is an `optuna.samplers.BaseSampler`; any other than ours goes by `module:Class`, with its keyword arguments.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
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
from hpo.samplers.proposer import NotAllowedError, Proposer
from hpo.samplers.view import WINDOW
from hpo.spec import SearchSpec
from hpo.spec.space import Space
from hpo.study.storage import quiet


@dataclass(frozen=True)
class _Sampler:
    """A sampler of the product: where it is, and how it is made and asked."""

    path: str
    draws_by_number: bool = False
    """It draws by the trial's number itself, so one with the study's seed serves all trials."""
    compares: bool = True
    """It compares trials and is shown them at equal resource; else it does so itself, or not at all."""
    sees_part: bool = False
    """Each trial that it is shown costs it time, so it is shown `WINDOW` of a long study at most."""
    asked_again: bool = True
    """It proposes something else with another seed."""
    constrained_by_optuna: bool = False
    """It leaves constraints to Optuna."""


_SAMPLERS = {
    "curves": _Sampler("hpo.samplers.curves:CurveSampler", draws_by_number=True, compares=False, asked_again=False),
    "tpe": _Sampler("hpo.samplers.tpe:tpe", sees_part=True, constrained_by_optuna=True),
    "gp": _Sampler("hpo.samplers.standard:gp", sees_part=True, constrained_by_optuna=True),
    "cmaes": _Sampler("hpo.samplers.standard:cmaes"),
    "random": _Sampler("hpo.samplers.standard:random", compares=False, asked_again=False),
    "qmc": _Sampler("hpo.samplers.standard:qmc", compares=False),
    "nsga2": _Sampler("hpo.samplers.standard:nsga2", constrained_by_optuna=True),
    "grid": _Sampler("hpo.samplers.grid:GridSampler", draws_by_number=True, compares=False, asked_again=False),
    "evolution": _Sampler("hpo.samplers.evolution:EvolutionSampler", draws_by_number=True, compares=False),
    "portfolio": _Sampler(
        "hpo.samplers.portfolio:PortfolioSampler", draws_by_number=True, compares=False, constrained_by_optuna=True
    ),
}
"""`curves` passes over configs that the study has; `portfolio` leaves constraints to Optuna by its arm `tpe`."""
_OWN = _Sampler("", asked_again=False)
"""How a sampler that is named by `module:Class` is asked; it may keep what it likes from trial to trial."""
SAMPLERS = Registry("sampler", {name: sampler.path for name, sampler in _SAMPLERS.items()})
_ENOUGH = 8
"""Trials at a resource, before a sampler sees the study at it."""


@runtime_checkable
class Resuming(Protocol):
    """A sampler that can say whether a paused trial promises more than a new config."""

    def resume(self, study: optuna.Study, paused: NDArray[np.intp], new: bool) -> int | None:
        """The trial to go on with, or None for a new config; without `new`, None where none is worth it."""


@runtime_checkable
class Promising(Protocol):
    """A sampler that can say what further training is expected to gain."""

    def promise(self, study: optuna.Study, epochs: int) -> float | None:
        """Forecasts the improvement of the best objective within so many epochs; None where it cannot say."""


def check(spec: SearchSpec) -> Iterable[Problem]:
    """Problems with the sampler that the spec names and with its settings: it is built once, to see."""
    name, settings = spec.sampler.name, spec.sampler.settings
    if spec.target == "ensemble" and spec.objective.others:
        yield Problem(("target",), "an ensemble is rewarded by one number: name one objective, or leave the target out")
    yield from _check_grid(spec) if name == "grid" else ()
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


def _check_grid(spec: SearchSpec) -> Iterable[Problem]:
    """What leads away from a grid."""
    for parameter in (name for name, one in spec.parameters.items() if "prior" in one.model_fields_set):
        yield Problem(("parameters", parameter, "prior"), "the sampler 'grid' tries all values alike; leave it out")
    if spec.scheduler.name == "pbt":
        yield Problem(
            ("scheduler", "name"),
            "'pbt' changes configs, which are no more of the grid then; take another scheduler, or sampler",
        )


def try_proposal(spec: SearchSpec) -> Iterable[Problem]:
    """Lets the sampler propose one config, into no study: some settings fail only when they are used.

    Where configs may be forbidden, those that are tried first are proposed too, since the sampler completes them.
    """
    space = Space.of(spec)
    starts = space.starts(spec) if space.is_restricted else []
    directions = [tasks.goal_of(objective) for objective in spec.objectives]
    try:
        with quiet():
            study = optuna.create_study(directions=directions, sampler=build(spec, started=0))
            for config in starts:
                study.enqueue_trial(config)
            for _ in range(len(starts) + 1):
                space.suggest(study.ask())
    except NotAllowedError as error:
        yield Problem(("forbidden",) if spec.forbidden else ("parameters",), str(error))
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
    listed = _SAMPLERS.get(name, _OWN)
    make: Callable[[int], BaseSampler] = partial(_made, spec)
    if listed is _OWN:
        sampler = make(int(np.random.SeedSequence([spec.seed, started]).generate_state(1)[0]))
        make = lambda seed: sampler  # noqa: E731
    elif name == "qmc":  # one sequence for the study; what it leaves to chance is drawn anew for every trial
        make = lambda seed: _made(spec, spec.seed, independent_sampler=RandomSampler(seed))  # noqa: E731
    elif listed.draws_by_number:
        sampler = make(spec.seed)
        make = lambda seed: sampler  # noqa: E731
    metrics = tuple(objective.metric for objective in spec.objectives) if spec.objective.others else None
    least = _ENOUGH if listed.compares or rewards is not None else None
    most = WINDOW if listed.sees_part else None
    again = (partial(_made, spec) if listed.draws_by_number else make) if listed.asked_again else None
    return Proposer(make, spec.seed, Space.of(spec), least, metrics, rewards, most, again)


def resumption(study: optuna.Study) -> Callable[[NDArray[np.intp], bool], int | None] | None:
    """What the sampler of a study would train next, of its paused trials; None where it has no opinion."""
    sampler = study.sampler.make(0) if isinstance(study.sampler, Proposer) else None
    return partial(sampler.resume, study) if isinstance(sampler, Resuming) else None


def forecast(study: optuna.Study) -> Callable[[int], float | None] | None:
    """What the sampler of a study expects of so many epochs more; None where it has no opinion."""
    sampler = study.sampler.make(0) if isinstance(study.sampler, Proposer) else None
    return partial(sampler.promise, study) if isinstance(sampler, Promising) else None


def _made(spec: SearchSpec, seed: int, **own: Any) -> BaseSampler:
    name = spec.sampler.name
    if spec.constraints and _SAMPLERS.get(name, _OWN).constrained_by_optuna and not hasattr(FrozenTrial, "constraints"):
        raise InputError(
            f"'{name}' keeps to constraints with Optuna 5 or newer, and this is Optuna {optuna.__version__}: install"
            " 'optuna>=5', or take the sampler 'curves' or, for several objectives, 'evolution'"
        )
    settings = {"seed": seed, **own, **spec.sampler.settings}
    if name == "evolution" and spec.objective.others:
        settings["metrics"] = [objective.metric for objective in spec.objectives]
    if name in ("curves", "tpe", "grid"):
        settings["space"] = Space.of(spec)
    if name == "curves":
        settings |= {"epochs": spec.training.epochs, "by_trials": spec.budget.by_trials, "repeats": spec.repeats}
    sampler: BaseSampler = SAMPLERS.load(name)(**settings)
    return sampler
