"""Members trained anew with real Ray: what each sees, what it leaves, and what happens where one fails."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hpo import datasets, plugins, spec
from hpo.datasets import Dataset
from hpo.engine.ray.member_training import Job, Trained, train_members
from hpo.errors import ResourceError, StudyError
from hpo.spec import Config, ModelSettings, StudySpec
from hpo.study.artifacts import Artifacts, Split
from hpo.training import Context, Report, train
from hpo.training.function import Snapshot
from tests.conftest import PATIENCE

pytestmark = pytest.mark.usefixtures("ray_cluster")

FOLDER = Path("retrained")


def snapshot(dataset: Dataset) -> Snapshot:
    splits = {"validation": dataset.validation, "test": dataset.test, "held_out": dataset.held_out}
    rows = {split: np.full((len(one), 3), 1 / 3, np.float16) for split, one in splits.items() if one is not None}
    return Snapshot({"w": np.zeros(1, np.float32)}, rows)  # type: ignore[arg-type]


def witness(config: Config, context: Context) -> Iterator[Report]:
    """Reports what it sees, is best at its second epoch, and counts its runs in files."""
    (Path.cwd() / f"run-{context.seed}-{time.monotonic_ns()}").touch()
    own = context.dataset.train
    seen = {
        "rows": float(len(own)),
        "distinct": float(len(np.unique(own.inputs.reshape(len(own), -1), axis=0))),
        "weights": float(0 if own.weights is None else own.weights.mean()),
        "outputs": float(own.targets.shape[-1] if own.targets.ndim > 1 else 0),
        "lr": float(config["optimizer.lr"]),
    }
    for epoch, accuracy in ((1, 0.5), (2, 0.7), (3, 0.6)):
        yield Report(epoch, {"accuracy": accuracy, **seen}, lambda: snapshot(context.dataset))


def together(config: Config, context: Context) -> Iterator[Report]:
    """Waits until another one runs too."""
    Path(f"here-{context.seed}").touch()
    deadline = time.monotonic() + PATIENCE
    while len(list(Path.cwd().glob("here-*"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    met = float(time.monotonic() < deadline)
    yield Report(1, {"accuracy": met, "process": float(os.getpid())}, lambda: snapshot(context.dataset))


def troubled(config: Config, context: Context) -> Iterator[Report]:
    """By its seed it raises, kills its process, never has a finite value, or is fine."""
    if context.seed == 1:
        raise RuntimeError("this one is\ncursed")
    if context.seed == 2:
        os._exit(1)
    yield Report(1, {"accuracy": float("nan") if context.seed == 3 else 0.5}, lambda: snapshot(context.dataset))


def sleepy(config: Config, context: Context) -> Iterator[Report]:
    """Sleeps as many seconds as its seed says."""
    time.sleep(context.seed)
    yield Report(1, {"accuracy": 0.5}, lambda: snapshot(context.dataset))


@pytest.fixture
def read(document: dict[str, Any]) -> StudySpec:
    document["resources"] = {"gpu": 0}
    return spec.load(document)


@pytest.fixture
def dataset(read: StudySpec) -> Dataset:
    return datasets.load(read.data, Path("data"), read.seed)


def job(number: int, **view: Any) -> Job:
    return Job(number, f"member {number}", {"optimizer.lr": 0.01}, seed=number, **view)


def run(
    jobs: list[Job],
    objective: Any,
    read: StudySpec,
    dataset: Dataset,
    observer: Callable[[Trained], None] | None = None,
) -> list[Trained]:
    return train_members(
        jobs,
        objective,
        spec=read,
        dataset=dataset,
        artifacts=Artifacts(FOLDER),
        resources=read.resources,
        observer=observer,
    )


def test_a_member_sees_its_own_rows_and_stores_its_best_epoch(read: StudySpec, dataset: Dataset) -> None:
    rows = np.array([0, 0, 1, 5])
    weights = np.array([0.5, 0.5, 1.0, 2.0], np.float32)
    soft = np.full((4, 3), 1 / 3, np.float32)
    jobs = [job(0, rows=rows, weights=weights, targets=soft, held_out=np.array([7, 8, 9])), job(1)]
    events: list[str] = []
    some, whole = run(jobs, witness, read, dataset, lambda trained: events.append(trained.job.name))
    assert (some.metrics["rows"], some.metrics["distinct"]) == (4, 3)
    assert (some.metrics["weights"], some.metrics["outputs"], some.metrics["lr"]) == (1, 3, 0.01)
    assert (whole.metrics["rows"], whole.metrics["weights"], whole.metrics["outputs"]) == (180, 0, 0)
    assert some.stored is not None and some.stored.epoch == 2 and some.metrics["accuracy"] == 0.7
    assert some.stored.place.path == FOLDER / "00000" / "epoch-0002"
    assert some.stored.predictions("held_out").shape == (3, 3)
    assert some.stored.predictions("validation").shape == (60, 3)
    assert sorted(events) == ["member 0", "member 1"]


def test_members_are_trained_side_by_side(read: StudySpec, dataset: Dataset) -> None:
    first, second = run([job(0), job(1)], together, read, dataset)
    assert first.metrics["accuracy"] == second.metrics["accuracy"] == 1
    assert first.metrics["process"] != second.metrics["process"]


def test_what_fails_costs_the_others_nothing(read: StudySpec, dataset: Dataset) -> None:
    fine, raised, died, diverged = run([job(number) for number in range(4)], troubled, read, dataset)
    assert fine.stored is not None and fine.reason is None
    assert raised.stored is None and raised.reason == "cursed"
    assert died.stored is None and (died.reason or "").startswith("its worker process died")
    assert diverged.stored is None and diverged.reason == "diverged: no epoch has a finite objective"


def test_what_is_done_is_found_and_the_rest_is_trained(read: StudySpec, dataset: Dataset) -> None:
    run([job(0), job(1)], witness, read, dataset)
    (FOLDER / "00001" / "done.json").unlink()  # as if it had been killed
    other = replace(job(2), seed=7)
    found, again, new = run([job(0), job(1), other], witness, read, dataset)
    assert [found.found, again.found, new.found] == [True, False, False]
    assert found.metrics["accuracy"] == 0.7 and found.stored is not None and found.stored.epoch == 2
    assert {path.name.rpartition("-")[0] for path in Path.cwd().glob("run-*")} == {"run-0", "run-1", "run-7"}
    assert len(list(Path.cwd().glob("run-1-*"))) == 2 and len(list(Path.cwd().glob("run-0-*"))) == 1


@pytest.mark.parametrize("content", ["{}", "[]", "3", "no JSON", '{"fingerprint": "x", "epoch": null}'])
def test_a_note_of_other_content_is_as_none(read: StudySpec, dataset: Dataset, content: str) -> None:
    run([job(0)], witness, read, dataset)
    (FOLDER / "00000" / "done.json").write_text(content)
    (trained,) = run([job(0)], witness, read, dataset)
    assert not trained.found and trained.stored is not None


@pytest.mark.parametrize("split", ["validation", "test", "held_out"])
def test_a_member_whose_predictions_are_corrupt_is_trained_again(
    read: StudySpec, dataset: Dataset, split: Split
) -> None:
    whole = job(0, held_out=np.arange(3))
    (trained,) = run([whole], witness, read, dataset)
    assert trained.stored is not None
    file = trained.stored.place.path / f"{split}.npy"
    file.write_bytes(file.read_bytes()[:-1])
    (again,) = run([whole], witness, read, dataset)
    assert not again.found and again.stored is not None
    assert len(again.stored.predictions(split)) == {"held_out": 3}.get(split, 60)
    assert run([whole], witness, read, dataset)[0].found


def test_training_stops_after_the_last_epoch(read: StudySpec, dataset: Dataset) -> None:
    (trained,) = run([job(0, last_epoch=1)], witness, read, dataset)
    assert trained.stored is not None and trained.stored.epoch == 1 and trained.metrics["accuracy"] == 0.5


def test_a_model_of_the_users_own_that_has_changed_is_trained_again(
    read: StudySpec, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(Path.cwd()))
    Path("own_model.py").write_text("def net(input_shape, outputs): ...\n")
    plugins.trust(["own_model:net"])
    own = read.model_copy(update={"model": ModelSettings(name="own_model:net")})
    assert not run([job(0)], witness, own, dataset)[0].found
    assert run([job(0)], witness, own, dataset)[0].found
    Path("own_model.py").write_text("def net(input_shape, outputs): return None\n")
    assert not run([job(0)], witness, own, dataset)[0].found


@pytest.mark.parametrize(
    "changed",
    [
        {"seed": 5},
        {"config": {"optimizer.lr": 0.02}},
        {"rows": np.arange(3)},
        {"weights": np.ones(180, np.float32)},
        {"held_out": np.arange(3)},
        {"targets": np.full((180, 3), 0.5, np.float32)},
        {"last_epoch": 2},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_another_job_of_the_same_number_is_trained(read: StudySpec, dataset: Dataset, changed: dict[str, Any]) -> None:
    run([job(0)], witness, read, dataset)
    (trained,) = run([replace(job(0), **changed)], witness, read, dataset)
    assert not trained.found and trained.stored is not None


def test_an_interruption_ends_what_runs_and_keeps_what_is_done(read: StudySpec, dataset: Dataset) -> None:
    def interrupt(trained: Trained) -> None:
        threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
    started = time.monotonic()
    try:
        with pytest.raises(KeyboardInterrupt):
            run([job(0), job(100)], sleepy, read, dataset, interrupt)
    finally:
        signal.signal(signal.SIGINT, before)
    assert time.monotonic() - started < 60
    (found,) = run([job(0)], sleepy, read, dataset)
    assert found.found and Artifacts(FOLDER).read(100) is None


def test_the_built_in_objective_learns_from_soft_targets_and_weights(read: StudySpec, dataset: Dataset) -> None:
    soft = np.eye(3, dtype=np.float32)[dataset.train.targets] * 0.8 + np.float32(0.2 / 3)
    idle = job(1, weights=np.zeros(180, np.float32), held_out=np.arange(180))
    longer = read.model_copy(update={"training": read.training.model_copy(update={"epochs": 8})})
    softly, without_weight = run([job(0, targets=soft), idle], train, longer, dataset)
    assert softly.metrics["accuracy"] > 0.8 and softly.metrics["train_loss"] > 0
    assert without_weight.metrics["train_loss"] == 0
    assert without_weight.stored is not None
    assert without_weight.stored.predictions("held_out").shape == (180, 3)


def test_two_processes_do_not_train_into_one_folder(read: StudySpec, dataset: Dataset) -> None:
    def meanwhile(trained: Trained) -> None:
        with pytest.raises(StudyError, match="another process is training members"):
            run([job(1)], witness, read, dataset)

    run([job(0)], witness, read, dataset, meanwhile)


def test_more_than_a_machine_has_is_refused(read: StudySpec, dataset: Dataset) -> None:
    greedy = read.model_copy(update={"resources": read.resources.model_copy(update={"cpu": 64})})
    with pytest.raises(ResourceError, match="64"):
        run([job(0)], witness, greedy, dataset)
