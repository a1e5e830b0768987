"""Whatever a training function reports becomes a report of numbers, or one sentence."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hpo import datasets, spec
from hpo.errors import TrainingError
from hpo.spec import Config, SearchSpec
from hpo.training import Context, Report, train
from hpo.training.function import Snapshot, taken
from hpo.training.reports import checked, reports_of

NUMBERS = [
    0.5,
    1,
    np.float32(0.5),
    np.int64(3),
    np.array(0.5),
    np.array([0.5]),
    torch.tensor(0.5),
    torch.tensor([2]),
    torch.tensor(0.5, requires_grad=True) * 2,
    torch.tensor(0.5, dtype=torch.bfloat16),
    float("nan"),
    float("inf"),
]
OTHERS = [
    None,
    "0.5",
    True,
    np.bool_(True),
    torch.tensor(False),
    np.array(["0.5"]),
    [0.5],
    {"value": 0.5},
    torch.zeros(2),
    np.zeros(0),
    1j,
    torch.tensor(1j),
    10**400,
    object(),
]


def name(value: object) -> str:
    """A test's name, the same in every process."""
    return repr(value).partition(" at 0x")[0][:40]


def snapshot() -> Snapshot:
    return Snapshot({}, {})


def searched(**changes: Any) -> SearchSpec:
    document = {"study": "s", "objective": [{"metric": "accuracy"}, {"metric": "nll"}], "sampler": "tpe"}
    return spec.load_search(document | changes)


@pytest.mark.parametrize("value", NUMBERS, ids=name)
def test_a_number_of_any_library_is_a_float(value: Any) -> None:
    report = checked(Report(np.int64(2), {"accuracy": value, "nll": 1.0, "more": value}, snapshot), searched(), 1)  # type: ignore[arg-type]
    assert type(report.metrics["accuracy"]) is float and type(report.epoch) is int
    assert report.metrics["more"] == pytest.approx(value.item() if hasattr(value, "item") else value, nan_ok=True)


