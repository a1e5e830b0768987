"""The portfolio keeps a sampler's contract, and gives the budget to whoever is good."""

from collections import Counter
from collections.abc import Callable

import optuna
import pytest
from optuna.samplers import BaseSampler

from hpo.samplers.portfolio import ARM, PortfolioSampler
from tests.samplers.conformance import BasicSamplerTestCase, RelativeSamplerTestCase, SingleOnlySamplerTestCase

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")


class TestConformance(BasicSamplerTestCase, RelativeSamplerTestCase, SingleOnlySamplerTestCase):
    @pytest.fixture
    def sampler(self) -> Callable[[], BaseSampler]:
        return lambda: PortfolioSampler(0)


def _objective(trial: optuna.Trial) -> float:
    return sum(trial.suggest_float(name, 0, 1) for name in "abcdef")


def test_credit_goes_to_whoever_improves() -> None:
    study = optuna.create_study(sampler=PortfolioSampler(0))
    study.optimize(_objective, n_trials=80)
    arms = Counter(trial.user_attrs[ARM] for trial in study.trials)
    assert set(arms) == {"tpe", "evolution", "random"}
    assert arms["random"] < min(arms["tpe"], arms["evolution"])


def test_a_portfolio_made_anew_for_every_trial_proposes_the_same() -> None:
    whole = optuna.create_study(sampler=PortfolioSampler(3))
    whole.optimize(_objective, n_trials=30)
    cut = optuna.create_study(sampler=PortfolioSampler(3))
    for _ in range(30):
        cut.sampler = PortfolioSampler(3)
        cut.optimize(_objective, n_trials=1)
    assert [trial.params for trial in whole.trials] == [trial.params for trial in cut.trials]


def test_an_unknown_arm_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown arm 'tpee'. Did you mean 'tpe'"):
        PortfolioSampler(arms=["tpee"])
