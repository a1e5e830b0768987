"""What a model is told of the numbers in a row of a table."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Feature:
    """One number of a row: a quantity, or the code of a category."""

    name: str
    categories: int = 0
    """How many categories there are: their codes are 1 to this number, and 0 is none of them. 0 of a quantity."""
    may_miss: bool = False
    """Whether the model is told where a quantity is missing (NaN), as it is in some training rows."""

    @property
    def width(self) -> int:
        """How many numbers a network is given for it: one a category, or the quantity and whether it is missing."""
        return self.categories or 1 + self.may_miss


def width(features: Sequence[Feature]) -> int:
    """How many numbers a network is given for a row."""
    return sum(feature.width for feature in features)
