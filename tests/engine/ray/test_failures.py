"""What becomes of trials that fail, by kind, with real Ray."""

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import hpo
from hpo import datasets, samplers
from hpo.engine.ray import run as engine
from hpo.errors import HpoError
from hpo.spec import Config, StudySpec
from hpo.study.budget import Left
from hpo.study.study import Study
from hpo.study.trial import Failure, Metrics, State
from hpo.training import Context, Report
from hpo.training.function import Snapshot
from tests.engine.ray.test_run import Witness, search, snapshot

pytestmark = pytest.mark.usefixtures("ray_cluster")

STUDIES = Path("studies")


def _data(context: Context) -> Path:
    """The file of the data set, beside which functions leave marks."""
    assert isinstance(context.spec, StudySpec)
    return Path(context.spec.data.path or "")


def fails_twice(config: Config, context: Context) -> Iterator[Report]:
    """Each trial raises the first two times that it begins."""
    marks = _data(context).with_name(f"begun-{context.seed}")
    with marks.open("a") as file:
        file.write("x")
    yield Report(1, {"accuracy": 0.5}, snapshot)
    if len(marks.read_text()) <= 2:
        raise RuntimeError("not yet")
    yield from (Report(epoch, {"accuracy": 0.5}, snapshot) for epoch in (2, 3))


def hungry(config: Config, context: Context) -> Iterator[Report]:
    """Lacks memory when it first begins, and whenever another one is there."""
    here = _data(context).parent / "here"
    here.mkdir(exist_ok=True)
    own, begun = here / f"{os.getpid()}", here.with_name(f"begun-{context.seed}")
    own.touch()
    try:
        time.sleep(1.0)
        if not begun.exists() or len(list(here.iterdir())) > 1:
            begun.touch()
            raise torch.OutOfMemoryError("CUDA out of memory")
        yield from (Report(epoch, {"accuracy": 0.5}, snapshot) for epoch in (1, 2, 3))
    finally:
        own.unlink()


def glutton(config: Config, context: Context) -> Iterator[Report]:
    """Asks for more than any machine has."""
    yield Report(1, {"accuracy": 0.5}, snapshot)
    torch.empty(2**50)


def hanging(config: Config, context: Context) -> Iterator[Report]:
    """Its second epoch never ends, but for the default config."""
    yield Report(1, {"accuracy": 0.5}, snapshot)
    if config["model.width"] != 16:
        time.sleep(1000)
    yield from (Report(epoch, {"accuracy": 0.5}, snapshot) for epoch in (2, 3))


def endless(config: Config, context: Context) -> Iterator[Report]:
    """Its second epoch never ends."""
    yield Report(1, {"accuracy": 0.5}, snapshot)
    while True:
        time.sleep(0.1)


def broken(config: Config, context: Context) -> Iterator[Report]:
    """Raises, always the same but for the first."""
    raise KeyError("first" if config["model.width"] == 16 else "labels")
    yield


def rules(document: dict[str, Any], **failures: Any) -> dict[str, Any]:
    return {**document, "scheduler": "none", "failures": failures}


def test_an_error_is_tried_again_as_often_as_the_rules_say(document: dict[str, Any]) -> None:
    witness = Witness()
    study = search(rules(document, max_retries=2), fails_twice, trials=2, observers=[witness])
    assert [(trial.state, trial.retries, trial.failure) for trial in study.trials()] == [(State.COMPLETE, 2, None)] * 2
    assert all(list(trial.reports) == [1, 2, 3] for trial in study.trials())
    assert sorted(witness.events).count(("epoch 1", 0)) == 1  # what is repeated is not reported again


def test_then_the_trial_has_failed(document: dict[str, Any]) -> None:
    study = search(rules(document, max_retries=1), fails_twice, trials=1)
    trial = study.trial(0)
    assert (trial.state, trial.retries, trial.failure) == (State.FAILED, 1, Failure.ERROR.value)
    assert (trial.cause or "").startswith("RuntimeError: not yet (test_failures.py:") and trial.has_traceback
    assert trial.to_json()["failure"] == "error"


def test_what_lacks_memory_beside_others_is_trained_alone(document: dict[str, Any]) -> None:
    study = search(rules(document), hungry, trials=3, concurrency=2)
    assert [(trial.state, trial.retries) for trial in study.trials()] == [(State.COMPLETE, 1)] * 3


def test_what_lacks_memory_alone_has_failed(document: dict[str, Any]) -> None:
    study = search(rules(document), glutton, trials=1)
    assert (study.trial(0).state, study.trial(0).retries) == (State.FAILED, 1)
    assert study.trial(0).failure == Failure.MEMORY.value and study.trial(0).epoch == 1


