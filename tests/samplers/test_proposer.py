from collections.abc import Callable, Iterator
from functools import partial
from typing import Any
from unittest.mock import Mock

import optuna
import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.trial import FrozenTrial, TrialState

from hpo import spec
from hpo.samplers import SAMPLERS, build, standard
from hpo.samplers.evolution import EvolutionSampler
from hpo.samplers.proposer import Proposer
from hpo.spec.space import Space
from tests.samplers.conformance import BasicSamplerTestCase

STANDARD = ["tpe", "gp", "cmaes", "random", "qmc", "nsga2"]


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    yield
    optuna.logging.set_verbosity(verbosity)


class TestConformance(BasicSamplerTestCase):
    """Optuna's own suite; samplers begin early, so that its short studies reach them."""

    @pytest.fixture(params=STANDARD)
    def sampler(self, request: pytest.FixtureRequest) -> Callable[[], BaseSampler]:
        early: dict[str, Any] = {
            "tpe": {"n_startup_trials": 3},
            "gp": {"n_startup_trials": 8},
            "cmaes": {"n_startup_trials": 1},
            "nsga2": {"population_size": 3},
        }
        make = partial(SAMPLERS.load(request.param), **early.get(request.param, {}))
        return lambda: Proposer(make, seed=1)


class Constant(BaseSampler):
    """Always proposes the lowest value, or the first."""

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return {}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return {}

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        match param_distribution:
            case CategoricalDistribution():
                return param_distribution.choices[0]
            case FloatDistribution() | IntDistribution():
                return param_distribution.low
        raise TypeError(param_distribution)


class Stubborn(Constant):
    """Proposes the same values together, one of which the space does not have."""

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return {"x": FloatDistribution(0, 1), "kind": CategoricalDistribution(["plain", "deep"])}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return {"x": 7.0, "kind": "deep", "momentum": 0.9}


BRANCHES = {
    "x": {"min": 0, "max": 1},
    "kind": {"values": ["plain", "deep"]},
    "rate": {"min": 1e-4, "max": 1, "log": True, "when": {"kind": "deep"}},
    "layers": {"type": "int", "min": 1, "max": 4, "when": {"kind": "deep"}},
}


def space_of(parameters: dict[str, Any]) -> Space:
    return Space.of(spec.load_search({"study": "s", "parameters": parameters}))


def study_of(space: Space, make: Callable[[int], BaseSampler], **settings: Any) -> optuna.Study:
    return optuna.create_study(sampler=Proposer(make, 1, space, **settings))


def ask(study: optuna.Study, space: Space) -> dict[str, Any]:
    """A trial's config; the trial goes on."""
    trial = study.ask()
    config = space.suggest(trial)
    assert config == trial.params
    return config


def unlike(configs: list[dict[str, Any]]) -> int:
    return len({tuple(sorted(config.items())) for config in configs})


def test_a_config_that_the_study_has_is_replaced() -> None:
    space = space_of(BRANCHES)
    study = study_of(space, lambda seed: Constant())
    configs = [ask(study, space) for _ in range(10)]
    assert configs[0] == {"x": 0, "kind": "plain"}
    assert unlike(configs) == 10


def test_the_parents_of_a_config_that_was_replaced_had_no_part_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    space = space_of({"kind": {"values": ["a", "b"]}})
    study = study_of(space, lambda seed: EvolutionSampler(seed=seed))
    assert unlike([ask(study, space) for _ in range(2)]) == 2
    write = Mock(wraps=study._storage.set_trial_user_attr)
    monkeypatch.setattr(study._storage, "set_trial_user_attr", write)
    ask(study, space)  # no attempt finds a new one
    assert study.trials[2].user_attrs["lineage"] == {"operator": "replaced", "parents": []}
    assert write.call_count == 2  # what the sampler wrote, and this


def test_the_config_of_a_failed_trial_may_be_tried_again() -> None:
    space = space_of(BRANCHES)
    study = study_of(space, lambda seed: Constant())
    trial = study.ask()
    first = space.suggest(trial)
    study.tell(trial, state=TrialState.FAIL)
    assert ask(study, space) == first


@pytest.mark.parametrize("make", [lambda seed: Constant(), RandomSampler], ids=["constant", "random"])
def test_a_space_that_is_used_up_repeats_itself(make: Callable[[int], BaseSampler]) -> None:
    space = space_of({"kind": {"values": ["a", "b", "c"]}})
    study = study_of(space, make)
    configs = [ask(study, space) for _ in range(8)]
    assert unlike(configs[:3]) == 3
    assert unlike(configs) == 3


