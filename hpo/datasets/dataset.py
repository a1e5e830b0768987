"""Examples in memory: uint8 images with integer labels."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import NDArray

from hpo.errors import DataError


@dataclass(frozen=True, eq=False)
class Examples:
    """Images `(n, h, w, c)` uint8 and their labels `(n,)` int64."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: NDArray[np.intp]) -> Self:
        """The examples of these rows, in this order."""
        return type(self)(self.images[rows], self.labels[rows])


@dataclass(frozen=True, eq=False)
class Source:
    """What a data set provides: training and test examples, before validation rows are split off."""

    train: Examples
    test: Examples
    classes: tuple[str, ...]
    """The name of each label, by its number."""
    name: str
    """For messages: the data set's name or path."""

    def check(self) -> None:
        """Holds the examples to the rules that training relies on.

        Raises:
            DataError: a split is empty, sizes differ, or a label is out of range.
        """
        for split, examples in (("train", self.train), ("test", self.test)):
            where = f"{self.name}: {split}"
            if len(examples) == 0:
                raise DataError(f"{where}: there are no examples")
            if examples.images.size == 0:
                raise DataError(f"{where}: images are empty, of shape {examples.images.shape}")
            if len(examples.images) != len(examples.labels):
                raise DataError(f"{where}: {len(examples.images)} images but {len(examples.labels)} labels")
            wrong = examples.labels[(examples.labels < 0) | (examples.labels >= len(self.classes))]
            if len(wrong):
                raise DataError(
                    f"{where}: labels out of range: must be 0 to {len(self.classes) - 1}, got {int(wrong[0])}"
                    f" ({len(wrong)} of {len(examples)} rows); data.classes sets the number of classes"
                )
        if self.train.images.shape[1:] != self.test.images.shape[1:]:
            raise DataError(
                f"{self.name}: train images are {self.train.images.shape[1:]},"
                f" test images {self.test.images.shape[1:]}; they must have one shape"
            )


@dataclass(frozen=True, eq=False)
class Dataset:
    """The three splits that all trials of a study share: choose on validation, score once on test."""

    train: Examples
    validation: Examples
    test: Examples
    classes: tuple[str, ...]

    @cached_property
    def fingerprint(self) -> str:
        """A hash of all rows and labels in their splits."""
        digest = hashlib.blake2b(digest_size=16)
        for examples in (self.train, self.validation, self.test):
            digest.update(repr(examples.images.shape).encode())
            digest.update(np.ascontiguousarray(examples.images).data)
            digest.update(np.ascontiguousarray(examples.labels).data)
        return digest.hexdigest()

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Of one image as a model sees it: (channels, height, width)."""
        height, width, channels = self.train.images.shape[1:]
        return channels, height, width
