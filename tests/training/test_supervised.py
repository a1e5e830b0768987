from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hpo import datasets, spec
from hpo.datasets import Dataset, Examples
from hpo.errors import TrainingError
from hpo.study.artifacts import Split
from hpo.training import Context, Report, train
from hpo.training.batches import validation_rows
from tests.conftest import untimed


def context(document: dict[str, Any], seed: int = 0) -> Context:
    read = spec.load(document)
    return Context(read, datasets.load(read.data, Path("data"), read.seed), seed)


def reports(document: dict[str, Any], config: dict[str, Any] | None = None, seed: int = 0) -> list[Report]:
    return list(train(config or {}, context(document, seed)))


def other(report: Report, split: Split) -> np.ndarray:
    others = report.snapshot().others
    assert others is not None
    return others()[split]


def measured(made: list[Report]) -> list[dict[str, float]]:
    return [untimed(report.metrics) for report in made]


def test_a_small_model_learns_the_squares(document: dict[str, Any], device: str) -> None:
    document["training"] |= {"epochs": 8, "device": device}
    made = reports(document)
    assert [report.epoch for report in made] == list(range(1, 9))
    assert made[-1].metrics["accuracy"] > 0.95
    assert made[-1].metrics["train_loss"] < made[0].metrics["train_loss"]


def test_the_seed_decides_everything(document: dict[str, Any], device: str) -> None:
    document["training"] |= {"device": device, "deterministic": True}
    document["data"]["augment"] = ["random_crop", "horizontal_flip", "cutout", "mixup"]
    document["data"]["crop_padding"] = 1
    document["model"]["dropout"] = 0.2
    first = measured(reports(document))
    assert first == measured(reports(document))
    assert first != measured(reports(document, seed=1))


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize(
    ("schedule", "warmup"), [("none", 0), ("cosine", 0), ("step", 0), ("one_cycle", 0), ("cosine", 1.5)]
)
def test_what_goes_on_from_a_state_trains_as_if_uninterrupted(
    document: dict[str, Any], optimizer: str, schedule: str, warmup: float, tmp_path: Path, device: str
) -> None:
    document["training"] |= {"device": device, "deterministic": True}
    document["data"] |= {"augment": ["random_crop", "cutout", "mixup"], "crop_padding": 1}
    document["model"]["dropout"] = 0.2
    document["optimizer"] = {"name": optimizer, "lr": 0.01, "schedule": schedule, "step_epochs": 1}
    document["optimizer"]["warmup_epochs"] = warmup
    whole = measured(reports(document))
    first = next(train({}, context(document)))
    assert first.state is not None
    torch.save(dict(first.state()), tmp_path / "state.pt")
    torch.manual_seed(99)
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    rest = list(train({}, replace(context(document), resume=state)))
    assert [report.epoch for report in rest] == [2, 3]
    assert measured(rest) == whole[1:]


@pytest.mark.parametrize("schedule", ["none", "cosine", "step", "one_cycle"])
def test_a_state_is_taken_up_with_another_config(document: dict[str, Any], tmp_path: Path, schedule: str) -> None:
    document["optimizer"] |= {"schedule": schedule, "name": "sgd", "lr": 0.05}
    first = next(train({}, context(document)))
    assert first.state is not None
    torch.save(dict(first.state()), tmp_path / "state.pt")
    before = first.snapshot().weights["network.1.weight"].copy()
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    resumed = replace(context(document), resume=state)
    idle = next(train({"optimizer.lr": 1e-12, "optimizer.weight_decay": 0.0}, resumed))
    assert np.allclose(idle.snapshot().weights["network.1.weight"], before, atol=1e-6)
    (second, _) = train({"optimizer.momentum": 0.0, "training.batch_size": 16}, resumed)
    assert second.epoch == 2 and not np.allclose(second.snapshot().weights["network.1.weight"], before, atol=1e-3)


def test_the_config_wins_over_fixed_settings(document: dict[str, Any]) -> None:
    (report, *_) = train({"model.width": 9}, context(document))
    weights = report.snapshot().weights
    assert weights["network.1.weight"].shape[0] == 9


def test_a_snapshot_holds_weights_preprocessing_and_both_predictions(document: dict[str, Any]) -> None:
    made = context(document)
    report = next(train({}, made))
    snapshot = report.snapshot()
    assert snapshot.weights["standardize.mean"].ravel() == pytest.approx(made.dataset.train.inputs.mean(), rel=1e-6)
    assert snapshot.others is not None and snapshot.predictions.keys() == {"validation"}
    for probabilities in (snapshot.predictions["validation"], snapshot.others()["test"]):
        assert probabilities.shape == (60, 3)
        np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-3)  # float16
    right = snapshot.predictions["validation"].argmax(axis=1) == made.dataset.validation.targets
    assert report.metrics["accuracy"] == pytest.approx(right.mean())


