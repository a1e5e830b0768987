"""The study on disk, the only truth: an Optuna study in journal storage, and the artifacts of its trials beside it.

<storage>/<study>/
    spec.yaml              what is searched; never changes
    journal.log            Optuna's journal: every config, report and outcome, durable before it is acted on
    data.npz               labels of validation and test rows, class names, one example
    artifacts/00012/epoch-0005/   what trial 12 left at its best epoch
    ensembles/<name>/      ensembles built from it
"""

import fcntl
import json
import math
import shutil
import uuid
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from hpo import spec as specs
from hpo import tasks
from hpo.artifacts import Artifacts, Split
from hpo.errors import StudyError
from hpo.registry import did_you_mean
from hpo.space import Space
from hpo.spec import Config, StudySpec

Metrics = Mapping[str, float]

_REPORT = "report:"
"""Prefix of the trial attribute that holds all metrics of one report; Optuna's own record has the objective alone."""


class State(Enum):
    """Where a trial stands."""

    RUNNING = "running"
    COMPLETE = "complete"
    """Trained to the full resource."""
    PRUNED = "pruned"
    """Stopped before; `reason` says by whom."""
    FAILED = "failed"
    """Raised an error, or its worker died; `reason` says why."""


@dataclass(frozen=True)
class TrialRecord:
    """What the study knows of one trial; `reports` maps epoch -> metrics."""

    number: int
    state: State
    config: Config
    reports: Mapping[int, Metrics]
    metric: str
    goal: tasks.Goal
    reason: str | None = None

    @property
    def epoch(self) -> int:
        """The last epoch reported; 0 before the first."""
        return max(self.reports, default=0)

    @property
    def best_epoch(self) -> int | None:
        """The earliest epoch with the best finite value of the objective; what the trial's artifacts come from."""
        finite = [
            (tasks.cost(self.goal, value), epoch)
            for epoch in self.reports
            if math.isfinite(value := self._value_at(epoch))
        ]
        return min(finite)[1] if finite else None

    @property
    def value(self) -> float | None:
        """The objective at the best epoch; None without a finite report."""
        return None if self.best_epoch is None else self._value_at(self.best_epoch)

    @property
    def cause(self) -> str | None:
        """The last line of the reason, which is where a traceback names its error."""
        return self.reason.strip().splitlines()[-1] if self.reason else None

    def to_json(self) -> dict[str, Any]:
        """As `hpo trials --format json` prints it; JSON has no NaN, so that is None."""
        return {
            "trial": self.number,
            "state": self.state.value,
            "value": self.value,
            "epochs": self.epoch,
            "best_epoch": self.best_epoch,
            "config": self.config,
            "reports": {
                str(epoch): {name: value if math.isfinite(value) else None for name, value in metrics.items()}
                for epoch, metrics in self.reports.items()
            },
            "reason": self.reason,
        }

    def _value_at(self, epoch: int) -> float:
        return self.reports[epoch].get(self.metric, math.nan)


@dataclass(frozen=True)
class Outcome:
    """How a trial ended."""

    state: State
    reason: str | None = None


class Observer(Protocol):
    """Somebody who is told what has been recorded: the tracker, the progress display."""

    def trial_started(self, trial: TrialRecord) -> None:
        """A config was proposed and its trial is about to run."""

    def trial_reported(self, number: int, epoch: int, metrics: Metrics) -> None:
        """A report is in the study."""

    def trial_ended(self, trial: TrialRecord) -> None:
        """The trial's outcome is in the study."""


@dataclass(frozen=True, eq=False)
class DataFacts:
    """What a study keeps of its data, so that ensembles need neither the data set nor a network.

    Labels are int64 `(n,)`, `example` is one image `(1, h, w, c)` uint8.
    """

    classes: tuple[str, ...]
    labels: Mapping[Split, NDArray[np.int64]] = field(repr=False)
    example: NDArray[np.uint8] = field(repr=False)
    fingerprint: str
    """Of all rows: a study that goes on must find the data that it began with."""

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Of one image as a model sees it: (channels, height, width)."""
        height, width, channels = self.example.shape[1:]
        return channels, height, width


class OptunaStudy(optuna.Study):
    """An Optuna study whose sampler may end a search that is not Optuna's own loop, as grid samplers do."""

    exhausted = False

    def stop(self) -> None:
        """Called by the sampler."""
        self.exhausted = True


