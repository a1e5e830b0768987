"""Checks of the settings that a strategy takes; what is wrong is one sentence."""

from typing import Any


def whole(name: str, value: Any, least: int) -> None:
    """A whole number of at least `least`.

    Raises:
        TypeError: it is none.
        ValueError: it is less.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"'{name}' must be a whole number, not {value!r}")
    if value < least:
        raise ValueError(f"'{name}' must be at least {least}, not {value}")


def share(name: str, value: Any) -> None:
    """A number from 0 to 1.

    Raises:
        TypeError: it is none.
        ValueError: it is out of this range.
    """
    _number(name, value)
    if not 0 <= value <= 1:
        raise ValueError(f"'{name}' must be from 0 to 1, not {value}")


def positive(name: str, value: Any, most: float) -> None:
    """A number above 0, and at most `most`.

    Raises:
        TypeError: it is none.
        ValueError: it is out of this range.
    """
    _number(name, value)
    if not 0 < value <= most:
        raise ValueError(f"'{name}' must be above 0 and at most {most:g}, not {value}")


def _number(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"'{name}' must be a number, not {value!r}")
