"""Series of a table: their windows, how time parts them, what is told of bad ones, and what is forecast from."""

import datetime
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpo import datasets
from hpo.datasets.conversion import Wanted
from hpo.datasets.dataset import Dataset, Encoding
from hpo.datasets.forecasting import naive_error
from hpo.datasets.inputs import latest_of, read_inputs
from hpo.errors import DataError, SpecError
from hpo.spec import DataSettings, load

START = datetime.datetime(2024, 1, 1)


def lines(steps: int = 120, shops: Sequence[str] = (), **columns: Any) -> str:
    """A CSV of hours: a value that counts the steps and has the period of a day, a covariate, and a holiday."""
    made = []
    for number, shop in enumerate(shops or ("",)):
        for step in range(steps):
            cells = {
                "when": (START + datetime.timedelta(hours=step)).isoformat(),
                **({"shop": shop} if shops else {}),
                "y": step + 100 * number + round(10 * math.sin(step * math.pi / 12), 3),
                "heat": step % 5,
                "free": int(step % 7 == 0),
            }
            cells |= {name: values[step] for name, values in columns.items()}
            made.append(cells)
    return "\n".join([",".join(made[0]), *(",".join(map(str, cells.values())) for cells in made)]) + "\n"


def loaded(content: str, **given_settings: Any) -> Dataset:
    Path("t.csv").write_text(content)
    datasets.load.cache_clear()
    said = {"path": "t.csv", "target": "y", "time": "when", "horizon": 3, "window": 8, **given_settings}
    return datasets.load(DataSettings.model_validate(said), Path("data"), 0, None, "forecasting")


def test_a_target_a_time_and_a_horizon_are_enough() -> None:
    dataset = loaded(lines())
    assert dataset.task == "forecasting" and dataset.outputs == ("y+1", "y+2", "y+3")
    series = dataset.encoding.series
    assert series is not None and series.season == 24 and series.covariates == ("heat", "free")
    assert series.channels[:3] == ("y", "heat", "free") and len(series.channels) == 3 + 6
    assert [len(part) for part in (dataset.train, dataset.validation, dataset.test)] == [76, 8, 22]
    assert dataset.input_shape == (8, 9) and dataset.train.inputs.dtype == np.float32
    window = dataset.train.inputs.dense()[10]
    assert window[:, 1].tolist() == [step % 5 for step in range(10, 18)]
    assert dataset.train.targets[10].tolist() == pytest.approx(
        [step + 10 * math.sin(step * math.pi / 12) for step in (18, 19, 20)], abs=1e-3
    )
    assert series.naive_error == pytest.approx(24, rel=1e-3) and series.overlap == 2
    assert Encoding.from_json(dataset.encoding.to_json()) == dataset.encoding
    assert dataset.input_moments[0].shape == (9,)
    assert loaded(lines(121)).fingerprint != dataset.fingerprint == loaded(lines()).fingerprint


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 9),
    st.integers(1, 9),
    st.integers(1, 4),
    st.sampled_from([0.1, 0.3]),
    st.sets(st.integers(0, 119), max_size=6),
)
def test_no_step_is_forecast_on_two_sides_and_nothing_after_it_is_seen(
    horizon: int, window: int, stride: int, share: float, missing: set[int]
) -> None:
    y = ["" if step in missing else f"{step + 0.5}" for step in range(120)]
    try:
        dataset = loaded(lines(y=y), horizon=horizon, window=window, stride=stride, test=share, validation=share)
    except DataError as error:
        assert "window" in str(error) and missing  # holes may leave a part of few steps without any
        return
    forecast = []
    for part in (dataset.train, dataset.validation, dataset.test):
        assert np.isfinite(part.targets).all()
        for row, past in zip(part.targets, part.inputs.dense()[:, :, 0], strict=True):
            first = int(row[0])
            assert row.tolist() == [first + 0.5 + step for step in range(horizon)]
            seen = [math.nan if step in missing else step + 0.5 for step in range(first - window, first)]
            assert np.array_equal(past, np.array(seen, np.float32), equal_nan=True)
        forecast.append({int(value) for value in part.targets.flat})
    train, validation, test = forecast
    assert max(train) < min(validation) and max(validation) < min(test)


