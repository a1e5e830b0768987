"""A trial's snapshot and state, as files."""

import io
import math
import pickle
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from hpo.errors import StudyError
from hpo.files.arrays import NUMBERS, load_array
from hpo.files.tensors import load_tensors
from hpo.study.artifacts.mark import Mark
from hpo.study.artifacts.place import Folder, Place, place
from hpo.study.artifacts.seal import EMPTY, Seal, body

Split = Literal["validation", "test", "held_out"]
"""Rows that a trial predicts; held out are training rows that a retrained member was not trained on."""

_WEIGHTS, _OWN = "checkpoint.safetensors", "checkpoint.pt"
"""Files by one of which an epoch is whole: weights of a model, or what a training function of the user's own keeps."""
_STATE = "state.pt"
_EPOCH = "epoch-"
_EVICTED = "evicted"
PRINTED = ("stdout.txt", "stderr.txt")
"""Files of what the program of a trial has printed."""
MOST_PRINTED = 2**20
"""Bytes that are kept of each, but for the line that says what was left out."""
_SLACK, _VALUE_BYTES = 2**20, 16
"""Bytes that a file of predictions may have: some, and so many for each value."""
_MOST_TARGETS = 2**30
"""The most bytes of a file of targets: what they should be is known from them alone."""
_MOST_EPOCH = 2**31
"""A state of a later epoch is of no trial."""


@dataclass(frozen=True)
class Stored:
    """A trial at its best epoch, as it was stored; `splits` are the rows that it has predicted."""

    epoch: int
    place: Place
    splits: frozenset[Split]
    own: bool = False
    """Whether a training function of the user's own has left it: a state in place of weights."""

    def weights(self) -> dict[str, NDArray[Any]]:
        """The weights, name -> array.

        Raises:
            OSError, ValueError: the file is missing or corrupt.
        """
        try:
            return load(self.place.read(_WEIGHTS))
        except (KeyError, SafetensorError) as error:  # numpy lacks some types that a file can name
            raise ValueError(f"{_WEIGHTS}: {error}") from error

    def state(self) -> dict[str, Any]:
        """What a training function of the user's own has kept of the epoch, on the CPU.

        Raises:
            OSError, RuntimeError, pickle.UnpicklingError: the file is missing or corrupt, or holds anything else.
        """
        return unpacked(self.place.read(_OWN))

    def targets(self, split: Split) -> NDArray[Any]:
        """The truth of the rows of a split, which a training function of the user's own has given.

        Raises:
            OSError, ValueError: the file is missing, corrupt or far too large, or holds no numbers.
        """
        array = load_array(self.place.read(_targets(split), _MOST_TARGETS))
        if array.dtype.kind not in NUMBERS or array.ndim not in (1, 2):
            raise ValueError(f"it holds no numbers (rows,) or (rows, outputs), but {array.shape} {array.dtype}")
        return array

    def copy_checkpoint(self, folder: Place, name: str) -> None:
        """Copies the weights into a file of a folder, as safetensors; of a training function of the user's, its state.

        Raises:
            OSError: they are missing, or the file cannot be written.
        """
        folder.write(name, self.place.read(_OWN if self.own else _WEIGHTS))

    def predictions(self, split: Split, shape: tuple[int, int] | None = None) -> NDArray[np.float32]:
        """Predictions `(rows, outputs)`.

        Args:
            split: the rows.
            shape: that they should have; a file that is far larger is not read.

        Raises:
            OSError, ValueError: the file is missing, corrupt or too large, or holds no numbers.
        """
        most = None if shape is None else _SLACK + _VALUE_BYTES * math.prod(shape)
        array = load_array(self.place.read(f"{split}.npy", most))
        if array.dtype.kind not in NUMBERS:
            raise ValueError(f"it holds no numbers, but {array.dtype}")
        with np.errstate(over="ignore"):  # what is too large for a float32 is infinite
            return array.astype(np.float32)

    def add(self, split: Split, predictions: NDArray[np.floating]) -> None:
        """Stores predictions `(rows, outputs)` that come later than the weights, in their own type.

        Raises:
            OSError: the place cannot be written.
        """
        _write_array(self.place, f"{split}.npy", predictions)


