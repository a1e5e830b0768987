"""A trial's record is held to its form before anything else uses it."""

import copy
import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import RandomSampler
from optuna.trial import FrozenTrial, TrialState

from hpo import api, spec
from hpo.errors import InputError, StudyError
from hpo.spec import SearchSpec
from hpo.spec.space import Space
from hpo.study.optuna_trial import Reader, written
from hpo.study.study import Study
from hpo.study.trial import Moment, Outcome, State
from tests.conftest import Run

WANTED: dict[str, Any] = {
    "study": "held",
    "training": {"epochs": 6},
    "parameters": {
        "x": {"min": 0, "max": 1},
        "rate": {"min": 1.0e-4, "max": 1, "log": True},
        "depth": {"type": "int", "min": 1, "max": 9, "step": 2},
        "kind": {"values": ["plain", "deep"]},
        "width": {"type": "int", "min": 1, "max": 9, "when": {"kind": "deep"}},
    },
    "objective": [{"metric": "loss", "goal": "minimize"}, {"metric": "size", "goal": "minimize"}],
    "constraints": ["size <= 3"],
    "sampler": "random",
    "scheduler": "none",
    "budget": {"trials": 4},
}
CONFIG = {"x": 0.5, "rate": 0.01, "depth": 3, "kind": "deep", "width": 2}
DRAWN = {
    "x": FloatDistribution(0, 1),
    "rate": FloatDistribution(1.0e-4, 1, log=True),
    "depth": IntDistribution(1, 9, step=2),
    "kind": CategoricalDistribution(("plain", "deep")),
    "width": IntDistribution(1, 9),
}


def report(order: int) -> str:
    return written({"loss": 0.5, "size": 2.0}, Moment(order, 2.0))


REPORT = report(3)


@pytest.fixture(scope="module")
def searched() -> SearchSpec:
    return spec.load_search(WANTED)


def made(state: TrialState = TrialState.RUNNING) -> FrozenTrial:
    """A trial as Optuna has it, with two reports."""
    reports = {"report:1": report(1), "report:2": report(2), "began": [0, 1.0], "retries": 1}
    return FrozenTrial(
        number=5,
        state=state,
        value=None,
        values=[0.5, 2.0] if state is TrialState.COMPLETE else None,
        datetime_start=None,
        datetime_complete=None,
        params=dict(CONFIG),
        distributions=dict(DRAWN),
        user_attrs=reports,
        system_attrs={"constraints:size <= 3": -1.0, "fixed_params": {"x": 0.5}},
        intermediate_values={1: 0.5, 2: 0.5},
        trial_id=5,
    )


Change = Callable[[FrozenTrial], Any]


def changed(change: Change, state: TrialState = TrialState.RUNNING) -> FrozenTrial:
    trial = made(state)
    change(trial)
    return trial


def attribute(name: str, value: Any) -> Change:
    return lambda trial: trial.user_attrs.update({name: value})


def own(name: str, value: Any) -> Change:
    return lambda trial: trial.system_attrs.update({name: value})


def config(name: str, value: Any) -> Change:
    return lambda trial: trial.params.update({name: value})


def drawn(name: str, value: Any) -> Change:
    return lambda trial: trial.distributions.update({name: value})


