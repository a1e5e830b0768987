import datetime
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpo.datasets.spacing import Spacing, Times, time_of


def times(*dates: str) -> Times:
    return np.array([time_of(date) for date in dates], np.float64)


@pytest.mark.parametrize(
    ("dates", "unit", "size", "season", "following"),
    [
        (("2024-02-28T22:00", "2024-02-28T23:00"), "seconds", 3600, 24, "2024-02-29T00:00:00"),
        (("2024-02-27", "2024-02-28"), "seconds", 86400, 7, "2024-02-29"),
        (("2023-12-01", "2024-01-01", "2024-02-01"), "months", 1, 12, "2024-03-01"),
        (("2023-12-31", "2024-01-31", "2024-02-29"), "month_ends", 1, 12, "2024-03-31"),
        (("2023-12-28", "2024-01-28", "2024-02-28"), "months", 1, 12, "2024-03-28"),
        (("2023-07-01", "2023-10-01", "2024-01-01"), "months", 3, 4, "2024-04-01"),
        (("2024-01-01T00:00", "2024-01-01T00:15"), "seconds", 900, 1, "2024-01-01T00:30:00"),
    ],
)
def test_the_distance_says_what_repeats_and_when_the_next_step_is(
    dates: tuple[str, ...], unit: str, size: float, season: int, following: str
) -> None:
    known = times(*dates)
    spacing = Spacing.of([known], dated=True)
    assert (spacing.unit, spacing.size, spacing.season) == (unit, size, season)
    assert spacing.written(float(spacing.after(float(known[-1]), 1)[0])) == following
    assert spacing.places(known) is not None
    assert Spacing.from_json(spacing.to_json()) == spacing


@given(st.integers(1, 1000), st.integers(-(10**6), 10**6), st.sets(st.integers(1, 58), max_size=5))
def test_missing_steps_are_found_on_the_grid(size: int, first: int, missing: set[int]) -> None:
    grid = first + size * np.arange(60.0)
    there = np.array([step for step in range(60) if step not in missing])
    spacing = Spacing.of([grid[there]], dated=False)
    assert spacing == Spacing("numbers", size)
    places = spacing.places(grid[there])
    assert places is not None and np.array_equal(places, there)
    assert np.array_equal(spacing.grid(float(first), 60), grid)


def test_steps_that_are_mostly_missing_or_uneven_stand_on_no_grid() -> None:
    workdays = np.array([week * 7 + day for week in range(10) for day in range(5)], np.float64)
    assert Spacing.of([workdays], dated=False).places(workdays) is None
    assert Spacing("numbers", 1).places(np.array([0.0, 1.0, 2.5, 3.0])) is None


@given(st.datetimes(datetime.datetime(1900, 1, 1), datetime.datetime(2100, 1, 1)))
def test_the_calendar_turns_with_the_week(when: datetime.datetime) -> None:
    time = time_of(when)
    assert time is not None
    spacing = Spacing("seconds", 3600)
    assert spacing.cycles == ("day", "week", "year")
    (numbers,) = spacing.calendar(np.array([time]))
    angle = 2 * math.pi * (when.weekday() + (when.hour * 3600 + when.minute * 60 + when.second) / 86400) / 7
    assert numbers[2:4] == pytest.approx([math.sin(angle), math.cos(angle)], abs=1e-3)
    assert Spacing("seconds", 86400).cycles == ("week", "year") and Spacing("months", 1).cycles == ("year",)
    assert Spacing("numbers", 1).calendar(np.arange(3.0)).shape == (3, 0)


@pytest.mark.parametrize(
    "document", [{"unit": "years", "size": 1}, {"unit": "months", "size": 1.5}, {"unit": "seconds", "size": 0}]
)
def test_damage_is_told(document: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="a spacing"):
        Spacing.from_json(document)
