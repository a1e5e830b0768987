"""A search that goes on: a new scheduler is told what the study has, in the order in which it was recorded."""

from hpo.schedulers import Scheduler
from hpo.study import ranking
from hpo.study.study import Study
from hpo.study.trial import LIVE, State, TrialRecord


def tell(study: Study, scheduler: Scheduler) -> TrialRecord | None:
    """Tells a scheduler all recorded reports and ends.

    Returns:
        The trial whose report was recorded last, if it was running then: the earlier search has died before it recorded
        what was decided. The scheduler is not told of this report.
    """
    records = {trial.number: trial for trial in study.trials()}
    told: set[int] = set()
    latest = study.writer.last.order

    def start(record: TrialRecord) -> None:
        if record.number not in told:
            told.add(record.number)
            scheduler.started(record.number, record.config, record.began_at)

    for record in records.values():
        if record.state in LIVE:
            start(record)
    undecided = None
    reports = [(moment.order, n, epoch) for n, trial in records.items() for epoch, moment in trial.reported.items()]
    for order, number, epoch in sorted(reports):
        record = records[number]
        if order == latest and record.state is State.RUNNING:
            undecided = record
            continue
        start(record)
        last, at = epoch == record.epoch, record.reported[epoch].at
        finite = ranking.diverged(study.spec, record.reports[epoch]) is None
        if finite:
            scheduler.replay(number, epoch, record.reports[epoch], at, paused=last and record.state is State.PAUSED)
        if last and record.state not in LIVE:
            scheduler.ended(number, comparable=finite and record.state is not State.FAILED)
    scheduler.dismissed()  # what it stops of trials that ended long ago is of no account
    if scheduler.pauses:
        for record in records.values():
            if record.state is State.RUNNING:
                scheduler.resumed(record.number)  # it is beyond the rungs that the scheduler was told of
    return undecided
