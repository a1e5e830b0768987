"""A training function of the user's own, in each form that it may have."""

import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import hpo
from hpo import spec
from hpo.errors import TrainingError
from hpo.spec import Config, SearchSpec
from hpo.training import Context, Report, TrialContext
from hpo.training.own_training import OwnTraining, takes_context
from hpo.training.reports import reports_of

EPOCHS = 5


def searched(**changes: Any) -> SearchSpec:
    document = {
        "study": "own",
        "train": "loop:train",
        "training": {"epochs": EPOCHS},
        "objective": {"metric": "loss", "goal": "minimize"},
        "parameters": {"lr": {"min": 0.0, "max": 1.0}},
    }
    return spec.load_search(document | changes)


def context(resume: Any = None, inherited: bool = False, **changes: Any) -> Context:
    return Context(searched(**changes), None, 7, resume, inherited)


def losses(function: Any, given: Context | None = None, config: Config | None = None) -> list[tuple[int, float]]:
    """Epoch and loss of each report."""
    reports = reports_of(function, config or {"lr": 0.5}, given or context())
    return [(report.epoch, report.metrics["loss"]) for report in reports]


# ---- the forms -------------------------------------------------------------------------------------------------------


def a_number(config: Config) -> Any:
    return config["lr"] * 2


def a_tensor(config: Config) -> torch.Tensor:
    return torch.tensor(config["lr"] * 2)


def a_dict(config: Config, context: TrialContext) -> dict[str, float]:
    return {"loss": config["lr"] * 2, "seed": context.seed}


def test_what_is_returned_is_of_the_full_resource() -> None:
    assert losses(a_number) == losses(a_tensor) == losses(a_dict) == [(EPOCHS, 1.0)]
    assert losses(lambda config: 1) == [(EPOCHS, 1.0)]


def yields(config: Config) -> Iterator[dict[str, float]]:
    for epoch in range(3):
        yield {"loss": epoch + config["lr"]}


def calls(config: Config) -> None:
    for epoch in range(3):
        hpo.report(loss=epoch + config["lr"])


def calls_by_dict(config: Config, context: TrialContext) -> None:
    for epoch in range(3):
        hpo.report({"loss": epoch + config["lr"]}, epoch=epoch + 1)


def yields_reports(config: Config, context: TrialContext) -> Iterator[Report]:
    for epoch in range(3):
        yield Report(epoch + 1, {"loss": epoch + config["lr"]})


class Callable_:
    def __init__(self, more: float) -> None:
        self.more = more

    def __call__(self, config: Config) -> Iterator[dict[str, float]]:
        yield from ({"loss": epoch + self.more} for epoch in range(3))


FORMS: list[Any] = [
    yields,
    calls,
    calls_by_dict,
    yields_reports,
    Callable_(0.5),
    Callable_(0.5).__call__,
    partial(yields),
    lambda config: [{"loss": epoch + config["lr"]} for epoch in range(3)],
]


@pytest.mark.parametrize("form", FORMS, ids=lambda form: getattr(form, "__name__", type(form).__name__))
def test_each_form_reports_an_epoch_after_the_other(form: Any) -> None:
    assert losses(form) == [(1, 0.5), (2, 1.5), (3, 2.5)]


@pytest.mark.parametrize(
    ("function", "takes"),
    [
        (lambda config: 0, False),
        (lambda config, context: 0, True),
        (lambda config, context=None: 0, True),
        (lambda config, verbose=False: 0, False),
        (lambda config, **others: 0, False),
        (lambda *both: 0, False),
        (lambda parameters, trial: 0, True),
        (lambda config, *, context: 0, True),
    ],
)
def test_it_is_given_a_context_where_it_asks_for_one(function: Callable[..., Any], takes: bool) -> None:
    if function.__code__.co_kwonlyargcount:
        with pytest.raises(TrainingError, match=r"takes .* got \(config, \*, context\)"):
            takes_context(function)
        return
    assert takes_context(function) is takes


@pytest.mark.parametrize("function", [lambda: 0, lambda config, context, more: 0])
def test_a_function_of_other_arguments_is_refused(function: Callable[..., Any]) -> None:
    with pytest.raises(TrainingError, match=r"takes \(config\) or \(config, context\), got"):
        takes_context(function)


