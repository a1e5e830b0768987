"""Callbacks: what they hear, in which order, and that nothing which they do breaks a search."""

import logging
import sys
from pathlib import Path
from typing import Any

import pytest

import hpo
from hpo import api
from hpo.errors import InputError, SpecError
from hpo.spec import Config
from hpo.study.study import Study
from hpo.study.trial import Metrics, State, TrialRecord


def document(**changes: Any) -> dict[str, Any]:
    return {
        "study": "heard",
        "training": {"epochs": 4},
        "parameters": {"x": {"min": 0, "max": 1}},
        "objective": {"metric": "loss", "goal": "minimize"},
        "sampler": "random",
        "scheduler": "none",
        "budget": {"trials": 3},
        **changes,
    }


def curve(config: Config, epoch: int) -> tuple[Metrics, float]:
    if config["x"] > 0.95:
        raise ValueError("too large")
    return {"loss": config["x"] + 1 / epoch}, 1.0


class Listener(hpo.Callback):
    """Keeps what it hears, beside the name of what it is."""

    def __init__(self, name: str = "one", heard: list[tuple[Any, ...]] | None = None) -> None:
        self.name, self.heard = name, [] if heard is None else heard

    def on_trial_start(self, study: Study, trial: TrialRecord) -> None:
        self.heard.append((self.name, "start", trial.number, trial.state))

    def on_report(self, study: Study, trial: TrialRecord, epoch: int, metrics: Metrics) -> None:
        assert study.trial(trial.number).reports[epoch] == trial.reports[epoch] == metrics
        self.heard.append((self.name, "report", trial.number, epoch))

    def on_trial_end(self, study: Study, trial: TrialRecord) -> None:
        assert study.trial(trial.number).state is trial.state
        self.heard.append((self.name, "end", trial.number, trial.state))

    def on_search_end(self, study: Study, reason: str) -> None:
        self.heard.append((self.name, "over", reason))


class Broken(hpo.Callback):
    """Raises whatever is asked for, wherever it is called."""

    def __init__(self, error: BaseException) -> None:
        self.error, self.calls = error, 0

    def __getattribute__(self, name: str) -> Any:
        if not name.startswith("on_"):
            return super().__getattribute__(name)
        self.calls += 1
        raise self.error


def interrupted(**changes: Any) -> None:
    """A search on disk, which Ctrl-C has ended at its first report."""
    with pytest.raises(KeyboardInterrupt):
        hpo.simulate(document(**changes), curve, workers=1, storage="studies", callbacks=[Broken(KeyboardInterrupt())])


def test_they_hear_all_in_order_after_it_was_recorded() -> None:
    heard: list[tuple[Any, ...]] = []
    hpo.simulate(document(), curve, workers=1, callbacks=[Listener("one", heard), Listener("two", heard)])
    own = [event[1:] for event in heard if event[0] == "one"]
    assert own == [event[1:] for event in heard if event[0] == "two"]
    assert [name for name, *_ in heard] == ["one", "two"] * len(own)
    first = [("start", 0, State.RUNNING), *[("report", 0, epoch) for epoch in range(1, 5)], ("end", 0, State.COMPLETE)]
    assert own[:6] == first
    assert own[-1] == ("over", "the budget of 3 trials is spent")


