"""Trials of an earlier study, and users' beliefs: what a search begins with."""

import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hpo
from hpo import schedulers, spec
from hpo.controller import replay
from hpo.errors import StudyError
from hpo.samplers import build
from hpo.searching import opening
from hpo.spec import Config, Parameter
from hpo.spec.space import believed
from hpo.study.data_summary import DataSummary
from hpo.study.study import Study
from hpo.study.trial import Outcome, State
from tests.conftest import data_summary

STUDIES = Path("studies")


@pytest.fixture(autouse=True)
def quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """The studies here need not outlive a power cut."""
    monkeypatch.setattr(os, "fsync", lambda file: None)


# ---- trials of an earlier study --------------------------------------------------------------------------------------


def trial(study: Study, config: Config, *accuracies: float, state: State = State.COMPLETE) -> int:
    study.record.enqueue_trial(config)
    number = study.writer.ask().number
    for epoch, accuracy in enumerate(accuracies, start=1):
        study.writer.report(number, epoch, {"accuracy": accuracy, "nll": 1 - accuracy, "latency_ms": 10 * accuracy})
    study.writer.end(number, Outcome(state, "why" if state is State.FAILED else None))
    return number


def later(document: dict[str, Any], earlier: Study, **changes: Any) -> Study:
    return Study.create(STUDIES, spec.load({**document, **changes, "study": "later"}), data_summary(), earlier)


def taken(study: Study) -> list[Config]:
    return [trial.config for trial in study.trials() if trial.taken_over]


@pytest.fixture
def earlier(document: dict[str, Any]) -> Study:
    """Its first trial has the default config, of lr 0.01 and width 16."""
    study = Study.create(STUDIES, spec.load(document), data_summary())
    study.writer.ask()
    for epoch, accuracy in enumerate([0.4, 0.6, 0.5], start=1):
        study.writer.report(0, epoch, {"accuracy": accuracy, "nll": 1 - accuracy, "latency_ms": 10 * accuracy})
    study.writer.end(0, Outcome(State.COMPLETE))
    trial(study, {"optimizer.lr": 0.05, "model.width": 8}, 0.5, 0.7, 0.8)
    trial(study, {"optimizer.lr": 0.002, "model.width": 32}, 0.3, state=State.PRUNED)
    trial(study, {"optimizer.lr": 0.003, "model.width": 32}, 0.3, state=State.FAILED)
    trial(study, {"optimizer.lr": 0.09, "model.width": 32}, math.nan, state=State.PRUNED)
    study.writer.ask()
    return study


def test_ended_trials_with_a_value_are_taken_over_as_they_were(document: dict[str, Any], earlier: Study) -> None:
    study = later(document, earlier)
    old, new = earlier.trials()[:3], study.trials()
    assert [t.config for t in new] == [t.config for t in old]
    assert [t.reports for t in new] == [t.reports for t in old]
    assert [t.state for t in new] == [State.COMPLETE, State.COMPLETE, State.PRUNED]
    assert [t.value for t in new] == [0.6, 0.8, 0.3]
    assert all(t.taken_over for t in new)
    assert new[1].reason == "taken over from study 'squares', trial 1"
    best = study.best()
    assert best is not None
    assert best.number == 1


def test_they_cost_no_budget(document: dict[str, Any], earlier: Study) -> None:
    study = later(document, earlier)
    assert (study.spent().trials, study.spent().epochs) == (0, 0)
    assert study.spent().left(study.spec.budget).trials == 4


def test_the_new_study_still_begins_with_its_default(document: dict[str, Any], earlier: Study) -> None:
    study = later(document, earlier, optimizer={"name": "adam", "lr": 0.05})
    study.writer.use(build(study.spec, len(study.trials())))
    assert study.writer.ask().config == {"optimizer.lr": 0.05, "model.width": 16}


def test_they_are_history_to_schedulers(document: dict[str, Any], earlier: Study) -> None:
    document["scheduler"] = {"name": "asha", "grace": 1, "eta": 3}
    study = later(document, earlier)
    scheduler: Any = schedulers.build(study.spec, study.goal)
    replay.tell(study, scheduler)
    bracket = scheduler.bracket(0)
    reached = [number for number in range(3) if study.trial(number).reports]
    assert reached and all(number in bracket._rungs[0] for number in reached)


