"""The patience of a search with a trial that gets no better."""

import math

from hpo.study import ranking
from hpo.study.trial import TrialRecord


def stalled(trial: TrialRecord) -> bool:
    """Whether no objective of a trial has got better for `training.patience` epochs, by more than `min_delta`.

    A pure function of the reports, so that it says the same of a trial that has paused or begun again. The first report
    of a trial counts as better than nothing, and so does the first finite value.
    """
    settings = trial.spec.training
    if settings.patience is None:
        return False
    best, better = [math.inf] * len(trial.spec.objectives), min(trial.reports, default=0)
    for epoch, metrics in trial.reports.items():
        for place, cost in enumerate(ranking.measure(trial.spec, metrics).costs):
            if cost < best[place] - settings.min_delta:
                best[place], better = cost, epoch
    return trial.epoch - better >= settings.patience