@pytest.mark.parametrize("error", [ValueError("no\nreally not"), SystemExit(3), RecursionError()], ids=repr)
def test_one_that_raises_is_told_once_and_breaks_nothing(
    error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    quiet = hpo.simulate(document(), curve).study
    broken, after = Broken(error), Listener()
    with caplog.at_level(logging.INFO, "hpo.study.callbacks"):
        loud = hpo.simulate(document(), curve, callbacks=[broken, after]).study
    assert [trial.reports for trial in loud.trials()] == [trial.reports for trial in quiet.trials()]
    assert broken.calls == len(after.heard) > 10
    told = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert len(told) == 1 and len(caplog.records) == broken.calls
    assert told[0].getMessage().startswith("callback 'Broken' has raised in on_trial_start: ")


def test_ctrl_c_within_one_still_ends_the_search() -> None:
    with pytest.raises(KeyboardInterrupt):
        hpo.simulate(document(), curve, callbacks=[Broken(KeyboardInterrupt())])


def test_each_has_its_own_word_when_it_raises(caplog: pytest.LogCaptureFixture) -> None:
    hpo.simulate(document(), curve, callbacks=[Broken(ValueError("a")), Broken(ValueError("b"))])
    assert [record.getMessage().split(": ")[2].split(";")[0] for record in caplog.records] == ["a", "b"]


@pytest.mark.parametrize(
    ("budget", "reason"),
    [
        ({"trials": 3}, "the budget of 3 trials is spent"),
        ({"epochs": 9}, "the budget of 9 epochs is spent"),
        ({"gpu_hours": 0.001}, "the budget of 0.001 GPU hours is spent"),
        ({"time_limit": 7}, "the time limit is over"),
    ],
)
def test_the_end_has_its_reason(budget: dict[str, Any], reason: str) -> None:
    listener = Listener()
    hpo.simulate(document(budget=budget), curve, callbacks=[listener])
    assert listener.heard[-1] == ("one", "over", reason)


def test_a_space_that_is_used_up_is_a_reason() -> None:
    listener = Listener()
    hpo.simulate(document(parameters={"x": {"values": [0.1, 0.2]}}), curve, callbacks=[listener])
    assert listener.heard[-1] == ("one", "over", "all 2 configs of the space have been tried")


def test_a_loop_of_ones_own_has_them_too_and_an_error_is_its_end() -> None:
    listener = Listener()
    with (
        pytest.raises(ZeroDivisionError),
        hpo.ask_and_tell(document(), storage=None, callbacks=[listener]) as search,
    ):
        trial = search.ask()
        assert trial is not None
        search.report(trial, 1, {"loss": 1.0})
        raise ZeroDivisionError("by hand")
    assert [event[1] for event in listener.heard] == ["start", "report", "over"]
    assert listener.heard[-1][2] == "by hand"


def test_a_study_that_goes_on_tells_of_what_was_left() -> None:
    interrupted()
    listener = Listener()
    hpo.simulate(document(), curve, storage="studies", callbacks=[listener])
    assert listener.heard[0] == ("one", "start", 0, State.RUNNING)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([Listener], "callbacks takes objects, got the class 'Listener'; write Listener()"),
        ([print], "callbacks takes objects of a subclass of hpo.Callback, got <built-in function print>"),
    ],
)
def test_what_is_none_is_refused(given: list[Any], message: str) -> None:
    with pytest.raises(InputError) as refused:
        hpo.simulate(document(), curve, callbacks=given)
    assert str(refused.value) == message
    with pytest.raises(InputError, match="callbacks takes objects"):
        hpo.search(document(), callbacks=given)
    assert not Path("studies").exists()


# ---- by their import path --------------------------------------------------------------------------------------------

MODULE = """
import hpo

heard = []

class Kept(hpo.Callback):
    def __init__(self, prefix=""):
        self.prefix = prefix

    def on_search_end(self, study, reason):
        heard.append(self.prefix + reason)

def none(): return 7
"""


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A module of the user's where the test stands."""
    Path("my_own_calls.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(Path.cwd()))
    yield lambda: sys.modules["my_own_calls"].heard
    sys.modules.pop("my_own_calls", None)


def test_a_file_names_them_with_their_settings(own: Any) -> None:
    named = ["my_own_calls:Kept", {"name": "my_own_calls:Kept", "prefix": "> "}]
    hpo.simulate(document(callbacks=named), curve)
    assert own() == ["the budget of 3 trials is spent", "> the budget of 3 trials is spent"]


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ("kept", "callbacks.0: unknown callback 'kept'. Your own goes by 'module:attribute'."),
        ("my_own_calls:kept", "callbacks.0: callback 'my_own_calls:kept': module 'my_own_calls' has no 'kept'."),
        ({"name": "my_own_calls:Kept", "suffix": 1}, "callbacks.0: callback 'my_own_calls:Kept' refuses {'suffix': 1}"),
        ("my_own_calls:none", "callbacks.0: callback 'my_own_calls:none' is no hpo.Callback, and makes none: 7"),
        ({"prefix": "a"}, "callbacks.0.name: is required"),
        (7, "callbacks.0: must be a mapping such as {name: value}, got 7"),
    ],
    ids=str,
)
def test_what_is_wrong_with_one_is_told_with_its_place(own: Any, named: Any, message: str) -> None:
    with pytest.raises(SpecError) as refused:
        hpo.simulate(document(callbacks=named), curve)
    assert message in str(refused.value)


def test_what_a_stored_file_names_is_not_run_without_trust(own: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from hpo import plugins

    interrupted(callbacks="my_own_calls:Kept")
    study = api.open_study("heard")
    assert study.own_code("resume") == ["my_own_calls:Kept"] and study.command("resume").endswith("--trust")
    monkeypatch.setattr(plugins, "_trusted", set())
    monkeypatch.setattr(plugins, "_imported", {})
    with pytest.raises(SpecError, match="callback 'my_own_calls:Kept' is code that .* names.*add --trust"):
        hpo.simulate(study.spec, curve, storage="studies")


def test_a_study_goes_on_with_other_ones(own: Any) -> None:
    interrupted(callbacks="my_own_calls:Kept")
    assert len(hpo.simulate(document(callbacks=[]), curve, storage="studies").study.trials()) == 3