def test_snapshots_do_not_change_the_training(document: dict[str, Any]) -> None:
    plain = measured(reports(document))
    taken = []
    for report in train({}, context(document)):
        report.snapshot()
        taken.append(report)
    assert measured(taken) == plain


def test_a_snapshot_stays_as_it_is_while_training_goes_on(document: dict[str, Any], device: str) -> None:
    document["training"]["device"] = device
    plain = measured(reports(document))
    running = train({}, context(document))
    first = next(running)
    snapshot, at_once = first.snapshot(), other(first, "test")
    weights = {name: array.copy() for name, array in snapshot.weights.items()}
    seen = [first, next(running)]
    assert snapshot.others is not None
    np.testing.assert_array_equal(snapshot.others()["test"], at_once)
    assert np.abs(other(seen[1], "test") - at_once).max() > 0.01
    for name, array in weights.items():
        np.testing.assert_array_equal(snapshot.weights[name], array)
    assert measured([*seen, *running]) == plain


def test_data_may_be_shared_and_read_only(document: dict[str, Any], device: str) -> None:
    document["training"]["device"] = device
    document["data"] |= {"augment": ["random_crop", "horizontal_flip", "cutout"], "crop_padding": 1}
    plain, made = measured(reports(document)), context(document)

    def locked(examples: Examples) -> Examples:
        inputs, targets = examples.inputs.copy(), examples.targets.copy()
        inputs.flags.writeable = targets.flags.writeable = False
        return Examples(inputs, targets)

    whole = made.dataset
    dataset = Dataset(locked(whole.train), locked(whole.validation), locked(whole.test), whole.outputs)
    (*_, last) = seen = list(train({}, replace(made, dataset=dataset)))
    assert measured(seen) == plain and other(last, "test").shape == (60, 3)


def test_validation_rows_are_moved_once_for_all_trials(document: dict[str, Any], device: str) -> None:
    dataset = context(document).dataset
    rows, labels = validation_rows(dataset, torch.device(device))
    assert isinstance(rows, torch.Tensor) and rows.shape == (60, 1, 8, 8)
    assert labels.shape == (60,) and rows.device.type == device
    assert validation_rows(dataset, torch.device(device))[0] is rows


def test_latency_is_measured_once(document: dict[str, Any]) -> None:
    assert len({report.metrics["latency_ms"] for report in reports(document)}) == 1


def test_closing_it_stops_it(document: dict[str, Any]) -> None:
    running = train({}, context(document))
    next(running)
    running.close()  # type: ignore[attr-defined]
    assert list(running) == []


def test_a_loss_that_is_not_finite_ends_with_nan(document: dict[str, Any]) -> None:
    made = reports(document, {"optimizer.lr": 1e38})
    assert len(made) < 3
    assert np.isnan(made[-1].metrics["accuracy"])


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw", "rmsprop", "adagrad"])
@pytest.mark.parametrize("schedule", ["none", "cosine", "step", "one_cycle"])
def test_every_optimizer_and_schedule_trains(document: dict[str, Any], optimizer: str, schedule: str) -> None:
    document["training"] |= {"epochs": 2, "clip_norm": 1.0, "label_smoothing": 0.1}
    document["optimizer"] = {
        "name": optimizer,
        "schedule": schedule,
        "step_epochs": 1,
        "weight_decay": 1e-4,
        "lr": 0.003,
    }
    first, second = reports(document)
    assert second.metrics["train_loss"] < first.metrics["train_loss"]


def test_bfloat16_trains_too(document: dict[str, Any]) -> None:
    document["training"] |= {"epochs": 6, "precision": "bfloat16"}
    made = reports(document)
    assert made[-1].metrics["accuracy"] > 0.9
    assert made[-1].snapshot().weights["network.1.weight"].dtype == np.float32


def test_a_batch_may_be_larger_than_the_data(document: dict[str, Any]) -> None:
    document["training"] |= {"epochs": 1, "batch_size": 100_000}
    assert len(reports(document)) == 1


def test_cuda_without_a_gpu_is_an_error(document: dict[str, Any]) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    document["training"]["device"] = "cuda"
    with pytest.raises(Exception, match="torch sees no accelerator here"):
        reports(document)


# ---- tables, and other tasks -----------------------------------------------------------------------------------------


def tabular(task: str, name: str, **training: Any) -> dict[str, Any]:
    return {
        "study": "table",
        "task": task,
        "data": {"name": name, "validation": 0.25},
        "model": {"name": "mlp", "layers": 1, "width": 32},
        "training": {"epochs": 30, "batch_size": 32, **training},
        "optimizer": {"name": "adam", "lr": 0.01},
    }


