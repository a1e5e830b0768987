"""A trial as Optuna keeps it: the names of its attributes, and how a `TrialRecord` is read from them."""

import json
import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import pydantic
from optuna.trial import FrozenTrial, TrialState

from hpo.errors import StudyError
from hpo.spec import Parameter, SearchSpec, StudySpec
from hpo.spec.dimension import distribution
from hpo.spec.space import Space
from hpo.study import ranking
from hpo.study.trial import Metrics, Moment, State, TrialRecord

REPORT = ranking.REPORT
TAKEN = "taken_over"
"""The trial attribute that names the study and the number that a trial had there."""
INHERITED = "inherited"
_BREEDING = "pbt"
"""The scheduler whose trials go on from others' states."""
"""The trial attribute that says after how many epochs of another trial this one began."""
BEGAN = "began"
"""The trial attribute with the moment when it began or went on after a pause; of a proposal it is written last."""
REPLACES = "replaces"
"""The trial attribute with the number of the trial that has ended, or is to, for this one."""
PAUSED = "paused"
"""The trial attribute that is true while a trial waits; Optuna knows only that it has not ended."""
SETTLED = "settled"
"""The trial attribute with the epoch up to which the value of a trial stands that its patience has ended before."""
WISH, RETRY_OF = "wish", "retry_of"
"""The trial attributes with the wish by which it was tried, and the number of the failed trial that it begins again."""
MACHINE = "machine"
"""The trial attribute with the process that has trained it last, and where."""
LINEAGE, REASON = "lineage", "reason"
"""The trial attributes with where its config comes from, and why it has ended."""
FAILURE, RETRIES = "failure", "retries"
"""The trial attributes with the kind of its failure, and how often it has begun again after one."""
FIXED = "fixed_params"
"""Optuna's system attribute with the config of a trial that was enqueued."""
CONSTRAINT = "constraints"
"""The system attribute under which, with a name, Optuna keeps a constraint: above 0 it is broken."""
_KINDS = {REASON: str, LINEAGE: dict, FAILURE: str, WISH: str, MACHINE: str}
"""Attributes that a trial may have, and their types."""
_COUNTS = (INHERITED, REPLACES, RETRIES, SETTLED, RETRY_OF)
"""Attributes of trials that are whole numbers, 0 or more."""
_MOST, _MOST_ORDER = 2**31, 2**63
"""Larger numbers of trials and of epochs, and places among all that was recorded, are of no study."""