class Study:
    """One search on disk. Create it with `Study.create`, open it with `Study.open`."""

    def __init__(self, folder: Path, spec: StudySpec) -> None:
        self.folder = folder
        self.spec = spec
        self.name = spec.study
        self.goal = tasks.goal(spec)
        self.artifacts = Artifacts(folder / "artifacts")
        self._space = Space.of(spec)
        self._running: dict[int, optuna.Trial] = {}

    @classmethod
    def create(cls, storage: Path, spec: StudySpec, facts: DataFacts) -> Self:
        """Makes the study's folder, whole or not at all, and enqueues the default config as trial 0.

        Raises:
            StudyError: there is one of this name already, or the storage cannot be written.
        """
        folder = storage / spec.study
        draft = storage / f".{spec.study}.{uuid.uuid4().hex}"
        if folder.exists():
            raise StudyError(f"study '{spec.study}' exists already in '{storage}'")
        try:
            draft.mkdir(parents=True)
        except OSError as error:
            raise StudyError(f"storage '{storage}' cannot be written: {error}") from None
        try:
            (draft / "spec.yaml").write_text(specs.dump(spec), encoding="utf-8")
            np.savez(
                draft / "data.npz",
                classes=np.array(facts.classes),
                example=facts.example,
                validation_labels=facts.labels["validation"],
                test_labels=facts.labels["test"],
                fingerprint=facts.fingerprint,
            )
            study = cls(draft, spec)
            optuna_study = optuna.create_study(
                storage=_journal(draft), study_name=spec.study, direction=study.goal, sampler=_NO_SAMPLER
            )
            optuna_study.set_user_attr("id", uuid.uuid4().hex)
            default = study._space.default(spec)
            if default:
                optuna_study.enqueue_trial(default)
            _rename(draft, folder)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        return cls.open(storage, spec.study)

    @classmethod
    def open(cls, storage: Path, name: str) -> Self:
        """Opens a study.

        Raises:
            StudyError: there is none of this name.
        """
        names = cls.names(storage)
        if name not in names:
            hint = did_you_mean(name, names) if names else " There are no studies yet: run `hpo search` first."
            raise StudyError(f"no study '{name}' in '{storage}'.{hint}")
        return cls(storage / name, specs.load(storage / name / "spec.yaml"))

    @staticmethod
    def names(storage: Path) -> list[str]:
        """The studies in a storage folder, the one touched last at the end."""
        journals = [path for path in storage.glob("*/journal.log") if not path.parent.name.startswith(".")]
        return [path.parent.name for path in sorted(journals, key=lambda path: (path.stat().st_mtime, path))]

    @cached_property
    def record(self) -> "OptunaStudy":
        """The Optuna study; `use` gives it a sampler that proposes."""
        return OptunaStudy(study_name=self.name, storage=_journal(self.folder), sampler=_NO_SAMPLER)

    @property
    def exhausted(self) -> bool:
        """Whether the sampler has nothing more to propose."""
        return self.record.exhausted

    @property
    def id(self) -> str:
        """Unique among all studies, whatever their names and storages."""
        return str(self.record.user_attrs["id"])

    @cached_property
    def facts(self) -> DataFacts:
        """What is kept of the data."""
        with np.load(self.folder / "data.npz", allow_pickle=False) as archive:
            labels: dict[Split, NDArray[np.int64]] = {
                "validation": archive["validation_labels"],
                "test": archive["test_labels"],
            }
            classes = tuple(str(name) for name in archive["classes"])
            return DataFacts(classes, labels, archive["example"], str(archive["fingerprint"]))

    # ---- what happened -------------------------------------------------------------------------------------------

    def trials(self) -> list[TrialRecord]:
        """All trials that were started, by number."""
        frozen = self.record.get_trials(deepcopy=False)
        return [self._record(trial) for trial in frozen if trial.state != TrialState.WAITING]

    def trial(self, number: int) -> TrialRecord:
        """One trial.

        Raises:
            StudyError: there is no trial of this number.
        """
        frozen = self.record.get_trials(deepcopy=False)
        if not 0 <= number < len(frozen):
            raise StudyError(f"study '{self.name}' has no trial {number}; it has {len(frozen)}")
        return self._record(frozen[number])

    def leaderboard(self) -> list[TrialRecord]:
        """Trials with a finite value, the best first; ties go to the older one."""
        ranked = [(tasks.cost(self.goal, t.value), t.number, t) for t in self.trials() if t.value is not None]
        return [trial for *_, trial in sorted(ranked, key=lambda row: row[:2])]

    def best(self) -> TrialRecord | None:
        """The incumbent: the best trial at full resource, or where there is none yet the best of all."""
        ranked = self.leaderboard()
        complete = [trial for trial in ranked if trial.state is State.COMPLETE]
        return next(iter(complete or ranked), None)

    def spent(self) -> int:
        """How many trials count against the budget: all that ended, but for those that an interruption cut off."""
        return sum(t.state is not State.RUNNING and t.reason != INTERRUPTED.reason for t in self.trials())

    # ---- what happens --------------------------------------------------------------------------------------------

    def use(self, sampler: optuna.samplers.BaseSampler) -> None:
        """Sets who proposes."""
        self.record.sampler = sampler

    def ask(self) -> TrialRecord:
        """A new trial with a proposed config."""
        with warnings.catch_warnings():  # a default between two steps of a log or float range is wanted as it is
            warnings.simplefilter("ignore", UserWarning)
            trial = self.record.ask()
            self._space.suggest(trial)
        self._running[trial.number] = trial
        return self.trial(trial.number)

    def report(self, number: int, epoch: int, metrics: Metrics) -> None:
        """Records one report of a running trial."""
        trial = self._running[number]
        trial.set_user_attr(f"{_REPORT}{epoch}", json.dumps(dict(metrics)))
        trial.report(metrics[self.spec.objective.metric], epoch)

    def end(self, number: int, outcome: Outcome) -> TrialRecord:
        """Records a trial's outcome: Optuna is told COMPLETE, PRUNED at its last step, or FAIL."""
        trial = self._running.pop(number)
        if outcome.reason:
            trial.set_user_attr("reason", outcome.reason)
        record = self.trial(number)
        if outcome.state is State.COMPLETE:
            self.record.tell(trial, record.value, state=TrialState.COMPLETE)
        else:
            self.record.tell(trial, state=_TO_OPTUNA[outcome.state], skip_if_finished=False)
        if outcome == INTERRUPTED:
            self.record.enqueue_trial(record.config)  # the next search begins with it
        return self.trial(number)

    @contextmanager
    def searching(self) -> Iterator[None]:
        """Holds the study for one search, and ends what an earlier one that died has left running.

        Raises:
            StudyError: another process is searching it; the lock goes with its process, however that ends.
        """
        with (self.folder / "search.lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise StudyError(
                    f"study '{self.name}' is being searched by another process; wait, or stop it"
                ) from None
            _mend(self.folder / "journal.log")
            self._end_interrupted()
            yield

    def _end_interrupted(self) -> None:
        for frozen in self.record.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            self._running[frozen.number] = optuna.Trial(self.record, frozen._trial_id)
            self.end(frozen.number, INTERRUPTED)

    def _record(self, trial: FrozenTrial) -> TrialRecord:
        reports = {
            int(key.removeprefix(_REPORT)): json.loads(value)
            for key, value in trial.user_attrs.items()
            if key.startswith(_REPORT)
        }
        return TrialRecord(
            number=trial.number,
            state=_FROM_OPTUNA[trial.state],
            config=dict(trial.params),
            reports=dict(sorted(reports.items())),
            metric=self.spec.objective.metric,
            goal=self.goal,
            reason=trial.user_attrs.get("reason"),
        )