def test_the_config_may_be_changed_without_harm() -> None:
    def greedy(config: Config) -> float:
        return float(config.pop("lr"))

    config = {"lr": 0.5}
    assert losses(greedy, config=config) == [(EPOCHS, 0.5)] and config == {"lr": 0.5}


# ---- its end ---------------------------------------------------------------------------------------------------------


def test_a_report_does_not_return_where_the_trial_stops() -> None:
    seen: list[str] = []

    def deep(config: Config) -> None:
        try:
            for epoch in range(3):
                try:
                    hpo.report(loss=epoch)
                except Exception:
                    seen.append("an error")
                seen.append("went on")
        finally:
            seen.append("closed")

    reports = reports_of(deep, {}, context())
    next(reports), next(reports)
    reports.close()  # type: ignore[attr-defined]
    assert seen == ["went on", "closed"]


def test_closed_in_another_thread_it_ends_when_its_own_thread_next_runs_one() -> None:
    ended = []

    def deep(config: Config) -> None:
        try:
            hpo.report(loss=1)
        finally:
            ended.append(threading.get_ident())

    reports = reports_of(deep, {}, context())
    next(reports)
    other = threading.Thread(target=reports.close)  # type: ignore[attr-defined]
    other.start()
    other.join()
    assert not ended
    assert losses(a_number) == [(EPOCHS, 1.0)]
    assert ended == [threading.get_ident()]


def test_one_that_will_not_end_is_ended_at_its_next_report() -> None:
    ended = []

    def stubborn(config: Config) -> None:
        for epoch in range(1, 4):
            try:
                hpo.report(loss=epoch)
            except BaseException:
                ended.append(epoch)

    training = OwnTraining(stubborn, {}, context())
    assert next(training).epoch == 1
    training.close()
    assert ended == [1, 2, 3]
    with pytest.raises(StopIteration):
        next(training)


def test_what_it_raises_is_raised() -> None:
    def broken(config: Config) -> None:
        hpo.report(loss=1)
        raise ZeroDivisionError("mine")

    reports = reports_of(broken, {}, context())
    next(reports)
    with pytest.raises(ZeroDivisionError, match="mine") as caught:
        next(reports)
    assert "broken" in [entry.name for entry in caught.traceback], "its own lines are in the traceback"


def test_a_result_after_reports_is_told_and_left() -> None:
    def both(config: Config) -> float:
        hpo.report(loss=1)
        return 5.0

    with pytest.warns(RuntimeWarning, match="has returned 5.0 .float. after its reports, which count"):
        assert losses(both) == [(1, 1.0)]


def test_more_epochs_than_a_full_training_has_are_told() -> None:
    with pytest.raises(TrainingError, match="reported epoch 6 of 5: training.epochs .--set training.epochs=N. says"):
        losses(lambda config: [{"loss": 1}] * 6)


def test_a_report_from_another_thread_is_refused() -> None:
    told: list[BaseException] = []

    def other() -> None:
        try:
            hpo.report(loss=1)
        except TrainingError as error:
            told.append(error)

    def threaded(config: Config) -> float:
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        return 0.0

    assert losses(threaded) == [(EPOCHS, 0.0)]
    assert "from another thread than the training function's" in str(told[0])


def test_outside_of_a_search_a_report_does_nothing() -> None:
    hpo.report(loss=1)
    hpo.report({"loss": 1}, epoch=3)
    with pytest.raises(TypeError, match="wants metrics"):
        hpo.report()


def test_trials_within_a_trial_report_to_their_own() -> None:
    def inner(config: Config) -> None:
        hpo.report(loss=10)
        hpo.report(loss=20)

    def outer(config: Config) -> None:
        found = losses(inner)
        hpo.report(loss=sum(loss for _, loss in found))

    assert losses(outer) == [(1, 30.0)]


