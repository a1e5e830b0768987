"""A user's own table: what becomes of its columns, its targets and its splits, and what is told of bad ones."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpo import datasets
from hpo.datasets.conversion import Wanted
from hpo.datasets.dataset import Dataset, Encoding
from hpo.datasets.folds import folds_of
from hpo.datasets.inputs import read_inputs
from hpo.datasets.split import grouped, latest
from hpo.errors import DataError, SpecError
from hpo.spec import DataSettings, load

ROWS = 40


def lines(count: int = ROWS, **columns: Any) -> str:
    """A CSV of so many rows: numbers, a category of three, a date, a group of four rows, a target of two classes."""
    made = {
        "size": [f"{row % 7}.5" for row in range(count)],
        "kind": ["abc"[row % 3] for row in range(count)],
        "day": [f"2024-01-{1 + row % 28:02d}" for row in range(count)],
        "who": [f"w{row // 4}" for row in range(count)],
        "y": ["no" if row % 3 else "yes" for row in range(count)],
        **columns,
    }
    made = {name: cells for name, cells in made.items() if cells is not None}
    rows = zip(*made.values(), strict=True)
    return "\n".join([",".join(made), *(",".join(map(str, row)) for row in rows)]) + "\n"


def loaded(content: str, task: str = "classification", folds: int | None = None, **settings: Any) -> Dataset:
    Path("t.csv").write_text(content)
    datasets.load.cache_clear()
    read = DataSettings.model_validate({"path": "t.csv", "target": "y", **settings})
    return datasets.load(read, Path("data"), 0, folds, task)


def test_a_path_and_a_target_are_enough() -> None:
    dataset = loaded(lines())
    assert dataset.task == "classification" and dataset.outputs == ("no", "yes")
    assert [len(split) for split in (dataset.train, dataset.validation, dataset.test)] == [28, 4, 8]
    assert [column.kind for column in dataset.encoding.columns] == ["number", "category", "date", "category"]
    assert dataset.train.inputs.shape == (28, 6) and dataset.train.inputs.dtype == np.float32
    assert [feature.categories for feature in dataset.encoding.layout] == [0, 3, 0, 12, 7, 10]
    assert Encoding.from_json(dataset.encoding.to_json()) == dataset.encoding
    again = loaded(lines(kind=["bcd"[row % 3] for row in range(ROWS)]))
    assert np.array_equal(again.train.inputs, dataset.train.inputs) and again.fingerprint != dataset.fingerprint


def test_files_for_test_and_validation_and_a_stray_full_stop() -> None:
    Path("test.csv").write_text(lines(6, y=["no.", "yes."] * 3, kind=["z"] * 6))
    Path("valid.csv").write_text(lines(5, extra=range(5)))
    dataset = loaded(lines(), test="test.csv", validation="valid.csv")
    assert [len(split) for split in (dataset.train, dataset.validation, dataset.test)] == [ROWS, 5, 6]
    assert dataset.test.targets.tolist() == [0, 1] * 3 and set(dataset.test.inputs[:, 1]) == {0}
    assert "classes with a full stop behind them, taken for those without: 2 (no., yes.)" in dataset.notes


def test_regression_and_several_labels() -> None:
    numbers = loaded(lines(y=[row / 3 for row in range(ROWS)]), "regression")
    assert numbers.task == "regression" and numbers.train.targets.dtype == np.float32
    labels = loaded(lines(z=["True", "False"] * 20, y=[0, 1] * 20), "multilabel", target=["y", "z"])
    assert labels.outputs == ("y", "z") and labels.train.targets.shape[1] == 2


def test_classes_of_numbers_are_in_the_order_of_the_numbers() -> None:
    assert loaded(lines(y=[(2, 10)[row % 2] for row in range(ROWS)])).outputs == ("2", "10")


def test_rows_without_a_target_are_left_out_and_counted() -> None:
    dataset = loaded(lines(y=["no", "yes", "", "no"] * 10))
    assert len(dataset.train) + len(dataset.validation) + len(dataset.test) == 30
    assert "rows without a target left out: 10 (t.csv:4, t.csv:8, t.csv:12, ...)" in dataset.notes


def test_a_column_that_tells_the_target_is_noted() -> None:
    dataset = loaded(lines(leak=["n" if row % 3 else "y" for row in range(ROWS)]))
    assert any(
        note.startswith("columns that tell the target by themselves") and "(kind, leak)" in note
        for note in dataset.notes
    )


def test_no_group_is_on_both_sides() -> None:
    dataset = loaded(lines(who=[row // 4 for row in range(ROWS)]), groups="who", columns={"who": "number"})
    sides = [set(split.inputs[:, -1]) for split in (dataset.train, dataset.validation, dataset.test)]
    assert all(sides) and len(sides[0] | sides[1] | sides[2]) == sum(map(len, sides)) == 10
    assert "who" not in [column.name for column in loaded(lines(), groups="who").encoding.columns]
    folded = loaded(lines(), folds=3, groups="who")
    groups = folded.train.groups
    assert groups is not None
    for train, held_out in folds_of(folded.train.targets, 3, 0, groups):
        assert not set(groups[train]) & set(groups[held_out])


def test_the_past_trains_and_what_follows_validates_and_tests() -> None:
    shuffled = np.random.default_rng(0).permutation(ROWS)
    dataset = loaded(lines(when=[f"{2000 + row}-06-01" for row in shuffled]), time="when", validation=0.25)
    place = [feature.name for feature in dataset.encoding.layout].index("when (days)")
    train, validation, test = (split.inputs[:, place] for split in (dataset.train, dataset.validation, dataset.test))
    assert train.max() < validation.min() and validation.max() < test.min()
    assert (len(train), len(validation), len(test)) == (24, 8, 8)


def test_a_column_says_what_a_row_is_for() -> None:
    parts = ["train"] * 20 + ["val"] * 12 + ["test"] * 8
    dataset = loaded(lines(part=parts), split="part")
    assert [len(split) for split in (dataset.train, dataset.validation, dataset.test)] == [20, 12, 8]
    assert "part" not in [column.name for column in dataset.encoding.columns]


@given(st.lists(st.integers(0, 5), min_size=2, max_size=60), st.floats(0.05, 0.95), st.integers(0, 9))
def test_splits_part_no_group_and_no_moment(values: list[int], share: float, seed: int) -> None:
    if len(set(values)) < 2:
        return
    array = np.array(values)
    for train, rest in (grouped(array, share, seed), latest(array.astype(float), share)):
        assert sorted([*train, *rest]) == list(range(len(values))) and len(train) and len(rest)
        assert not set(array[train]) & set(array[rest])
    train, rest = latest(array.astype(float), share)
    assert array[train].max() < array[rest].min()


def test_new_rows_are_read_by_the_names_of_their_columns() -> None:
    dataset = loaded(lines(name=[f"row {row}" for row in range(ROWS)]), columns={"name": "ids"})
    wanted = Wanted(dataset.input_shape, dataset.encoding)
    Path("new.csv").write_text("note,who,name,day,kind,size\n,w1,first,2024-01-05,b,\nx,new,,,,1.5\n")
    names, rows = read_inputs("new.csv", wanted)
    assert names == ["first", "1"] and rows.shape == (2, 6)
    assert np.isnan(rows[0, 0]) and rows[0, 1] == 2 and rows[1, 1] == 0
    assert wanted.notes.lines() == ("columns that the model was not trained with, left out: 1 (note)",)
    columns = {"size": [None, 1.5], "kind": ["b", None], "day": ["2024-01-05", None], "who": ["w1", "new"]}
    again = read_inputs({**columns, "name": ["first", None]}, wanted)
    np.testing.assert_array_equal(again[1], rows)
    with pytest.raises(DataError, match="the table: lacks column 'name', which the model was trained with"):
        read_inputs(columns, wanted)
    Path("short.csv").write_text("size\n1\n")
    with pytest.raises(DataError, match=r"short.csv: lacks column 'kind' \(and 3 more\)"):
        read_inputs("short.csv", wanted)


BAD: list[tuple[str, dict[str, Any], str]] = [
    (lines(), {"target": "Y"}, "has no column 'Y', which data.target names. Did you mean 'y'?"),
    (lines(), {"columns": {"sise": "number"}}, "has no column 'sise', which data.columns names. Did you mean 'size'?"),
    (lines(), {"groups": "whom"}, "has no column 'whom', which data.groups names. Did you mean 'who'?"),
    (lines(), {"time": "days"}, "has no column 'days', which data.time names. Did you mean 'day'?"),
    (lines(), {"split": "part"}, "has no column 'part', which data.split names."),
    (lines(0), {}, "t.csv: has no rows"),
    (lines(y=["no"] * ROWS), {}, "column 'y', the target, has one class only (no); classification needs two"),
    (lines(y=[""] * ROWS), {}, "t.csv: no row has a target"),
    (lines(y=[row / 7 for row in range(ROWS)]), {}, "for numbers write `task: regression`"),
    (lines(y=["no", "yes", "once", "no"] + ["no"] * 36), {}, "data.test 0.2 of 40 rows is not possible: a class has"),
    (lines(), {"task": "regression"}, "t.csv:2: column 'y' must have numbers, got 'yes'; leave a missing one empty"),
    (lines(y=["1", "inf"] * 20), {"task": "regression"}, "t.csv:3: column 'y' has an infinite number"),
    (lines(), {"task": "multilabel", "target": "kind"}, "label 'kind' must be 0 or 1, true or false, yes or no, got"),
    (lines(), {"target": ["y", "kind"]}, "data.target names 2 columns, and task classification has one"),
    (lines(size=["1"] * 39 + ["?"]), {}, "t.csv:41: column 'size' has '?' among numbers; name it in `data.missing`"),
    (lines(size=["1"] * 39 + ["big"]), {"columns": {"size": "number"}}, "t.csv:41: column 'size' must have numbers"),
    (lines(day=["2024-02-30"] * ROWS), {"columns": {"day": "date"}}, "t.csv:2: column 'day' must have dates such as"),
    (lines(day=["31.12.2024"] * ROWS), {"columns": {"day": "date"}}, "must have dates such as 2024-12-31"),
    (lines(), {"columns": {"y": "category"}}, "data.columns.y: is the target; leave it out"),
    (lines(who=["w"] * ROWS), {"groups": "who"}, "data.test 0.2 of 40 rows is not possible: all rows are of one group"),
    (
        lines(who=[""] * ROWS),
        {"groups": "who"},
        "column 'who' (data.groups) must have a value in each row, got nothing",
    ),
    (lines(day=["soon"] * ROWS), {"time": "day"}, "column 'day' (data.time) must have a number or a date such as"),
    (lines(day=["2024-01-01"] * ROWS), {"time": "day"}, "is not possible: all rows have the same time"),
    (lines(part=["train", "tset"] * 20), {"split": "part"}, "t.csv:3: column 'part' (data.split) must say train"),
    (lines(part=["test"] * ROWS), {"split": "part"}, "there are no training rows with a target"),
    (lines(size=None, kind=None, day=None, who=None, c=["1"] * ROWS), {}, "has no column that tells rows apart"),
    (lines(size=["1e300"] * 20 + ["2"] * 20), {}, "has numbers beyond 1e+150"),
    (lines(), {"test": "huge.csv"}, "huge.csv has numbers beyond 1e+150"),
    (lines(), {"test": "other.csv"}, "other.csv: lacks column 'kind', which training rows have"),
    (lines(), {"test": "labels.csv"}, "labels.csv:2: class 'perhaps' is in no training row (no, yes)"),
    (lines(), {"test": "none.csv", "path": "t.csv"}, "none.csv: cannot be read: No such file"),
    (lines(), {"validation": "untold.csv"}, "untold.csv: has no column 'y', the target"),
    ("a,y\n1\n", {}, "t.csv:2: has 1 cells, and the first line 2"),
    ("", {}, "t.csv: is empty"),
]


@pytest.mark.parametrize(("content", "settings", "message"), BAD, ids=[case[2][:40] for case in BAD])
def test_bad_data_is_one_sentence(content: str, settings: dict[str, Any], message: str) -> None:
    Path("other.csv").write_text("size,day,who,y\n1,2024-01-01,w,no\n")
    Path("huge.csv").write_text(lines(4, size=["1", "2", "3", "1e200"]))
    Path("labels.csv").write_text(lines(4, y=["perhaps"] * 4))
    Path("untold.csv").write_text(lines(4, y=None))
    task = settings.pop("task", "classification")
    with pytest.raises(DataError) as error:
        loaded(content, task, **settings)
    assert message in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"path": "t.csv"}, "data.target: is required of a table"),
        ({"path": "t.csv", "target": "y", "test": "none.csv"}, "data.test: must be a share such as 0.2, or a file"),
        ({"path": "t.csv", "target": "y", "split": "a", "time": "b"}, "data.split: says which rows validate and test"),
        ({"path": "t.csv", "target": "y", "groups": "a", "time": "b"}, "data.groups: parts the rows otherwise than"),
        ({"path": "t.csv", "target": "y", "columns": {"a": "words"}}, "data.columns.a: "),
        ({"name": "digits", "target": "y"}, "data.target: is of tables in files, and data set 'digits' is none"),
        (
            {"name": "digits", "validation": "v.csv"},
            "data.validation: must be a share such as 0.1 for data set 'digits'",
        ),
        ({"path": "t.data", "target": "y"}, "data.name: is required"),
    ],
)
def test_settings_of_a_table_are_checked_before_it_is_read(
    data: dict[str, Any], message: str, document: dict[str, Any]
) -> None:
    Path("t.csv").write_text(lines())
    with pytest.raises(SpecError) as error:
        load({**document, "data": data}, {}, (datasets.check,))
    assert message in str(error.value)


def test_categories_are_not_mixed(document: dict[str, Any]) -> None:
    dataset = loaded(lines())
    read = load({**document, "data": {"path": "t.csv", "target": "y", "augment": ["mixup"]}})
    (problem,) = datasets.check_fit(read, dataset)
    assert (
        problem.key == ("data", "augment")
        and "'mixup' mixes numbers, and these data have categories" in problem.message
    )


def test_files_beside_a_path_move_with_it() -> None:
    settings = DataSettings.model_validate(
        {"path": "a/t.csv", "target": "y", "test": "a/b/u.csv", "validation": "v.csv"}
    )
    moved = settings.moved("/new/t.csv")
    assert (moved.path, moved.test, moved.validation) == ("/new/t.csv", "/new/b/u.csv", settings.validation)
