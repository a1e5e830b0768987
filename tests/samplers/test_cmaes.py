"""CMA-ES with its state as numbers proposes what Optuna's own does."""

import json
from typing import Any

import optuna
import pytest

from hpo.samplers.cmaes import NumbersCmaEs


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


def _bowl(trial: optuna.Trial) -> float:
    return (
        trial.suggest_float("x", -3, 3) ** 2 + (trial.suggest_float("y", -3, 3) - 1) ** 2 + trial.suggest_int("n", 1, 9)
    )
