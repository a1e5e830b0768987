"""`hpo reproduce`: a trial is trained again, from its study alone, and held against what it left."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from hpo import models
from hpo import spec as specs
from hpo.engine.ray.messages import THREADS
from hpo.engine.ray.threads import Threads
from hpo.errors import Problem, StudyError
from hpo.searching.checks import own_problems
from hpo.spec import SearchSpec, StudySpec
from hpo.study import data as study_data
from hpo.study import environment
from hpo.study.artifacts import Stored
from hpo.study.code import TrainingCode
from hpo.study.study import Study
from hpo.study.trial import TrialRecord
from hpo.training import Context, Report, train
from hpo.training.function import Snapshot
from hpo.training.own_function import own_function
from hpo.training.precision import choose_device
from hpo.training.reports import reports_of

_TIMED = ("train_seconds", "epoch_seconds", "latency_ms", THREADS)
"""Metrics that no machine repeats, and the threads that an epoch is trained with again."""
_MOST_PARTS = 1_000_000
"""Parts of a state, which a damaged file may repeat without an end."""
TOLERANCE = 0.02
"""Relative difference allowed on a GPU: the order of its sums is not fixed, unless training is deterministic."""


@dataclass(frozen=True)
class Reproduction:
    """A trial then and now.

    `reports` maps epoch -> metric -> (then, now); `weights` and `predictions` are the largest differences from what is
    stored of the best epoch, None where nothing is; `changed` is what is different about the machine and the packages.
    """

    trial: int
    device: str
    exact: bool
    """Whether the same bits are wanted; on a GPU that is so with `training.deterministic`."""
    reports: Mapping[int, Mapping[str, tuple[float, float]]]
    weights: float | None
    predictions: float | None
    changed: tuple[str, ...]

    @property
    def largest(self) -> float:
        """The largest difference of a metric, relative to the larger of both."""
        pairs = [pair for metrics in self.reports.values() for pair in metrics.values()]
        return max((_apart(*pair) for pair in pairs), default=0.0)

    @property
    def reproduced(self) -> bool:
        """Whether it is the same trial again: to the bit, or within the tolerance on a GPU."""
        if not self.exact:
            return self.largest <= TOLERANCE
        return self.largest == 0.0 and not self.weights and not self.predictions

    def to_json(self) -> dict[str, Any]:
        """The document that `hpo reproduce --format json` prints; JSON has no NaN, so that is None."""
        return {
            "trial": self.trial,
            "device": self.device,
            "reproduced": self.reproduced,
            "tolerance": 0.0 if self.exact else TOLERANCE,
            "largest_difference": _finite(self.largest),
            "weights_difference": _finite(self.weights),
            "predictions_difference": _finite(self.predictions),
            "changed": list(self.changed),
            "reports": {
                str(epoch): {
                    name: [value if math.isfinite(value) else None for value in pair] for name, pair in metrics.items()
                }
                for epoch, metrics in self.reports.items()
            },
        }


def reproduce(
    study: Study,
    number: int,
    data_dir: Path,
    function: Callable[..., Any] | str | None = None,
    *,
    accept_code: bool = False,
) -> Reproduction:
    """Trains a trial again, for as many epochs as it was trained.

    Args:
        study: that it is of; nothing is written there.
        number: of the trial.
        data_dir: the folder of downloaded data sets.
        function: that it was trained by; the built-in one where None.
        accept_code: changed code is taken for the same.

    Raises:
        SpecError: the stored spec was changed into one that nothing can be trained by.
        StudyError: there is no such trial, it has no report, or began with another's state; the data or the code have
            changed; or what it has stored is damaged.
        DataError: the data cannot be read.
    """
    trial, spec = study.trial(number), specs.read(study.spec).checked((partial(_problems, given=function),))
    if not trial.reports:
        raise StudyError(f"trial {number} of study '{study.name}' has no report to be held against")
    if trial.inherited or trial.taken_over:
        whose = "another trial's state" if trial.inherited else "another study"
        raise StudyError(f"trial {number} of study '{study.name}' is from {whose}, which is not kept: reproduce that")
    own = own_function(spec, function)
    code = TrainingCode.of(own, *spec.own_code("model"), learning=spec.learning_code)
    study.check_code(code, accept_code, f"hpo.reproduce({number}, '{study.name}', train=...)")
    stored = study.artifacts.read(number)
    dataset = study_data.load(study, data_dir) if isinstance(spec, StudySpec) else None
    context = Context(spec, dataset, spec.trial_seed(number), number=number)
    threads = max(1, int(spec.resources.cpu))
    with _threads(threads):
        again = reports_of(own or train, trial.config, context)
        reports, snapshot = _trained_again(trial, again, stored, threads)
    then = environment.read(study.folder)
    device = choose_device(spec.training.device).type
    try:
        weights = None if stored is None else _weights_apart(stored, snapshot)
        predictions = None if stored is None else _predictions_apart(stored, snapshot)
    except (OSError, ValueError, OverflowError, RuntimeError, RecursionError, UnpicklingError) as error:
        raise StudyError(f"what trial {number} of study '{study.name}' has stored is damaged: {error}") from None
    return Reproduction(
        trial=number,
        device=device,
        exact=device == "cpu" or spec.training.deterministic,
        reports=reports,
        weights=weights,
        predictions=predictions,
        changed=() if then is None else environment.differences(then, environment.here()),
    )


def _problems(spec: SearchSpec, given: Callable[..., Any] | str | None) -> Iterable[Problem]:
    """What has become of the model and of the training function that the spec names."""
    if isinstance(spec, StudySpec):
        yield from models.check(spec)
    yield from own_problems(spec, given)


@contextmanager
def _threads(number: int) -> Iterator[None]:
    """Trains with as many threads as the trial has CPUs: sums are in another order with more."""
    before = torch.get_num_threads()
    Threads(number).use(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _trained_again(
    trial: TrialRecord, again: Iterator[Report], stored: Stored | None, threads: int
) -> tuple[dict[int, dict[str, tuple[float, float]]], Snapshot | None]:
    """Both reports of each epoch, and the snapshot at the epoch that is stored."""
    reports: dict[int, dict[str, tuple[float, float]]] = {}
    snapshot = None
    with closing(cast(Any, again)):
        last, lent = 0, Threads(threads)
        while True:
            epoch = min((epoch for epoch in trial.reports if epoch > last), default=0)
            had = trial.reports.get(epoch, {}).get(THREADS, threads)
            lent.use(int(had) if math.isfinite(had) else threads)
            report = next(again, None)
            if report is None:
                break
            last, then = report.epoch, trial.reports.get(report.epoch, {})
            names = [name for name in then if name not in _TIMED]
            reports[report.epoch] = {name: (then[name], float(report.metrics.get(name, math.inf))) for name in names}
            if stored is not None and report.epoch == stored.epoch:
                snapshot = report.snapshot()
            if report.epoch >= trial.epoch:
                break
    for epoch in trial.reports.keys() - reports.keys():  # it has ended before: nothing is near to what is not there
        reports[epoch] = {name: (value, math.inf) for name, value in trial.reports[epoch].items() if name not in _TIMED}
    return reports, snapshot


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _apart(then: float, now: float) -> float:
    if then == now or (math.isnan(then) and math.isnan(now)):
        return 0.0
    apart = abs(then - now) / max(abs(then), abs(now))
    return math.inf if math.isnan(apart) else apart


def _weights_apart(stored: Stored, snapshot: Snapshot | None) -> float:
    if not stored.own:
        return _farthest(stored.weights(), {} if snapshot is None else snapshot.weights)
    now = {} if snapshot is None or snapshot.state is None else snapshot.state
    return _farthest(dict(_arrays(stored.state())), dict(_arrays(now)))


def _arrays(state: Any) -> Iterator[tuple[str, NDArray[Any]]]:
    """The tensors and numbers of a state, by the names that lead to them.

    Raises:
        ValueError: it is nested without an end.
    """
    waiting: list[tuple[str, Any]] = [("", state)]
    for _ in range(_MOST_PARTS):
        if not waiting:
            return
        name, value = waiting.pop()
        if isinstance(value, torch.Tensor):
            yield name, value.detach().cpu().to(torch.float64).numpy()
        elif isinstance(value, Mapping):
            waiting += [(f"{name}/{key}", part) for key, part in value.items()]
        elif isinstance(value, list | tuple):
            waiting += [(f"{name}/{place}", part) for place, part in enumerate(value)]
        elif isinstance(value, int | float):
            yield name, np.array(float(value))
    raise ValueError("it is nested without an end")


def _predictions_apart(stored: Stored, snapshot: Snapshot | None) -> float | None:
    """The largest difference of validation predictions; None where none are stored."""
    if "validation" not in stored.splits:
        return None
    now = None if snapshot is None else snapshot.predictions.get("validation")
    if now is None:
        return math.inf
    rows, outputs = now.shape
    return _farthest({"validation": stored.predictions("validation", (rows, outputs))}, {"validation": now})


def _farthest(then: Mapping[Any, Any], now: Mapping[Any, Any]) -> float:
    """The largest difference of arrays of the same names and shapes; infinite where these are not."""
    if then.keys() != now.keys() or any(then[name].shape != now[name].shape for name in then):
        return math.inf
    pairs = [(then[name].astype(float), now[name].astype(float)) for name in then]
    apart = [float(np.abs(a - b)[~(np.isnan(a) & np.isnan(b))].max(initial=0.0)) for a, b in pairs]
    return math.inf if any(map(math.isnan, apart)) else max(apart, default=0.0)
