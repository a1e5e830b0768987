"""What stands between the study and a sampler, whichever it is: whole configs, drawn afresh for every trial."""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

from hpo.errors import InputError
from hpo.history.configs import known_configs
from hpo.samplers.view import StudyAtResource
from hpo.spec import Config
from hpo.spec.dimension import distribution
from hpo.spec.space import LISTED, Space, believed
from hpo.study.optuna_trial import FIXED, LINEAGE

_PRIOR = 2**31
"""Sets the draws from users' priors apart from the other draws of a trial."""
_REWARDED = 20
"""Trials with a reward, before rewards count."""
_AGAIN, _TRIES = 8, 20
"""How often a sampler is asked once more where the study has its config, and then random configs are tried."""
_ALLOWED_TRIES = 2000
"""How many random configs are looked at for one that is allowed."""


class NotAllowedError(InputError):
    """The space has no config, or nearly none, that its forbidden combinations and ties allow."""


@dataclass(frozen=True)
class _Draw:
    sampler: BaseSampler
    study: optuna.Study


class Proposer(BaseSampler):
    """Asks a sampler for whole configs.

    A sampler is made for each trial from a seed of its own. So it keeps nothing from one trial to the next: what it
    proposes follows from the seed, the trial's number and the study, and a search that was killed goes on as if it had
    not been. A config that the study has already is replaced by a random one.

    Args:
        make: seed -> sampler.
        seed: of the study.
        space: what is searched; None leaves it to the sampler, and duplicates stay.
        least: the sampler sees the study at the highest resource that so many trials have reached; None shows it all.
        metrics: names of the objectives in the trials' reports, where there are several.
        rewards: what trials are worth to an ensemble, number -> reward. Once there are enough of them the sampler sees
            them in place of the objective. And a config may come again: with another seed it is another member.
        most: how many trials the sampler sees at most; None is all of them.
        again: seed -> sampler to be asked where the study has what was proposed; None where it would say the same.
    """

    def __init__(
        self,
        make: Callable[[int], BaseSampler],
        seed: int,
        space: Space | None = None,
        least: int | None = None,
        metrics: tuple[str, ...] | None = None,
        rewards: Callable[[], Mapping[int, float]] | None = None,
        most: int | None = None,
        again: Callable[[int], BaseSampler] | None = None,
    ) -> None:
        self.make, self._seed, self._space = make, seed, space
        self._most, self._again = most, again
        self._least, self._metrics, self._rewards = least, metrics, rewards
        self._draws: dict[int, _Draw] = {}
        self._configs: dict[int, Config] = {}

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """Makes the trial's sampler."""
        self._begin(study, trial, self.make(self._seed_of(trial, 0)))

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """The parameters of the proposed config, or what the sampler says where no space is known."""
        draw = self._draw(study, trial)
        if self._space is None:
            return draw.sampler.infer_relative_search_space(draw.study, trial)
        config = self._propose(draw, trial, self._space)
        repeats = self._rewards is not None or FIXED in trial.system_attrs
        if not repeats or not self._space.allows(config):
            config = self._new(study, trial, self._space, config, repeats)
        self._configs[trial._trial_id] = config
        return {name: distribution(self._space.parameters[name]) for name in config}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """The proposed config."""
        draw = self._draw(study, trial)
        if self._space is None:
            return draw.sampler.sample_relative(draw.study, trial, search_space)
        return self._configs.pop(trial._trial_id)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """A parameter that the proposed config lacks, because an enqueued value opened another branch."""
        draw = self._draw(study, trial)
        value = draw.sampler.sample_independent(draw.study, trial, param_name, param_distribution)
        _check_within(param_name, value, param_distribution)
        return value

    def after_trial(
        self, study: optuna.Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        """Tells the trial's sampler."""
        with warnings.catch_warnings():  # what cmaes says after every trial of constraints, our docs say
            warnings.filterwarnings("ignore", "Constraints have been set, but", UserWarning)
            self._draw(study, trial).sampler.after_trial(study, trial, state, values)
        self._draws.pop(trial._trial_id, None)

    def reseed_rng(self) -> None:
        """Nothing to do: every trial has a seed of its own, in whichever thread it is asked for."""

    def _draw(self, study: optuna.Study, trial: FrozenTrial) -> _Draw:
        return self._draws.get(trial._trial_id) or _Draw(self.make(self._seed_of(trial, 0)), study)

    def _begin(self, study: optuna.Study, trial: FrozenTrial, sampler: BaseSampler) -> _Draw:
        """The trial is this sampler's from now on."""
        draw = self._draws[trial._trial_id] = _Draw(sampler, self._seen(study))
        sampler.before_trial(draw.study, trial)
        return draw

    def _seen(self, study: optuna.Study) -> optuna.Study:
        if self._least is None:
            return study
        rewards = None if self._rewards is None else self._rewards()
        if rewards is not None and len(rewards) < _REWARDED:
            rewards = None  # an ensemble needs good members first
        return StudyAtResource(study, self._least, self._metrics, rewards, self._most)

    def _seed_of(self, trial: FrozenTrial, attempt: int) -> int:
        return int(np.random.SeedSequence([self._seed, trial.number, attempt]).generate_state(1)[0])

    def _propose(self, draw: _Draw, trial: FrozenTrial, space: Space, attempt: int = 0) -> Config:
        """Goes through the space as a trial would.

        Users' priors decide half of the first configs, and ever fewer of the later ones, down to a tenth: what a prior
        gets wrong the trials must be able to mend (Mallik et al. 2023, "PriorBand").
        """
        key = [self._seed, trial.number, _PRIOR, *([attempt] if attempt else [])]
        rng = np.random.default_rng(np.random.SeedSequence(key))
        by_prior = rng.random() < max(0.1, 0.5 * 0.9**trial.number)
        joint = draw.sampler.infer_relative_search_space(draw.study, trial)
        relative = draw.sampler.sample_relative(draw.study, trial, joint)
        given = _given(trial, space)
        config: Config = {}
        for name, parameter in space.parameters.items():
            if not space.active(name, config):
                continue
            wanted = distribution(parameter)
            belief = believed(parameter, rng) if by_prior else None
            if name in given:
                config[name] = given[name]
                continue
            if belief is not None:
                value = belief
            elif name in relative and wanted._contains(wanted.to_internal_repr(relative[name])):
                value = relative[name]
            else:
                value = draw.sampler.sample_independent(draw.study, trial, name, wanted)
            config[name] = space.settled(name, value)
        return config

    def _new(self, study: optuna.Study, trial: FrozenTrial, space: Space, config: Config, repeats: bool) -> Config:
        """This config, or another if it is not allowed or the study has it; a repeated one, where there is no other.

        Args:
            study: that the trial is of.
            trial: that the config is for.
            space: what is searched.
            config: what the sampler has proposed.
            repeats: whether what the study has may come again.

        Raises:
            NotAllowedError: no config was found that is allowed.
        """
        known = known_configs(study, self._metrics)

        def wanted(config: Config) -> bool:
            return space.allows(config) and (repeats or not known.has(config, trial.number))

        if wanted(config):
            return config
        for again in self._second_thoughts(study, trial, space):
            if wanted(again):
                return again
        if LINEAGE in study._storage.get_trial(trial._trial_id).user_attrs:  # the parents had no part in it
            lineage = {"operator": "replaced", "parents": []}
            study._storage.set_trial_user_attr(trial._trial_id, LINEAGE, lineage)
        for attempt in range(1, _TRIES + 1):
            sampler = optuna.samplers.RandomSampler(seed=self._seed_of(trial, attempt))
            config = self._propose(_Draw(sampler, study), trial, space, attempt)
            if wanted(config):
                return config
        given = _given(trial, space)
        listed = [other for other in self._listed or () if given.items() <= other.items()]
        left = [other for other in listed if wanted(other)] or [other for other in listed if not space.allows(config)]
        rng = np.random.default_rng(self._seed_of(trial, 0))
        if left:
            return left[int(rng.integers(len(left)))]
        return config if space.allows(config) else self._allowed(study, trial, space)

    def _allowed(self, study: optuna.Study, trial: FrozenTrial, space: Space) -> Config:
        """A random config that is allowed.

        Raises:
            NotAllowedError: none was found.
        """
        if self._listed == []:
            raise NotAllowedError("no config of the space is allowed: forbid less, or widen the parameters")
        refusal = None
        for attempt in range(_TRIES + _AGAIN + 1, _TRIES + _AGAIN + 1 + _ALLOWED_TRIES):
            sampler = optuna.samplers.RandomSampler(seed=self._seed_of(trial, attempt))
            config = self._propose(_Draw(sampler, study), trial, space, attempt)
            refusal = space.refusal(config)
            if refusal is None:
                return config
        given = _given(trial, space)
        raise NotAllowedError(
            f"of {_ALLOWED_TRIES:,} random configs{f' with {given}' if given else ''} none is allowed; of the last one"
            f" {refusal}. Forbid less, or narrow the parameters to where configs are allowed"
        )

    def _second_thoughts(self, study: optuna.Study, trial: FrozenTrial, space: Space) -> Iterator[Config]:
        """What the sampler proposes with other seeds."""
        if self._again is None:
            return
        for attempt in range(_TRIES + 1, _TRIES + _AGAIN + 1):
            draw = self._begin(study, trial, self._again(self._seed_of(trial, attempt)))
            yield self._propose(draw, trial, space, attempt)

    @cached_property
    def _listed(self) -> list[Config] | None:
        return None if self._space is None else self._space.configs(LISTED)


def _given(trial: FrozenTrial, space: Space) -> Config:
    """What a trial was enqueued with, where it matters what stands beside it: whether that is allowed."""
    return dict(trial.system_attrs.get(FIXED) or {}) if space.is_restricted else {}


def _check_within(name: str, value: Any, wanted: BaseDistribution) -> None:
    """Holds what a sampler says of a range to lie in it; Optuna would record, and we would train, whatever it is.

    Raises:
        InputError: it does not.
    """
    if not isinstance(wanted, IntDistribution | FloatDistribution):
        return
    if not wanted.low <= wanted.to_internal_repr(value) <= wanted.high:
        raise InputError(
            f"the sampler has proposed {name} = {value!r:.80}, which is not in [{wanted.low}, {wanted.high}]"
        )
