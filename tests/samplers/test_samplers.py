from typing import Any

import numpy as np
import optuna
import pytest

from hpo import samplers, spec
from hpo.spec.space import Space


def proposals(document: dict[str, Any], finished: int = 0) -> list[dict[str, Any]]:
    read = spec.load(document)
    study = optuna.create_study(sampler=samplers.build(read, finished))
    return [Space.of(read).suggest(study.ask()) for _ in range(3)]


@pytest.mark.parametrize("name", ["tpe", "random", "optuna.samplers:QMCSampler"])
@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_the_seed_decides(document: dict[str, Any], name: str) -> None:
    document["sampler"] = name
    first = proposals({**document, "seed": 1})
    assert first == proposals({**document, "seed": 1})
    assert first != proposals({**document, "seed": 2})


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_a_users_sampler_draws_anew_when_a_study_goes_on(document: dict[str, Any]) -> None:
    document["sampler"] = "optuna.samplers:QMCSampler"
    assert proposals(document, finished=0) != proposals(document, finished=5)


def test_ours_follow_from_the_study_alone(document: dict[str, Any]) -> None:
    assert proposals(document, finished=0) == proposals(document, finished=5)


def test_settings_reach_the_sampler(document: dict[str, Any]) -> None:
    document["sampler"] = {"name": "tpe", "n_startup_trials": "three"}
    (problem,) = samplers.try_proposal(spec.load(document))
    assert "sampler 'tpe' cannot propose with {'n_startup_trials': 'three'}" in problem.message


def test_what_is_no_sampler_is_refused(document: dict[str, Any]) -> None:
    document["sampler"] = {"name": "builtins:dict"}
    (problem,) = samplers.check(spec.load(document))
    assert "not an optuna.samplers.BaseSampler" in problem.message


@pytest.mark.parametrize("name", ["tpe", "gp", "nsga2", "portfolio", "curves", "evolution"])
def test_optuna_keeps_to_constraints_since_version_5(document: dict[str, Any], name: str) -> None:
    document |= {"sampler": name, "constraints": ["parameters <= 1e6"]}
    found = [problem.message for problem in samplers.check(spec.load(document))]
    if optuna.__version__ >= "5" or name in ("curves", "evolution"):
        assert found == []
    else:
        (message,) = found
        assert f"'{name}' keeps to constraints with Optuna 5 or newer, and this is Optuna 4" in message
        assert "install 'optuna>=5', or take the sampler 'curves' or, for several objectives, 'evolution'" in message


@pytest.mark.parametrize("name", ["curves", "tpe"])
def test_who_proposes_says_what_goes_on_if_it_has_an_opinion(document: dict[str, Any], name: str) -> None:
    study = optuna.create_study(sampler=samplers.build(spec.load({**document, "sampler": name}), 0))
    resume = samplers.resumption(study)
    assert (resume is not None) == (name == "curves")
    assert resume is None or resume(np.array([], np.intp), True) is None