def test_configs_outside_the_new_space_stay_behind(document: dict[str, Any], earlier: Study) -> None:
    document["parameters"]["optimizer.lr"] = {"min": 0.005, "max": 0.1, "log": True}
    document["parameters"]["model.width"] = {"values": [8, 12]}
    assert taken(later(document, earlier)) == [{"optimizer.lr": 0.05, "model.width": 8}]


@pytest.mark.parametrize(
    "changes",
    [
        {"training": {"epochs": 6, "batch_size": 32}},
        {"training": {"epochs": 3, "batch_size": 64}},
        {"optimizer": {"name": "sgd", "lr": 0.01}},
        {"model": {"name": "mlp", "layers": 2, "width": 16}},
    ],
    ids=["epochs", "batch size", "optimizer", "model"],
)
def test_trials_that_would_be_other_ones_here_stay_behind(
    changes: dict[str, Any], document: dict[str, Any], earlier: Study
) -> None:
    assert taken(later(document, earlier, **changes)) == []


def test_a_parameter_that_was_fixed_has_its_fixed_value(document: dict[str, Any], earlier: Study) -> None:
    document["parameters"]["training.batch_size"] = {"type": "int", "min": 16, "max": 64}
    study = later(document, earlier)
    assert [config["training.batch_size"] for config in taken(study)] == [32, 32, 32]
    document["parameters"]["training.batch_size"] = {"values": [16, 64]}
    assert taken(Study.create(Path("elsewhere"), spec.load(document), data_summary(), earlier)) == []


def test_a_parameter_that_is_fixed_now_must_have_that_value(document: dict[str, Any], earlier: Study) -> None:
    del document["parameters"]["model.width"]
    document["model"]["width"] = 8
    assert taken(later(document, earlier)) == [{"optimizer.lr": 0.05}]


def test_another_objective_is_measured_from_the_old_reports(document: dict[str, Any], earlier: Study) -> None:
    study = later(document, earlier, objective="nll", constraints="latency_ms <= 7")
    assert [t.value for t in study.trials()] == pytest.approx([0.4, 0.3, 0.7])
    assert [t.best_epoch for t in study.trials()] == [2, 2, 1]
    frozen = study.record.get_trials()[1]
    assert frozen.intermediate_values == pytest.approx({1: 0.5, 2: 0.3, 3: 0.2})


def test_simulated_studies_compare_configs(tmp_path: Path) -> None:
    wanted: dict[str, Any] = {
        "study": "one",
        "training": {"epochs": 2},
        "parameters": {"x": {"min": 0, "max": 1}},
        "objective": {"metric": "loss", "goal": "minimize"},
        "sampler": "random",
        "scheduler": "none",
        "budget": {"trials": 10},
    }
    result = hpo.simulate(wanted, lambda config, epoch: ({"loss": config["x"]}, 1.0))
    narrow = {**wanted, "study": "two", "parameters": {"x": {"min": 0, "max": 0.5}}}
    study = Study.create(tmp_path / "studies", spec.load_search(narrow), earlier=result.study)
    assert taken(study) == [trial.config for trial in result.study.trials() if trial.config["x"] <= 0.5] != []
    longer = {**wanted, "study": "three", "training": {"epochs": 3}}
    assert taken(Study.create(tmp_path / "studies", spec.load_search(longer), earlier=result.study)) == []


# ---- what is refused -------------------------------------------------------------------------------------------------


def other_data() -> DataSummary:
    known = data_summary()
    return DataSummary(known.outputs, known.targets, known.example, "of circles")


def test_other_data_say_nothing(document: dict[str, Any], earlier: Study) -> None:
    with pytest.raises(StudyError, match="--from squares: that study (has other data|split its data otherwise)"):
        opening._earlier("squares", spec.load(document), other_data(), STUDIES)


