"""Slots that nobody wants, and who has them meanwhile."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hpo import datasets, samplers, spec
from hpo.controller import Controller, End, Failed, Finished, Lost, Retries, Start
from hpo.engine.ray.driver import Driver
from hpo.engine.ray.messages import INHERITED, METRICS, THREADS
from hpo.engine.ray.pickling import Sent
from hpo.engine.ray.worker import Shared, Worker
from hpo.engine.ray.worker_settings import WorkerSettings
from hpo.spec import Config, Failures
from hpo.study.budget import Left
from hpo.study.study import Study
from hpo.study.trial import Failure
from hpo.training import Context, Report
from hpo.training.function import Snapshot
from tests.conftest import data_summary


@pytest.fixture
def study(document: dict[str, Any]) -> Study:
    document["scheduler"] = "none"
    made = Study.create(Path("studies"), spec.load(document), data_summary())
    made.writer.use(samplers.build(made.spec, 0))
    return made


def begun(study: Study, trials: int, slots: int, max_retries: int = 0) -> Controller:
    retries = Retries(Failures(max_retries=max_retries), delay=0.0)
    controller = Controller(study, Left(trials), lambda: slots, retries=retries)
    for _ in range(trials):
        assert isinstance(controller.next(), Start)
    return controller


@pytest.mark.parametrize(("running", "slots", "shares"), [(1, 2, [1]), (1, 8, [7]), (3, 8, [1, 1, 1]), (2, 2, [0, 0])])
def test_free_slots_are_shared_and_never_more_than_there_are(
    study: Study, running: int, slots: int, shares: list[int]
) -> None:
    controller = begun(study, running, slots)
    assert [controller.lend(number) for number in range(running)] == shares
    assert controller.slots.running + sum(shares) <= slots


def test_a_slot_that_is_lent_is_taken_until_the_trial_reports(study: Study) -> None:
    controller = begun(study, 1, 2)
    assert controller.has_free_slot and controller.lend(0) == 1
    assert not controller.has_free_slot and controller.slots.share == 0
    controller.report(0, 1, {"accuracy": 0.5})
    assert controller.slots.lent(0) == 0
    assert controller.has_free_slot


@pytest.mark.parametrize("end", [Finished(), Lost(), Failed(Failure.ERROR, "it does not work")], ids=str)
def test_it_is_free_again_when_the_trial_ends_fails_or_is_lost(study: Study, end: End) -> None:
    controller = begun(study, 1, 2, max_retries=1)
    controller.report(0, 1, {"accuracy": 0.5})
    assert controller.lend(0) == 1
    controller.ended(0, end)
    assert controller.slots.lent(0) == 0 and controller.has_free_slot


def test_nothing_is_lent_while_a_trial_is_to_restart(study: Study) -> None:
    controller = begun(study, 2, 4)
    controller.ended(1, Lost())
    assert controller.slots.share == 0
    assert controller.next() == Start(study.trial(1)) and controller.slots.share == 1


def test_a_trial_that_restarts_is_told_which_epochs_had_more_threads(study: Study) -> None:
    study.writer.ask()
    for epoch, more in ((1, {}), (2, {THREADS: 2.0})):
        study.writer.report(0, epoch, {"accuracy": 0.5, **more})
    told = Driver(Controller(study, Left(1), lambda: 2)).suggest()
    assert isinstance(told, dict) and told["number"] == 0 and told[THREADS] == {2: 2}


@pytest.mark.parametrize("threads", [float("nan"), float("inf")])
def test_a_damaged_number_of_threads_is_left(study: Study, threads: float) -> None:
    study.writer.ask()
    study.writer.report(0, 1, {"accuracy": 0.5, THREADS: threads})
    told = Driver(Controller(study, Left(1), lambda: 2)).suggest()
    assert isinstance(told, dict) and told["number"] == 0 and THREADS not in told


def counted(config: Config, context: Context) -> Iterator[Report]:
    """Says how many threads an epoch had; it keeps no state."""
    for epoch in range(1, context.spec.training.epochs + 1):
        had = float(torch.get_num_threads())
        yield Report(epoch, {"accuracy": 0.5, "had": had}, lambda: Snapshot({}, {"validation": np.ones((1, 3))}))


@pytest.fixture
def worker(study: Study) -> Iterator[Worker]:
    before = torch.get_num_threads()
    wanted = study.study_spec
    dataset = datasets.load(wanted.data, Path("data"), wanted.seed)
    shared = Shared(Sent(counted), wanted, dataset, study.artifacts, WorkerSettings.here({"cpu": 1.0}))
    made = Worker.__new__(Worker)  # Ray's own beginning wants a cluster
    made.setup({"number": 0, "config": {}, INHERITED: 0, THREADS: {2: 3}}, shared=shared)
    yield made
    made.cleanup()
    torch.set_num_threads(before)


def test_an_epoch_that_is_trained_once_more_has_as_many_threads(worker: Worker) -> None:
    told = [worker.step()[METRICS] for _ in range(3)]
    assert [(metrics["had"], metrics.get(THREADS)) for metrics in told] == [(1, None), (3, 3), (1, None)]


def test_so_it_has_where_earlier_epochs_are_trained_to_get_to_a_later_one(worker: Worker) -> None:
    had: list[int] = []
    use = worker._threads.use
    worker._threads.use = lambda count: (had.append(count), use(count))[1]  # type: ignore[method-assign, func-returns-value]
    worker.load_checkpoint({"epoch": 2, "best": None, THREADS: {2: 3}})
    metrics = worker.step()[METRICS]
    assert metrics["had"] == 1 and THREADS not in metrics
    assert had == [1, 1, 3, 1]  # what the epoch has that is asked for, then epochs 1 to 3