def test_a_table_is_learned() -> None:
    last = reports(tabular("classification", "breast_cancer"))[-1]
    assert last.metrics["accuracy"] > 0.92
    assert other(last, "test").dtype == np.float16


@pytest.mark.parametrize("augment", [[], ["mixup"]])
def test_numbers_are_learned_in_their_own_units(augment: list[str]) -> None:
    document = tabular("regression", "diabetes")
    document["data"]["augment"] = augment
    last = reports(document)[-1]
    assert last.metrics["r2"] > 0.2 and 30 < last.metrics["rmse"] < 75
    values = other(last, "test")
    assert values.dtype == np.float32 and 100 < values.mean() < 200
    assert "rescale.mean" in last.snapshot().weights


def test_several_labels_are_learned(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    x = generator.normal(size=(400, 4))
    x[generator.random(x.shape) < 0.05] = np.nan
    y = np.nan_to_num(x[:, :2]) > 0
    np.savez(tmp_path / "labels.npz", x_train=x, y_train=y, x_test=x[:50], y_test=y[:50])
    document = tabular("multilabel", "npz")
    document["data"]["path"] = str(tmp_path / "labels.npz")
    last = reports(document)[-1]
    assert last.metrics["macro_f1"] > 0.85 and last.metrics["nll"] < 0.3
    assert last.snapshot().predictions["validation"].shape == (100, 2)


def test_rows_of_weight_zero_are_not_learned(document: dict[str, Any]) -> None:
    made = context(document)
    weights = np.where(made.dataset.train.targets == 0, 0.0, 1.5).astype(np.float32)
    dataset = replace(made.dataset, train=replace(made.dataset.train, weights=weights))
    (*_, last) = train({}, replace(made, dataset=dataset))
    predicted = last.snapshot().predictions["validation"].argmax(axis=1)
    assert (predicted == 0).mean() < 0.05


def test_held_out_rows_are_predicted_too(document: dict[str, Any]) -> None:
    made = context(document)
    dataset = replace(made.dataset, held_out=made.dataset.train.take(np.arange(7)))
    report = next(train({}, replace(made, dataset=dataset)))
    assert other(report, "held_out").shape == (7, 3)


def test_target_probabilities_are_learned(document: dict[str, Any]) -> None:
    made = context(document)
    soft = np.full((len(made.dataset.train), 3), 0.1, np.float32)
    soft[np.arange(len(soft)), made.dataset.train.targets] = 0.8
    dataset = replace(made.dataset, train=replace(made.dataset.train, targets=soft))
    (*_, last) = train({}, replace(made, dataset=dataset))
    predictions = last.snapshot().predictions["validation"]
    assert last.metrics["accuracy"] > 0.8 and 0.5 < np.median(predictions.max(axis=1)) < 0.9


@pytest.mark.parametrize("augment", [[], ["mixup"]])
def test_what_happened_within_a_minute_is_learned(augment: list[str], document: dict[str, Any]) -> None:
    stamps = 1.7e9 + np.random.default_rng(0).uniform(0, 40, (300, 1))  # one number of float32
    labels = (stamps[:, 0] > 1.7e9 + 20).astype(int)
    path = Path(document["data"]["path"]).with_name("stamps.npz")
    np.savez(path, x_train=stamps[:200], y_train=labels[:200], x_test=stamps[200:], y_test=labels[200:])
    document["data"] |= {"path": str(path), "augment": augment}
    document["training"]["epochs"] = 20
    made = reports(document)
    assert made[-1].metrics["accuracy"] > 0.9
    weights = made[-1].snapshot().weights
    assert {weights[name].dtype for name in ("standardize.mean", "standardize.std")} == {np.dtype(np.float64)}
    assert (other(made[-1], "test").argmax(axis=1) == labels[200:]).mean() > 0.9


@pytest.mark.parametrize("epoch", ["text", [[0] * 10_000] * 1000, 0, 99], ids=["text", "lists", "none", "late"])
def test_an_epoch_that_is_none_is_a_short_sentence(document: dict[str, Any], epoch: object) -> None:
    state = {"epoch": epoch}
    with pytest.raises(TrainingError, match=r"its epoch must be 1 to 3, got .{1,40}$"):
        next(train({}, replace(context(document), resume=state)))


def test_weights_of_another_shape_are_a_sentence(document: dict[str, Any]) -> None:
    first = next(train({}, context(document)))
    assert first.state is not None
    state = dict(first.state())
    state["model"] = {name: value.flatten()[:1] for name, value in state["model"].items()}
    with pytest.raises(TrainingError, match="the stored state does not fit what is trained"):
        next(train({}, replace(context(document), resume=state)))
