"""Lightning's own trainer under a search."""

import logging
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import lightning.pytorch as lightning
import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import hpo
from hpo.adapters.lightning import ReportCallback
from hpo.errors import TrainingError
from hpo.spec import Config
from hpo.training import Context, TrialContext
from hpo.training.function import taken
from hpo.training.reports import reports_of
from tests.adapters import going_on
from tests.adapters.going_on import EPOCHS, paused, searched, whole

pytestmark = [
    pytest.mark.filterwarnings("ignore::lightning.fabric.utilities.warnings.PossibleUserWarning"),
    pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec:FutureWarning"),  # by Lightning itself
]
QUIET: dict[str, Any] = {
    "logger": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "accelerator": "cpu",
}
CLASSES = 3


@pytest.fixture(autouse=True)
def silence() -> Iterator[None]:
    """Lightning's notes on the machine."""
    logger = logging.getLogger("lightning.pytorch")
    before = logger.level
    logger.setLevel(logging.ERROR)
    yield
    logger.setLevel(before)


class Rows(lightning.LightningDataModule):
    def setup(self, stage: str) -> None:
        drawn = torch.Generator().manual_seed(0)
        inputs = torch.randn(60, 4, generator=drawn)
        self.rows = TensorDataset(inputs, inputs[:, :CLASSES].argmax(1))

    def train_dataloader(self) -> DataLoader[Any]:
        return DataLoader(self.rows, 8, shuffle=True)

    def val_dataloader(self) -> DataLoader[Any]:
        return DataLoader(self.rows, 32)


class Net(lightning.LightningModule):
    """Draws dropout masks; `schedule` is one of Lightning's three ways of stepping a learning rate."""

    def __init__(self, lr: float, schedule: str = "epoch", predicts: bool = True) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.lr, self.schedule, self.predicts = lr, schedule, predicts
        self.net = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.Linear(8, CLASSES))

    def training_step(self, batch: list[torch.Tensor], place: int) -> torch.Tensor:
        loss = nn.functional.cross_entropy(self.net(batch[0]), batch[1])
        self.log("train_loss", loss, on_epoch=True, on_step=False)
        return loss

    def validation_step(self, batch: list[torch.Tensor], place: int) -> Mapping[str, torch.Tensor] | None:
        logits = self.net(batch[0])
        self.log("val_loss", nn.functional.cross_entropy(logits, batch[1]))
        return {"predictions": logits.softmax(1), "targets": batch[1]} if self.predicts else None

    def on_train_epoch_end(self) -> None:
        optimizer = self.optimizers()
        assert not isinstance(optimizer, list)
        self.log("lr", optimizer.param_groups[0]["lr"])

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.Adam(self.parameters(), self.lr, fused=self.schedule == "fused")
        if self.schedule == "fused":
            return optimizer
        if self.schedule == "epoch":
            return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)]
        if self.schedule == "step":
            cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=8 * EPOCHS)
            return [optimizer], [{"scheduler": cycle, "interval": "step"}]
        plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, threshold=10, patience=0)  # each epoch is one
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": plateau, "monitor": "val_loss"}}


def fit(config: Config, *callbacks: Any, report: ReportCallback | None = None, **options: Any) -> ReportCallback:
    report = report or ReportCallback()
    chosen = {name: config[name] for name in ("schedule", "predicts") if name in config}
    trainer = lightning.Trainer(**{"max_epochs": EPOCHS, "callbacks": [report, *callbacks], **QUIET, **options})
    trainer.fit(Net(config["lr"], **chosen), datamodule=Rows(), ckpt_path=report.checkpoint)
    return report


def train(config: Config) -> None:
    fit(config)


@pytest.mark.parametrize("schedule", ["epoch", "step", "plateau", "fused"])
@pytest.mark.parametrize("stops", [{1}, {2}, {1, 2, 3}])
def test_a_trial_goes_on_as_if_it_had_not_been_paused(stops: set[int], schedule: str) -> None:
    config = {"lr": 0.05, "schedule": schedule}
    expected = whole(train, config)
    found = paused(train, config, stops)
    assert [report.epoch for report in found] == [1, 2, 3, 4]
    assert [report.metrics for report in found] == [report.metrics for report in expected]
    assert set(found[0].metrics) == {"train_loss", "val_loss", "lr"}
    if schedule in ("epoch", "plateau"):
        assert len({report.metrics["lr"] for report in found}) > 2, "the schedule is at work"
    last, first = (taken(reports[-1]).state for reports in (found, expected))
    assert first is not None and last is not None
    assert all(torch.equal(first["state_dict"][name], last["state_dict"][name]) for name in first["state_dict"])
    assert not list(Path().iterdir()), "Lightning has left nothing here"


def test_copies_train_side_by_side_as_alone() -> None:
    going_on.check_copies(train, {"lr": 0.05})


@pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty")
def test_other_callbacks_go_on_too_and_have_their_files(tmp_path: Path) -> None:
    def stopped(config: Config) -> None:
        stopping = EarlyStopping("val_loss", patience=2, min_delta=100)
        fit(config, stopping, ModelCheckpoint(tmp_path / "files", save_top_k=-1, filename="{epoch}"))

    expected = whole(stopped, {"lr": 0.05})
    assert [report.epoch for report in expected] == [1, 2, 3]
    assert [report.metrics for report in paused(stopped, {"lr": 0.05}, {1, 2})] == [
        report.metrics for report in expected
    ]
    assert {file.name for file in (tmp_path / "files").iterdir()} >= {"epoch=0.ckpt", "epoch=2.ckpt"}


