"""Rules that settings and inputs of models keep to, told in a sentence where they are broken."""

from collections.abc import Iterable

from hpo.plugins import did_you_mean


def image_shape(input_shape: tuple[int, ...], family: str, least: int, reason: str) -> tuple[int, int, int]:
    """The (channels, height, width) of what a family for images is given.

    Args:
        input_shape: as the model function got it.
        family: its name.
        least: pixels of the shorter side.
        reason: why it needs so many, with the family as the subject.

    Raises:
        ValueError: the input is a row of a table, or the image is too small.
    """
    if len(input_shape) != 3:
        raise ValueError(f"{family} is for images; take mlp or linear for the rows of a table")
    channels, height, width = input_shape
    if min(height, width) < least:
        raise ValueError(
            f"it {reason} and needs images of {least}x{least} pixels at least, got {height}x{width}; for smaller ones"
            " take resnet or mlp"
        )
    return channels, height, width


def check_sizes(**sizes: int) -> None:
    """Refuses sizes below 1, by their names.

    Raises:
        ValueError: one of them is.
    """
    for name, size in sizes.items():
        if size < 1:
            raise ValueError(f"{name} must be at least 1, got {size}")


def check_dropout(dropout: float) -> None:
    """Refuses a dropout that is no share, or leaves nothing.

    Raises:
        ValueError: it is outside [0, 1).
    """
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout must be in [0, 1), got {dropout}")


def one_of(setting: str, value: str, known: Iterable[str]) -> str:
    """The value of a setting, where it is one of those that are known.

    Raises:
        ValueError: it is none of them.
    """
    known = list(known)
    if value not in known:
        hint = did_you_mean(value, known) if isinstance(value, str) else ""
        meant = f".{hint}" if "Did" in hint else ""
        raise ValueError(f"{setting} must be one of {', '.join(known)}, got {value!r}{meant}")
    return value
