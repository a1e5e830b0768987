from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.samplers import BaseSampler, TPESampler
from optuna.trial import TrialState

from hpo.samplers.tpe import GroupedTPE, groups, tpe
from hpo.samplers.view import StudyAtResource
from hpo.spec import Parameter
from hpo.spec.space import Space
from tests.samplers.conformance import (
    BasicSamplerTestCase,
    MultiObjectiveSamplerTestCase,
    RelativeSamplerTestCase,
)
from tests.samplers.constraints import constrain

SPACE = Space(
    {
        "lr": Parameter(min=1e-4, max=1.0, log=True),
        "optimizer": Parameter(values=("sgd", "adam")),
        "momentum": Parameter(min=0.0, max=0.99, when={"optimizer": ("sgd",)}),
        "nesterov": Parameter(values=(True, False), when={"optimizer": ("sgd",)}),
        "beta": Parameter(min=0.0, max=1.0, when={"optimizer": ("adam",)}),
        "warm": Parameter(min=0.0, max=1.0, when={"nesterov": (True,)}),
        "fixed": Parameter(min=3, max=3, type="int"),
        "cool": Parameter(type="int", min=1, max=9, when={"model": ("resnet",)}),
    },
    {"model": "resnet"},
)


class TestConformance(BasicSamplerTestCase, RelativeSamplerTestCase, MultiObjectiveSamplerTestCase):
    @pytest.fixture
    def sampler(self) -> Callable[[], BaseSampler]:
        return lambda: tpe(0, Space({}, {}), n_startup_trials=0)


def test_parameters_with_the_same_conditions_are_a_group() -> None:
    found = [list(group) for group in groups(SPACE)]
    assert found == [["lr", "optimizer", "cool"], ["momentum", "nesterov"], ["beta"], ["warm"]]


def loss(config: Mapping[str, Any]) -> float:
    far = abs(np.log10(config["lr"]) + 2) + abs(config["cool"] - 5) / 10
    return float(far + (abs(config["momentum"] - 0.9) if config["optimizer"] == "sgd" else 0.5))


def searched(make: Callable[[int], BaseSampler], trials: int = 40) -> optuna.Study:
    study = optuna.create_study(sampler=make(0))
    for number in range(trials):
        study.sampler = make(number)
        trial = study.ask()
        study.tell(trial, loss(SPACE.suggest(trial)))
    return study


def test_it_finds_what_is_good_and_proposes_what_exists() -> None:
    study = searched(lambda seed: tpe(seed, SPACE))
    assert study.best_value < 0.25 and study.best_params["optimizer"] == "sgd"
    for trial in study.trials:
        active: dict[str, Any] = {}
        for name in SPACE.parameters:
            if SPACE.active(name, active):
                active[name] = trial.params[name]
        assert trial.params.keys() == active.keys()
        assert not any("relative" in key for key in trial.system_attrs)


def test_a_group_of_another_branch_costs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    study = searched(lambda seed: tpe(seed, SPACE), 20)
    asked: list[list[str]] = []
    propose = GroupedTPE._best_of

    def noted(self: GroupedTPE, study: Any, wanted: dict[str, Any], *trials: Any) -> Any:
        asked.append(list(wanted))
        return propose(self, study, wanted, *trials)

    monkeypatch.setattr(GroupedTPE, "_best_of", noted)
    study.sampler = tpe(1, SPACE)
    config = SPACE.suggest(study.ask())
    assert sorted(name for group in asked for name in group) == sorted(config.keys() - {"fixed"})


def long_study(trials: int, broken: bool) -> optuna.Study:
    """Most reported once and wait, some got further, some have failed, and the newest run."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for number in range(trials):
        trial = study.ask()
        value = loss(SPACE.suggest(trial) | {"momentum": trial.params.get("momentum", 0.5)})
        for epoch in (1, 3) if number % 4 == 0 else (1,):
            if number < trials - 2:
                trial.report(value + 1 / epoch, epoch)
        if broken and number % 2 == 0:
            constrain(trial, "size", 1.0)
        if number % 7 == 0:
            study.tell(trial, state=TrialState.FAIL if number % 2 else TrialState.PRUNED)
    return study


@pytest.mark.parametrize("liar", [True, False])
@pytest.mark.parametrize("broken", [True, False])
def test_of_a_long_study_it_reads_numbers_in_place_of_trials(
    monkeypatch: pytest.MonkeyPatch, liar: bool, broken: bool
) -> None:
    """They are the same ones, and the same proposals."""
    study = long_study(300, broken)
    names = GroupedTPE(SPACE).infer_relative_search_space(study, study.trials[0])
    proposed: dict[bool, list[Any]] = {True: [], False: []}
    for looks in (False, True):
        if looks:
            monkeypatch.setattr(StudyAtResource, "parted", lambda *_: None)
        for seed in range(5):
            view, trial = StudyAtResource(study, 8, most=200), study.trials[299 - seed]
            sampler = tpe(seed, SPACE, constant_liar=liar)
            proposed[looks].append(sampler.sample_relative(view, trial, names))
            seen = "_seen" in view.__dict__
            assert seen == (looks or broken)
    assert proposed[True] == proposed[False]
    assert all(len(config) >= 4 for config in proposed[True])


def test_settings_of_grouping_are_optunas() -> None:
    assert isinstance(tpe(0, SPACE), GroupedTPE)
    assert type(tpe(0)) is type(tpe(0, SPACE, group=False)) is type(tpe(0, SPACE, multivariate=False, group=False))
    assert type(tpe(0)) is TPESampler
