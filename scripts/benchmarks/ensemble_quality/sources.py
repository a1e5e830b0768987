"""The data sets: real ones, small enough to search in a minute, with test splits that are large for their size.

Each is a function `(folder, seed) -> arrays` as `data.name: npz` reads them. Of what scikit-learn ships, half of the
rows are the test split, drawn by the seed: a fifth of 178 wines would judge nothing. MNIST and CIFAR-10 give other
training rows to each seed; SST-2 and FSDD have splits of their own.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]

HERE = Path(__file__).parent
ROWS = 2500
"""Of MNIST's and CIFAR-10's training rows; a fifth of them is for validation."""
_WORDS = 800
_BANDS, _FRAMES = 16, 24
_WINDOW, _HOP = 256, 64
"""Samples of a clip in one spectrum, and between two."""
_FLOOR = 8.0
"""Nepers below a clip's loudest band that are black."""


@dataclass(frozen=True)
class Source:
    """A data set, the file of its search space, and what it lays over that file."""

    read: Callable[[Path, int], Arrays]
    space: Path
    overrides: Mapping[str, Any] = field(default_factory=dict)


def digits(folder: Path, seed: int) -> Arrays:
    """1,797 grey images of 8x8 in 10 classes (scikit-learn)."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    return halves((bunch.images * (255 / 16)).round().astype(np.uint8), bunch.target, seed)


def breast_cancer(folder: Path, seed: int) -> Arrays:
    """569 rows, 30 features, 2 classes (scikit-learn)."""
    from sklearn.datasets import load_breast_cancer

    return halves(*load_breast_cancer(return_X_y=True), seed)


def wine(folder: Path, seed: int) -> Arrays:
    """178 rows, 13 features, 3 classes (scikit-learn)."""
    from sklearn.datasets import load_wine

    return halves(*load_wine(return_X_y=True), seed)


def diabetes(folder: Path, seed: int) -> Arrays:
    """442 rows, 10 features, regression (scikit-learn)."""
    from sklearn.datasets import load_diabetes

    return halves(*load_diabetes(return_X_y=True), seed)


def mnist(folder: Path, seed: int) -> Arrays:
    """2,500 / 2,000 grey images of 28x28 in 10 classes."""
    return some_training_rows(load(folder / "images" / "mnist.npz"), seed)


def cifar10(folder: Path, seed: int) -> Arrays:
    """2,500 / 2,000 colour images of 16x16 in 10 classes."""
    arrays = some_training_rows(load(folder / "images" / "cifar10.npz"), seed)
    return {key: halved(array) if key.startswith("x") else array for key, array in arrays.items()}


def sst2(folder: Path, seed: int) -> Arrays:
    """6,920 / 1,821 sentences of film reviews, good or bad; tf-idf of the training split's 800 most frequent words."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    files = (folder / "text" / f"sst2_{split}.tsv" for split in ("train", "test"))
    (train, y_train), (test, y_test) = map(_sentences, files)
    vectorizer = TfidfVectorizer(max_features=_WORDS, sublinear_tf=True)
    x_train, x_test = vectorizer.fit_transform(train), vectorizer.transform(test)
    return {
        "x_train": x_train.toarray().astype(np.float32),
        "y_train": y_train,
        "x_test": x_test.toarray().astype(np.float32),
        "y_test": y_test,
    }


def speech(folder: Path, seed: int) -> Arrays:
    """FSDD: 2,700 / 300 spoken digits as log-spectrograms of 16x24; takes 0-4 are the test split."""
    arrays = load(folder / "speech" / "fsdd.npz")
    bounds = arrays["offsets"]
    clips = (arrays["audio"][start:end] for start, end in pairwise(bounds))
    images = np.stack([spectrogram(clip.astype(np.float64), int(arrays["sample_rate"])) for clip in clips])
    test, labels = arrays["take"] < 5, arrays["digit"].astype(np.int64)
    return {"x_train": images[~test], "y_train": labels[~test], "x_test": images[test], "y_test": labels[test]}


_MLP, _CONVNET = HERE / "mlp.yaml", HERE / "convnet.yaml"
_SMALL: Mapping[str, Any] = {"training.epochs": 20, "data.validation": 0.25, "model.width": 32}
"""Tables of some hundred rows: more epochs, as they have few batches."""

