"""Searches that were interrupted and gone on with are the searches that they would have been."""

import random
from collections.abc import Mapping
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hpo import api, datasets, samplers, spec
from hpo.engine.ray import run as engine
from hpo.study.budget import Left
from hpo.study.study import Study
from hpo.study.trial import Metrics, State, TrialRecord
from tests.conftest import data_summary
from tests.engine.ray.test_run import curve

EPOCHS = 9


class Killed(BaseException):
    """The driver dies; no handler of errors sees it."""


class Fate:
    """An observer, and a curve, that end the search after so many of their calls."""

    def __init__(self, calls: int) -> None:
        self.calls = calls

    def curve(self, config: Mapping[str, Any], epoch: int) -> tuple[dict[str, float], float]:
        self._strike()
        draw = random.Random(f"{sorted(config.items())} {epoch}")
        far = abs(config["x"] - 0.3) + 0.1 * (config["kind"] == "b")
        if far > 0.65 and epoch == 2:
            raise ValueError("this config fails")
        loss = float("nan") if 0.6 < far < 0.65 and epoch == 3 else far + 1 / epoch + 0.1 * draw.random()
        return {"loss": loss}, draw.choice([0.0, 1.0, 1.0, 2.5])

    def trial_started(self, trial: TrialRecord) -> None:
        self._strike()

    def trial_reported(self, number: int, epoch: int, metrics: Metrics) -> None:
        self._strike()

    def trial_paused(self, number: int) -> None:
        self._strike()

    def trial_resumed(self, number: int) -> None:
        self._strike()

    def trial_ended(self, trial: TrialRecord) -> None:
        self._strike()

    def _strike(self) -> None:
        self.calls -= 1
        if self.calls == 0:
            raise Killed


def searched(sampler: Any, scheduler: Any, seed: int) -> dict[str, Any]:
    return {
        "study": "fate",
        "training": {"epochs": EPOCHS},
        "parameters": {"x": {"min": 0.0, "max": 1.0}, "kind": {"values": ["a", "b"]}},
        "objective": {"metric": "loss", "goal": "minimize"},
        "sampler": sampler,
        "scheduler": scheduler,
        "budget": {"trials": 12},
        "failures": {"max_failures": 12},  # the next search counts them anew, so one that they end is another search
        "seed": seed,
    }


def trials(study: Study) -> list[tuple[Any, ...]]:
    return [
        (it.number, it.state, it.config, str(it.reports), it.reason and it.reason.splitlines()[-1], it.lineage)
        for it in study.trials()
    ]


SEARCHES: list[tuple[Any, Any]] = [
    ("random", "none"),
    ("tpe", "asha"),
    ("tpe", "asha_stop"),
    ("random", "median"),
    ("random", "hyperband"),
    ("curves", "freeze_thaw"),
    ("random", {"name": "pbt", "interval": 2}),
    ({"name": "evolution", "strategy": "mu_plus_lambda"}, "asha"),
    ({"name": "evolution", "strategy": "differential"}, "none"),
    ("cmaes", "none"),
    ("portfolio", "asha"),
]


@pytest.mark.parametrize(("sampler", "scheduler"), SEARCHES, ids=str)
@settings(max_examples=6)
@given(seed=st.integers(0, 1000), workers=st.integers(1, 4), fates=st.lists(st.integers(1, 60), min_size=1, max_size=8))
def test_an_interrupted_search_is_the_search_that_it_would_have_been(
    tmp_path_factory: pytest.TempPathFactory, sampler: Any, scheduler: Any, seed: int, workers: int, fates: list[int]
) -> None:
    wanted, storage = searched(sampler, scheduler, seed), tmp_path_factory.mktemp("studies")
    whole = api.simulate(wanted, Fate(0).curve, workers=workers)
    for fate in fates:
        with pytest.MonkeyPatch.context() as patched:
            struck = Fate(fate)
            patched.setattr("hpo.study.storage.lock.os.utime", lambda file: None)
            try:
                api.simulate(wanted, struck.curve, workers=workers, storage=storage, observers=[struck])
            except Killed:
                continue
            break
    again = api.simulate(wanted, Fate(0).curve, workers=workers, storage=storage)
    assert trials(again.study) == trials(whole.study)
    assert again.seconds == whole.seconds or not whole.seconds
    assert again.study.spent() == whole.study.spent()
    assert trials(Study.open(Path(storage), "fate")) == trials(whole.study)


@pytest.mark.parametrize(("sampler", "scheduler"), SEARCHES, ids=str)
@settings(max_examples=3)
@given(seed=st.integers(0, 1000), workers=st.integers(1, 4), cuts=st.lists(st.floats(0, 1), min_size=5, max_size=5))
@example(seed=33, workers=2, cuts=[0.0, 0.25, 0.5, 0.75, 1.0])  # curves: five trials fail one after another
@example(seed=0, workers=1, cuts=[0.8984375])  # hyperband: a trial has begun again and is still paused
def test_a_journal_that_was_cut_anywhere_goes_on_to_the_same_search(
    tmp_path_factory: pytest.TempPathFactory, sampler: Any, scheduler: Any, seed: int, workers: int, cuts: list[float]
) -> None:
    wanted, storage = searched(sampler, scheduler, seed), tmp_path_factory.mktemp("studies")
    whole = trials(api.simulate(wanted, Fate(0).curve, workers=workers, storage=storage / "whole").study)
    journal = (storage / "whole" / "fate" / "journal.log").read_bytes()
    made = journal.index(b'"op_code":4')  # the first trial is enqueued: from here on the study is there
    for place, cut in enumerate(cuts):
        copytree(storage / "whole", storage / f"{place}")
        end = made + int(cut * (len(journal) - made))
        (storage / f"{place}" / "fate" / "journal.log").write_bytes(journal[:end])
        again = api.simulate(wanted, Fate(0).curve, workers=workers, storage=storage / f"{place}")
        assert trials(again.study) == whole


@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.parametrize("scheduler", ["asha", "freeze_thaw"])
def test_trials_that_only_wait_go_on_or_end(document: dict[str, Any], scheduler: str) -> None:
    """Ray knows none of them, and so would wait for ever."""
    document |= {"sampler": "curves", "scheduler": scheduler, "budget": {"trials": 3}}
    document["training"]["epochs"] = 9
    study = Study.create(Path("studies"), spec.load(document), data_summary())
    study.writer.use(samplers.build(study.spec, 0))
    with study.hold.searching():
        for width in range(3):
            number = study.writer.ask().number
            for epoch in (1, 2):
                study.writer.report(number, epoch, {"accuracy": 0.1 * width + 0.1 * epoch})
            study.writer.pause(number)
    again = Study.open(Path("studies"), study.name)
    wanted = again.study_spec
    dataset = datasets.load(wanted.data, Path("data"), wanted.seed)
    with again.hold.searching():
        again.writer.use(samplers.build(wanted, 3))
        left = Left(3, by_trials=True)
        engine.run(again, curve, resources=wanted.resources, left=left, dataset=dataset)
    assert all(trial.state in (State.COMPLETE, State.PRUNED) for trial in again.trials())
    assert [trial.state for trial in again.trials()].count(State.COMPLETE) >= 1
