"""What a trial leaves at its best epoch: a checkpoint and its predictions on validation and test rows.

    <folder>/00012/epoch-0005/
        checkpoint.safetensors    weights alone, float32
        validation.npy, test.npy  predictions (rows, outputs): float16 probabilities, or float32 values

    <folder>/00012/state.pt       what a paused trial goes on from, until it has ended

An epoch's folder appears whole or not at all; the older one is removed after. Nothing here is unpickled: a state
is read by torch's loader of weights alone.
"""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

Split = Literal["validation", "test", "held_out"]
"""Rows that a trial predicts; held out are training rows that a retrained member was not trained on."""


@dataclass(frozen=True)
class Stored:
    """A trial at its best epoch, on disk."""

    epoch: int
    folder: Path

    @property
    def checkpoint(self) -> Path:
        """The weights, as safetensors."""
        return self.folder / "checkpoint.safetensors"

    def predictions(self, split: Split) -> NDArray[np.float32]:
        """Predictions `(rows, outputs)`.

        Raises:
            OSError, ValueError: the file is missing or corrupt.
        """
        array: NDArray[np.generic] = np.load(self.folder / f"{split}.npy", allow_pickle=False)
        return array.astype(np.float32)


class Artifacts:
    """The artifact folders of a study's trials."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(
        self,
        number: int,
        epoch: int,
        weights: Mapping[str, NDArray[np.generic]],
        predictions: Mapping[Split, NDArray[np.floating]],
    ) -> None:
        """Stores a trial's best epoch so far and removes the one before.

        Args:
            number: of the trial.
            epoch: at which it stands.
            weights: name -> array.
            predictions: split -> predictions `(rows, outputs)`, in the type to store.
        """
        trial = self.folder / f"{number:05d}"
        final, draft = trial / f"epoch-{epoch:04d}", trial / f".epoch-{epoch:04d}"
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        save_file(dict(weights), draft / "checkpoint.safetensors")
        for split, rows in predictions.items():
            np.save(draft / f"{split}.npy", rows)
        before = list(trial.glob("epoch-*"))
        draft.rename(final)
        for folder in before:
            shutil.rmtree(folder)

    def state_file(self, number: int) -> Path:
        """Where a paused trial keeps what it needs to go on."""
        return self.folder / f"{number:05d}" / "state.pt"

    def lend_state(self, number: int, child: int) -> None:
        """Gives a new trial a copy of a paused trial's state, where that has one."""
        source, target = self.state_file(number), self.state_file(child)
        if source.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)

    def read(self, number: int) -> Stored | None:
        """What a trial left, or None where it left nothing."""
        folders = sorted((self.folder / f"{number:05d}").glob("epoch-*"))
        return Stored(int(folders[-1].name.removeprefix("epoch-")), folders[-1]) if folders else None
