"""What a finished command has found; checkpoints of both kinds go through the same test."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from by_hand import MEAN, STD
from torch import nn

import hpo
from hpo import models
from hpo.models.resnet import resnet
from hpo.models.standardize import Standardized
from hpo.study.trial import State

_SHAPE, _CLASSES, _BATCH = (3, 32, 32), 10, 500


@dataclass(frozen=True)
class Found:
    """Trials, the epochs that they were trained, and the accuracies of the best checkpoint."""

    trials: int
    epochs: int
    validation: float
    test: float


def of_script(told: Mapping[str, Any], data: Path) -> Found:
    """Of what by_hand.py printed.

    Raises:
        RuntimeError: a trial of it failed.
    """
    if told["errors"]:
        raise RuntimeError(f"{told['errors']} trials of the script failed")
    network = resnet(_SHAPE, _CLASSES, depth=8, width=told["width"])
    network.load_state_dict(torch.load(told["checkpoint"], map_location="cpu", weights_only=True)["model"])
    model = Standardized(_SHAPE, network, _CLASSES, rescaled=False, foreign=False)
    model.standardize.fit(255 * np.array(MEAN), 255 * np.array(STD))
    return Found(told["trials"], told["epochs"], told["validation"], accuracy(model, data))


def of_study(storage: Path, data: Path) -> Found:
    """Of the study that `hpo search` has left in a storage folder.

    Raises:
        RuntimeError: a trial of it failed, or none has a checkpoint.
    """
    study = hpo.open_study(storage=storage)
    trials, best = study.trials(), study.best()
    stored = None if best is None else study.artifacts.read(best.number)
    if best is None or best.value is None or stored is None:
        raise RuntimeError("no trial of the study has a checkpoint")
    failed = [trial.cause for trial in trials if trial.state is State.FAILED]
    if failed:
        raise RuntimeError(f"{len(failed)} trials of the study failed: {failed[0]}")
    model = models.build(study.study_spec.apply(best.config).model, _SHAPE, _CLASSES)
    model.load_state_dict({name: torch.from_numpy(array) for name, array in stored.weights().items()})
    return Found(len(trials), sum(trial.epoch for trial in trials), best.value, accuracy(model, data))


@torch.no_grad()
def accuracy(model: nn.Module, data: Path) -> float:
    """Of a model of images in 0..255, on the test rows of the file."""
    with np.load(data, allow_pickle=False) as arrays:
        images, labels = torch.from_numpy(arrays["x_test"]), torch.from_numpy(arrays["y_test"])
    model.eval()
    batches = images.permute(0, 3, 1, 2).split(_BATCH)
    predicted = torch.cat([model(batch.float()).argmax(dim=1) for batch in batches])
    return float((predicted == labels).float().mean())
