"""A warm start: the ended trials of an earlier study, as trials of a new one."""

from collections.abc import Iterator
from itertools import count
from typing import TYPE_CHECKING

import optuna
from optuna.trial import FrozenTrial, TrialState

from hpo.spec import Config, SearchSpec, StudySpec
from hpo.spec.dimension import distribution
from hpo.spec.space import Space
from hpo.study import ranking
from hpo.study.optuna_trial import CONSTRAINT, REASON, REPORT, SETTLED, TAKEN, written
from hpo.study.trial import Moment, State, TrialRecord

if TYPE_CHECKING:
    from hpo.study.study import Study

_TRAINED = {"task", "data", "model", "training", "optimizer"}
"""The sections of a spec that a trial's training depends on."""


def taken_over(earlier: "Study", spec: SearchSpec) -> list[FrozenTrial]:
    """The ended trials of an earlier study that would have been the same trials in a new one.

    Args:
        earlier: the study.
        spec: of the new one.
    """
    order, space = count(), Space.of(spec)
    return [trial for old in earlier.trials() if (trial := _taken_over(earlier, old, spec, space, order)) is not None]


def _taken_over(
    earlier: "Study", old: TrialRecord, spec: SearchSpec, space: Space, order: Iterator[int]
) -> FrozenTrial | None:
    if old.state not in (State.COMPLETE, State.PRUNED) or old.best_epoch is None:
        return None
    recorded: Config = {}
    trained = earlier.spec.apply(old.config) if isinstance(earlier.spec, StudySpec) else earlier.spec
    for name in space.parameters:
        if space.active(name, recorded):
            value = old.config.get(name, trained.setting(name))  # of a family it may have another name there
            if not spec.parameters[name].contains(value):
                return None
            recorded |= space.recorded({name: value})
    if not space.allows(recorded):
        return None
    config = space.config(recorded)
    if not _same_trial(spec, config, earlier.spec, old.config):
        return None
    reports = old.reports
    record = TrialRecord(0, old.state, config, reports, spec)
    if record.best_epoch is None:
        return None
    complete = record.epoch >= spec.training.epochs or old.settled is not None
    return optuna.trial.create_trial(
        state=TrialState.COMPLETE if complete else TrialState.PRUNED,
        params=recorded,
        distributions={name: distribution(space.parameters[name]) for name in recorded},
        values=list(record.values.values()) if complete else None,
        intermediate_values={epoch: metrics[record.metric] for epoch, metrics in reports.items()},
        user_attrs={
            **{
                f"{REPORT}{epoch}": written(metrics, Moment(next(order), old.reported[epoch].at))
                for epoch, metrics in reports.items()
            },
            **({} if old.settled is None else {SETTLED: old.settled}),
            TAKEN: f"{earlier.name}/{old.number}",
            REASON: f"taken over from study '{earlier.name}', trial {old.number}",
        },
        system_attrs={
            f"{CONSTRAINT}:{name}": excess
            for name, excess in ranking.excesses(spec, reports[record.best_epoch]).items()
        },
    )


def _same_trial(spec: SearchSpec, config: Config, other: SearchSpec, its: Config) -> bool:
    """Whether two configs of two specs ask for the same training."""
    if not isinstance(spec, StudySpec) or not isinstance(other, StudySpec):
        return config == its and spec.training == other.training
    asked = [
        applied.model_dump(include=_TRAINED, exclude={"data": {"path"}})
        for applied in (spec.apply(config), other.apply(its))
    ]
    return asked[0] == asked[1]