class Reader:
    """Reads the trials of a study, and holds each to the form that its record has.

    What was read of a trial before, and has not changed, is not read again: a trial is read at each of its reports.

    Args:
        spec: what the study searches.
        space: of the spec.
    """

    def __init__(self, spec: SearchSpec, space: Space) -> None:
        self._spec, self._space = spec, space
        self._distributions = {name: distribution(parameter) for name, parameter in space.parameters.items()}
        self._known: dict[int, tuple[FrozenTrial, TrialRecord]] = {}

    def read(self, trial: FrozenTrial) -> TrialRecord:
        """The record of a trial as it stands; one that has not changed is the record that was made of it before.

        Args:
            trial: as Optuna has it; one that waits to be begun is read as one that runs.

        Raises:
            StudyError: its reports are of another version of hpo.
            ArithmeticError, AttributeError, LookupError, TypeError, ValueError, RecursionError: it is damaged.
        """
        before, record = self._known.get(trial.number, (None, None))
        if before is trial and record is not None:
            return record
        reports = self._reports(trial)
        if before is None or before.params is not trial.params:
            self._check_config(trial)
        if reports and (before is None or before.params is not trial.params or not (record and record.reports)):
            self._check_whole(trial)
        if not trial.state.is_finished():
            self._check_fixed(trial.system_attrs.get(FIXED))
        _check_steps(trial, reports)
        _check_order(reports)
        _check_values(trial, len(self._spec.objectives))
        _check_constraints(trial.system_attrs)
        record = self._made(trial, reports)
        _check_paused(record)
        self._known[trial.number] = (trial, record)
        return record

    def _made(self, trial: FrozenTrial, reports: Mapping[int, tuple[Metrics, Moment]]) -> TrialRecord:
        attributes = trial.user_attrs
        _check_attributes(attributes, trial.number)
        if attributes.get(INHERITED) and self._spec.scheduler.name != _BREEDING:
            name = self._spec.scheduler.name
            raise ValueError(f"it goes on with another trial's training, and scheduler '{name}' lets none do that")
        return TrialRecord(
            number=trial.number,
            state=_state(trial),
            config=self._space.config(trial.params),
            reports={epoch: metrics for epoch, (metrics, _) in reports.items()},
            spec=self._spec,
            reason=attributes.get(REASON),
            lineage=attributes.get(LINEAGE),
            inherited=attributes.get(INHERITED, 0),
            replaces=attributes.get(REPLACES),
            taken_over=TAKEN in attributes,
            failure=attributes.get(FAILURE),
            retries=attributes.get(RETRIES, 0),
            settled=attributes.get(SETTLED),
            retry_of=attributes.get(RETRY_OF),
            machine=attributes.get(MACHINE),
            began=_moment(attributes[BEGAN]) if BEGAN in attributes else None,
            reported={epoch: moment for epoch, (_, moment) in reports.items()},
            ended=None if trial.datetime_complete is None else trial.datetime_complete.timestamp(),
        )

    def _reports(self, trial: FrozenTrial) -> dict[int, tuple[Metrics, Moment]]:
        """Epoch -> its metrics and when they were recorded."""
        before, record = self._known.get(trial.number, (None, None))
        had = {} if before is None else before.user_attrs
        found = {}
        for key, text in trial.user_attrs.items():
            if key.startswith(REPORT):
                epoch = _epoch(key)
                if record is not None and had.get(key) == text:
                    found[epoch] = record.reports[epoch], record.reported[epoch]
                else:
                    found[epoch] = self._report(text)
        return dict(sorted(found.items()))

    def _report(self, text: Any) -> tuple[Metrics, Moment]:
        report = json.loads(text)
        if not isinstance(report, dict):
            raise TypeError("a report is no mapping")
        if "moment" not in report:
            raise StudyError(
                f"study '{self._spec.study}' was made by another version of hpo, whose reports this one cannot read"
            )
        return _metrics(report.get("metrics")), _moment(report["moment"])

    def _check_config(self, trial: FrozenTrial) -> None:
        """Holds each parameter to the spec: its value, what it was drawn from, and that it is there at all."""
        for name, value in trial.params.items():
            if name not in self._distributions:
                raise ValueError("it has a parameter that the search has not")
            self._check_value(name, value)
            if trial.distributions.get(name) != self._distributions[name]:
                raise ValueError(f"its '{name}' was drawn from other values than the search has")
            if not self._space.active(name, trial.params):
                raise ValueError(f"it has '{name}', which its other parameters leave out")

    def _check_whole(self, trial: FrozenTrial) -> None:
        """Holds a trial that was trained to have all parameters that it should."""
        for name in self._distributions:
            if name not in trial.params and self._space.active(name, trial.params):
                raise ValueError(f"it was trained, and has no '{name}'")

    def _check_fixed(self, fixed: Any) -> None:
        """Holds the config that a trial was enqueued with to the space; other names are never asked for."""
        if fixed is None:
            return
        if not isinstance(fixed, dict):
            raise TypeError(f"its '{FIXED}' is no mapping")
        for name in self._distributions.keys() & fixed.keys():
            self._check_value(name, fixed[name])

    def _check_value(self, name: str, value: Any) -> None:
        """Holds a value to its parameter; one between two steps is a default of the user's, kept as it was given."""
        parameter = self._space.parameters[name]
        if parameter.contains(value):
            return
        if not _is_between_steps(parameter, value):
            raise ValueError(f"its '{name}' is {value!r:.80}, which is not in {parameter.describe():.200}")
        if isinstance(self._spec, StudySpec):  # whose setting may want whole numbers, as all steps are
            try:
                self._spec.apply({name: value})
            except pydantic.ValidationError as error:
                raise ValueError(f"its '{name}' is {value!r:.80}: {error.errors()[0]['msg']}") from None


def _is_between_steps(parameter: Parameter, value: Any) -> bool:
    """Whether a value is in the range of a parameter with steps."""
    if parameter.step is None or parameter.min is None or parameter.max is None:
        return False
    kinds = int if parameter.type == "int" else (int, float)
    return isinstance(value, kinds) and not isinstance(value, bool) and parameter.min <= value <= parameter.max


def _check_attributes(attributes: Mapping[str, Any], number: int) -> None:
    """Holds what is recorded of a trial, beside its reports, to its form."""
    for name, kind in _KINDS.items():
        if not isinstance(attributes.get(name), kind | None):
            raise TypeError(f"its '{name}' is of another kind")
    for name in _COUNTS:
        if name in attributes and not _is_count(attributes[name]):
            raise TypeError(f"its '{name}' is no number, 0 or more")
    if attributes.get(REPLACES, -1) >= number:
        raise ValueError("it has the place of no trial before it")
    if attributes.get(RETRY_OF, -1) >= number:
        raise ValueError("it begins no trial before it again")
    _check_lineage(attributes.get(LINEAGE), bool(attributes.get(INHERITED)), number)


