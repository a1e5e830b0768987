"""Folds and seeds: a trial of several trainings of its config."""

import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import hpo
from hpo import datasets, spec
from hpo.datasets.folds import folds_of
from hpo.errors import SpecError, TrainingError
from hpo.spec import Config
from hpo.training import Context, Report, TrialContext, train
from hpo.training.copies import _contexts
from hpo.training.function import Snapshot, taken
from hpo.training.reports import reports_of
from tests.conftest import untimed


def several(document: dict[str, Any], **training: Any) -> Context:
    """What a trial of several copies is given."""
    document["training"] |= {"deterministic": True, **training}
    if "folds" in training:
        document["data"].pop("validation")
    read = spec.load(document)
    return Context(read, datasets.of(read, Path("data")), 7)


def own(**training: Any) -> Context:
    document = {
        "study": "own",
        "train": "loop:train",
        "training": {"epochs": 3, **training},
        "objective": {"metric": "loss", "goal": "minimize"},
        "parameters": {"lr": {"min": 0.0, "max": 1.0}},
    }
    return Context(spec.load_search(document), None, 7)


def alone(context: Context) -> list[list[Report]]:
    """The reports of each copy, trained by itself."""
    return [list(train({}, one)) for one in _contexts(context)]


@pytest.mark.parametrize("training", [{"seeds": 3}, {"folds": 3}, {"folds": 2, "seeds": 2}], ids=str)
def test_each_copy_trains_as_if_alone(document: dict[str, Any], training: dict[str, int]) -> None:
    document["model"]["dropout"] = 0.3
    context = several(document, epochs=2, **training)
    each = alone(context)
    made = list(reports_of(train, {}, context))
    assert [report.epoch for report in made] == [1, 2]
    for place, report in enumerate(made):
        values = [untimed(reports[place].metrics) for reports in each]
        assert report.metrics["accuracy"] == np.mean([one["accuracy"] for one in values])
        assert report.metrics["parameters"] == sum(one["parameters"] for one in values)
        assert report.metrics["accuracy_std"] == pytest.approx(np.std([one["accuracy"] for one in values], ddof=1))
    weights = taken(made[-1]).weights
    for place, reports in enumerate(each):
        for name, array in taken(reports[-1]).weights.items():
            assert np.array_equal(weights[f"copies.{place}.{name}"], array)


def test_the_first_copy_has_the_seed_of_the_trial(document: dict[str, Any]) -> None:
    seeds = [context.seed for context in _contexts(several(document, seeds=4))]
    assert seeds[0] == 7 and len(set(seeds)) == 4


def test_predictions_are_of_the_models_that_have_not_learned_the_row(document: dict[str, Any]) -> None:
    context = several(document, epochs=2, folds=3, seeds=2)
    *_, last = reports_of(train, {}, context)
    made = taken(last).predictions["validation"]
    split = folds_of(context.dataset.train.targets, 3, context.spec.seed)
    each = [taken(reports[-1]).predictions["validation"].astype(np.float32) for reports in alone(context)]
    for fold, (_, held_out) in enumerate(split):
        expected = (each[2 * fold] + each[2 * fold + 1]) / 2
        assert np.allclose(made[held_out], expected, atol=1e-3)
    assert made.dtype == np.float16 and len(made) == len(context.dataset.train)


def test_with_seeds_alone_predictions_are_the_mean_of_the_copies(document: dict[str, Any]) -> None:
    context = several(document, epochs=1, seeds=2)
    (report,) = reports_of(train, {}, context)
    each = [taken(reports[-1]).predictions["validation"].astype(np.float32) for reports in alone(context)]
    assert np.allclose(taken(report).predictions["validation"], np.mean(each, axis=0), atol=1e-3)


def test_it_goes_on_from_its_state_as_if_uninterrupted(document: dict[str, Any]) -> None:
    document["model"]["dropout"] = 0.3
    context = several(document, folds=2, seeds=2)
    whole = [untimed(report.metrics) for report in reports_of(train, {}, context)]
    first = reports_of(train, {}, context)
    state = next(first).state
    assert state is not None
    kept = state()
    random.seed(1), torch.manual_seed(1)
    again = reports_of(train, {}, replace(context, resume=kept))
    assert [untimed(report.metrics) for report in again] == whole[1:]


@pytest.mark.parametrize("state", [{}, {"copies": 3}, {"copies": [{}]}, {"copies": [{}, 1]}], ids=str)
def test_a_state_of_something_else_is_refused(document: dict[str, Any], state: dict[str, Any]) -> None:
    context = replace(several(document, seeds=2), resume=state)
    with pytest.raises(TrainingError, match="does not fit what is trained: it is not that of 2 copies"):
        next(reports_of(train, {}, context))