def _rename(draft: Path, folder: Path) -> None:
    try:
        draft.rename(folder)
    except OSError:
        raise StudyError(f"'{folder}' exists already: another process was faster, or it is no study") from None


def trial_seed(spec: StudySpec, number: int) -> int:
    """The seed of one trial, from the study's seed and the trial's number."""
    return int(np.random.SeedSequence([spec.seed, number]).generate_state(1)[0])


def count_states(trials: Sequence[TrialRecord]) -> dict[State, int]:
    """How many trials stand where."""
    counts = dict.fromkeys(State, 0)
    for trial in trials:
        counts[trial.state] += 1
    return counts


def differences(mine: StudySpec, other: StudySpec) -> list[str]:
    """The dotted names in which two specs ask for different trials; budgets and resources may differ."""
    ours, theirs = (_flat(spec.model_dump(exclude={"budget", "resources"})) for spec in (mine, other))
    for flat, spec in ((ours, mine), (theirs, other)):
        flat["objective.goal"] = tasks.goal(spec)  # written or not
    return sorted(key for key in ours.keys() | theirs.keys() if ours.get(key, ...) != theirs.get(key, ...))


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _mend(journal: Path) -> None:
    """Cuts off a last line that a crash left half-written: what is appended to it would be lost, and all after it."""
    with journal.open("rb+") as file:
        content = file.read()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            file.truncate(whole)


def _journal(folder: Path) -> JournalStorage:
    return JournalStorage(JournalFileBackend(str(folder / "journal.log")))


INTERRUPTED = Outcome(State.FAILED, "interrupted")

_NO_SAMPLER = optuna.samplers.RandomSampler(seed=0)
"""Optuna would make a TPE sampler for every study that is only read."""

_FROM_OPTUNA = {
    TrialState.RUNNING: State.RUNNING,
    TrialState.WAITING: State.RUNNING,
    TrialState.COMPLETE: State.COMPLETE,
    TrialState.PRUNED: State.PRUNED,
    TrialState.FAIL: State.FAILED,
}
_TO_OPTUNA = {State.COMPLETE: TrialState.COMPLETE, State.PRUNED: TrialState.PRUNED, State.FAILED: TrialState.FAIL}