def test_another_model_is_another_search(document: dict[str, Any], earlier: Study) -> None:
    document["model"] = "convnet"
    document["parameters"] = {"optimizer.lr": {"min": 0.01, "max": 0.1}}
    with pytest.raises(StudyError, match="--from squares: that study is about model 'mlp', not 'convnet'"):
        opening._earlier("squares", spec.load(document), data_summary(), STUDIES)


def test_a_study_of_several_families_takes_over_trials_of_one_and_gives_them_back(document: dict[str, Any]) -> None:
    alone = {**document, "parameters": {**document["parameters"], "model.dropout": {"min": 0.0, "max": 0.5}}}
    earlier = Study.create(STUDIES, spec.load({**alone, "study": "alone"}), data_summary())
    trial(earlier, {"optimizer.lr": 0.02, "model.width": 8, "model.dropout": 0.25}, 0.5, 0.6, 0.7)
    trial(earlier, {"optimizer.lr": 0.02, "model.width": 32, "model.dropout": 0.25}, 0.5, 0.6, 0.8)
    parameters = {
        "model.name": {"values": ["convnet", "mlp"]},
        "model.mlp.width": {"type": "int", "min": 8, "max": 16},
        "model.convnet.width": {"type": "int", "min": 2, "max": 4},
        "model.dropout": {"min": 0.0, "max": 0.5},
        "optimizer.lr": document["parameters"]["optimizer.lr"],
    }
    document |= {"model": {"name": "mlp", "mlp": {"layers": 1}}, "parameters": parameters}
    mixed = Study.create(STUDIES, spec.load({**document, "study": "mixed"}), data_summary(), earlier)
    config = {"model.name": "mlp", "model.mlp.width": 8, "model.dropout": 0.25, "optimizer.lr": 0.02}
    assert config in taken(mixed) and {one["model.name"] for one in taken(mixed)} == {"mlp"}
    other = {"model.name": "convnet", "model.convnet.width": 3, "model.dropout": 0.25, "optimizer.lr": 0.02}
    trial(mixed, other, 0.5, 0.6, 0.9)
    trial(mixed, {**config, "model.mlp.width": 16}, 0.5, 0.6, 0.9)
    again = Study.create(STUDIES, spec.load({**alone, "study": "again"}), data_summary(), mixed)
    assert [one["model.width"] for one in taken(again)][:2] == [one["model.mlp.width"] for one in taken(mixed)]
    assert all("model.name" not in one for one in taken(again)) and len(taken(again)) >= len(taken(mixed))


def test_a_study_without_its_family_is_another_search(document: dict[str, Any], earlier: Study) -> None:
    document["model"] = {"name": "convnet"}
    document["parameters"] = {"model.name": {"values": ["convnet", "resnet"]}}
    with pytest.raises(StudyError, match="that study is about model 'mlp', not 'convnet' and 'resnet'"):
        opening._earlier("squares", spec.load(document), data_summary(), STUDIES)
    document["parameters"]["model.name"]["values"].append("mlp")
    assert opening._earlier("squares", spec.load(document), data_summary(), STUDIES).name == "squares"


def test_an_unknown_study_is_named(document: dict[str, Any], earlier: Study) -> None:
    with pytest.raises(StudyError, match="no study 'square' in 'studies'. Did you mean 'squares'"):
        opening._earlier("square", spec.load(document), data_summary(), STUDIES)


def test_a_simulated_study_has_no_models(document: dict[str, Any]) -> None:
    Study.create(STUDIES, spec.load_search({"study": "dreamt"}))
    with pytest.raises(StudyError, match="study 'dreamt' was simulated: it has no models"):
        opening._earlier("dreamt", spec.load(document), data_summary(), STUDIES)


def test_the_same_data_and_model_are_welcome(document: dict[str, Any], earlier: Study) -> None:
    assert opening._earlier("squares", spec.load(document), data_summary(), STUDIES).id == earlier.id


# ---- priors ----------------------------------------------------------------------------------------------------------


