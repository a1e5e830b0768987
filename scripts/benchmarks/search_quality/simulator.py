"""Several workers in virtual time: the seconds of the curves say in which order the epochs end."""

import heapq
import itertools
import math
from dataclasses import dataclass
from typing import Any, Protocol

from lcbench import Config, Floats, LCBench

Trace = list[tuple[int, float]]
"""(epochs spent in all, best val_accuracy so far): a row where the best rises, and one at the end."""

_FREE_JOBS_IN_A_ROW = 1000


@dataclass(frozen=True, eq=False)
class Job:
    """Train `config` up to and with epoch `until`; by `ticket` the searcher knows the job again."""

    config: Config
    until: int
    ticket: Any = None


class Searcher(Protocol):
    """Who proposes configs and decides how far each is trained."""

    def propose(self) -> Job:
        """What a free worker does next."""

    def report(self, job: Job, epoch: int, accuracy: float) -> bool:
        """Hears of an epoch; False stops the job there. At `job.until` it is over, whatever is returned."""


@dataclass(eq=False)
class _Running:
    job: Job
    epoch: int
    accuracies: Floats
    seconds: Floats


def simulate(lcbench: LCBench, searcher: Searcher, workers: int, budget_epochs: int) -> Trace:
    """Runs a search until `budget_epochs` epochs have ended, over all its trials.

    A config that is proposed again goes on from its last epoch, and only the new epochs are paid: as if every trial
    left a checkpoint at every epoch. This is generous to a searcher that would train promoted configs anew.
    """
    trained: dict[tuple[Any, ...], int] = {}
    order = itertools.count()
    ends: list[tuple[float, int, _Running]] = []
    trace: Trace = []
    best = -math.inf

    def push(now: float, running: _Running) -> None:
        heapq.heappush(ends, (now + running.seconds[running.epoch], next(order), running))

    for _ in range(workers):
        push(0.0, _start(lcbench, searcher, trained))
    for spent in range(1, budget_epochs + 1):
        now, _, running = heapq.heappop(ends)
        running.epoch += 1
        job, epoch, accuracy = running.job, running.epoch, float(running.accuracies[running.epoch - 1])
        trained[_key(job.config)] = max(epoch, trained.get(_key(job.config), 0))
        if accuracy > best:
            best = accuracy
            trace.append((spent, best))
        goes_on = searcher.report(job, epoch, accuracy) and epoch < job.until
        push(now, running if goes_on else _start(lcbench, searcher, trained))
    if trace[-1][0] < budget_epochs:
        trace.append((budget_epochs, best))
    return trace


def best_after(trace: Trace, spent: int) -> float:
    """The best val_accuracy once `spent` epochs were paid for; -inf before the first."""
    return max((best for epochs, best in trace if epochs <= spent), default=-math.inf)


def _start(lcbench: LCBench, searcher: Searcher, trained: dict[tuple[Any, ...], int]) -> _Running:
    """The next job that costs something; those already trained far enough are answered at once."""
    for _ in range(_FREE_JOBS_IN_A_ROW):
        job = searcher.propose()
        accuracies, seconds = lcbench.curve(job.config)
        epoch = trained.get(_key(job.config), 0)
        if epoch < job.until:
            return _Running(job, epoch, accuracies, seconds)
        searcher.report(job, job.until, float(accuracies[job.until - 1]))
    raise RuntimeError(f"the searcher proposed {_FREE_JOBS_IN_A_ROW} configs in a row that it had trained before")


def _key(config: Config) -> tuple[Any, ...]:
    return tuple(sorted(config.items()))