def test_a_copy_that_diverges_ends_the_trial(document: dict[str, Any]) -> None:
    context = several(document, seeds=2)
    (report,) = reports_of(train, {"optimizer.lr": 1e30}, context)
    assert np.isnan(report.metrics["accuracy"])


def test_one_copy_that_diverges_ends_the_trial_of_all() -> None:
    def diverging(config: Config, context: TrialContext) -> Iterator[dict[str, float]]:
        yield {"loss": 1}
        if context.seed != 7:
            yield {"loss": float("nan")}
            return
        yield {"loss": 1}
        yield {"loss": 1}

    first, second = reports_of(diverging, {}, own(seeds=2))
    assert first.metrics["loss"] == 1 and np.isnan(second.metrics["loss"])


# ---- training functions of the user's own ----------------------------------------------------------------------------


def noisy(config: Config, context: TrialContext) -> None:
    """Draws from every generator, and keeps a state."""
    weights = torch.nn.Linear(2, 1)
    context.track(weights)
    for _ in range(context.start, context.epochs + 1):
        with torch.no_grad():
            weights.weight += torch.randn(1) + random.random() + np.random.random()  # noqa: NPY002
        hpo.report(loss=float(weights.weight.detach().sum()))


def cross_validated(config: Config, context: TrialContext) -> Iterator[dict[str, float]]:
    """Predicts the rows of its fold: the numbers of the rows, as values."""
    assert context.fold is not None and context.folds is not None
    rows = np.arange(context.fold, 10, context.folds, dtype=np.float32)
    for epoch in range(1, context.epochs + 1):
        context.predictions(rows + epoch / 100, rows)
        context.predictions(np.full(4, context.fold, np.float32), np.ones(4), "test")
        context.save({"fold": context.fold})
        yield {"loss": 1 / epoch + context.fold}


def test_own_functions_draw_as_if_alone() -> None:
    context = own(seeds=3)
    each = [[report.metrics["loss"] for report in reports_of(noisy, {}, own_copy(one))] for one in _contexts(context)]
    made = list(reports_of(noisy, {}, context))
    assert [report.metrics["loss"] for report in made] == pytest.approx(np.mean(each, axis=0).tolist(), rel=1e-12)
    first = reports_of(noisy, {}, context)
    state = next(first).state
    assert state is not None
    again = [report.metrics for report in reports_of(noisy, {}, replace(context, resume=state()))]
    assert again == [report.metrics for report in made[1:]]


def own_copy(context: Context) -> Context:
    """The context of one copy, as that of a trial of one training."""
    once = context.spec.model_copy(update={"training": context.spec.training.model_copy(update={"seeds": 1})})
    return replace(context, spec=once)


def test_an_own_function_is_told_its_fold_and_its_predictions_are_joined() -> None:
    context = own(folds=3)
    context = replace(context, spec=context.spec.model_copy(update={"task": "regression", "base": "regression"}))
    *_, last = reports_of(cross_validated, {}, context)
    snapshot = taken(last)
    rows = [0, 3, 6, 9, 1, 4, 7, 2, 5, 8]
    assert snapshot.targets["validation"][:, 0].tolist() == rows
    assert np.allclose(snapshot.predictions["validation"][:, 0], np.array(rows) + 0.03)
    assert np.allclose(snapshot.predictions["test"], 1.0) and len(snapshot.targets["test"]) == 4
    assert snapshot.state == {"copies": [{"fold": 0}, {"fold": 1}, {"fold": 2}]}
    assert last.metrics == {"loss": pytest.approx(1 / 3 + 1), "loss_std": pytest.approx(1.0)}


def test_a_function_that_does_not_look_at_its_fold_is_refused() -> None:
    def always(config: Config, context: TrialContext) -> Iterator[dict[str, float]]:
        yield {"loss": 1.0}

    def by_the_way(config: Config) -> float:
        given = hpo.context()
        assert given is not None and given.fold is not None
        return float(given.fold)

    with pytest.raises(
        TrainingError, match=r"training.folds is 3, and the training function has not looked at `context"
    ):
        next(reports_of(always, {}, own(folds=3)))
    (report,) = reports_of(by_the_way, {}, own(folds=3))
    assert report.metrics["loss"] == 1.0