def test_known_columns_are_given_as_far_as_forecasts_go() -> None:
    dataset = loaded(lines(), known="free")
    series = dataset.encoding.series
    assert series is not None and series.covariates == ("heat",)
    assert series.channels[:4] == ("y", "heat", "free", "free (+3)")
    window = dataset.train.inputs.dense()[4]
    assert window[:, 2].tolist() == [float(step % 7 == 0) for step in range(4, 12)]
    assert window[:, 3].tolist() == [float((step + 3) % 7 == 0) for step in range(4, 12)]


def test_several_series_are_parted_at_the_same_moments() -> None:
    dataset = loaded(lines(60, ("north", "south")), series="shop")
    for part in (dataset.train, dataset.validation, dataset.test):
        south = part.targets[:, 0] > 90
        assert south.sum() == (~south).sum()
        assert np.array_equal(np.round(part.targets[south] - 100, 3), np.round(part.targets[~south], 3))
    assert dataset.encoding.series is not None and dataset.encoding.series.overlap == 5


def test_missing_steps_are_filled_in_and_noted() -> None:
    content = lines().splitlines(keepends=True)
    dataset = loaded("".join(content[:30] + content[31:]))
    assert dataset.notes[0] == "steps that are missing between others: 1 (2024-01-02T05:00:00)"
    assert dataset.notes[1].startswith(
        "windows left out, since a step that they forecast, or all before, are missing: 3"
    )
    assert np.isnan(dataset.train.inputs.values[29, :3]).all()
    uneven = "".join(content[:30] + content[31:60:2] + content[60:])
    assert "not evenly 1 hour apart" in loaded(uneven).notes[0]


def test_a_column_or_files_may_say_what_is_tested() -> None:
    split = ["train"] * 80 + ["valid"] * 20 + ["test"] * 20
    by_column = loaded(lines(split=split), split="split")
    assert [len(part) for part in (by_column.train, by_column.validation, by_column.test)] == [70, 18, 18]
    content = lines().splitlines(keepends=True)
    Path("test.csv").write_text(content[0] + "".join(content[101:]))
    by_file = loaded("".join(content[:101]), test="test.csv", validation=0.2)
    assert [len(part) for part in (by_file.train, by_file.validation, by_file.test)] == [70, 18, 18]
    assert np.array_equal(by_file.test.inputs.dense(), by_column.test.inputs.dense())
    with pytest.raises(DataError, match="training must come before validation"):
        loaded(lines(split=split[::-1]), split="split")
    with pytest.raises(DataError, match=r"t\.csv:2: column 'split' \(data\.split\) must say train, validation or test"):
        loaded(lines(split=["some"] * 120), split="split")


