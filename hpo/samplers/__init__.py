"""Samplers by name: who proposes configs.

A sampler is an `optuna.samplers.BaseSampler`; any other than ours goes by `module:Class`, with its keyword arguments.
"""

from collections.abc import Iterable

import numpy as np
import optuna

from hpo.errors import InputError, Problem
from hpo.registry import Registry
from hpo.space import Space
from hpo.spec import StudySpec

SAMPLERS = Registry(
    "sampler",
    {"tpe": "hpo.samplers.tpe:tpe", "random": "optuna.samplers:RandomSampler"},
)


def check(spec: StudySpec) -> Iterable[Problem]:
    """Problems with the sampler that the spec names and with its settings: it is built once, to see."""
    try:
        sampler = build(spec, finished=0)
        if not isinstance(sampler, optuna.samplers.BaseSampler):
            yield Problem(("sampler", "name"), f"'{spec.sampler.name}' is not an optuna.samplers.BaseSampler")
    except InputError as error:
        yield Problem(("sampler", "name"), str(error))
    except Exception as error:  # whatever a user's sampler raises
        yield Problem(("sampler",), f"sampler '{spec.sampler.name}' refuses {spec.sampler.settings}: {error}")


def try_proposal(spec: StudySpec) -> Iterable[Problem]:
    """Lets the sampler propose one config, into no study: some settings fail only when they are used."""
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        Space.of(spec).suggest(optuna.create_study(sampler=build(spec, finished=0)).ask())
    except Exception as error:  # whatever a user's sampler raises
        yield Problem(
            ("sampler",), f"sampler '{spec.sampler.name}' cannot propose with {spec.sampler.settings}: {error}"
        )
    finally:
        optuna.logging.set_verbosity(verbosity)


def build(spec: StudySpec, finished: int) -> optuna.samplers.BaseSampler:
    """The sampler of a spec.

    Args:
        spec: names it and its keyword arguments.
        finished: how many trials the study already has, so that a study that goes on does not repeat its first draws.
    """
    seed = int(np.random.SeedSequence([spec.seed, finished]).generate_state(1)[0])
    sampler: optuna.samplers.BaseSampler = SAMPLERS.load(spec.sampler.name)(**{"seed": seed, **spec.sampler.settings})
    return sampler
