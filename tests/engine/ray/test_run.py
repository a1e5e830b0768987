"""The engine with real Ray: every outcome that a trial can have, as the study records it."""

import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
import torch
from optuna.trial import TrialState
from ray.tune import TuneError

import hpo
from hpo import datasets, samplers, spec
from hpo.engine.ray import run as engine
from hpo.engine.ray.cluster import trial_resources
from hpo.errors import HpoError, ResourceError
from hpo.spec import Config, Resources
from hpo.study.budget import Left
from hpo.study.study import Study
from hpo.study.trial import Metrics, State, TrialRecord
from hpo.training import Context, Report, train
from hpo.training.function import Snapshot
from tests.conftest import data_summary, untimed

pytestmark = pytest.mark.usefixtures("ray_cluster")


def snapshot() -> Snapshot:
    rows = np.full((60, 3), 1 / 3, np.float32)
    return Snapshot({"w": np.zeros(1, np.float32)}, {"validation": rows, "test": rows})


def curve(config: Config, context: Context) -> Iterator[Report]:
    """As good as its learning rate is high."""
    for epoch in range(1, context.spec.training.epochs + 1):
        yield Report(epoch, {"accuracy": config["optimizer.lr"] * epoch, "seed": context.seed}, snapshot)


def troubled(config: Config, context: Context) -> Iterator[Report]:
    """Raises, diverges, ends early or goes on, by its width."""
    width = config["model.width"]
    if width < 12:
        raise RuntimeError(f"width {width} is cursed")
    yield Report(1, {"accuracy": float("nan") if width < 16 else 0.5}, snapshot)
    if width < 22:
        return
    yield Report(2, {"accuracy": 0.6}, snapshot)
    yield Report(3, {"accuracy": 0.55}, snapshot)


def slow(config: Config, context: Context) -> Iterator[Report]:
    """Half a second an epoch."""
    for epoch in range(1, context.spec.training.epochs + 1):
        time.sleep(0.5)
        yield Report(epoch, {"accuracy": 0.5}, snapshot)


def threaded(config: Config, context: Context) -> Iterator[Report]:
    """The wider trial has one epoch; the other trains on until it has the threads of both."""
    for epoch in range(1, (context.spec.training.epochs if config["model.width"] == 8 else 1) + 1):
        time.sleep(0.1)
        threads = torch.get_num_threads()
        yield Report(epoch, {"accuracy": 0.5, "torch": threads}, snapshot)
        if threads > 1:
            return


def dying(config: Config, context: Context) -> Iterator[Report]:
    """Its second epoch kills the process."""
    import os

    yield Report(1, {"accuracy": 0.5}, snapshot)
    os._exit(1)


class Witness:
    """An observer that remembers."""

    def __init__(self) -> None:
        self.events: list[tuple[str, int]] = []

    def trial_started(self, trial: TrialRecord) -> None:
        self.events.append(("started", trial.number))

    def trial_reported(self, number: int, epoch: int, metrics: Metrics) -> None:
        self.events.append((f"epoch {epoch}", number))

    def trial_paused(self, number: int) -> None:
        self.events.append(("paused", number))

    def trial_resumed(self, number: int) -> None:
        self.events.append(("resumed", number))

    def trial_ended(self, trial: TrialRecord) -> None:
        self.events.append((trial.state.value, trial.number))


def search(document: dict[str, Any], objective: Any, trials: int, **arguments: Any) -> Study:
    study = Study.create(Path("studies"), spec.load(document), data_summary())
    study.writer.use(samplers.build(study.spec, 0))
    wanted = study.study_spec
    dataset = datasets.load(wanted.data, Path("data"), wanted.seed)
    left = Left(trials, by_trials="deadline" not in arguments)
    engine.run(study, objective, resources=wanted.resources, left=left, dataset=dataset, **arguments)
    return study