def test_a_sound_trial_is_read(searched: SearchSpec) -> None:
    record = Reader(searched, Space.of(searched)).read(made())
    assert record.config == CONFIG and record.reports == {1: {"loss": 0.5, "size": 2.0}, 2: {"loss": 0.5, "size": 2.0}}
    assert record.reported[2] == Moment(2, 2.0) and (record.retries, record.state) == (1, State.RUNNING)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (config("x", 1.5), "its 'x' is 1.5, which is not in"),
        (config("x", math.nan), "its 'x' is nan"),
        (config("x", "0.5"), "its 'x' is '0.5'"),
        (config("x", True), "its 'x' is True"),
        (config("depth", 3.5), "its 'depth' is 3.5"),
        (config("kind", "other"), "its 'kind' is 'other'"),
        (config("kind", ["deep"]), r"its 'kind' is \['deep'\]"),
        (config("y", 1), "it has a parameter that the search has not"),
        (config("kind", "plain"), "it has 'width', which its other parameters leave out"),
        (lambda trial: trial.params.pop("rate"), "it was trained, and has no 'rate'"),
        (lambda trial: trial.params.pop("width"), "it was trained, and has no 'width'"),
        (drawn("x", FloatDistribution(0, 2)), "its 'x' was drawn from other values"),
        (drawn("x", IntDistribution(0, 1)), "its 'x' was drawn from other values"),
        (drawn("kind", CategoricalDistribution(("deep", "plain"))), "its 'kind' was drawn from other values"),
        (lambda trial: trial.distributions.pop("x"), "its 'x' was drawn from other values"),
        (lambda trial: trial.intermediate_values.update({1: "0.5"}), "reported at step 1 is no number"),
        (lambda trial: trial.intermediate_values.update({1: [1]}), "reported at step 1 is no number"),
        (lambda trial: trial.intermediate_values.update({1: 10**400}), "reported at step 1 is no number"),
        (lambda trial: trial.intermediate_values.update({0: 0.5}), "is no epoch, got 0"),
        (lambda trial: trial.intermediate_values.update({2**40: 0.5}), "is no epoch, got 1099511627776"),
        (lambda trial: trial.intermediate_values.update({True: 0.5, 1.5: 1.0}), "is no epoch, got 1.5"),
        (attribute("report:0", REPORT), "a report is of no epoch, got 'report:0'"),
        (attribute("report:-1", REPORT), "a report is of no epoch"),
        (attribute("report:1_0", REPORT), "a report is of no epoch"),
        (attribute(f"report:{2**31 + 1}", REPORT), "a report is of no epoch"),
        (attribute("report:x", REPORT), "invalid literal"),
        (attribute("report:1", report(2)), "its reports were not recorded in the order of their epochs"),
        (attribute("report:2", report(0)), "its reports were not recorded in the order of their epochs"),
        (attribute("report:3", "[1]"), "a report is no mapping"),
        (attribute("report:3", "{"), "Expecting"),
        (attribute("report:3", "[" * 100_000), "recursion"),
        (attribute("report:3", {"moment": [1, 2.0]}), "JSON object must be"),
        (attribute("report:3", '{"moment": [1, 2.0]}'), "the metrics of a report are no numbers"),
        (attribute("report:3", f'{{"metrics": {{"loss": 1{"0" * 400}}}, "moment": [1, 2.0]}}'), "too large"),
        (own("constraints:size <= 3", "1"), "the excess of a constraint is no number"),
        (own("constraints:size <= 3", math.nan), "the excess of a constraint is no number"),
        (own("constraints", [None]), "the excess of a constraint is no number"),
        (own("constraints", 1.0), "are no list"),
        (own("fixed_params", [1]), "its 'fixed_params' is no mapping"),
        (own("fixed_params", {"x": 7}), "its 'x' is 7, which is not in"),
        (own("fixed_params", {"kind": {}}), "its 'kind' is {}"),
        (attribute("lineage", {"parents": 3}), "are no numbers of trials"),
        (attribute("lineage", {"parents": [-1]}), "are no numbers of trials"),
        (attribute("lineage", {"parents": ["0"]}), "are no numbers of trials"),
        (attribute("lineage", {"parents": [True]}), "are no numbers of trials"),
        (attribute("lineage", {"parents": [], "sigma": 10**400}), "the step size in its 'lineage' is no number"),
        (attribute("lineage", [1]), "its 'lineage' is of another kind"),
        (attribute("began", [0, math.inf]), "a moment is no two numbers"),
        (attribute("began", [0, math.nan]), "a moment is no two numbers"),
        (attribute("began", [True, 1.0]), "a moment is no two numbers"),
        (attribute("began", [-1, 1.0]), "a moment is no two numbers"),
        (attribute("began", [1, 10**400]), "a moment is no two numbers"),
        (lambda trial: trial.intermediate_values.update({3: 0.5}), "its reports and the steps that Optuna has"),
        (lambda trial: trial.intermediate_values.pop(1), "its reports and the steps that Optuna has"),
        (lambda trial: trial.user_attrs.pop("report:2"), "its reports and the steps that Optuna has"),
        (attribute("began", None), "a moment is no two numbers"),
        (attribute("began", [1]), "a moment is no two numbers"),
        (attribute("began", {"0": 1, "1": 2}), "a moment is no two numbers"),
        (attribute("retries", -1), "its 'retries' is no number, 0 or more"),
        (attribute("retries", True), "its 'retries' is no number, 0 or more"),
        (attribute("inherited", 2**40), "its 'inherited' is no number, 0 or more"),
        (attribute("inherited", 1), "it goes on with the training of no trial before it"),
        (attribute("replaces", None), "its 'replaces' is no number, 0 or more"),
        (attribute("replaces", 5), "it has the place of no trial before it"),
    ],
)
def test_what_is_not_of_its_form_is_damage(change: Change, told: str, searched: SearchSpec) -> None:
    with pytest.raises((ArithmeticError, LookupError, TypeError, ValueError, RecursionError), match=told):
        Reader(searched, Space.of(searched)).read(changed(change))


