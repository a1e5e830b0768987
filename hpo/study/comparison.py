"""Two studies side by side: in what they differ, and how good each was for the same price."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from hpo import tasks
from hpo.errors import StudyError
from hpo.study import ranking
from hpo.study.differences import differences
from hpo.study.study import Study
from hpo.study.trial import Metrics, TrialRecord, count_states


@dataclass(frozen=True)
class Side:
    """One of two studies that are compared; trials that it has taken over from another study are not counted."""

    study: str
    objective: str
    """Goal and metric, such as `maximize accuracy`."""
    trials: Mapping[str, int]
    """State -> number of trials."""
    failures: Mapping[str, int]
    """Kind of failure -> number of trials."""
    epochs: int
    """Epochs of all trials together."""
    best: float | None
    """Best value of all; None without a finite one that keeps to the constraints."""
    at_equal_epochs: float | None
    """Best value after as many epochs of all trials together as both studies have."""
    at_equal_trials: float | None
    """Best value of as many trials, the first ones, as both studies have."""


@dataclass(frozen=True)
class Comparison:
    """Two studies side by side."""

    sides: tuple[Side, Side]
    epochs: int
    """Epochs of all trials together that both studies have."""
    trials: int
    """Trials that both studies have."""
    same_objective: bool
    """Whether values can be compared: the metrics and their goals are the same."""
    same_data: bool | None
    """Whether both have the same rows and the same split; None where one has data of its own code, or none."""
    code: tuple[str, ...]
    """How the code of the user's own differs that has trained them, in words."""
    differences: Mapping[str, tuple[Any, Any]]
    """Dotted name of a setting, a parameter or a limit -> what each study has there; None where it has nothing."""

    def to_json(self) -> dict[str, Any]:
        """The document that `hpo compare --format json` prints."""
        return {
            **asdict(self),
            "sides": [asdict(side) for side in self.sides],
            "differences": {name: list(pair) for name, pair in self.differences.items()},
        }


def compare(one: Study, other: Study) -> Comparison:
    """Compares two studies.

    Raises:
        StudyError: one of them is damaged.
    """
    own = [[trial for trial in study.trials if not trial.taken_over] for study in (one, other)]
    trials, epochs = min(map(len, own)), min(sum(len(trial.reports) for trial in of_one) for of_one in own)
    sides = tuple(_side(study, of_one, trials, epochs) for study, of_one in zip((one, other), own, strict=True))
    changed = differences(one.spec, other.spec, left=())
    changed.pop("study", None)
    return Comparison(
        sides=(sides[0], sides[1]),
        epochs=epochs,
        trials=trials,
        same_objective=_objectives(one) == _objectives(other),
        same_data=_same_data(one, other),
        code=tuple(one.code[-1].changes(other.code[-1])) if one.code and other.code else (),
        differences=changed,
    )


def _objectives(study: Study) -> list[tuple[str, str]]:
    return [(objective.metric, tasks.goal_of(objective)) for objective in study.spec.objectives]


def _same_data(one: Study, other: Study) -> bool | None:
    try:
        return one.data_summary.fingerprint == other.data_summary.fingerprint
    except StudyError:
        return None


def _side(study: Study, trials: list[TrialRecord], equal_trials: int, equal_epochs: int) -> Side:
    kinds = [trial.failure for trial in trials if trial.failure is not None]
    moments = [(trial.reported[epoch].order, metrics) for trial in trials for epoch, metrics in trial.reports.items()]
    in_order = [metrics for _, metrics in sorted(moments, key=lambda pair: pair[0])]
    return Side(
        study=study.name,
        objective=f"{study.goal} {study.spec.objective.metric}",
        trials={state.value: count for state, count in count_states(trials).items()},
        failures={kind: kinds.count(kind) for kind in dict.fromkeys(kinds)},
        epochs=len(in_order),
        best=_best(study, in_order),
        at_equal_epochs=_best(study, in_order[:equal_epochs]),
        at_equal_trials=_best(
            study, (metrics for trial in trials[:equal_trials] for metrics in trial.reports.values())
        ),
    )


def _best(study: Study, reports: Iterable[Metrics]) -> float | None:
    """The objective of the best report that keeps to the constraints; of several objectives the first."""
    measured = ((ranking.measure(study.spec, metrics), metrics[study.spec.objective.metric]) for metrics in reports)
    kept = ((worth, value) for worth, value in measured if worth.finite and not worth.violation)
    return min(kept, default=(None, None), key=lambda pair: pair[0])[1]
