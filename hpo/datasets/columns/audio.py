"""Clips of sound in files that a column names, as their samples."""

import wave
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from hpo.datasets.columns import CellError, Cells, text
from hpo.datasets.ragged import Ragged
from hpo.errors import DataError
from hpo.spec import DataSettings
from hpo.tasks.features import Feature, Sound

_SECONDS = 10.0
"""How much of a clip is kept, where nobody says."""
_FULL = 32_767
"""The largest sample."""
_MOST = 2**24
"""The most samples of a clip, and of a second."""


@dataclass(frozen=True)
class Audio:
    """A column of paths of sound files: a model is given the log-mel spectrogram of what is in them."""

    kind: ClassVar[str] = "audio"
    whole: ClassVar[bool] = True
    lists: ClassVar[bool] = True
    ends: ClassVar[tuple[str, ...]] = (".wav", ".flac", ".ogg", ".aiff", ".aif")
    name: str
    rate: int
    """Samples a second, the same in all files."""
    length: int
    """The most samples of a clip that are kept."""
    mels: int
    """Bands of frequencies of the spectrogram."""
    folder: str = ""
    """Where relative paths of the training began."""

    @property
    def features(self) -> tuple[Feature, ...]:
        """The clip as a whole."""
        return (Sound(self.name, rate=self.rate, mels=self.mels),)

    def encode(self, cells: Cells) -> Ragged:
        """The samples of clips, whole numbers of 16 bits.

        Raises:
            CellError: a cell names no file of sound, or one of another rate.
        """
        return Ragged.of([self._samples(row, cell) for row, cell in enumerate(cells)], self.length, Sound.PADDING, "i2")

    def decode(self, numbers: Sequence[float]) -> list[float]:
        """A clip as its samples, -1 to 1, which stands for a file in what `Ensemble.predict` takes."""
        return [number / _FULL for number in numbers if number != Sound.PADDING]

    def told(self) -> str:
        """What it is."""
        return f"sound, {self.rate:,} samples a second, {self.length / self.rate:g} s of each at most"

    def to_json(self) -> dict[str, Any]:
        """How clips are read."""
        return {"rate": self.rate, "length": self.length, "mels": self.mels}

    @classmethod
    def fit(cls, name: str, cells: Cells, settings: DataSettings) -> Self:
        """Takes the rate of the first clip.

        Raises:
            CellError: the first cell names no file of sound.
        """
        folder = str(Path(settings.path or ".").parent)
        row = next((row for row, cell in enumerate(cells) if cell is not None), None)
        if row is None:
            raise CellError(0, f"column {name!r} names no file")
        _, rate = _read(_path(cells[row], folder), name, row)
        length = min(int((settings.length or _SECONDS) * rate), _MOST)
        return cls(name, rate, length, settings.mels, folder)

    @classmethod
    def from_json(cls, name: str, document: Mapping[str, Any]) -> Self:
        """Back from JSON; relative paths begin in the current folder then.

        Raises:
            ValueError, TypeError, KeyError: it is damaged.
        """
        rate, length, mels = (document[key] for key in ("rate", "length", "mels"))
        if any(type(number) is not int for number in (rate, length, mels)):
            raise TypeError("rate, length and mels are whole numbers")
        if not (0 < rate <= _MOST and 0 < length <= _MOST and 0 < mels <= 1024):
            raise ValueError("rate, length and mels must be positive, and not so large")
        return cls(name, rate, length, mels)

    def _samples(self, row: int, cell: Any) -> NDArray[np.int16]:
        if cell is None:
            raise CellError(row, f"column {self.name!r} names no file here; leave the row out")
        if isinstance(cell, list | np.ndarray):
            return whole(np.asarray(cell))
        samples, rate = _read(_path(cell, self.folder), self.name, row)
        if rate != self.rate:
            raise CellError(
                row,
                f"column {self.name!r}: '{cell}' has {rate:,} samples a second, and the first clip {self.rate:,};"
                " convert all to one rate",
            )
        return samples[: self.length]


def whole(samples: NDArray[Any]) -> NDArray[np.int16]:
    """Samples as whole numbers of 16 bits, of floats from -1 to 1 or of whole numbers.

    Raises:
        DataError: they are neither.
    """
    if samples.ndim == 1 and samples.dtype.kind == "f" and len(samples) and np.isfinite(samples).all():
        return _rounded(samples)
    if samples.ndim == 1 and samples.dtype == np.int16 and len(samples):
        kept: NDArray[np.int16] = np.maximum(samples, np.int16(-_FULL))
        return kept
    raise DataError(
        f"a clip must be samples (n,), floats of -1 to 1 or int16, got {samples.dtype} of shape {samples.shape}"
    )


def _path(cell: Any, folder: str) -> Path:
    return Path(folder) / Path(text(cell)).expanduser()


def _read(path: Path, name: str, row: int) -> tuple[NDArray[np.int16], int]:
    """The samples of a file, several channels as their mean, and its rate.

    Raises:
        CellError: it cannot be read.
    """
    try:
        if not path.is_file():
            raise ValueError("is no file" if path.exists() else "does not exist")
        samples, rate = _of_wav(path) if path.suffix.lower() == ".wav" else _of_any(path)
        if not len(samples):
            raise ValueError("holds no sound")
        return samples, rate
    except (OSError, ValueError, EOFError, RuntimeError, wave.Error) as error:
        raise CellError(row, f"column {name!r}: '{path}' cannot be read as sound: {error}") from None


def _of_wav(path: Path) -> tuple[NDArray[np.int16], int]:
    """A plain WAV file of 8 or 16 bits; others are read by soundfile."""
    with path.open("rb") as raw:
        begin = raw.read(12)
    if begin[:4] != b"RIFF" or begin[8:] != b"WAVE":
        raise ValueError("its content is no WAV, whatever its name says")
    try:
        with wave.open(str(path), "rb") as file:
            bits, channels, rate = file.getsampwidth() * 8, file.getnchannels(), file.getframerate()
            content = file.readframes(file.getnframes())
    except wave.Error:  # floats, or what is compressed
        return _of_any(path)
    if bits not in (8, 16):
        return _of_any(path)
    if bits == 8:
        samples = (np.frombuffer(content, np.uint8).astype(np.int32) - 128) * 256
    else:
        samples = np.frombuffer(content, "<i2").astype(np.int32)
    return _one_channel(samples[: len(samples) // channels * channels].reshape(-1, channels) / (_FULL + 1)), rate


def _of_any(path: Path) -> tuple[NDArray[np.int16], int]:
    try:
        import soundfile
    except ImportError:
        raise ValueError("WAV files of 8 or 16 bits are read; for others: pip install 'hpo[audio]'") from None
    samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    return _one_channel(samples), int(rate)


def _one_channel(samples: NDArray[np.floating[Any]]) -> NDArray[np.int16]:
    """Floats `(n, channels)` as the mean of the channels."""
    return _rounded(samples.mean(axis=1))


def _rounded(samples: NDArray[np.floating[Any]]) -> NDArray[np.int16]:
    rounded: NDArray[np.int16] = np.rint(np.clip(samples, -1, 1) * _FULL).astype(np.int16)
    return rounded