def test_a_trial_goes_on_with_anothers_training_only_under_pbt(searched: SearchSpec) -> None:
    def change(trial: FrozenTrial) -> None:
        trial.user_attrs.update(inherited=1, lineage={"parents": [0]})

    with pytest.raises(ValueError, match="it goes on with another trial's training, and scheduler 'none' lets"):
        Reader(searched, Space.of(searched)).read(changed(change))
    bred = searched.model_copy(update={"scheduler": searched.scheduler.model_copy(update={"name": "pbt"})})
    assert Reader(bred, Space.of(bred)).read(changed(change)).inherited == 1


@pytest.mark.parametrize(
    ("state", "values", "told"),
    [
        (TrialState.COMPLETE, None, "its final values are not 2 numbers"),
        (TrialState.COMPLETE, [0.5], "its final values are not 2 numbers"),
        (TrialState.COMPLETE, [0.5, "2"], "its final values are not 2 numbers"),
        (TrialState.COMPLETE, "ab", "its final values are not 2 numbers"),
        (TrialState.COMPLETE, [0.5, math.inf], "its final values are not finite"),
        (TrialState.PRUNED, [0.5, None], "its final values are not 2 numbers"),
        (TrialState.PRUNED, [math.inf, math.nan], None),
        (TrialState.PRUNED, None, None),
        (TrialState.FAIL, None, None),
        (TrialState.COMPLETE, [0.5, 2], None),
    ],
)
def test_final_values_are_as_many_as_objectives(
    state: TrialState, values: Any, told: str | None, searched: SearchSpec
) -> None:
    def change(trial: FrozenTrial) -> None:
        trial._values = values

    trial = changed(change, state)
    if told is None:
        assert Reader(searched, Space.of(searched)).read(trial).number == 5
    else:
        with pytest.raises((TypeError, ValueError), match=told):
            Reader(searched, Space.of(searched)).read(trial)


@pytest.mark.parametrize(
    "change",
    [
        config("depth", 4),  # between two steps, as a default of the user's may be
        config("x", 1),
        own("fixed_params", {"depth": 4, "later": object}),
        own("constraints", [0.5, 1]),
        attribute("lineage", {"operator": "replaced", "parents": []}),
        attribute("lineage", {"operator": "cma", "parents": [7, 3], "sigma": None}),
        attribute("replaces", 4),
        attribute("paused", True),
        lambda trial: trial.user_attrs.update(paused=True, began=[7, 1.0]),  # where a search died as it went on
        lambda trial: trial.intermediate_values.update({2: math.nan}),
        lambda trial: trial.intermediate_values.pop(2),  # where a search died between the two
    ],
)
def test_what_may_be_is_read(change: Change, searched: SearchSpec) -> None:
    assert Reader(searched, Space.of(searched)).read(changed(change)).number == 5


@pytest.mark.parametrize(
    ("value", "told"), [(12, None), (8.0, None), (8.5, "its 'training.batch_size' is 8.5: Input should")]
)
def test_what_is_between_two_steps_suits_its_setting(value: float, told: str | None, document: dict[str, Any]) -> None:
    document["parameters"] = {"training.batch_size": {"min": 8, "max": 32, "step": 8}}
    stepped = spec.load(document)
    trial = made(TrialState.WAITING)
    trial.params, trial.distributions, trial.intermediate_values = {}, {}, {}
    trial.user_attrs, trial.system_attrs = {}, {"fixed_params": {"training.batch_size": value}}
    reader = Reader(stepped, Space.of(stepped))
    if told is None:
        assert reader.read(trial).config == {}
    else:
        with pytest.raises(ValueError, match=told):
            reader.read(trial)


@pytest.mark.parametrize("damage", ["width", "kept"])
def test_a_config_that_fits_no_model_is_told_before_it_is_applied(damage: str, study: Study, hpo: Run) -> None:
    journal = study.folder / "journal.log"
    text = re.sub(r',"check":"[0-9a-f]{8}"', "", journal.read_text())
    old = '"param_name":"model.width","param_value_internal":16.0'
    assert old in text
    journal.write_text(text.replace(old, old.replace("16.0", {"width": "-3.0", "kept": "1e9"}[damage])))
    for command in ("trials", "ensemble", "reproduce"):
        code, _, told = hpo(command, *(["0"] if command == "reproduce" else []))
        assert code == 2 and "study 'squares': the record of trial 0 is damaged: its 'model.width' is" in told