def test_the_data_of_a_fold_are_given_to_an_own_function(document: dict[str, Any]) -> None:
    def counting(config: Config, context: TrialContext) -> float:
        rows = context.dataset.validation
        context.predictions(np.full((len(rows), 3), 1 / 3), rows.targets)
        return float(len(rows))

    context = several(document, epochs=1, folds=3)
    (report,) = reports_of(counting, {}, replace(context, spec=context.spec.model_copy(update={"train": "loop:train"})))
    assert report.metrics["accuracy"] == pytest.approx(len(context.dataset.train) / 3)
    assert taken(report).targets["validation"].tolist() == context.dataset.train.targets.tolist()


def ending(config: Config, context: TrialContext) -> Iterator[dict[str, float]]:
    for epoch in range(3 if context.seed == 7 else 2):
        yield {"loss": epoch}


def skipping(config: Config, context: TrialContext) -> None:
    hpo.report(epoch=1 if context.seed == 7 else 2, loss=1)


def moving(config: Config, context: TrialContext) -> float:
    context.predictions([0.5, 0.5], [0, 1] if context.seed == 7 else [1, 0])
    return 1.0


def shapeless(config: Config, context: TrialContext) -> Iterator[Report]:
    yield Report(1, {"loss": 1.0}, lambda: 3)  # type: ignore[arg-type, return-value]


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (ending, "copy 1 of the config has ended before copy 0"),
        (skipping, r"report epochs \[1, 2\] together"),
        (moving, "predict other validation rows each"),
        (shapeless, "`snapshot` of epoch 1 gave 3"),
    ],
)
def test_copies_that_do_not_fit_together_fail_with_a_sentence(function: Any, said: str) -> None:
    with pytest.raises(TrainingError, match=said):
        for report in reports_of(function, {}, own(seeds=2)):
            taken(report)


def test_closing_it_closes_every_copy() -> None:
    closed = []

    def closing(config: Config, context: TrialContext) -> Iterator[dict[str, float]]:
        try:
            yield {"loss": 1}
        finally:
            closed.append(context.seed)

    reports = reports_of(closing, {}, own(seeds=3))
    next(reports)
    reports.close()  # type: ignore[attr-defined]
    assert len(set(closed)) == 3


def test_nothing_is_left_where_nothing_is_left_by_the_copies() -> None:
    def plain(config: Config) -> float:
        return 1.0

    (report,) = reports_of(plain, {}, own(seeds=2))
    assert report.state is None and taken(report).empty and isinstance(taken(report), Snapshot)


def test_a_search_is_simulated_by_the_mean_curve(document: dict[str, Any]) -> None:
    def curve(config: Config, epoch: int) -> tuple[dict[str, float], float]:
        return {"accuracy": 1 - config["optimizer.lr"] / epoch, "accuracy_std": 0.1}, 10.0

    document["budget"] = {"trials": 9}
    once = hpo.simulate(document, curve).study.trials()
    document["data"].pop("validation")
    document["training"] |= {"folds": 5, "seeds": 2}
    several = hpo.simulate(document, curve).study.trials()
    assert [(trial.config, trial.epoch, trial.state) for trial in several] == [
        (trial.config, trial.epoch, trial.state) for trial in once
    ]
    assert several[0].reports[1]["accuracy_std"] == 0.1


# ---- what the search file may say ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"training": {"folds": 1}}, "training.folds: must be greater than or equal to 2"),
        ({"training": {"seeds": 0}}, "training.seeds: must be greater than or equal to 1"),
        ({"training": {"folds": 3}}, "data.validation: splits rows off, and with training.folds"),
        ({"parameters": {"training.seeds": {"values": [1, 2]}}}, "cannot be searched"),
        ({"parameters": {"training.folds": {"values": [2, 3]}}}, "cannot be searched"),
    ],
)
def test_what_breaks_a_rule_is_a_sentence(document: dict[str, Any], changes: dict[str, Any], said: str) -> None:
    for section, values in changes.items():
        document[section] |= values
    with pytest.raises(SpecError, match=said):
        spec.load(document)


@pytest.mark.parametrize("name", ["folds", "seeds"])
def test_a_program_trains_its_config_once(name: str) -> None:
    document = {
        "study": "program",
        "command": "python train.py --lr {lr}",
        "training": {"epochs": 3, name: 2},
        "objective": {"metric": "loss", "goal": "minimize"},
        "parameters": {"lr": {"min": 0.0, "max": 1.0}},
    }
    with pytest.raises(SpecError, match=f"training.{name}: is of training functions: a program trains"):
        spec.load_search(document)