SOURCES: Mapping[str, Source] = {
    "wine": Source(wine, _MLP, _SMALL),
    "breast_cancer": Source(breast_cancer, _MLP, _SMALL),
    "diabetes": Source(
        diabetes,
        _MLP,
        {**_SMALL, "task": "regression", "objective.metric": "rmse", "training.label_smoothing": 0.0},
    ),
    "digits": Source(digits, _CONVNET),
    "mnist": Source(mnist, _MLP),
    "sst2": Source(sst2, _MLP, {"data.validation": 0.1, "training.batch_size": 64}),
    "speech": Source(speech, _CONVNET),
    "cifar10": Source(cifar10, _CONVNET, {"data.augment": ["horizontal_flip"]}),
}
"""By name, the cheapest first."""


def halves(inputs: NDArray[Any], targets: NDArray[Any], seed: int) -> Arrays:
    """One half for training, the other for the test, with the shares of classes kept."""
    from sklearn.model_selection import train_test_split

    labels = targets if np.issubdtype(targets.dtype, np.integer) else None
    train, test = train_test_split(np.arange(len(targets)), test_size=0.5, stratify=labels, random_state=seed)
    return {"x_train": inputs[train], "y_train": targets[train], "x_test": inputs[test], "y_test": targets[test]}


def some_training_rows(arrays: Arrays, seed: int) -> Arrays:
    """`ROWS` of the training rows, with the shares of classes kept, and all test rows."""
    from sklearn.model_selection import train_test_split

    labels = arrays["y_train"]
    chosen, _ = train_test_split(np.arange(len(labels)), train_size=ROWS, stratify=labels, random_state=seed)
    return {**arrays, "x_train": arrays["x_train"][chosen], "y_train": labels[chosen]}


def halved(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Images `(n, h, w, c)` with each 2x2 pixels averaged; sides are even."""
    n, height, width, channels = images.shape
    blocks = images.reshape(n, height // 2, 2, width // 2, 2, channels)
    averaged: NDArray[np.uint8] = blocks.mean(axis=(2, 4)).round().astype(np.uint8)
    return averaged


def spectrogram(clip: NDArray[np.float64], rate: int) -> NDArray[np.uint8]:
    """A clip `(samples,)` as `(16, 24)`: log power in bands of equal width in mel, stretched to the same length."""
    clip = np.pad(clip, (0, max(0, _WINDOW - len(clip))))
    frames = np.lib.stride_tricks.sliding_window_view(clip, _WINDOW)[::_HOP]
    power = np.abs(np.fft.rfft(frames * np.hanning(_WINDOW), axis=1)) ** 2
    bands = np.log(power @ mel_bands(rate) + 1e-9)
    times = np.linspace(0, len(bands) - 1, _FRAMES)
    stretched = np.stack([np.interp(times, np.arange(len(bands)), band) for band in bands.T])
    light = np.clip((stretched - stretched.max()) / _FLOOR + 1, 0, 1)
    return np.asarray((light * 255).round(), np.uint8)


def mel_bands(rate: int) -> NDArray[np.float64]:
    """Triangular filters `(frequencies, bands)` over the spectrum of one window."""
    frequencies = np.fft.rfftfreq(_WINDOW, 1 / rate)
    top = 2595 * np.log10(1 + rate / 2 / 700)
    edges = 700 * (10 ** (np.linspace(0, top, _BANDS + 2) / 2595) - 1)
    low, centre, high = edges[:-2], edges[1:-1], edges[2:]
    rising = (frequencies[:, None] - low) / (centre - low)
    falling = (high - frequencies[:, None]) / (high - centre)
    filters: NDArray[np.float64] = np.clip(np.minimum(rising, falling), 0, None)
    return filters


def _sentences(path: Path) -> tuple[list[str], NDArray[np.int64]]:
    lines = path.read_text(encoding="utf-8").splitlines()[1:]
    labels, texts = zip(*(line.split("\t", 1) for line in lines), strict=True)
    return list(texts), np.array(labels, dtype=np.int64)


def load(path: Path) -> Arrays:
    """The arrays of an .npz file."""
    with np.load(path, allow_pickle=False) as file:
        return dict(file)
