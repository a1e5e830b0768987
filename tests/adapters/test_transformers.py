"""Hugging Face's own Trainer under a search, on a small model made from its config."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    EarlyStoppingCallback,
    Trainer,
    TrainingArguments,
)

from hpo.adapters.transformers import ReportCallback, probabilities
from hpo.errors import TrainingError
from hpo.spec import Config, SearchSpec
from hpo.training import Context
from hpo.training.function import taken
from hpo.training.reports import reports_of
from tests.adapters import going_on
from tests.adapters.going_on import EPOCHS, paused, searched, whole

CLASSES, ROWS = 2, 48
SPEC: SearchSpec = searched("eval_loss")


def rows() -> list[dict[str, Any]]:
    """Sequences of eight tokens; the class is which of two tokens comes first."""
    drawn = np.random.default_rng(0)
    tokens = drawn.integers(3, 20, (ROWS, 8))
    tokens[:, 0] = drawn.integers(3, 5, ROWS)
    return [{"input_ids": row.tolist(), "labels": int(row[0] == 4)} for row in tokens]


def accuracy(evaluated: Any) -> dict[str, float]:
    return {"accuracy": float((evaluated.predictions.argmax(1) == evaluated.label_ids).mean())}


def trainer(config: Config, *callbacks: Any, **options: Any) -> Trainer:
    torch.manual_seed(1)
    small: dict[str, Any] = {
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 16,
    }
    model = BertForSequenceClassification(BertConfig(vocab_size=20, max_position_embeddings=8, **small))
    arguments = TrainingArguments(
        **{
            "output_dir": str(Path.cwd() / "output"),
            "num_train_epochs": EPOCHS,
            "per_device_train_batch_size": 8,
            "learning_rate": config["lr"],
            "eval_strategy": "epoch",
            "save_strategy": "no",
            "report_to": "none",
            "disable_tqdm": True,
            "use_cpu": True,
            **options,
        }
    )
    return Trainer(
        model, arguments, train_dataset=rows(), eval_dataset=rows(), compute_metrics=accuracy, callbacks=[*callbacks]
    )


def fit(made: Trainer, **options: Any) -> None:
    report = ReportCallback(made, **options)
    made.train(resume_from_checkpoint=report.checkpoint)


def by_epochs(config: Config) -> None:
    fit(trainer(config))


def by_plateaus(config: Config) -> None:
    options = {"factor": 0.5, "patience": 0, "threshold": 10.0}
    fit(trainer(config, lr_scheduler_type="reduce_lr_on_plateau", lr_scheduler_kwargs=options))


def by_steps(config: Config) -> None:
    """Four evaluations in two epochs of six steps: two of them are within an epoch."""
    fit(trainer(config, eval_strategy="steps", eval_steps=3, num_train_epochs=2))


@pytest.mark.parametrize(
    ("train", "stops"),
    [
        (by_epochs, {1, 3}),
        pytest.param(by_epochs, {2}, marks=pytest.mark.slow),
        (by_plateaus, {2}),
        pytest.param(by_plateaus, {1, 3}, marks=pytest.mark.slow),
        (by_steps, {2}),
        pytest.param(by_steps, {1, 3}, marks=pytest.mark.slow),
    ],
)
def test_a_trial_goes_on_as_if_it_had_not_been_paused(train: Any, stops: set[int]) -> None:
    expected = whole(train, {"lr": 0.01}, SPEC)
    found = paused(train, {"lr": 0.01}, stops, SPEC)
    assert [report.epoch for report in found] == [1, 2, 3, 4]
    assert [report.metrics for report in found] == [report.metrics for report in expected]
    assert len({report.metrics["eval_loss"] for report in found}) == 4
    first, last = (taken(reports[-1]).state for reports in (expected, found))
    assert first is not None and last is not None
    assert all(torch.equal(first["model"][name], last["model"][name]) for name in first["model"])
    assert not list((Path.cwd() / "output").glob("*")), "the Trainer has saved nothing"


@pytest.mark.slow
def test_copies_train_side_by_side_as_alone() -> None:
    going_on.check_copies(by_epochs, {"lr": 0.01}, SPEC)


def test_other_callbacks_go_on_too() -> None:
    def stopped(config: Config) -> None:
        patient = EarlyStoppingCallback(early_stopping_patience=2, early_stopping_threshold=100)
        fit(trainer(config, patient, metric_for_best_model="eval_loss", greater_is_better=False))

    expected = whole(stopped, {"lr": 0.01}, SPEC)
    assert [report.epoch for report in expected] == [1, 2, 3]
    assert [report.epoch for report in paused(stopped, {"lr": 0.01}, {1, 2}, SPEC)] == [1, 2, 3]


def test_predictions_make_it_a_candidate_for_ensembles() -> None:
    def predicts(config: Config) -> None:
        fit(trainer(config), predictions=probabilities)

    last = whole(predicts, {"lr": 0.01}, SPEC)[-1]
    left = taken(last)
    assert left.predictions["validation"].shape == (ROWS, CLASSES) and left.targets["validation"].shape == (ROWS,)
    found = (left.predictions["validation"].argmax(1) == left.targets["validation"]).mean()
    assert found == last.metrics["eval_accuracy"]


def test_a_child_keeps_its_own_settings() -> None:
    parent = next(reports_of(by_epochs, {"lr": 0.01}, Context(SPEC, None, 7)))
    assert parent.state is not None
    report = next(reports_of(by_epochs, {"lr": 0.04}, Context(SPEC, None, 8, parent.state(), inherited=True)))
    assert report.epoch == 2 and report.state is not None
    group, *_ = report.state()["context"]["saved"]["optimizer"]["param_groups"]
    assert group["lr"] == pytest.approx(0.04 / 2)  # it falls to 0 by as much each step, and half of them are done


@pytest.mark.parametrize("optim", ["adamw_torch", "adamw_torch_fused"])
def test_what_an_optimizer_has_learned_must_fit_if_it_is_fused(optim: str) -> None:
    def train(config: Config) -> None:
        fit(trainer(config, optim=optim))

    first = next(reports_of(train, {"lr": 0.01}, Context(SPEC, None, 7)))
    assert first.state is not None
    state = first.state()
    state["context"]["saved"]["optimizer"]["state"][0]["exp_avg"] = torch.zeros(1)
    with pytest.raises((ValueError, RuntimeError), match="exp_avg" if optim.endswith("fused") else "shape"):
        next(reports_of(train, {"lr": 0.01}, Context(SPEC, None, 7, state)))


def test_a_best_checkpoint_elsewhere_is_left(tmp_path: Path) -> None:
    first = next(reports_of(by_epochs, {"lr": 0.01}, Context(SPEC, None, 7)))
    assert first.state is not None
    state, found = first.state(), []

    def looks(config: Config) -> float:
        made = trainer(config)
        report = ReportCallback(made)
        checkpoint = report.checkpoint
        assert checkpoint is not None and report._folder is not None
        found.append(json.loads((Path(checkpoint) / "trainer_state.json").read_text())["best_model_checkpoint"])
        report._folder.cleanup()
        return 1.0

    for place in (tmp_path / "elsewhere", Path.cwd() / "output" / "checkpoint-6"):
        kept = json.loads(state["context"]["saved"]["trainer"])
        state["context"]["saved"]["trainer"] = json.dumps({**kept, "best_model_checkpoint": str(place)})
        next(reports_of(looks, {"lr": 0.01}, Context(SPEC, None, 7, state)))
    assert found == [None, str(Path.cwd() / "output" / "checkpoint-6")]


def test_without_evaluation_there_is_nothing_to_report() -> None:
    with pytest.raises(TrainingError, match="eval_strategy='epoch'"):
        whole(lambda config: fit(trainer(config, eval_strategy="no")), {"lr": 0.01}, SPEC)


def test_without_its_checkpoint_a_trial_is_not_saved_and_that_is_told() -> None:
    def forgets(config: Config) -> None:
        made = trainer(config, num_train_epochs=1)
        ReportCallback(made)
        made.train()

    with pytest.warns(RuntimeWarning, match="resume_from_checkpoint=report.checkpoint"):
        (report,) = whole(forgets, {"lr": 0.01}, SPEC)
    assert report.state is None and set(report.metrics) == {"eval_loss", "eval_accuracy"}


def test_a_state_of_something_else_is_told() -> None:
    with pytest.raises(TrainingError, match="the stored state is not of hpo.adapters.transformers"):
        next(reports_of(by_epochs, {"lr": 0.1}, Context(going_on.searched("eval_loss"), None, 7, {"epoch": 3})))


def test_outside_of_a_search_it_does_nothing() -> None:
    made = trainer({"lr": 0.01}, num_train_epochs=1)
    fit(made, predictions=probabilities)
    assert made.compute_metrics is accuracy