@pytest.mark.parametrize("value", OTHERS, ids=name)
def test_what_is_no_number_is_told_with_what_was_searched_for(value: Any) -> None:
    with pytest.raises(TrainingError, match="as 'nll' at epoch 1, which the study searches for: it must be one number"):
        checked(Report(1, {"accuracy": 0.5, "nll": value}, snapshot), searched(), 0)
    with pytest.raises(TrainingError, match="as 'more' at epoch 1: it must be one number") as caught:
        checked(Report(1, {"accuracy": 0.5, "nll": 0.1, "more": value}, snapshot), searched(), 0)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("metrics", "message"),
    [
        ({"nll": 1.0, "acuracy": 0.5}, "no 'accuracy' at epoch 1, which the study searches for.*mean 'acuracy'"),
        ({"accuracy": 1.0}, "no 'nll' at epoch 1, which the study searches for"),
        ({}, "no 'accuracy' at epoch 1"),
        ({"accuracy": 1.0, "nll": 1.0}, "no 'size' at epoch 1, which the study has a constraint on"),
        ({"accuracy": 1.0, "nll": 1.0, "size": 1, 3: 0.5}, "a metric named 3 at epoch 1: names are texts"),
        (None, "reported None as metrics at epoch 1: they must be a dict"),
        (0.5, r"reported 0.5 \(float\) as metrics"),
    ],
)
def test_metrics_that_are_missing_are_told(metrics: Any, message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        checked(Report(1, metrics, snapshot), searched(constraints=["size <= 3"]), 0)


@pytest.mark.parametrize(
    ("epoch", "last", "message"),
    [
        (0, 0, "epoch 0: epochs are whole numbers and count from 1"),
        (-1, 0, "epoch -1: epochs are"),
        (True, 0, "epoch True: epochs are"),
        (1.0, 0, "epoch 1.0: epochs are"),
        (None, 0, "epoch None: epochs are"),
        (2, 2, "epoch 2 after epoch 2: each must be later"),
        (1, 2, "epoch 1 after epoch 2: each must be later"),
    ],
)
def test_epochs_count_from_one_and_increase(epoch: Any, last: int, message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        checked(Report(epoch, {"accuracy": 0.5, "nll": 1.0}, snapshot), searched(), last)


@given(st.lists(st.integers(-3, 9), min_size=1, max_size=6))
def test_epochs_are_taken_up_to_the_first_that_is_not_later(epochs: list[int]) -> None:
    last, taken_epochs = 0, []
    for epoch in epochs:
        if epoch <= last:
            with pytest.raises(TrainingError):
                checked(Report(epoch, {"accuracy": 0.5, "nll": 1.0}, snapshot), searched(), last)
            break
        last = checked(Report(epoch, {"accuracy": 0.5, "nll": 1.0}, snapshot), searched(), last).epoch
        taken_epochs.append(last)
    assert taken_epochs == sorted(set(taken_epochs))


# ---- a whole training function ---------------------------------------------------------------------------------------


def good(epoch: int = 1) -> Report:
    return Report(epoch, {"accuracy": 0.5}, snapshot)


def silent(config: Config, context: Context) -> Iterator[Report]:
    yield from ()


def text(config: Config, context: Context) -> Any:
    return "0.5"


def nothing(config: Config, context: Context) -> None:
    """Forgets to report."""


def texts(config: Config, context: Context) -> Any:
    yield "0.5"


def leaves(config: Config, context: Context) -> Any:
    yield good()
    raise SystemExit(2)


def parses(config: Config, context: Context) -> Any:
    raise SystemExit("usage")


def no_snapshot(config: Config, context: Context) -> Any:
    yield Report(1, {"accuracy": 0.5}, None)  # type: ignore[arg-type]


def state_at_once(config: Config, context: Context) -> Any:
    yield Report(1, {"accuracy": 0.5}, snapshot, {"epoch": 1})  # type: ignore[arg-type]


def context(document: dict[str, Any]) -> Context:
    read = spec.load(document)
    return Context(read, datasets.load(read.data, Path("data"), read.seed), 0)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (silent, "the training function ended without a report: it must return the objective or a dict"),
        (text, r"the training function returned '0.5' \(str\): it must return"),
        (nothing, "the training function ended without a report: it must return"),
        (texts, r"the training function yielded '0.5' \(str\): it must return"),
        (leaves, r"the training function called sys.exit\(2\): return ends a trial"),
        (parses, r"the training function called sys.exit\('usage'\)"),
        (no_snapshot, "reported None as `snapshot` at epoch 1: it must be a function"),
        (state_at_once, r"reported {'epoch': 1} \(dict\) as `state` at epoch 1: it must be a function"),
    ],
)
def test_a_training_function_that_is_none_is_told(document: dict[str, Any], function: Any, message: str) -> None:
    with pytest.raises(TrainingError, match=message) as caught:
        list(reports_of(function, {}, context(document)))
    assert "\n" not in str(caught.value)


def test_a_list_of_reports_will_do(document: dict[str, Any]) -> None:
    made = list(reports_of(lambda config, context: [good(1), good(3)], {}, context(document)))
    assert [report.epoch for report in made] == [1, 3]


def test_what_is_closed_closes_the_training_function(document: dict[str, Any]) -> None:
    closed = []

    def function(config: Config, context: Context) -> Iterator[Report]:
        try:
            yield good()
        finally:
            closed.append(True)

    reports = reports_of(function, {}, context(document))
    next(reports)
    reports.close()  # type: ignore[attr-defined]
    assert closed == [True]


def test_one_that_goes_on_from_its_last_epoch_has_nothing_to_report(document: dict[str, Any]) -> None:
    resumed = dataclasses.replace(context(document), resume={"epoch": 3})
    assert list(reports_of(silent, {}, resumed)) == []


def test_the_engine_may_end_its_process(document: dict[str, Any]) -> None:
    def ended(config: Config, context: Context) -> Iterator[Report]:
        leaving = SystemExit(0)
        leaving.is_ray_terminate = True  # type: ignore[attr-defined]
        raise leaving
        yield

    with pytest.raises(SystemExit):
        list(reports_of(ended, {}, context(document)))


def test_the_built_in_training_function_keeps_to_the_rules(document: dict[str, Any]) -> None:
    assert [report.epoch for report in reports_of(train, {}, context(document))] == [1, 2, 3]


def test_a_snapshot_that_is_none_is_told() -> None:
    with pytest.raises(TrainingError, match=r"`snapshot` of epoch 1 gave {} \(dict\): it must give a hpo.training.fun"):
        taken(Report(1, {}, dict))  # type: ignore[arg-type]
