"""The final model: members and a combiner in one folder; `hpo predict` and MLflow load it without the study.

ensemble.json               task, classes, members with their models, combiner
trial-00012.safetensors     the weights of a member
"""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file

from hpo import models
from hpo.artifacts import Artifacts
from hpo.ensemble.calibration import temper
from hpo.ensemble.combiner import Combiner, Probabilities, from_json
from hpo.errors import DataError
from hpo.spec import Named, StudySpec
from hpo.study import DataFacts, TrialRecord
from hpo.tasks import classification
from hpo.tasks.kinds import predict

_BATCH = 512
LOADER_MODULE = __name__
"""What MLflow calls to load the folder: see `_load_pyfunc`."""


@dataclass(frozen=True)
class Member:
    """One trial of an ensemble."""

    trial: int
    weight: float
    temperature: float
    model: Named

    @property
    def checkpoint(self) -> str:
        """Its file in the ensemble's folder."""
        return f"trial-{self.trial:05d}.safetensors"


class EnsembleModel:
    """Predicts class probabilities for uint8 images; standardization is part of every member.

    Args:
        folder: written by `write`.
        device: where members run; CUDA where this process sees a GPU, if None.

    Raises:
        DataError: the folder holds no ensemble, or a checkpoint does not fit.
    """

    def __init__(self, folder: Path, device: torch.device | None = None) -> None:
        try:
            document = json.loads((folder / "ensemble.json").read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise DataError(f"{folder}: holds no ensemble: {error}") from error
        self.outputs: tuple[str, ...] = tuple(document["outputs"])
        channels, height, width = document["input_shape"]
        self.input_shape: tuple[int, int, int] = (channels, height, width)
        self._device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._members = [_member(entry) for entry in document["members"]]
        self._combiner: Combiner = from_json(document["combiner"], len(self._members))
        self._networks = [self._network(folder, member) for member in self._members]

    def predict_proba(self, images: NDArray[np.uint8]) -> Probabilities:
        """Class probabilities `(n, classes)` of images `(n, h, w, c)` uint8.

        Raises:
            DataError: the images have another shape or type than those that the members were trained on.
        """
        channels, height, width = self.input_shape
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != (height, width, channels):
            raise DataError(
                f"images must be uint8 (n, {height}, {width}, {channels}), got {images.dtype} {images.shape}"
            )
        pixels = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2)
        predictions = [
            temper(predict(network, pixels, classification.activate, batch_size=_BATCH).cpu().numpy(), member.temperature)
            for network, member in zip(self._networks, self._members, strict=True)
        ]
        return self._combiner.combine(np.stack(predictions))

    def predict(self, model_input: NDArray[np.uint8], params: Mapping[str, str] | None = None) -> Probabilities:
        """What MLflow calls; the same as `predict_proba`."""
        return self.predict_proba(np.asarray(model_input))

    def _network(self, folder: Path, member: Member) -> torch.nn.Module:
        network = models.build(member.model, self.input_shape, len(self.outputs))
        try:
            network.load_state_dict(load_file(folder / member.checkpoint))
        except (OSError, RuntimeError, SafetensorError) as error:
            raise DataError(f"trial {member.trial}: its checkpoint does not fit its model: {error}") from error
        return models.place(network.eval(), self._device)


def write(
    folder: Path,
    spec: StudySpec,
    facts: DataFacts,
    members: Sequence[tuple[TrialRecord, float]],
    artifacts: Artifacts,
    combiner: Combiner,
) -> None:
    """Writes an ensemble's folder.

    Args:
        folder: is made.
        spec: of the study.
        facts: of its data.
        members: trials and their temperatures, in the combiner's order.
        artifacts: where they left their checkpoints.
        combiner: joins them.

    Raises:
        DataError: a member has left no checkpoint.
    """
    folder.mkdir(parents=True)
    entries = []
    for (trial, temperature), weight in zip(members, combiner.weights, strict=True):
        stored = artifacts.read(trial.number)
        if stored is None:
            raise DataError(f"trial {trial.number} has no stored checkpoint")
        member = Member(trial.number, weight, temperature, spec.apply(trial.config).model)
        shutil.copyfile(stored.checkpoint, folder / member.checkpoint)
        entries.append(
            {
                "trial": member.trial,
                "weight": member.weight,
                "temperature": member.temperature,
                "epoch": stored.epoch,
                "model": {"name": member.model.name, "settings": member.model.settings},
                "config": trial.config,
            }
        )
    document = {
        "study": spec.study,
        "task": spec.task,
        "outputs": list(facts.outputs),
        "input_shape": list(facts.input_shape),
        "members": entries,
        "combiner": combiner.to_json(),
    }
    (folder / "ensemble.json").write_text(json.dumps(document, indent=1), encoding="utf-8")


def _member(entry: Mapping[str, Any]) -> Member:
    model = Named(name=entry["model"]["name"], **entry["model"]["settings"])
    return Member(entry["trial"], entry["weight"], entry["temperature"], model)


def _load_pyfunc(path: str) -> EnsembleModel:
    """MLflow's entry: the object whose `predict` it calls."""
    return EnsembleModel(Path(path))
