"""What a model is told of the numbers of an example."""

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
    embedded: bool = False
    """Whether the categories are too many for a number each, as users and items are: a network embeds their codes."""

    @property
    def width(self) -> int:
        """How many numbers a network is given for it: one a category, or the quantity and whether it is missing."""
        return self.categories or 1 + self.may_miss


@dataclass(frozen=True)
class Tokens(Feature):
    """A text as the codes of its tokens, 1 to `vocabulary` - 1; behind its end stands `PADDING`."""

    vocabulary: int = 2
    """How many codes there are, with 0 of what stands behind the end and 1 of a token that is not known."""
    PADDING = 0
    UNKNOWN = 1


@dataclass(frozen=True)
class Sound(Feature):
    """A clip as its samples, -32,767 to 32,767; behind its end stands `PADDING`."""

    rate: int = 16_000
    """Samples a second."""
    mels: int = 64
    """Bands of frequencies that a network is given for each moment."""
    PADDING = -32_768


@dataclass(frozen=True)
class History(Feature):
    """The past of a series, step by step: the values of what is forecast come first, those of other channels follow."""

    channels: tuple[str, ...] = ()
    """What the numbers of a step are."""
    normalize: str = "none"
    """What a window is given, and forecasts are made, in relation to: its mean and deviation (`window`), its last value
    (`last`), or what all training windows have (`none`)."""
    naive_error: float = 1.0
    """The mean error of the seasonal naive forecast on training steps, which MASE is measured by."""
    overlap: int = 0
    """How many validation windows that follow a window forecast some of the steps that it does, at most."""


@dataclass(frozen=True)
class Picture(Feature):
    """A picture as its pixels, whose shape says the rest."""


def width(features: Sequence[Feature]) -> int:
    """How many numbers a network is given for a row."""
    return sum(feature.width for feature in features)


def with_missing(features: Sequence[Feature]) -> tuple[Feature, ...]:
    """The numbers that a network is given which takes codes as they are.

    They are the features in their order, and behind them a number for each quantity that may be missing, 1 if it is.
    """
    return (*features, *(Feature(f"{feature.name} (missing)") for feature in features if feature.may_miss))


def sequence(features: Sequence[Feature]) -> Tokens | Sound | None:
    """The feature that is the whole of an example and has a length of its own; None of a row of a table."""
    only = features[0] if len(features) == 1 else None
    return only if isinstance(only, Tokens | Sound) else None


def history(features: Sequence[Feature]) -> History | None:
    """The feature that is the past of a series; None of other inputs."""
    only = features[0] if len(features) == 1 else None
    return only if isinstance(only, History) else None