def test_its_context_is_found_by_code_that_is_not_given_it() -> None:
    found: list[TrialContext | None] = []

    def inner(config: Config) -> float:
        found.append(hpo.context())
        return 1.0

    def outer(config: Config, context: TrialContext) -> None:
        losses(inner)
        found.append(hpo.context())
        assert found[1] is context
        hpo.report(loss=1)

    losses(outer)
    first, second = found
    assert first is not None and second is not None and first is not second
    assert hpo.context() is None


# ---- its state -------------------------------------------------------------------------------------------------------


def noisy(config: Config, context: TrialContext) -> Iterator[dict[str, Any]]:
    """A network with dropout and momentum, whose draws are torch's, numpy's and Python's."""
    import random

    model = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.Linear(8, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [2, 4])
    context.track(model=model, optimizer=optimizer, schedule=schedule)
    for _ in range(context.start, context.epochs + 1):
        inputs = torch.randn(16, 4) + float(np.random.normal()) + random.random()  # noqa: NPY002
        loss = model(inputs).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        yield {"loss": loss.item(), "lr": schedule.get_last_lr()[0]}


def saves(config: Config, context: TrialContext) -> Iterator[dict[str, float]]:
    state: Any = context.resume or {"total": torch.zeros(2), "epoch": 0}
    total = state["total"].clone()
    for epoch in range(state["epoch"] + 1, context.epochs + 1):
        total += epoch
        context.save({"total": total, "epoch": epoch})
        yield {"loss": total.sum().item()}


@pytest.mark.parametrize("function", [noisy, saves])
@given(stops=st.sets(st.integers(1, EPOCHS - 1)))
def test_it_goes_on_from_its_state_as_if_it_had_not_been_paused(function: Any, stops: set[int]) -> None:
    from hpo.study.artifacts.stored import packed, unpacked

    whole = [report.metrics for report in reports_of(function, {}, context())]
    found, state = [], None
    for stop in (*sorted(stops), EPOCHS):
        reports = reports_of(function, {}, context(state))
        for report in reports:
            found.append(report.metrics)
            if report.epoch == stop:
                assert report.state is not None
                state = unpacked(packed(report.state()))
                break
        reports.close()  # type: ignore[attr-defined]
    assert found == whole and len(whole) == EPOCHS


def test_one_that_never_looks_at_its_state_begins_at_the_first_epoch() -> None:
    def forgets(config: Config, context: TrialContext) -> Iterator[dict[str, float]]:
        for epoch in range(1, context.epochs + 1):
            context.save({"epoch": epoch})
            yield {"loss": epoch}

    first = next(reports_of(forgets, {}, context()))
    assert first.state is not None
    assert losses(forgets, context(first.state())) == [(epoch, float(epoch)) for epoch in range(1, EPOCHS + 1)]


def test_a_state_that_is_saved_now_and_then_is_of_its_own_epoch() -> None:
    def rarely(config: Config, context: TrialContext) -> Iterator[dict[str, float]]:
        begun = (context.resume or {"epoch": 0})["epoch"]
        total = torch.zeros(1) if context.resume is None else context.resume["total"]
        for epoch in range(begun + 1, context.epochs + 1):
            total += epoch
            if epoch == 2:
                context.save({"epoch": epoch, "total": total})
            yield {"loss": total.item()}

    reports = list(reports_of(rarely, {}, context()))
    assert reports[0].state is None and reports[3].state is not None
    assert losses(rarely, context(reports[3].state())) == [(3, 6.0), (4, 10.0), (5, 15.0)]


def test_a_function_of_before_keeps_its_own_state() -> None:
    def old(config: Config, context: Context) -> Iterator[Report]:
        begun = 0 if context.resume is None else context.resume["at"]
        for epoch in range(begun + 1, 4):
            yield Report(epoch, {"loss": epoch}, state=partial(dict, at=epoch))

    first = next(reports_of(old, {}, context()))
    assert first.state is not None and first.state() == {"at": 1}
    assert losses(old, context({"at": 1})) == [(2, 2.0), (3, 3.0)]


def test_generators_are_seeded_for_each_trial() -> None:
    def draws(config: Config) -> float:
        import random

        return random.random() + float(np.random.normal()) + torch.rand(1).item()  # noqa: NPY002

    assert losses(draws) == losses(draws)
    assert losses(draws) != losses(draws, Context(searched(), None, seed=8))