def test_the_last_configs_of_a_space_are_found() -> None:
    space = space_of({"kind": {"values": list(range(100))}})
    study = study_of(space, lambda seed: Constant())
    assert unlike([ask(study, space) for _ in range(100)]) == 100


@pytest.mark.parametrize("name", ["tpe", "evolution"])
def test_a_sampler_is_asked_again_before_chance_decides(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    levels = {"type": "int", "min": 0, "max": 5}
    parameters = {"x": levels, "y": levels, "z": levels}
    wanted = spec.load_search(
        {"study": "s", "parameters": parameters, "sampler": name, "objective": {"metric": "loss", "goal": "minimize"}}
    )
    space, sampler = Space.of(wanted), build(wanted, 0)
    assert isinstance(sampler, Proposer)
    study = optuna.create_study(sampler=sampler)
    random = Mock(wraps=optuna.samplers.RandomSampler)
    monkeypatch.setattr("hpo.samplers.proposer.optuna.samplers.RandomSampler", random)
    configs, again = [], Mock(wraps=sampler._again)
    sampler._again = again
    for _ in range(50):
        trial = study.ask()
        configs.append(space.suggest(trial))
        study.tell(trial, sum((value - 2) ** 2 for value in trial.params.values()))
    assert unlike(configs) == 50
    assert again.call_count > 0
    assert random.call_count < again.call_count / 2
    assert not sampler._draws


def test_without_parameters_every_config_is_empty() -> None:
    space = space_of({})
    study = study_of(space, lambda seed: Constant())
    assert [ask(study, space) for _ in range(3)] == [{}, {}, {}]


def test_for_an_ensemble_a_config_may_come_again() -> None:
    space = space_of(BRANCHES)
    study = study_of(space, lambda seed: Constant(), rewards=dict)
    configs = [ask(study, space) for _ in range(10)]
    assert configs.count({"x": 0, "kind": "plain"}) > 1


@pytest.mark.parametrize("name", STANDARD)
def test_configs_are_whole_and_have_active_parameters_alone(name: str) -> None:
    space = space_of(BRANCHES)
    early: dict[str, Any] = {"tpe": {"n_startup_trials": 4}, "gp": {"n_startup_trials": 8}}
    study = study_of(space, partial(SAMPLERS.load(name), **early.get(name, {})), least=4)
    kinds = set()
    for number in range(10):
        trial = study.ask()
        config = space.suggest(trial)
        kinds.add(config["kind"])
        assert list(config) == [key for key in space.parameters if space.active(key, config)]
        assert trial.params == config
        assert all(space.parameters[key].contains(value) for key, value in config.items())
        study.tell(trial, config["x"] + number)
    assert kinds == {"plain", "deep"}


def test_what_the_space_does_not_have_is_drawn_alone() -> None:
    space = space_of(BRANCHES)
    study = study_of(space, lambda seed: Stubborn())
    assert ask(study, space) == {"x": 0, "kind": "deep", "rate": 1e-4, "layers": 1}


def test_an_enqueued_config_may_open_another_branch() -> None:
    space = space_of(BRANCHES)
    study = study_of(space, lambda seed: Constant())
    study.enqueue_trial({"kind": "deep"})
    study.enqueue_trial({"kind": "deep", "layers": 3})
    study.enqueue_trial({"kind": "deep"})
    configs = [ask(study, space) for _ in range(3)]
    assert configs[0] == {"x": 0, "kind": "deep", "rate": 1e-4, "layers": 1}
    assert configs[1] == {"x": 0, "kind": "deep", "rate": 1e-4, "layers": 3}
    assert configs[2] == configs[0]  # what was asked for is done, though the study has it


@pytest.mark.parametrize("name", ["tpe", "random", "nsga2"])
def test_every_trial_has_a_seed_of_its_own(name: str) -> None:
    def configs(seed: int, breaks: bool = False) -> list[dict[str, Any]]:
        space = space_of(BRANCHES)
        study = study_of(space, SAMPLERS.load(name))
        made = []
        for _ in range(6):
            study.sampler = Proposer(SAMPLERS.load(name), seed, space) if breaks else study.sampler
            made.append(ask(study, space))
        return made

    assert configs(1) == configs(1, breaks=True)
    assert configs(1) != configs(2, breaks=True)
    assert unlike(configs(1)) == 6


def test_nothing_is_kept_of_trials_that_have_ended() -> None:
    space = space_of(BRANCHES)
    sampler = Proposer(standard.random, 1, space)
    study = optuna.create_study(sampler=sampler)
    study.optimize(lambda trial: float(space.suggest(trial)["x"]), n_trials=5)
    assert not sampler._draws
    assert not sampler._configs