def test_what_hangs_is_killed_and_says_where_it_stood(document: dict[str, Any]) -> None:
    started = time.monotonic()
    study = search(rules(document, trial_timeout="12s"), hanging, trials=3, concurrency=2)
    assert time.monotonic() - started < 120
    assert [trial.failure for trial in study.trials()] == [None, "hang", "hang"]
    assert "no report came within failures.trial_timeout" in (study.trial(1).reason or "")
    assert study.trial(0).state is State.COMPLETE and study.trial(1).epoch == 1
    trace = (study.folder / "artifacts" / "00001" / "hang.txt").read_text()
    assert "in hanging" in trace
    assert not (study.folder / "artifacts" / "00000" / "hang.txt").exists()


def test_an_epoch_that_is_not_done_in_time_is_given_up(document: dict[str, Any]) -> None:
    started = time.monotonic()
    study = search(rules(document), endless, trials=9, concurrency=2, deadline=started + 45)
    assert 44 < time.monotonic() - started < 90
    reported = [trial for trial in study.trials() if trial.reports]
    assert reported and all(trial.state is State.RUNNING for trial in study.trials() if not trial.reports)
    assert {(trial.state, trial.reason) for trial in reported} == {(State.PRUNED, "stopped by the time limit")}
    assert all(study.artifacts.read(trial.number) is not None for trial in reported)


def test_a_search_that_only_fails_ends_early_with_the_commonest_cause(document: dict[str, Any]) -> None:
    told = r"the last 3 trials failed .* 2 of them: KeyError: 'labels' \(test_failures.py:\d+, in broken\); `hpo trials"
    with pytest.raises(HpoError, match=told):
        search(rules(document, max_failures=3), broken, trials=50, concurrency=1)


def careless(config: Config, context: Context) -> Iterator[Any]:
    """Every trial makes another mistake, up to the fifth, which makes none."""
    match [context.spec.trial_seed(number) for number in range(5)].index(context.seed):
        case 0:
            yield Report(1, {"acuracy": 0.5}, snapshot)
        case 1:
            yield Report(1, {"accuracy": 0.5}, snapshot)
            yield Report(2, {"accuracy": None}, snapshot)  # type: ignore[dict-item]
        case 2:
            return
        case 3:
            sys.exit("usage: train.py --lr LR")
        case _:
            value = torch.tensor(0.5, requires_grad=True)
            yield from (Report(epoch, {"accuracy": value * epoch}, snapshot) for epoch in (1, 2, 3))  # type: ignore[dict-item]


def test_what_is_no_report_fails_its_trial_and_the_study_can_be_gone_on_with(document: dict[str, Any]) -> None:
    with pytest.raises(HpoError, match="the last 4 trials failed one after another, so the search has ended; 1 of"):
        search(rules(document, max_failures=4), careless, trials=9, concurrency=1)
    study = Study.open(Path("studies"), "squares")
    dataset = datasets.load(study.study_spec.data, Path("data"), study.study_spec.seed)
    with study.hold.searching():
        study.writer.use(samplers.build(study.spec, 4))
        engine.run(study, careless, resources=study.study_spec.resources, left=Left(1), dataset=dataset)
    trials = study.trials()
    assert [trial.state for trial in trials] == [State.FAILED] * 4 + [State.COMPLETE]
    assert trials[4].value == 1.5 and trials[1].epoch == 1
    for trial, cause in zip(
        trials,
        (
            "the training function reported no 'accuracy' at epoch 1, which the study searches for",
            "the training function reported None as 'accuracy' at epoch 2, which the study searches for",
            "the training function ended without a report",
            "the training function called sys.exit('usage: train.py --lr LR')",
        ),
        strict=False,
    ):
        assert (trial.cause or "").startswith(cause) and trial.failure == "error"


def from_zero(config: Config, context: Context) -> Iterator[Report]:
    """Counts its epochs as Python does."""
    yield from (Report(epoch, {"accuracy": 0.5}, snapshot) for epoch in range(3))


def test_who_counts_epochs_from_zero_is_told_so(document: dict[str, Any]) -> None:
    told = "2 of them: the training function reported epoch 0: epochs are whole numbers and count from 1; the study is"
    with pytest.raises(HpoError, match=told):
        hpo.search(rules(document), train=from_zero, trials=2, concurrency=1)
    trials = Study.open(STUDIES, "squares").trials()
    assert [(trial.state, trial.reports) for trial in trials] == [(State.FAILED, {})] * 2


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of a megabyte."""
    place = tmp_path / "small"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)], capture_output=True).returncode:
        pytest.skip("may not mount a small disk")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def large(config: Config, context: Context) -> Iterator[Report]:
    """Leaves 300 kB."""
    weights = {"w": np.zeros(75_000, np.float32)}
    for epoch in (1, 2, 3):
        yield Report(epoch, {"accuracy": 0.5 + 0.1 * epoch}, lambda: Snapshot(weights, snapshot().predictions))


class Mover(Witness):
    """Renames the study's folder after a number of reports."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self._after = after

    def trial_reported(self, number: int, epoch: int, metrics: Metrics) -> None:
        self._after -= 1
        if self._after == 0:
            (STUDIES / "squares").rename(STUDIES / "moved")


