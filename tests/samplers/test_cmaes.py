"""CMA-ES with its state as numbers proposes what Optuna's own does."""

import json
from typing import Any

import cmaes
import numpy as np
import optuna
import pytest

from hpo.samplers.cmaes import NumbersCmaEs, _optimizer, _written


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@pytest.mark.parametrize("settings", [{}, {"use_separable_cma": True}, {"with_margin": True}, {"lr_adapt": True}])
def test_it_proposes_what_optunas_own_does(settings: dict[str, Any]) -> None:
    found = []
    for kind in (optuna.samplers.CmaEsSampler, NumbersCmaEs):
        study = optuna.create_study(sampler=kind(seed=1, **settings))
        study.optimize(_bowl, 40)
        found.append([trial.params for trial in study.trials])
    assert found[0] == found[1]
    states = [trial.system_attrs for trial in study.trials if any("optimizer" in name for name in trial.system_attrs)]
    text = "".join(part for name, part in states[-1].items() if "optimizer" in name)
    assert len(states) > 2 and json.loads(text)


def test_a_state_replaces_no_method() -> None:
    state = json.loads(json.dumps(_written(cmaes.CMAwM(np.zeros(2), 1.0, np.array([[0, 1], [0, 2]]), np.zeros(2)))))
    assert _optimizer(cmaes.CMAwM, state).dim == 2
    for name in ("ask", "tell", "generation", "__class__"):
        with pytest.raises(AttributeError, match="a method is no part of a state"):
            _optimizer(cmaes.CMAwM, state | {name: 1})


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@pytest.mark.parametrize("values", [[10**400], [[]], ["a"], 3, None, [1, 2]])
def test_a_state_of_no_numbers_is_passed_over(values: object) -> None:
    sampler = NumbersCmaEs(seed=0)
    state = {"_dim": {"type": "int64", "shape": [1], "values": values}}
    parts = {f"{sampler._attr_key_optimizer}:0": json.dumps(state)}
    assert sampler._restore_optimizer([optuna.trial.create_trial(value=0.0, system_attrs=parts)]) is None


def _bowl(trial: optuna.Trial) -> float:
    return (
        trial.suggest_float("x", -3, 3) ** 2 + (trial.suggest_float("y", -3, 3) - 1) ** 2 + trial.suggest_int("n", 1, 9)
    )