@pytest.mark.parametrize(
    ("content", "said", "message"),
    [
        (lines(4).replace("2024-01-01T02:00:00", "noon"), {}, r"t\.csv:4: column 'when' .* must have a date"),
        (lines(4).replace("2024-01-01T02:00:00", ""), {}, r"t\.csv:4: .* got nothing"),
        (lines(4).replace("2024-01-01T02:00:00", "7"), {}, r"t\.csv:4: .* has a number, '7', among dates"),
        (lines(4).replace("T02:00:00", "T01:00:00"), {}, r"t\.csv:4: time .* does not follow .*leave one"),
        (lines(4).replace("T02:00:00", "T00:30:00"), {}, r"t\.csv:4: .*sort the rows by time"),
        (lines(60, "ab"), {}, r"t\.csv:62: .* name the column of several series"),
        (lines(10), {}, r"has 10 steps, and window and horizon need 8 \+ 3; lower data\.window"),
        (lines(30), {"season": 1}, r"no validation window: 2 steps .* and 3 .* change data\.validation"),
        (lines(y=[5] * 120), {}, r"column 'y', the target, is 5 in all training steps"),
        (lines(y=[""] * 120), {}, "column 'y', the target, has no value in training steps"),
        (lines(y=[step % 24 for step in range(120)]), {}, "repeats itself exactly after 24 training steps"),
        (lines(), {"season": 100}, "no two training steps that are a season of 100 apart"),
        (lines(y=["x"] * 120), {}, r"t\.csv:2: column 'y' must have numbers, got 'x'"),
        (lines(), {"target": "z"}, "has no column 'z', which data.target names"),
        (lines(), {"known": "frei"}, "has no column 'frei', which data.known names. Did you mean 'free'"),
        (lines(), {"known": "y"}, r"data\.known: column 'y' is data\.target already"),
        (lines(), {"series": "shop"}, "has no column 'shop', which data.series names"),
        (lines(shops=("a", "")), {"series": "shop"}, "column 'shop' .* must name the series of each row, got nothing"),
        (lines(), {"columns": {"heat": "category"}}, r"data\.columns\.heat: forecasts take numbers, got category"),
        (lines(1), {}, "no series has two steps"),
    ],
    ids=lambda value: str(len(value)),
)  # fmt: skip
def test_bad_series_are_told_in_a_sentence(content: str, said: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        loaded(content, **said)


def test_what_a_search_file_says_is_checked_before_the_data_are_read() -> None:
    Path("t.csv").write_text(lines())
    space: dict[str, Any] = {
        "study": "s",
        "task": "forecasting",
        "data": {"path": "t.csv", "target": ["y", "heat"], "groups": "free"},
        "model": "mlp",
        "training": {"folds": 3},
    }
    with pytest.raises(SpecError) as refusal:
        load(space, checks=(datasets.check,))
    for said in (
        "data.time: is required",
        "data.horizon: is required",
        "a forecast is of one",
        "parted by time",
        "folds",
    ):
        assert said in str(refusal.value)
    space |= {"task": "regression", "training": {}, "data": {"path": "t.csv", "target": "y", "horizon": 3}}
    with pytest.raises(SpecError, match=r"data\.horizon: is of forecasts, and the task is regression"):
        load(space, checks=(datasets.check,))


@given(st.lists(st.floats(-100, 100), min_size=9, max_size=30), st.integers(1, 8))
def test_the_naive_error_is_that_of_each_step_as_a_season_before(values: list[float], season: int) -> None:
    wanted = np.mean([abs(values[step] - values[step - season]) for step in range(season, len(values))])
    assert naive_error([np.array(values)], season) == pytest.approx(wanted)
    assert naive_error([np.array(values[:season])], season) is None


def test_the_latest_steps_of_each_series_are_read_from_a_table() -> None:
    dataset = loaded(lines(60, ("north", "south")), series="shop", known="free")
    wanted = Wanted(dataset.input_shape, dataset.encoding)
    north, south = latest_of("t.csv", wanted)
    assert (north.name, south.name) == ("north", "south") and north.numbers.shape == (8, 10)
    assert np.isnan(north.numbers[-1, 3])  # the future of what is known is not there
    future = lines(60, ("north", "south"), y=[step if step < 57 else "" for step in range(60)], note=["x"] * 60)
    Path("history.csv").write_text(future)
    names, inputs = read_inputs("history.csv", wanted)
    assert names == ["north", "south"] and inputs.shape == (2, 8, 10) and inputs.dtype == np.float32
    assert inputs[0, :, 0].tolist() == list(range(49, 57))
    assert inputs[0, :, 3].tolist() == [float((step + 3) % 7 == 0) for step in range(49, 57)]
    assert wanted.notes.lines() == ("columns that the model was not trained with, left out: 1 (note)",)
    Path("short.csv").write_text(lines(7, ("north",)))
    with pytest.raises(DataError, match=r"short\.csv: series 'north' has 7 steps up to its last 'y', .* needs the 8"):
        read_inputs("short.csv", wanted)
    with pytest.raises(DataError, match="the table: lacks column 'when', which forecasts are made from"):
        read_inputs({"y": [1.0]}, wanted)


def test_an_example_of_a_window_is_rows_that_give_it() -> None:
    dataset = loaded(lines())
    series = dataset.encoding.series
    assert series is not None
    window = dataset.validation.inputs[:1].dense()[0]
    (latest,) = latest_of(series.decode(window), Wanted(dataset.input_shape, dataset.encoding))
    assert np.array_equal(latest.numbers[:, :3], window[:, :3])


def test_damage_in_what_was_learned_is_told() -> None:
    document = loaded(lines()).encoding.to_json()
    for key, value in (
        ("window", 0),
        ("normalize", "some"),
        ("covariates", ["y"]),
        ("naive_error", 0),
        ("overlap", -1),
    ):
        with pytest.raises(ValueError, match=r"must be"):
            Encoding.from_json({**document, "series": {**document["series"], key: value}})