_SLOW = [pytest.param(after, marks=pytest.mark.slow) for after in (1, 2)]


@pytest.mark.parametrize("after", [*_SLOW, 3])  # in the middle of a trial, and when it is to be stored
def test_a_study_whose_folder_is_renamed_ends_in_a_sentence_and_goes_on(document: dict[str, Any], after: int) -> None:
    told = (
        "the search has ended: the folder of study 'squares' is no longer at 'studies/squares': it was renamed or"
        " removed; .* put the folder back, then `hpo resume --study squares` goes on"
    )
    with pytest.raises(HpoError, match=told):
        search(rules(document), large, trials=9, concurrency=1, observers=[Mover(after)])
    assert not (STUDIES / "squares").exists()  # no worker has made it anew
    (STUDIES / "moved").rename(STUDIES / "squares")
    study = Study.open(STUDIES, "squares")
    assert not [trial for trial in study.trials() if trial.state is State.FAILED]
    wanted = study.study_spec
    dataset = datasets.load(wanted.data, Path("data"), wanted.seed)
    with study.hold.searching():
        study.writer.use(samplers.build(wanted, len(study.trials())))
        engine.run(study, large, resources=wanted.resources, left=Left(2), dataset=dataset, concurrency=1)
    assert [trial.state for trial in study.trials()] == [State.COMPLETE] * 2


def test_a_full_disk_ends_the_search_and_fails_no_trial(document: dict[str, Any], small_disk: Path) -> None:
    os.chdir(small_disk)
    with pytest.raises(HpoError, match=r"a disk is full, .* No space left on device; what is done is kept"):
        search(rules(document), large, trials=9, concurrency=1)
    study = Study.open(Path("studies"), "squares")
    assert not [trial for trial in study.trials() if trial.state is State.FAILED]
    done = len([trial for trial in study.trials() if trial.state is State.COMPLETE])
    assert 1 <= done < 9
    shutil.rmtree(small_disk / "studies" / "squares" / "artifacts" / "00000")
    wanted = study.study_spec
    dataset = datasets.load(wanted.data, Path("data"), wanted.seed)
    with study.hold.searching():
        study.writer.use(samplers.build(wanted, done))
        engine.run(study, large, resources=wanted.resources, left=Left(1), dataset=dataset, concurrency=1)
    assert len([trial for trial in study.trials() if trial.state is State.COMPLETE]) == done + 1


def removing(config: Config, context: Context) -> Iterator[Report]:
    """Takes the folder of the artifacts away, once."""
    yield Report(1, {"accuracy": 0.5}, snapshot)
    with contextlib.suppress(FileExistsError):
        Path("taken").mkdir()
        Path("studies/squares/artifacts").rename("taken/artifacts")
    yield Report(2, {"accuracy": 0.6}, snapshot)
    yield Report(3, {"accuracy": 0.7}, snapshot)


def test_a_folder_that_goes_away_ends_the_search_and_loses_nothing(document: dict[str, Any]) -> None:
    with pytest.raises(
        HpoError, match=r"studies/squares/artifacts', where trials store what they leave, is gone .*resume"
    ):
        search(rules(document), removing, trials=3, concurrency=1)
    study = Study.open(Path("studies"), "squares")
    assert {trial.state for trial in study.trials()} == {State.RUNNING}
    assert not Path("studies/squares/artifacts").exists()
    Path("taken/artifacts").rename("studies/squares/artifacts")
    wanted = study.study_spec
    dataset = datasets.load(wanted.data, Path("data"), wanted.seed)
    with study.hold.searching():
        study.writer.use(samplers.build(wanted, 0))
        engine.run(study, removing, resources=wanted.resources, left=Left(3), dataset=dataset, concurrency=1)
    assert [trial.state for trial in study.trials()] == [State.COMPLETE] * 3
    assert all(study.artifacts.read(trial.number) is not None for trial in study.trials())


def apart(config: Config, context: Context) -> Iterator[Report]:
    """Before its last epoch its machine loses sight of the shared folder."""
    yield Report(1, {"accuracy": 0.5}, snapshot)
    artifacts = Path("studies/squares/artifacts")
    artifacts.mkdir(exist_ok=True)
    artifacts.rename("shared")
    yield from (Report(epoch, {"accuracy": 0.5 + 0.1 * epoch}, snapshot) for epoch in (2, 3))


def test_a_trial_whose_machine_does_not_see_the_shared_folder_is_not_complete(document: dict[str, Any]) -> None:
    """What it stored is on its own disk, where nobody else looks."""
    with contextlib.suppress(HpoError):  # here it is the only machine
        search(rules(document), apart, trials=1, concurrency=1)
    shutil.rmtree("studies/squares/artifacts", ignore_errors=True)
    Path("shared").rename("studies/squares/artifacts")
    study = Study.open(STUDIES, "squares")
    assert [(trial.state, study.artifacts.read(trial.number)) for trial in study.trials()] == [(State.RUNNING, None)]
