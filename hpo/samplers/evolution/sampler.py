"""Evolution as an Optuna sampler: the state of the search is the study, and nothing else.

Each trial's config is proposed from what is recorded when it is asked for: there are no generations to wait for, and a
sampler that is built anew with the same seed proposes what the old one would have.
"""

import dataclasses
from collections.abc import Sequence
from itertools import islice
from typing import Any, ClassVar, Protocol

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState

from hpo.history.comparison import measure_all
from hpo.history.measured import Measured, Yardstick, without
from hpo.plugins import did_you_mean
from hpo.samplers.evolution import settings as checks
from hpo.samplers.evolution import streams
from hpo.samplers.evolution.aging import Aging
from hpo.samplers.evolution.cma import Cma
from hpo.samplers.evolution.differential import Differential
from hpo.samplers.evolution.mu_lambda import MuCommaLambda, MuPlusLambda
from hpo.samplers.evolution.nsga2 import Nsga2
from hpo.samplers.evolution.proposal import LatinHypercube, Lineage, Proposal
from hpo.study.optuna_trial import FIXED, LINEAGE


class Strategy(Protocol):
    """How a child is made: a pure function of the measured trials, by number, and of a stream of chance."""

    name: ClassVar[str]
    many_objectives: ClassVar[bool]

    @property
    def startup(self) -> int:
        """How many configs are random."""

    def propose(self, number: int, trials: Sequence[Measured], rng: np.random.Generator) -> Proposal:
        """The proposal for the trial of this number; there is at least one measured trial."""


STRATEGIES: dict[str, Any] = {
    strategy.name: strategy for strategy in (MuPlusLambda, MuCommaLambda, Cma, Differential, Nsga2, Aging)
}


class EvolutionSampler(optuna.samplers.BaseSampler):
    """Proposes children of the trials that are best at equal resource.

    Args:
        strategy: a name in `STRATEGIES`.
        seed: decides everything together with the study.
        metrics: names of the objectives in the trials' reports; only for several objectives with unfinished trials.
        settings: of the strategy; its class says which.

    Raises:
        TypeError: a setting is unknown or of the wrong type.
        ValueError: a strategy is unknown or a setting out of its range.
    """

    def __init__(
        self,
        strategy: str = "mu_plus_lambda",
        seed: int = 0,
        *,
        metrics: Sequence[str] | None = None,
        **settings: Any,
    ) -> None:
        checks.whole("seed", seed, 0)
        self.strategy = build(strategy, settings)
        self.seed = seed
        self._metrics = None if metrics is None else tuple(metrics)
        self._proposals: dict[int, Proposal] = {}

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """Chooses the trial's parents, and writes them to its attribute `lineage`, unless it has one."""
        proposal = self._proposals[trial._trial_id] = self._propose(study, trial)
        if LINEAGE not in trial.user_attrs:
            study._storage.set_trial_user_attr(trial._trial_id, LINEAGE, proposal.lineage.to_json())

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """None: a config is spelled out value by value, as a define-by-run space asks for them."""
        self._check_objectives(study)
        return {}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """The values of these parameters."""
        self._check_objectives(study)
        return {name: self.sample_independent(study, trial, name, wanted) for name, wanted in search_space.items()}

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """The value of one parameter."""
        proposal = self._proposals.get(trial._trial_id) or self._propose(study, trial)
        rng = streams.of_parameter(self.seed, trial.number, param_name)
        return proposal.value(param_name, param_distribution, rng)

    def after_trial(
        self, study: optuna.Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        """Forgets what was proposed."""
        self._proposals.pop(trial._trial_id, None)

    def _propose(self, study: optuna.Study, trial: FrozenTrial) -> Proposal:
        self._check_objectives(study)
        if trial.system_attrs.get(FIXED):
            return self._random(trial.number, "given")
        yardstick = Yardstick(tuple(study.directions), self._metrics)
        measured = without(measure_all(study, yardstick), trial.number)
        begun = (
            other
            for other in study.get_trials(deepcopy=False)
            if other.number < trial.number and other.state not in (TrialState.FAIL, TrialState.WAITING)
        )
        if len(list(islice(begun, self.strategy.startup))) < self.strategy.startup or not measured:
            return self._random(trial.number, "random")
        return self.strategy.propose(trial.number, measured, streams.of_trial(self.seed, trial.number))

    def _random(self, number: int, operator: str) -> LatinHypercube:
        lineage = Lineage(self.strategy.name, (), operator)
        return LatinHypercube(lineage, self.seed, number, self.strategy.startup)

    def _check_objectives(self, study: optuna.Study) -> None:
        if len(study.directions) > 1 and not self.strategy.many_objectives:
            name, count = self.strategy.name, len(study.directions)
            raise ValueError(f"strategy '{name}' has one objective, this study {count}; 'nsga2' has many")


def build(name: str, settings: dict[str, Any]) -> Strategy:
    """The strategy of a name, with its settings.

    Raises:
        TypeError: a setting is unknown or of the wrong type.
        ValueError: the name is unknown, or a setting out of its range.
    """
    if name not in STRATEGIES:
        raise ValueError(f"unknown strategy '{name}'.{did_you_mean(str(name), STRATEGIES)}")
    known = [field.name for field in dataclasses.fields(STRATEGIES[name])]
    for setting in settings:
        if setting not in known:
            raise TypeError(f"strategy '{name}' has no setting '{setting}'.{did_you_mean(setting, known)}")
    strategy: Strategy = STRATEGIES[name](**settings)
    return strategy