class Artifacts:
    """What the trials of a study have left. It is cheap to make and to send to another process.

    Args:
        where: a folder, or the URI of an object store's prefix.
        mark: of a search in that folder; a machine that does not see it writes nothing.
        seal: of a search, by which states of trials are proven; None reads them without.
    """

    def __init__(self, where: Place | Path | str, mark: Mark | None = None, seal: Seal | None = None) -> None:
        self.place = where if isinstance(where, Place) else place(where)
        self.mark, self.seal = mark, seal

    def sealed(self, seal: Seal | None) -> "Artifacts":
        """The same for a search, which proves the states that it stores, if it has a seal."""
        return Artifacts(self.place, self.mark, seal)

    def marked(self) -> "Artifacts":
        """The same for a search on several machines; those in an object store need no mark.

        Raises:
            StudyError: the folder cannot be written.
        """
        if not isinstance(self.place, Folder):
            return self
        try:
            return Artifacts(self.place, Mark.leave(self.place), self.seal)
        except OSError as error:
            raise StudyError(
                f"'{self.place}', where trials store what they leave, cannot be written: {error.strerror or error}"
            ) from None

    def check(self) -> None:
        """Does nothing where this machine sees the place, or nobody has marked it.

        Raises:
            Unseen: it does not.
        """
        if self.mark is not None:
            self.mark.check()

    @property
    def folder(self) -> Path:
        """The folder of all trials.

        Raises:
            StudyError: they are in an object store.
        """
        return self.place.path

    def trial(self, number: int) -> Place:
        """The place of a trial's files."""
        return self.place / f"{number:05d}"

    # ---- the best epoch ------------------------------------------------------------------------------------------

    def write(
        self,
        number: int,
        epoch: int,
        weights: Mapping[str, NDArray[np.generic]],
        predictions: Mapping[Split, NDArray[np.floating]],
        targets: Mapping[Split, NDArray[Any]] | None = None,
        state: Mapping[str, Any] | None = None,
    ) -> None:
        """Stores a trial's best epoch so far and removes the one before.

        The weights are written last: without them nothing is there for a reader.

        Args:
            number: of the trial.
            epoch: at which it stands.
            weights: name -> array.
            predictions: split -> predictions `(rows, outputs)`, in the type to store.
            targets: split -> the truth of the same rows, where no data set of the study has it.
            state: stands for the weights, of a training function of the user's own.

        Raises:
            OSError: the place cannot be written, or is not seen from this machine.
        """
        self.check()
        trial = self.trial(number)
        before = _epochs(trial.files())
        if epoch in before:  # trained again, after its worker was lost
            self._remove(trial, epoch)
        for split, rows in predictions.items():
            _write_array(trial / _folder(epoch), f"{split}.npy", rows)
        for split, truth in (targets or {}).items():
            _write_array(trial / _folder(epoch), _targets(split), truth)
        if state is None:
            trial.write(f"{_folder(epoch)}/{_WEIGHTS}", save(dict(weights)))
        else:
            trial.write(f"{_folder(epoch)}/{_OWN}", packed(state))
        for older in before - {epoch}:
            self._remove(trial, older)

    def read(self, number: int) -> Stored | None:
        """What a trial left, or None where it left nothing whole.

        Raises:
            OSError: the place cannot be reached.
        """
        trial = self.trial(number)
        files = trial.files()
        epoch = whole_epoch(files)
        if epoch is None:
            return None
        splits = frozenset(split for split in get_args(Split) if f"{_folder(epoch)}/{split}.npy" in files)
        return Stored(epoch, trial / _folder(epoch), splits, f"{_folder(epoch)}/{_OWN}" in files)

    # ---- what a trial goes on from -------------------------------------------------------------------------------

    def save_state(self, number: int, state: Mapping[str, Any], of: str = "") -> None:
        """Stores what a trial needs to go on: tensors, numbers and text, nested.

        Args:
            number: of the trial.
            state: of the trial.
            of: its `claim`, with which it is proven.

        Raises:
            OSError: the place cannot be written, or is not seen from this machine.
        """
        self.check()
        content = packed(state, b"" if self.seal is None else EMPTY)
        if self.seal is not None:
            self.seal.prove(content, of)
        self.trial(number).write(_STATE, content)

    def load_state(self, number: int, of: str = "") -> dict[str, Any] | None:
        """What `save_state` has stored, on the CPU; None where nothing is, or what a seal does not prove.

        Args:
            number: of the trial.
            of: its `claim`.

        Raises:
            OSError, RuntimeError, pickle.UnpicklingError: it is corrupt, or holds anything else.
        """
        try:
            content = memoryview(self.trial(number).read(_STATE))
        except FileNotFoundError:
            return None
        if not self._is_proven(content, of):
            warnings.warn(
                f"the state of trial {number} is not taken up: it is not proven to be stored by a search of yours for"
                " this very trial (the secret in ~/.config/hpo/secret is another one, or something was changed)",
                RuntimeWarning,
                stacklevel=2,
            )
            return None
        return unpacked(body(content))

    def takes_up(self, number: int, of: str = "") -> bool:
        """Whether a trial's stored state would be taken up by its `claim`: there is no seal, or it proves the state."""
        return self._is_proven(memoryview(self.trial(number).read(_STATE)), of)

    def _is_proven(self, content: memoryview, of: str) -> bool:
        return self.seal is None or self.seal.proves(content, of)

    def state_epoch(self, number: int, of: str = "", lender: int | None = None) -> int | None:
        """The epoch of a trial's state; None where none is stored that can be read.

        Args:
            number: of the trial.
            of: its `claim`.
            lender: the trial that has stored it, where it was lent; itself where None.
        """
        try:
            state = self.load_state(number, of) or {}
        except Exception:  # whatever torch raises of a damaged one
            return None
        epoch, owner = state.get("epoch"), state.get("number")
        known = type(epoch) is int and 1 <= epoch <= _MOST_EPOCH and type(owner) is int
        return epoch if known and owner == (number if lender is None else lender) else None

    def lend_state(self, number: int, child: int, of: str = "", to: str = "") -> None:
        """Gives a new trial a copy of a paused trial's state, where that has one which would be taken up.

        Args:
            number: of the trial that lends.
            child: the number of the new one.
            of: the `claim` of the trial that lends.
            to: the `claim` of the new one, for which the copy is proven.
        """
        try:
            content = memoryview(bytearray(self.trial(number).read(_STATE)))
        except FileNotFoundError:
            return
        if not self._is_proven(content, of):
            return
        if self.seal is not None:
            self.seal.prove(content, to)
        self.trial(child).write(_STATE, content)

    def has_state(self, number: int) -> bool:
        """Whether a trial's state is stored."""
        return _STATE in self.trial(number).files()

    def drop_state(self, number: int) -> None:
        """Removes a trial's state: it has ended."""
        self.trial(number).remove(_STATE)

    # ---- what is removed -----------------------------------------------------------------------------------------

    def size(self, number: int) -> int:
        """How many bytes a trial takes."""
        return sum(self.trial(number).files().values())

    def files(self) -> dict[int, dict[str, int]]:
        """All files of all trials: number -> name -> bytes."""
        found: dict[int, dict[str, int]] = {}
        for name, size in self.place.files().items():
            trial, _, file = name.partition("/")
            if trial.isdecimal() and file:
                found.setdefault(int(trial), {})[file] = size
        return found

    def evict(self, number: int) -> None:
        """Removes everything of an ended trial, and remembers that."""
        (self.place / _EVICTED).write(f"{number:05d}", b"\n")
        trial = self.trial(number)
        epoch = whole_epoch(trial.files())
        if epoch is not None:
            self._remove(trial, epoch)
        trial.clear()

    def evicted(self) -> frozenset[int]:
        """The trials whose files were removed for their bytes."""
        return frozenset(int(name) for name in (self.place / _EVICTED).files() if name.isdecimal())

    @staticmethod
    def _remove(trial: Place, epoch: int) -> None:
        """What makes it whole goes first."""
        for marker in (_WEIGHTS, _OWN):
            trial.remove(f"{_folder(epoch)}/{marker}")
        (trial / _folder(epoch)).clear()