def _check_lineage(lineage: Mapping[str, Any] | None, inherits: bool, number: int) -> None:
    parents = [] if lineage is None else lineage.get("parents", [])
    if inherits and not (isinstance(parents, list) and parents and _is_count(parents[0]) and parents[0] < number):
        raise ValueError("it goes on with the training of no trial before it")
    if not isinstance(parents, list) or not all(map(_is_count, parents)):
        raise TypeError(f"the parents in its '{LINEAGE}' are no numbers of trials")
    if lineage is not None and not isinstance(lineage.get("sigma"), float | None) and not _is_count(lineage["sigma"]):
        raise TypeError(f"the step size in its '{LINEAGE}' is no number")


def _check_steps(trial: FrozenTrial, reports: Mapping[int, object]) -> None:
    """Holds what Optuna keeps of reports, and samplers read, to be a number for each.

    A search that died may have written the last report and not yet its number.
    """
    for step, value in trial.intermediate_values.items():
        if not (type(step) is int and 1 <= step <= _MOST):
            raise ValueError(f"a step of its reports is no epoch, got {step!r:.80}")
        if not isinstance(value, float) and not _is_number(value):
            raise TypeError(f"what it has reported at step {step} is no number")
    steps = trial.intermediate_values.keys()
    if not steps <= reports.keys() <= {*steps, max(reports, default=0)}:
        raise ValueError("its reports and the steps that Optuna has of them are not the same")


def _check_order(reports: Mapping[int, tuple[object, Moment]]) -> None:
    """Holds reports to have been recorded in the order of their epochs."""
    orders = [moment.order for _, moment in reports.values()]
    if any(later <= earlier for earlier, later in pairwise(orders)):
        raise ValueError("its reports were not recorded in the order of their epochs")


def _check_paused(record: TrialRecord) -> None:
    """Holds a trial that waits to have reported.

    It may have begun again since: a search that died may have written that, and not yet that it waits no more.
    """
    if record.state is State.PAUSED and not record.reports:
        raise ValueError("it is paused, and has reported nothing")


def _check_values(trial: FrozenTrial, objectives: int) -> None:
    """Holds final values to be as many numbers as there are objectives; of a stopped trial they may be infinite."""
    values = trial.values
    if values is None and trial.state is not TrialState.COMPLETE:
        return
    if not isinstance(values, list | tuple) or len(values) != objectives or not all(map(_is_number, values)):
        raise TypeError(f"its final values are not {objectives} numbers")
    if trial.state is TrialState.COMPLETE and not all(map(math.isfinite, values)):
        raise ValueError("its final values are not finite")


def _check_constraints(attributes: Mapping[str, Any]) -> None:
    """Holds the excesses of constraints to be numbers; a sampler of Optuna's may have written them as one list."""
    listed = attributes.get(CONSTRAINT)
    if not isinstance(listed, list | tuple | None):
        raise TypeError("the excesses of its constraints are no list")
    named = (value for key, value in attributes.items() if key.startswith(f"{CONSTRAINT}:"))
    for excess in (*(listed or ()), *named):
        if not _is_number(excess) or math.isnan(excess):
            raise TypeError("the excess of a constraint is no number")


def excesses(trial: FrozenTrial) -> dict[str, float]:
    """The excess of each constraint, name -> by how much a trial breaks it; Optuna 5 has `trial.constraints` for it.

    What a sampler has written without names is called by its place.
    """
    prefix, attributes = f"{CONSTRAINT}:", trial.system_attrs
    unnamed = {str(place): excess for place, excess in enumerate(attributes.get(CONSTRAINT) or ())}
    return unnamed | {key.removeprefix(prefix): it for key, it in attributes.items() if key.startswith(prefix)}


def written(metrics: Metrics, moment: Moment) -> str:
    """A report, as an attribute has it."""
    return json.dumps({"metrics": dict(metrics), "moment": moment})


def _epoch(key: str) -> int:
    """The epoch in the name of a report."""
    epoch = int(key.removeprefix(REPORT))
    if not 1 <= epoch <= _MOST or key != f"{REPORT}{epoch}":
        raise ValueError(f"a report is of no epoch, got '{key:.80}'")
    return epoch


def _is_count(read: Any) -> bool:
    """Whether this is a number of a trial, or how many there are of something."""
    return type(read) is int and 0 <= read <= _MOST


def _is_number(read: Any) -> bool:
    """Whether this is a number that a float can be."""
    return isinstance(read, float) or (type(read) is int and abs(read) <= _MOST_ORDER)


def _metrics(read: Any) -> dict[str, float]:
    """The metrics of a report, as the record has them."""
    if not isinstance(read, dict) or not all(isinstance(value, int | float) for value in read.values()):
        raise TypeError("the metrics of a report are no numbers by name")
    return {name: float(value) for name, value in read.items()}


def _moment(read: Any) -> Moment:
    """A moment, as the record has it."""
    if not isinstance(read, list | tuple) or len(read) != 2:
        raise TypeError("a moment is no two numbers")
    order, at = read
    if not (type(order) is int and 0 <= order < _MOST_ORDER and _is_number(at) and math.isfinite(at)):
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
