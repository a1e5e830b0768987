"""A trial as Optuna keeps it: the names of its attributes, and how a `TrialRecord` is read from them."""

import json
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from hpo.errors import StudyError
from hpo.spec import SearchSpec
from hpo.spec.space import Space
from hpo.study import ranking
from hpo.study.trial import Metrics, Moment, State, TrialRecord

REPORT = ranking.REPORT
TAKEN = "taken_over"
"""The trial attribute that names the study and the number that a trial had there."""
INHERITED = "inherited"
"""The trial attribute that says after how many epochs of another trial this one began."""
BEGAN = "began"
"""The trial attribute with the moment when it began or went on after a pause; of a proposal it is written last."""
REPLACES = "replaces"
"""The trial attribute with the number of the trial that has ended, or is to, for this one."""
PAUSED = "paused"
"""The trial attribute that is true while a trial waits; Optuna knows only that it has not ended."""
LINEAGE, REASON = "lineage", "reason"
"""The trial attributes with where its config comes from, and why it has ended."""
FAILURE, RETRIES = "failure", "retries"
"""The trial attributes with the kind of its failure, and how often it has begun again after one."""
FIXED = "fixed_params"
"""Optuna's system attribute with the config of a trial that was enqueued."""
CONSTRAINT = "constraints"
"""The system attribute under which, with a name, Optuna keeps a constraint: above 0 it is broken."""
_KINDS = {REASON: str, LINEAGE: dict, INHERITED: int, REPLACES: int, FAILURE: str, RETRIES: int}
"""Attributes of trials, and what they are where they are there."""


def read(trial: FrozenTrial, spec: SearchSpec, space: Space) -> TrialRecord:
    """The record of a trial.

    Args:
        trial: as Optuna has it.
        spec: what the trial's study searches.
        space: of the spec.

    Raises:
        StudyError: its reports are of another version of hpo.
        ArithmeticError, AttributeError, LookupError, TypeError, ValueError, RecursionError: it is damaged.
    """
    attributes = trial.user_attrs
    written = {
        int(key.removeprefix(REPORT)): json.loads(value) for key, value in attributes.items() if key.startswith(REPORT)
    }
    reports = dict(sorted(written.items()))
    if any("moment" not in report for report in reports.values()):
        raise StudyError(f"study '{spec.study}' was made by another version of hpo, whose reports this one cannot read")
    for name, kind in _KINDS.items():
        if not isinstance(attributes.get(name), kind | None):
            raise TypeError(f"its '{name}' is of another kind")
    if not trial.params.keys() <= space.parameters.keys():
        raise ValueError("it has a parameter that the search has not")
    if attributes.get(INHERITED) and not _is_lineage(attributes.get(LINEAGE), trial.number):
        raise ValueError("it goes on with the training of no trial before it")
    began = attributes.get(BEGAN)
    return TrialRecord(
        number=trial.number,
        state=_state(trial),
        config=dict(trial.params),
        reports={epoch: _metrics(report["metrics"]) for epoch, report in reports.items()},
        spec=spec,
        reason=attributes.get(REASON),
        lineage=attributes.get(LINEAGE),
        inherited=attributes.get(INHERITED, 0),
        replaces=attributes.get(REPLACES),
        taken_over=TAKEN in attributes,
        failure=attributes.get(FAILURE),
        retries=attributes.get(RETRIES, 0),
        began=None if began is None else _moment(began),
        reported={epoch: _moment(report["moment"]) for epoch, report in reports.items()},
        ended=None if trial.datetime_complete is None else trial.datetime_complete.timestamp(),
    )


def written(metrics: Metrics, moment: Moment) -> str:
    """A report, as an attribute has it."""
    return json.dumps({"metrics": dict(metrics), "moment": moment})


def _is_lineage(read: Any, number: int) -> bool:
    """Whether what the record has of a trial's parents names a trial before it first."""
    parents = read.get("parents") if isinstance(read, dict) else None
    return isinstance(parents, list) and bool(parents) and type(parents[0]) is int and 0 <= parents[0] < number


def _metrics(read: Any) -> dict[str, float]:
    """The metrics of a report, as the record has them."""
    if not isinstance(read, dict) or not all(isinstance(value, int | float) for value in read.values()):
        raise TypeError("the metrics of a report are no numbers by name")
    return {name: float(value) for name, value in read.items()}


def _moment(read: Any) -> Moment:
    """A moment, as the record has it."""
    order, at = read
    if not isinstance(order, int) or not isinstance(at, int | float):
        raise TypeError("a moment is no two numbers")
    return Moment(order, at)


def _state(trial: FrozenTrial) -> State:
    if trial.state is TrialState.RUNNING and trial.user_attrs.get(PAUSED):
        return State.PAUSED
    return _FROM_OPTUNA[trial.state]


_FROM_OPTUNA = {
    TrialState.RUNNING: State.RUNNING,
    TrialState.WAITING: State.RUNNING,
    TrialState.COMPLETE: State.COMPLETE,
    TrialState.PRUNED: State.PRUNED,
    TrialState.FAIL: State.FAILED,
}
TO_OPTUNA = {State.COMPLETE: TrialState.COMPLETE, State.PRUNED: TrialState.PRUNED, State.FAILED: TrialState.FAIL}
"""How a trial ends, as Optuna has it."""