def test_a_trial_is_held_to_its_form_again_when_it_changes(searched: SearchSpec) -> None:
    """What has not changed is not read again, and what has is not passed over."""
    reader, first = Reader(searched, Space.of(searched)), made()
    record = reader.read(first)
    assert reader.read(first) is record
    longer = copy.copy(first)
    longer.user_attrs = {**first.user_attrs, "report:3": REPORT}
    longer.intermediate_values = {**first.intermediate_values, 3: 0.5}
    again = reader.read(longer)
    assert list(again.reports) == [1, 2, 3] and again.reports[1] is record.reports[1]
    for name, text in (("report:1", '{"metrics": [], "moment": [0, 1.0]}'), ("retries", -1)):
        worse = copy.copy(longer)
        worse.user_attrs = {**longer.user_attrs, name: text}
        with pytest.raises(TypeError):
            reader.read(worse)
    other = copy.copy(longer)
    other.params = {**longer.params, "x": 9.0}
    with pytest.raises(ValueError, match="its 'x' is 9.0"):
        reader.read(other)
    corrected = copy.copy(longer)
    corrected.user_attrs = {**longer.user_attrs, "report:1": written({"loss": 0.1, "size": 1.0}, Moment(1, 2.0))}
    assert reader.read(corrected).reports[1] == {"loss": 0.1, "size": 1.0}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.integers(2**63, 10**400) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["parents", "x", "kind"]), inner),
    max_leaves=5,
)
NAMES = st.sampled_from(
    ["began", "paused", "inherited", "lineage", "replaces", "retries", "failure", "reason", "report:3"]
)


@settings(max_examples=300)
@given(name=NAMES, value=JSON, fixed=JSON, excess=JSON, param=JSON)
def test_whatever_is_recorded_is_read_or_is_one_sentence(
    name: str, value: Any, fixed: Any, excess: Any, param: Any
) -> None:
    study = Study.in_memory(spec.load_search(WANTED))
    for change in (
        attribute(name, value),
        attribute("report:3", json.dumps(value)),
        own("fixed_params", fixed),
        own("constraints:size <= 3", excess),
        own("constraints", excess),
        config("x", param),
        config("kind", param),
    ):
        try:
            record = study._read(changed(change))
        except StudyError as error:
            assert str(error).startswith("study 'held'")
        else:
            json.dumps(record.to_json())
            assert math.isfinite(record.last.at) and math.isfinite(record.began_at)


def test_a_waiting_trial_is_held_to_the_space(tmp_path: Path, hpo: Run) -> None:
    """It is no trial yet, and its config is asked for when it begins."""
    study = Study.create(tmp_path / "studies", spec.load_search(WANTED))
    study.record.enqueue_trial({"x": "much"})
    code, _, told = hpo("trials", "--study", "held")
    assert code == 2 and "study 'held': the record of trial 0 is damaged: its 'x' is 'much', which is not in" in told


def test_a_damaged_trial_is_told_before_anything_is_written(tmp_path: Path) -> None:
    study = Study.create(tmp_path / "studies", spec.load_search(WANTED))
    running = study.record.ask()
    study.record._storage.set_trial_system_attr(running._trial_id, "fixed_params", [1])
    before = (study.folder / "journal.log").read_bytes()
    opened = Study.open(tmp_path / "studies", "held")
    with pytest.raises(StudyError, match="'fixed_params' is no mapping"):
        opened.writer.unfinished()
    assert (study.folder / "journal.log").read_bytes() == before


def test_a_trial_that_diverged_is_read(tmp_path: Path) -> None:
    one = {**WANTED, "objective": {"metric": "loss", "goal": "minimize"}}
    for loss in (math.inf, -math.inf, math.nan):
        study = Study.create(tmp_path / "studies", spec.load_search({**one, "study": f"at{loss}".replace("-", "m")}))
        number = study.writer.ask().number
        study.writer.report(number, 1, {"loss": loss, "size": math.nan})
        study.writer.end(number, Outcome(State.PRUNED, "diverged"))
        assert Study.open(tmp_path / "studies", study.name).trial(number).state is State.PRUNED


def test_a_sampler_that_leaves_the_range_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RandomSampler, "sample_independent", lambda self, study, trial, name, wanted: 7.0)
    wanted = {**WANTED, "parameters": {"x": {"min": 0, "max": 1}}}
    with pytest.raises(InputError, match=r"the sampler has proposed x = 7.0, which is not in \[0.0, 1.0\]"):
        api.simulate(wanted, lambda config, epoch: ({"loss": 1.0, "size": 1.0}, 1.0))


def test_a_trial_waits_only_after_a_report(searched: SearchSpec) -> None:
    trial = made()
    trial.user_attrs, trial.intermediate_values = {"began": [0, 1.0], "paused": True}, {}
    with pytest.raises(ValueError, match="it is paused, and has reported nothing"):
        Reader(searched, Space.of(searched)).read(trial)