def test_the_last_trial_has_the_cpus_of_slots_that_nobody_wants(
    document: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hpo.engine.ray.machines.started_here", lambda: True)
    document |= {"scheduler": "none", "parameters": {"model.width": {"values": [8, 16]}}}
    document["resources"] = {"cpu": 1, "gpu": 0}
    document["training"]["epochs"] = 1000
    study = search(document, threaded, trials=2, concurrency=2)
    long = max(study.trials(), key=lambda trial: trial.epoch)
    had = [(report["torch"], report.get("torch_threads")) for report in long.reports.values()]
    assert had[0] == (1, None) and had[-1] == (2, 2)


def test_cpus_are_lent_where_they_change_no_bits_that_are_promised(document: dict[str, Any]) -> None:
    each = {"cpu": 2.0, "gpu": 0.0}
    assert engine.lendable(spec.load(document), each) == 2.0
    assert engine.lendable(spec.load(document), {**each, "gpu": 0.5}) == 0.0
    timed = {**document, "constraints": ["epoch_seconds <= 10"]}
    assert engine.lendable(spec.load(timed), each) == 0.0
    document["training"]["deterministic"] = True
    assert engine.lendable(spec.load(document), each) == 0.0


def test_asha_pauses_at_its_rungs_and_promotes_the_best(document: dict[str, Any]) -> None:
    document["training"]["epochs"] = 9
    witness = Witness()
    study = search(document, curve, trials=12, observers=[witness])
    states = [trial.state for trial in study.trials()]
    assert states.count(State.PRUNED) >= 8 and states.count(State.COMPLETE) >= 1
    best = max(study.trials(), key=lambda trial: trial.config["optimizer.lr"])
    assert best.state is State.COMPLETE  # it was the best wherever it was compared
    for trial, frozen in zip(study.trials(), study.record.get_trials(), strict=True):
        assert list(trial.reports) == list(range(1, trial.epoch + 1))
        assert frozen.intermediate_values == {epoch: report["accuracy"] for epoch, report in trial.reports.items()}
        if trial.state is State.COMPLETE:
            assert trial.epoch == 9 and frozen.state is TrialState.COMPLETE
        else:
            assert trial.epoch in (1, 3) and frozen.state is TrialState.PRUNED
            assert trial.reason == "paused by asha and not promoted"
        stored = study.artifacts.read(trial.number)
        assert stored is not None and stored.epoch == trial.best_epoch
        own = [event for event, number in witness.events if number == trial.number]
        assert own.count("resumed") <= own.count("paused") <= 2
        assert [event for event in own if event not in ("paused", "resumed")] == [
            "started",
            *(f"epoch {epoch}" for epoch in range(1, trial.epoch + 1)),
            trial.state.value,
        ]
    assert len({next(iter(trial.reports.values()))["seed"] for trial in study.trials()}) == 12
    assert ("resumed", best.number) in witness.events or ("paused", best.number) not in witness.events


def test_a_paused_trial_trains_on_as_if_it_had_not_been(document: dict[str, Any]) -> None:
    document["training"] |= {"epochs": 4}
    document["model"]["dropout"] = 0.2
    document["scheduler"] = {"name": "asha", "eta": 2}
    witness = Witness()
    study = search(document, train, trials=5, observers=[witness], concurrency=1)
    (number, *_) = [number for event, number in witness.events if event == "resumed"]
    trial = study.trial(number)
    dataset = datasets.load(study.study_spec.data, Path("data"), 0)
    seed = study.spec.trial_seed(number)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as the worker's
    try:
        whole = list(islice(train(trial.config, Context(study.study_spec, dataset, seed)), trial.epoch))
    finally:
        torch.set_num_threads(threads)
    for report in whole:
        assert untimed(trial.reports[report.epoch]) == untimed(report.metrics)
    assert not list(study.artifacts.folder.glob("*/state.pt"))  # of no use once the trials have ended


def test_by_default_the_model_of_the_curves_decides_what_goes_on(document: dict[str, Any]) -> None:
    document["training"]["epochs"] = 8
    del document["scheduler"]
    witness = Witness()
    study = search(document, curve, trials=9, observers=[witness])
    assert (study.spec.sampler.name, study.spec.scheduler.name) == ("curves", "freeze_thaw")
    best, *others = study.leaderboard()
    assert best.state is State.COMPLETE and "resumed" in {event for event, _ in witness.events}
    assert {trial.epoch for trial in others} & {2, 4} and State.RUNNING not in {trial.state for trial in others}


def test_a_child_goes_on_with_its_parents_weights_and_its_own_config(document: dict[str, Any]) -> None:
    document["training"] |= {"epochs": 4}
    document["parameters"] = {"optimizer.lr": {"min": 1e-5, "max": 0.1, "log": True}}
    document["scheduler"] = {"name": "pbt", "interval": 2}
    document["budget"] = {"trials": 5}
    witness = Witness()
    study = search(document, train, trials=5, observers=[witness])
    members, children = study.trials()[:5], study.trials()[5:]
    replaced = [member for member in members if member.state is State.PRUNED]
    assert children and len(replaced) == len(children)
    for child, member in zip(children, replaced, strict=True):
        parent = study.trial(child.lineage["parents"][0])  # type: ignore[index]
        assert child.inherited == 2 and list(child.reports) == [3, 4] and child.state is State.COMPLETE
        assert child.config != parent.config
        assert child.reports[3]["nll"] < max(member.reports[2]["nll"] for member in replaced)
        assert member.reason is not None and member.reason.startswith("replaced by a child of trial ")
        stored = study.artifacts.read(child.number)
        assert stored is not None and stored.epoch == child.best_epoch
    assert study.spent().trials == 5 and ("started", 5) in witness.events
    assert not list(study.artifacts.folder.glob("*/state.pt"))


def test_an_objective_without_state_cannot_have_children(document: dict[str, Any]) -> None:
    document["training"]["epochs"] = 4
    document["scheduler"] = {"name": "pbt", "interval": 2}
    study = search(document, curve, trials=5)
    child = study.trials()[5]
    assert child.state is State.FAILED and child.cause is not None
    assert (
        "a child goes on with its parent's state, and there is none: the training function has saved none"
        in child.cause
    )


def test_asha_stop_stops_without_pausing(document: dict[str, Any]) -> None:
    document["training"]["epochs"] = 9
    document["scheduler"] = {"name": "asha_stop", "grace": 3}
    witness = Witness()
    study = search(document, curve, trials=6, observers=[witness])
    pruned = [trial for trial in study.trials() if trial.state is State.PRUNED]
    assert pruned and {trial.reason for trial in pruned} == {"stopped by asha_stop"}
    assert "paused" not in {event for event, _ in witness.events}


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_errors_divergence_and_early_ends_are_recorded_as_such(document: dict[str, Any]) -> None:
    document["parameters"]["model.width"] = {"values": [8, 14, 20, 30]}
    document["sampler"] = {"name": "optuna.samplers:BruteForceSampler"}
    document["resources"] = {"cpu": 0.5, "gpu": 0.5}
    del document["parameters"]["optimizer.lr"]
    document["scheduler"] = "none"
    study = search(document, troubled, trials=9)  # the sampler ends the search after four
    assert len(study.trials()) == 4
    by_width = {trial.config["model.width"]: trial for trial in study.trials()}
    assert by_width[8].state is State.FAILED and "RuntimeError: width 8 is cursed" in (by_width[8].reason or "")
    assert by_width[14].state is State.PRUNED and (by_width[14].reason or "").startswith("diverged")
    assert by_width[14].value is None and study.artifacts.read(by_width[14].number) is None
    assert by_width[20].state is State.COMPLETE and by_width[20].epoch == 1
    assert by_width[30].state is State.COMPLETE and by_width[30].epoch == 3
    stored = study.artifacts.read(by_width[30].number)
    assert stored is not None and stored.epoch == 2


def test_a_dead_worker_is_a_failed_trial_and_the_search_goes_on(document: dict[str, Any]) -> None:
    document["scheduler"] = "none"
    witness = Witness()
    study = search(document, dying, trials=2, concurrency=1, observers=[witness])
    assert [event for event, _ in witness.events] == ["started", "epoch 1", "failed"] * 2  # one at a time
    assert [trial.state for trial in study.trials()] == [State.FAILED, State.FAILED]
    assert "worker process died" in (study.trial(0).reason or "")
    assert study.trial(0).epoch == 1


def test_the_time_limit_stops_trials_and_keeps_them(document: dict[str, Any]) -> None:
    document["training"]["epochs"] = 100
    document["scheduler"] = "none"
    started = time.monotonic()
    study = search(
        document, slow, trials=50, deadline=started + 45
    )  # on a busy machine workers need half of it to start
    assert time.monotonic() - started < 90
    assert {trial.state for trial in study.trials()} <= {State.PRUNED, State.RUNNING}
    kept = [trial for trial in study.trials() if trial.state is State.PRUNED]
    assert kept and all(trial.reason == "stopped by the time limit" and trial.epoch < 100 for trial in kept)
    stored = [study.artifacts.read(trial.number) for trial in kept]
    assert [left and left.epoch for left in stored] == [trial.best_epoch for trial in kept]
    assert not any(trial.reports for trial in study.trials() if trial.state is State.RUNNING)


def test_a_sampler_that_fails_ends_the_search_with_its_reason(document: dict[str, Any]) -> None:
    class Failing(optuna.samplers.RandomSampler):
        def sample_independent(self, *arguments: Any) -> Any:
            raise ValueError("out of ideas")

    document["optimizer"].pop("lr")  # trial 0 has no default for it
    study = Study.create(Path("studies"), spec.load(document), data_summary())
    study.writer.use(Failing())
    with pytest.raises(HpoError, match="the search ended early, what is done is kept: ValueError: out of ideas"):
        dataset = datasets.load(study.study_spec.data, Path("data"), study.spec.seed)
        engine.run(study, curve, resources=study.study_spec.resources, left=Left(3), dataset=dataset)


def test_auto_is_one_gpu_where_there_is_any() -> None:
    assert trial_resources(Resources(gpu="auto")) == {"cpu": 1, "gpu": 1}


@pytest.mark.parametrize(
    ("resources", "message"), [({"gpu": 2}, "resources.gpu: a trial asks for 2"), ({"cpu": 64}, "64")]
)
def test_more_than_the_machine_has_is_refused(resources: dict[str, float], message: str) -> None:
    with pytest.raises(ResourceError, match=message):
        trial_resources(Resources.model_validate(resources))


def test_the_same_seed_gives_the_same_trials_twice(document: dict[str, Any]) -> None:
    document["budget"]["trials"] = 6
    document["training"]["epochs"] = 9
    trials = []
    for storage in ("first", "second"):
        result = hpo.search(document, storage=storage, concurrency=1, seed=3)
        trials.append([(t.config, t.state, _without_seconds(t.reports)) for t in result.study.trials()])
    assert trials[0] == trials[1]
    assert len(trials[0]) == 6


def test_the_same_command_goes_on_and_does_nothing_twice(document: dict[str, Any]) -> None:
    first = hpo.search(document, trials=2)
    before = [trial.to_json() for trial in first.study.trials()]
    second = hpo.search(document, trials=4)
    after = [trial.to_json() for trial in second.study.trials()]
    assert after[:2] == before and len(after) == 4
    assert len({str(trial["config"]) for trial in after}) == 4
    assert len(hpo.search(document, trials=4).study.trials()) == 4


def _without_seconds(reports: Any) -> dict[int, dict[str, float]]:
    return {epoch: untimed(metrics) for epoch, metrics in reports.items()}


def test_an_error_of_ours_is_found_in_that_of_tune() -> None:
    with pytest.raises(TuneError) as raised:
        try:
            raise HpoError("the study's database was lost")
        except HpoError:
            raise TuneError("Traceback ...")  # noqa: B904  # as Tune does
    assert str(engine._of_ours(raised.value)) == "the study's database was lost"
    assert engine._of_ours(ValueError("of a user's sampler")) is None