def test_predictions_make_it_a_candidate_for_ensembles() -> None:
    left = taken(whole(train, {"lr": 0.05})[-1])
    assert left.predictions["validation"].shape == (60, CLASSES)
    assert left.targets["validation"].shape == (60,)
    assert not taken(whole(train, {"lr": 0.05, "predicts": False})[-1]).predictions


def test_metrics_are_chosen_and_renamed() -> None:
    def renamed(config: Config, context: TrialContext) -> None:
        fit(config, report=ReportCallback({"val_loss": "val_loss", "loss": "train_loss"}, context))

    def named(config: Config) -> None:
        fit(config, report=ReportCallback(["val_los"]))

    assert set(whole(renamed, {"lr": 0.05})[0].metrics) == {"val_loss", "loss"}
    with pytest.raises(TrainingError, match="Lightning has measured no 'val_los' in this epoch. Did you mean 'val_los"):
        whole(named, {"lr": 0.05})


def test_epochs_without_validation_are_not_reported() -> None:
    def rarely(config: Config) -> None:
        fit(config, check_val_every_n_epoch=2)

    expected = whole(rarely, {"lr": 0.05})
    assert [report.epoch for report in expected] == [2, 4]
    assert paused(rarely, {"lr": 0.05}, {2})[1].metrics == expected[1].metrics


def test_a_child_keeps_its_own_settings() -> None:
    parent = next(reports_of(train, {"lr": 0.05}, Context(searched(), None, 7)))
    assert parent.state is not None
    child = Context(searched(), None, 8, parent.state(), inherited=True)
    second, third, _ = reports_of(train, {"lr": 0.4}, child)
    assert [second.epoch, third.epoch] == [2, 3]
    assert [second.metrics["lr"], third.metrics["lr"]] == pytest.approx([0.4 / 2, 0.4 / 4])


def test_without_its_checkpoint_a_trial_is_not_saved_and_that_is_told() -> None:
    def forgets(config: Config) -> None:
        trainer = lightning.Trainer(max_epochs=1, callbacks=[ReportCallback()], **QUIET)
        trainer.fit(Net(config["lr"]), datamodule=Rows())

    with pytest.warns(RuntimeWarning, match="ckpt_path=report.checkpoint"):
        (report,) = whole(forgets, {"lr": 0.05})
    assert report.state is None


def test_a_state_of_something_else_is_told() -> None:
    with pytest.raises(TrainingError, match="the stored state is not of hpo.adapters.lightning"):
        next(reports_of(train, {"lr": 0.1}, Context(searched(), None, 7, {"epoch": 3})))


def test_what_a_fused_optimizer_has_learned_must_fit() -> None:
    config = {"lr": 0.05, "schedule": "fused"}
    first = next(reports_of(train, config, Context(searched(), None, 7)))
    assert first.state is not None
    state = first.state()
    state["context"]["saved"]["optimizer_states"][0]["state"][0]["exp_avg"] = torch.zeros(1)
    with pytest.raises(ValueError, match="exp_avg"):
        next(reports_of(train, config, Context(searched(), None, 7, state)))


@pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty")
def test_a_stored_path_removes_no_file_and_is_loaded_from_nowhere(tmp_path: Path) -> None:
    treasure = tmp_path / "photos"
    treasure.mkdir()
    kept: list[ModelCheckpoint] = []

    def keeps(config: Config) -> None:
        kept.append(ModelCheckpoint(tmp_path / "files", monitor="val_loss", save_top_k=1))
        fit(config, kept[-1])

    first = next(reports_of(keeps, {"lr": 0.05}, Context(searched(), None, 7)))
    assert first.state is not None
    state = first.state()
    stored = state["context"]["saved"]["callbacks"]
    (key,) = (key for key in stored if "ModelCheckpoint" in key)
    path = f"local://{treasure}"
    stored[key] |= {"best_model_path": path, "kth_best_model_path": path, "best_k_models": {path: torch.tensor(9.0)}}
    stored[key] |= {"best_model_score": torch.tensor(9.0), "kth_value": torch.tensor(9.0)}
    assert list(reports_of(keeps, {"lr": 0.05}, Context(searched(), None, 7, state)))
    assert treasure.is_dir() and "photos" not in kept[-1].best_model_path


def test_a_trial_in_several_processes_is_refused() -> None:
    def wide(config: Config) -> None:
        trainer = lightning.Trainer(devices=2, strategy="ddp_spawn", **QUIET)
        ReportCallback().setup(trainer, Net(config["lr"]), "fit")

    with pytest.raises(TrainingError, match=r"Lightning would train in 2: Trainer\(devices=1\)"):
        whole(wide, {"lr": 0.05})


def test_outside_of_a_search_it_does_nothing() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        assert fit({"lr": 0.05}, max_epochs=1).checkpoint is None
    assert hpo.context() is None
