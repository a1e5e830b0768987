"""A Lightning module with its data module, searched; what is added for that is marked by `# hpo`.

Run it from anywhere: `python examples/lightning_digits.py`. It needs `pip install 'hpo[lightning]'`. What it makes is
in a temporary folder, removed at the end.
"""

import os
import tempfile
from pathlib import Path
from typing import Any

import lightning.pytorch as lightning
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split

import hpo
from hpo.adapters.lightning import ReportCallback  # hpo


class Digits(lightning.LightningDataModule):
    """Images `(n, 64)` of ten digits, split once."""

    def __init__(self, batch_size: int = 64) -> None:
        super().__init__()
        self.batch_size = batch_size

    def setup(self, stage: str) -> None:
        """Reads and splits the images."""
        images, digits = load_digits(return_X_y=True)
        rows = TensorDataset(torch.tensor(images / 16, dtype=torch.float32), torch.tensor(digits))
        self.train, self.validation = random_split(rows, [0.8, 0.2], torch.Generator().manual_seed(0))

    def train_dataloader(self) -> DataLoader[Any]:
        """Rows in a new order each epoch."""
        return DataLoader(self.train, self.batch_size, shuffle=True)

    def val_dataloader(self) -> DataLoader[Any]:
        """Rows in one order."""
        return DataLoader(self.validation, 256)


class Net(lightning.LightningModule):
    """A small network with dropout."""

    def __init__(self, lr: float, width: int) -> None:
        super().__init__()
        self.lr = lr
        self.net = nn.Sequential(nn.Linear(64, width), nn.ReLU(), nn.Dropout(0.2), nn.Linear(width, 10))

    def training_step(self, batch: list[torch.Tensor], place: int) -> torch.Tensor:
        """Measures the loss of a batch."""
        images, digits = batch
        return nn.functional.cross_entropy(self.net(images), digits)

    def validation_step(self, batch: list[torch.Tensor], place: int) -> dict[str, torch.Tensor]:
        """Measures a batch; what is returned makes trials candidates for ensembles."""
        images, digits = batch
        probabilities = self.net(images).softmax(1)
        self.log("val_accuracy", (probabilities.argmax(1) == digits).float().mean())
        return {"predictions": probabilities, "targets": digits}  # hpo

    def configure_optimizers(self) -> Any:
        """Adam, with a smaller rate after each epoch."""
        optimizer = torch.optim.Adam(self.parameters(), self.lr)
        return [optimizer], [torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)]


def train(config: dict[str, Any]) -> None:
    """Trains one config."""
    report = ReportCallback()  # hpo
    trainer = lightning.Trainer(
        max_epochs=SPACE["training"]["epochs"],
        callbacks=[report],  # hpo
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(Net(**config), datamodule=Digits(), ckpt_path=report.checkpoint)  # hpo


SPACE: dict[str, Any] = {
    "study": "lightning-digits",
    "train": "lightning_digits:train",
    "training": {"epochs": 4},
    "parameters": {
        "lr": {"min": 1e-4, "max": 1e-1, "log": True},
        "width": {"type": "int", "min": 8, "max": 64, "log": True},
    },
    "objective": {"metric": "val_accuracy", "goal": "maximize"},
    "budget": {"trials": 6},
}

if __name__ == "__main__":
    os.chdir(Path(__file__).parent)  # `lightning_digits:` is looked for where one stands
    with tempfile.TemporaryDirectory() as storage:
        best = hpo.search(SPACE, storage=storage).study.best()
        assert best is not None
        print(f"best: trial {best.number}, {best.config}, validation accuracy {best.value:.3f}")
