"""The folder from which a program goes on, as a state of its trial and back again."""

import os
import stat
from collections.abc import Mapping
from pathlib import Path

import torch

from hpo import files
from hpo.errors import TrainingError
from hpo.training.function import TrainingState

_EPOCH, _FILES = "epoch", "files"


def packed(folder: Path, epoch: int) -> TrainingState:
    """All files of a folder and below as a state, and the epoch that they are of; a link counts as what it leads to.

    Raises:
        TrainingError: there is a link to a folder, a pipe or a device.
        OSError: a file cannot be read.
    """
    return {_EPOCH: epoch, _FILES: {name: _tensor(_content(folder, name)) for name in names(folder)}}


def unpack(state: TrainingState, folder: Path, epochs: int) -> int:
    """Writes the files of a state into a folder.

    Args:
        state: what was stored of a trial, which may have been changed since.
        folder: empty.
        epochs: of a full training.

    Returns:
        The epoch that they are of.

    Raises:
        TrainingError: the state is no checkpoint, or leads out of the folder.
        OSError: a file cannot be written.
    """
    epoch, kept = state.get(_EPOCH), state.get(_FILES)
    if type(epoch) is not int or not 1 <= epoch <= epochs or not isinstance(kept, Mapping):
        raise TrainingError("the stored state is no checkpoint of a program: it lacks its epoch or its files")
    for name, content in kept.items():
        if not isinstance(name, str) or not isinstance(content, torch.Tensor) or content.dtype != torch.uint8:
            raise TrainingError(f"the stored state is no checkpoint of a program: {str(name)!r:.80} is no file")
        if {"", ".", ".."} & set(name.split("/")) or "\0" in name:
            raise TrainingError(
                f"the stored state is no checkpoint of a program: {name!r:.80} is no file below a folder"
            )
        files.write(folder, name, bytes(content.contiguous().numpy().data))
    return epoch


def names(folder: Path) -> list[str]:
    """The files in a folder and below."""
    found = []
    for place, below, own in os.walk(folder):
        found += [str((Path(place) / name).relative_to(folder)) for name in own]
        found += [str((Path(place) / name).relative_to(folder)) for name in below if (Path(place) / name).is_symlink()]
    return sorted(found)


def _content(folder: Path, name: str) -> bytes:
    try:
        if stat.S_ISREG((folder / name).stat().st_mode):
            return files.read_regular(folder / name, follow=True)
    except FileNotFoundError:
        pass
    raise TrainingError(
        f"the program's checkpoint folder has '{name}', which is no file and leads to none: only files can be kept"
    )


def _tensor(content: bytes) -> torch.Tensor:
    return torch.frombuffer(bytearray(content), dtype=torch.uint8) if content else torch.empty(0, dtype=torch.uint8)
