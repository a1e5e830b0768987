"""A study whose record was changed by other means: a search goes on with it, or says what is wrong with it."""

from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hpo.controller import Controller, Drop, NothingLeft, Resume, Start, Wait
from hpo.errors import StudyError
from hpo.schedulers import Decision
from hpo.study.budget import Left
from hpo.study.optuna_trial import BEGAN, INHERITED, LINEAGE, PAUSED, REPORT, written
from hpo.study.study import Study
from hpo.study.trial import Moment
from tests.controller.test_controller import SCHEDULERS, controller_of, document, loss

TRIALS = 6


def drive(controller: Controller, study: Study, orders: int) -> None:
    """Trains what the controller says, an epoch of each trial in turn."""
    training: dict[int, int] = {}
    for _ in range(orders):
        match controller.next():
            case Start(trial):
                training[trial.number] = trial.inherited
            case Resume(number):
                training[number] = study.trial(number).epoch
            case Drop() | Wait():
                pass
            case NothingLeft():
                return
        for number, epoch in list(training.items()):
            training[number] = epoch + 1
            decision = controller.report(number, epoch + 1, {"loss": loss(study.trial(number).config["x"], epoch + 1)})
            if decision is not Decision.CONTINUE:
                del training[number]
            if decision is Decision.PAUSE:
                controller.stored(number)


def change(study: Study, number: int, kind: str, value: int) -> None:
    """Changes what is recorded of a trial."""
    storage, trial = study.record._storage, study.record.trials[number]
    write = storage.set_trial_user_attr
    match kind:
        case "paused":
            write(trial._trial_id, PAUSED, bool(value % 2))
        case "began":
            write(trial._trial_id, BEGAN, [value, 1.0])
        case "report":
            epoch = max(trial.intermediate_values, default=0) + value % 2
            write(trial._trial_id, f"{REPORT}{max(1, epoch)}", written({"loss": 0.5}, Moment(value, 1.0)))
        case "inherited":
            write(trial._trial_id, LINEAGE, {"parents": [0]})
            write(trial._trial_id, INHERITED, value % 4)


CHANGES = st.tuples(
    st.integers(0, TRIALS - 1), st.sampled_from(["paused", "began", "report", "inherited"]), st.integers(0, 60)
)


@pytest.mark.parametrize("scheduler", [*SCHEDULERS, "freeze_thaw"], ids=str)
@settings(max_examples=40)
@example(orders=9, changes=[(3, "report", 0)])
@given(orders=st.integers(1, 30), changes=st.lists(CHANGES, min_size=1, max_size=4))
def test_a_changed_record_is_gone_on_with_or_told(
    scheduler: Any, orders: int, changes: list[tuple[int, str, int]]
) -> None:
    study = Study.in_memory(document(scheduler, TRIALS, sampler="curves" if scheduler == "freeze_thaw" else "random"))
    drive(controller_of(study, Left(TRIALS, None)), study, orders)
    for number, kind, value in changes:
        if number < len(study.record.trials) and not study.record.trials[number].state.is_finished():
            change(study, number, kind, value)
    try:
        had = study.trials()
        left = Left(TRIALS - sum(not trial.inherited for trial in had), None)
        drive(controller_of(study, left), study, 200)
    except StudyError as error:
        assert "is damaged" in str(error)