def packed(state: Mapping[str, Any], head: bytes = b"") -> memoryview:
    """A state as the content of a file: tensors, numbers and text, nested, behind a head."""
    import torch

    content = io.BytesIO()
    content.write(head)
    torch.save(dict(state), content)
    return content.getbuffer()


def unpacked(content: bytes | memoryview) -> dict[str, Any]:
    """The state of a file, on the CPU.

    Raises:
        RuntimeError, pickle.UnpicklingError: the content is corrupt, or holds anything else.
    """
    state = load_tensors(content)
    if not isinstance(state, dict):
        raise pickle.UnpicklingError(f"a state is a dict, got {type(state).__name__}")
    return state


def whole_epoch(files: Iterable[str]) -> int | None:
    """The last epoch that is whole among the files of a trial."""
    whole = (name.partition("/") for name in files)
    return max(
        (_number(folder) for folder, _, file in whole if file in (_WEIGHTS, _OWN) and _is_epoch(folder)), default=None
    )


def leftovers(files: Iterable[str]) -> list[str]:
    """The files of an ended trial that nobody will read: its state, drafts, epochs that are older or not whole."""
    files = list(files)
    epoch = whole_epoch(files)
    kept = None if epoch is None else f"{_folder(epoch)}/"
    return [
        name for name in files if name not in PRINTED and (kept is None or not name.startswith(kept) or "/." in name)
    ]


def printed(trial: Place) -> dict[str, bytes]:
    """What the program of a trial has printed, as far as it was kept: file -> content; those that are there.

    Args:
        trial: the place of its files.

    Raises:
        OSError: the place cannot be reached, or a file is larger than what is ever kept.
    """
    there = trial.files()
    return {name: trial.read(name, 2 * MOST_PRINTED) for name in PRINTED if name in there}


def leaves(files: Iterable[str]) -> bool:
    """Whether an ended trial has something to keep among its files: its best epoch, or what its program has printed."""
    files = list(files)
    return whole_epoch(files) is not None or not {*PRINTED}.isdisjoint(files)


def _write_array(epoch: Place, name: str, array: NDArray[Any]) -> None:
    content = io.BytesIO()
    np.save(content, array, allow_pickle=False)
    epoch.write(name, content.getbuffer())


def _targets(split: Split) -> str:
    return f"{split}-targets.npy"


def _epochs(files: Iterable[str]) -> set[int]:
    return {_number(name) for name in files if _is_epoch(name.partition("/")[0])}


def _is_epoch(folder: str) -> bool:
    return folder.startswith(_EPOCH) and folder.removeprefix(_EPOCH).isdecimal()


def _number(name: str) -> int:
    return int(name.partition("/")[0].removeprefix(_EPOCH))


def _folder(epoch: int) -> str:
    return f"{_EPOCH}{epoch:04d}"