@st.composite
def ranges(draw: st.DrawFn) -> Parameter:
    """A range with a prior: float or int, logarithmic, with a step, or of a single value."""
    kind = draw(st.sampled_from(["float", "int"]))
    low = draw(st.integers(1, 50))
    step = draw(st.sampled_from([None, 1, 3, 0.25 if kind == "float" else 2]))
    high: float = low + draw(st.integers(0, 20)) * (step or 1)
    log = step is None and draw(st.booleans())
    places = round((high - low) / (step or 1))
    prior = low + draw(st.integers(0, places)) * (step or 1)
    return Parameter.model_validate(
        {"type": kind, "min": low, "max": high, "log": log, "step": step, "prior": prior, "default": low}
    )


@settings(max_examples=40)
@given(ranges(), st.integers(0, 2**32 - 1))
def test_what_is_believed_can_be_taken(parameter: Parameter, seed: int) -> None:
    rng = np.random.default_rng(seed)
    for _ in range(5):
        value = believed(parameter, rng)
        assert parameter.contains(value)
        assert isinstance(value, int if parameter.type == "int" else int | float)


@given(st.lists(st.integers(), min_size=1, max_size=5, unique=True), st.data())
def test_what_is_believed_is_listed(values: list[int], data: st.DataObject) -> None:
    parameter = Parameter(values=tuple(values), prior=data.draw(st.sampled_from(values)))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    assert {believed(parameter, rng) for _ in range(5)} <= set(values)


def test_without_a_prior_nothing_is_believed() -> None:
    rng = np.random.default_rng(0)
    assert believed(Parameter(min=0, max=1), rng) is None
    assert believed(Parameter(values=("a", "b")), rng) is None


@pytest.mark.parametrize("prior", [0.0, 3.0, 5.0, 10.0])
def test_draws_crowd_around_the_prior(prior: float) -> None:
    parameter = Parameter(min=0, max=10, prior=prior)
    rng = np.random.default_rng(0)
    draws = np.array([believed(parameter, rng) for _ in range(400)])
    assert 0.58 < np.mean(np.abs(draws - prior) <= 2) < 0.78  # a standard deviation of a fifth of the range
    assert draws.min() >= 0
    assert draws.max() <= 10


def test_on_a_log_scale_they_crowd_by_ratio() -> None:
    parameter = Parameter(min=1e-5, max=1, log=True, prior=1e-3)
    rng = np.random.default_rng(0)
    draws = np.log10([believed(parameter, rng) for _ in range(400)])
    assert abs(np.median(draws) + 3) < 0.2
    assert 0.58 < np.mean(np.abs(draws + 3) <= 1) < 0.78


def test_a_listed_prior_comes_in_two_of_three_draws_and_in_its_share_of_the_others() -> None:
    parameter = Parameter(values=("a", "b", "c", "d"), prior="b")
    rng = np.random.default_rng(0)
    draws = [believed(parameter, rng) for _ in range(1200)]
    assert draws.count("b") / len(draws) == pytest.approx(2 / 3 + 1 / 12, abs=0.04)
    assert set(draws) == {"a", "b", "c", "d"}


def test_false_and_zero_are_beliefs_too() -> None:
    rng = np.random.default_rng(0)
    draws = [believed(Parameter(values=(True, False), prior=False), rng) for _ in range(100)]
    assert draws.count(False) > 60
    nothing = [believed(Parameter(values=(None, 1), prior=None), rng) for _ in range(100)]
    assert nothing.count(None) > 60


def test_priors_draw_the_first_configs_of_a_search(tmp_path: Path) -> None:
    def near(prior: dict[str, float]) -> int:
        wanted = {
            "study": "s",
            "parameters": {"x": {"min": 0, "max": 1, **prior}},
            "objective": {"metric": "loss", "goal": "minimize"},
            "sampler": "random",
            "scheduler": "none",
            "training": {"epochs": 1},
        }
        counts = []
        for seed in range(10):
            result = hpo.simulate(wanted, lambda config, epoch: ({"loss": 0.0}, 1.0), trials=5, seed=seed)
            counts += [abs(trial.config["x"] - 0.9) < 0.1 for trial in result.study.trials()]
        return sum(counts)

    assert near({"prior": 0.9}) > 1.5 * near({})
