"""Slots that nobody wants, and who has them meanwhile."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hpo import datasets, samplers, spec
from hpo.budget import Left
from hpo.engine.hooks import RecordingScheduler, StudySearcher
from hpo.engine.recorder import Recorder
from hpo.engine.words import INHERITED, METRICS, THREADS
from hpo.engine.worker import Shared, Worker
from hpo.engine.workplace import Workplace
from hpo.spec import Config, Failures
from hpo.study import Study
from hpo.training import Context, Report
from hpo.training.objective import Snapshot
from hpo.trial import Failure, Outcome, State
from tests.conftest import facts


@pytest.fixture
def study(document: dict[str, Any]) -> Study:
    document["scheduler"] = "none"
    made = Study.create(Path("studies"), spec.load(document), facts())
    made.use(samplers.build(made.spec, 0))
    return made


def begun(study: Study, trials: int, slots: int) -> Recorder:
    recorder = Recorder(study, (), slots, Left(trials))
    for _ in range(trials):
        recorder.start()
    return recorder


@pytest.mark.parametrize(("running", "slots", "shares"), [(1, 2, [1]), (1, 8, [7]), (3, 8, [1, 1, 1]), (2, 2, [0, 0])])
def test_free_slots_are_shared_and_never_more_than_there_are(
    study: Study, running: int, slots: int, shares: list[int]
) -> None:
    recorder = begun(study, running, slots)
    assert [recorder.lend(number) for number in range(running)] == shares
    assert recorder.running + sum(shares) <= slots


def test_a_slot_that_is_lent_is_taken_until_it_is_given_back(study: Study) -> None:
    recorder = begun(study, 1, 2)
    assert recorder.has_room and recorder.lend(0) == 1
    assert not recorder.has_room and recorder.share == 0
    assert (recorder.take_back(0), recorder.take_back(0)) == (1, 0)
    assert recorder.has_room


def test_it_is_free_again_when_the_trial_pauses_ends_or_is_lost(study: Study) -> None:
    recorder = Recorder(study, (), 8, Left(4), Failures(max_retries=1))
    leave = (
        lambda: recorder.pause(0),
        lambda: recorder.end(1, Outcome(State.PRUNED, "stopped")),
        lambda: recorder.lose(2),
        lambda: recorder.fail(3, Failure.ERROR, "it does not work"),
    )
    for number, leaves in enumerate(leave):
        recorder.start()
        study.report(number, 1, {"accuracy": 0.5})
        recorder._lent[number] = 1
        leaves()
        assert recorder.take_back(number) == 0


def test_nothing_is_lent_while_a_trial_is_to_begin_again(study: Study) -> None:
    recorder = begun(study, 2, 4)
    recorder.lose(1)
    assert recorder.share == 0
    again = recorder.recover()
    assert again is not None and again.number == 1 and recorder.share == 1


def test_a_trial_that_begins_again_is_told_which_epochs_had_more_threads(study: Study) -> None:
    study.ask()
    for epoch, more in ((1, {}), (2, {THREADS: 2.0})):
        study.report(0, epoch, {"accuracy": 0.5, **more})
    recorder = Recorder(study, (), 2, Left(1))
    told = StudySearcher(recorder, RecordingScheduler(recorder)).suggest("a trial")
    assert told["number"] == 0 and told[THREADS] == {2: 2}


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
    shared = Shared(counted, wanted, dataset, study.artifacts, Workplace.here({"cpu": 1.0}))
    made = Worker.__new__(Worker)  # Ray's own beginning wants a cluster
    made.setup({"number": 0, "config": {}, INHERITED: 0, THREADS: {2: 3}}, shared=shared)
    yield made
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
