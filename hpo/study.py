"""The study on disk, the only truth: an Optuna study in journal storage, and the artifacts of its trials beside it.

<storage>/<study>/
    spec.yaml              what is searched; never changes
    journal.log            Optuna's journal: every config, report and outcome, durable before it is acted on
    places.json            where the record, the artifacts and the data are, if not here
    environment.json       versions, commit and machine that it was begun with
    data.npz               targets of validation and test rows, names of outputs, one example
    artifacts/00012/epoch-0005/   what trial 12 left at its best epoch
    ensembles/<name>/      ensembles built from it
"""

import contextlib
import json
import math
import os
import re
import time
import uuid
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import replace
from functools import cached_property, partial
from itertools import count
from pathlib import Path
from shlex import quote
from typing import Any, Self
from zipfile import BadZipFile

import optuna
from optuna.trial import FrozenTrial, TrialState

from hpo import datasets, environment, files, fitness, tasks
from hpo import spec as specs
from hpo.artifacts import Artifacts, Folder, Place
from hpo.budget import Spent
from hpo.code import TrainingCode, check
from hpo.data_summary import DATA_FILE, DataSummary
from hpo.datasets.dataset import Dataset
from hpo.errors import DataError, InputError, StudyError
from hpo.files import NotAFile, check_own
from hpo.journal import CachedStorage
from hpo.locations import FILE, Locations, claim, own_place
from hpo.registry import did_you_mean
from hpo.space import ConfigKey, Space, config_key, distribution, possible_configs
from hpo.spec import Config, SearchSpec, StudySpec
from hpo.study_storage import DatabaseStorage, check_free, hold, holder, journal, mend, quiet
from hpo.trial import LIVE, NEVER, Metrics, Moment, Outcome, State, TrialRecord

SPEC = "spec.yaml"
"""The file in a study's folder that says what is searched."""
ENSEMBLES = "ensembles"
"""The folder in it that has its ensembles, each in a folder of its name."""
_STORAGE = Path("studies")
"""The folder of all studies, unless the user names another."""
_IMPORTED = {"resume": ("data", "model", "sampler", "scheduler"), "ensemble": ("data", "model")}
"""Command -> the sections of a stored spec in which it imports what is the user's own."""
_TRAINED = {"task", "data", "model", "training", "optimizer"}
"""The sections of a spec that a trial's training depends on."""
_TAKEN = "taken_over"
"""The trial attribute that names the study and the number that a trial had there."""
_INHERITED = "inherited"
"""The trial attribute that says after how many epochs of another trial this one began."""
_BEGAN = "began"
"""The trial attribute with the moment when it began or went on after a pause; of a proposal it is written last."""
_REPLACES = "replaces"
"""The trial attribute with the number of the trial that has ended, or is to, for this one."""
_PAUSED = "paused"
"""The trial attribute that is true while a trial waits; Optuna knows only that it has not ended."""
_FAILURE, _RETRIES = "failure", "retries"
"""The trial attributes with the kind of its failure, and how often it has begun again after one."""
_KINDS = {"reason": str, "lineage": dict, _INHERITED: int, _REPLACES: int, _FAILURE: str, _RETRIES: int}
"""Attributes of trials, and what they are where they are there."""
_FIXED = "fixed_params"
"""Optuna's system attribute with the config of a trial that was enqueued."""
_GPU_SECONDS = "gpu_seconds"
"""The study's attribute with what its trials have used, where that is limited."""
_CONSTRAINT = "constraints"
"""The system attribute under which, with a name, Optuna keeps a constraint: above 0 it is broken."""
_SPEC, _CODE = "spec", "code"
"""The study's attributes with what `spec.yaml` says, and with the code that it began with or has accepted since."""
_REPORT = fitness.REPORT
_LOCK = "search.lock"
_ID = re.compile(r"[0-9a-f]{32}")
_OWN = (
    *(SPEC, "journal.log", "journal.log.lock", _LOCK, FILE, environment.FILE, DATA_FILE),
    *("artifacts", ENSEMBLES, "retrained"),
)
"""What may be in a study's folder."""


class OptunaStudy(optuna.Study):
    """An Optuna study whose sampler may end a search that is not Optuna's own loop, as grid samplers do."""

    exhausted = False

    def stop(self) -> None:
        """Called by the sampler."""
        self.exhausted = True


class Study:
    """One search on disk. Create it with `Study.create`, open it with `Study.open`."""

    def __init__(
        self,
        folder: Path,
        spec: SearchSpec,
        storage: optuna.storages.BaseStorage | None = None,
        places: Locations | None = None,
    ) -> None:
        self.folder = folder
        self.spec = spec
        self.name = spec.study
        self._storage = storage
        self.goal = tasks.goal(spec)
        self._goals = [tasks.goal_of(objective) for objective in spec.objectives]
        self.locations = places or Locations()
        self.place: Place = self.locations.artifacts or Folder(folder)
        """The place of the artifacts of trials, and of the members that ensembles have trained."""
        self.artifacts = Artifacts(self.place / "artifacts")
        self._space = Space.of(spec)
        self.clock: Callable[[], float] = time.time
        """What moments are taken from; a simulated search has its own."""
        self._order: Iterator[int] | None = None
        self._running: dict[int, int] = {}
        """Trials of this search: number -> Optuna's id."""
        self._read: dict[int, tuple[FrozenTrial, TrialRecord]] = {}

    @classmethod
    def in_memory(cls, spec: SearchSpec) -> Self:
        """A study without a folder, for a simulated search; it is gone with its process."""
        storage = optuna.storages.InMemoryStorage()
        study = cls(Path(spec.study), spec, storage)
        study._begin(storage)
        return study

    @classmethod
    def create(
        cls,
        storage: Path,
        spec: SearchSpec,
        data_summary: DataSummary | None = None,
        earlier: "Study | None" = None,
        *,
        code: TrainingCode | None = None,
        artifacts: str | None = None,
        database: str | None = None,
    ) -> Self:
        """Makes the study's folder, whole or not at all, and enqueues the default config as the first trial to run.

        Args:
            storage: the folder of all studies.
            spec: what is searched.
            data_summary: of its data; None for a simulated search, which has none.
            earlier: a study whose trials are taken over where their configs lie in the space of this one.
            code: that trains its trials; None for a simulated search.
            artifacts: a path or URI, such as `s3://bucket/prefix`, under which its artifacts go; the folder where None.
            database: the URL of the PostgreSQL database that has its record; a journal in the folder where None.

        Raises:
            InputError: the URI or the URL is of no known form, or has credentials that would be written down.
            StudyError: there is one of this name already, or one of the places cannot be written.
        """
        folder = storage / spec.study
        draft = storage / f".{spec.study}.{uuid.uuid4().hex}"
        if folder.exists():
            raise StudyError(f"study '{spec.study}' exists already in '{storage}'")
        try:
            storage.mkdir(mode=0o700, parents=True, exist_ok=True)  # of its owner alone, unless it was there
            draft.mkdir()
        except OSError as error:
            raise StudyError(f"storage '{storage}' cannot be written: {error}") from None
        try:
            files.write(draft, SPEC, specs.dump(spec).encode())
            if data_summary is not None:
                data_summary.write(draft / DATA_FILE)
                environment.write(draft)
            where = Locations.chosen(spec.study, artifacts, database, _data_path(spec))
            where.write(draft)
            made = cls(draft, spec, places=where)
            made._begin(made._open_storage(new=True), earlier, code)
            try:
                _rename(draft, folder)
            except StudyError:
                made._forget()
                raise
        finally:
            with contextlib.suppress(OSError):
                files.clear(storage, draft.name)
        study = cls.open(storage, spec.study, database)
        study.claim(artifacts)
        return study

    @classmethod
    def open(cls, storage: Path, name: str, database: str | None = None, data_path: str | Path | None = None) -> Self:
        """Opens a study.

        Args:
            storage: the folder of all studies.
            name: of the study.
            database: the URL of its database again, where a password is needed and HPO_DATABASE has none.
            data_path: where the file or folder of its data set is now; where it was last, if None.

        Raises:
            InputError: its data set has no path.
            StudyError: there is none of this name, its folder has been renamed, or its record is in another database.
        """
        names = cls.names(storage)
        if name not in names:
            hint = did_you_mean(name, names) if names else " There are no studies yet: run `hpo search` first."
            raise StudyError(f"no study '{name}' in '{storage}'.{hint}")
        folder = storage / name
        try:
            check_own(folder, _OWN)
        except NotAFile as error:
            way = "where the study had a file; put that back, from a copy"
            if error.is_link:
                way = (
                    "and what a study owns is never reached through a link; put what it points to in its place"
                    " (artifacts may be elsewhere by --artifacts)"
                )
            raise StudyError(f"study '{name}': {error}, {way}") from None
        spec, places = specs.load_stored(folder / SPEC), Locations.read(folder, database)
        if spec.study != name:
            raise StudyError(f"'{folder}' is study '{spec.study}'; name its folder so again: a study keeps its name")
        if data_path is not None and _data_path(spec) is None:
            raise InputError(f"--data-path {data_path}: the data set of study '{name}' has no path; leave it out")
        where = data_path or places.data
        if where is not None and isinstance(spec, StudySpec):
            spec = spec.model_copy(update={"data": spec.data.model_copy(update={"path": str(Path(where).absolute())})})
        return cls(folder, spec, places=places)

    @staticmethod
    def names(storage: Path) -> list[str]:
        """The studies in a storage folder, the one touched last at the end."""
        studies = {path.parent for file in ("journal.log", FILE) for path in storage.glob(f"*/{file}")}
        named = [folder for folder in studies if not folder.name.startswith(".")]
        return [folder.name for folder in sorted(named, key=lambda folder: (_touched(folder), folder))]

    @staticmethod
    def check_writable(storage: Path, name: str) -> None:
        """Looks whether a study, or a new one of this name, can be written.

        Raises:
            StudyError: the file system is read-only, or this user may not write there.
        """
        folder = storage / name
        if folder.is_dir():
            places = [folder, *(file for file in (folder / "journal.log", folder / _LOCK) if file.exists())]
        else:
            places = [next(place for place in (storage, *storage.absolute().parents) if place.exists())]
        for place in places:
            if not os.access(place, os.W_OK):
                raise StudyError(
                    f"study '{name}': '{place}' cannot be written (a read-only file system, or the permissions of"
                    " another user), so it can only be read here: `hpo trials` and `hpo best`; copy the storage, or"
                    " name another with --storage"
                )

    def _begin(
        self,
        storage: optuna.storages.BaseStorage,
        earlier: "Study | None" = None,
        code: TrainingCode | None = None,
    ) -> None:
        with quiet():
            try:
                record = optuna.create_study(
                    storage=storage, study_name=self.name, directions=self._goals, sampler=_NO_SAMPLER
                )
            except optuna.exceptions.DuplicatedStudyError:
                where = self.locations.database.url if self.locations.database else self.folder
                raise StudyError(
                    f"database '{where}' has a study '{self.name}' already, of another folder; give the new search a"
                    " name of its own with --study"
                ) from None
        record.set_user_attr("id", self.locations.record or uuid.uuid4().hex)
        if self._storage is None:
            record.set_user_attr(_SPEC, self.spec.model_dump(mode="json", exclude_unset=True))
        if code is not None:
            record.set_user_attr(_CODE, [code.to_json()])
        if earlier is not None:
            order = count()
            record.add_trials([trial for old in earlier.trials() if (trial := self._taken_over(earlier, old, order))])
        default = self._space.default(self.spec)
        if default:
            record.enqueue_trial(default)

    def _forget(self) -> None:
        """Takes a study whose folder was not made in the end out of its database."""
        if self.locations.database is not None:
            optuna.delete_study(study_name=self.name, storage=self._open_storage())

    def _taken_over(self, earlier: "Study", old: TrialRecord, order: Iterator[int]) -> FrozenTrial | None:
        """An ended trial of another study as one of this study; None where it would have been another trial here."""
        if old.state not in (State.COMPLETE, State.PRUNED) or old.best_epoch is None:
            return None
        config: Config = {}
        for name, parameter in self._space.parameters.items():
            if self._space.active(name, config):
                value = old.config.get(name, earlier.spec.setting(name))
                if not parameter.contains(value):
                    return None
                config[name] = value
        if not _same_trial(self.spec, config, earlier.spec, old.config):
            return None
        reports = old.reports
        record = TrialRecord(0, old.state, config, reports, self.spec)
        if record.best_epoch is None:
            return None
        complete = record.epoch >= self.spec.training.epochs
        return optuna.trial.create_trial(
            state=TrialState.COMPLETE if complete else TrialState.PRUNED,
            params=config,
            distributions={name: distribution(self._space.parameters[name]) for name in config},
            values=list(record.values.values()) if complete else None,
            intermediate_values={epoch: metrics[record.metric] for epoch, metrics in reports.items()},
            user_attrs={
                **{
                    f"{_REPORT}{epoch}": _written(metrics, Moment(next(order), old.reported[epoch].at))
                    for epoch, metrics in reports.items()
                },
                _TAKEN: f"{earlier.name}/{old.number}",
                "reason": f"taken over from study '{earlier.name}', trial {old.number}",
            },
            constraints=fitness.excesses(self.spec, reports[record.best_epoch]) or None,
        )

    @property
    def study_spec(self) -> StudySpec:
        """The spec of a search over models.

        Raises:
            StudyError: the study was simulated.
        """
        if not isinstance(self.spec, StudySpec):
            raise StudyError(f"study '{self.name}' was simulated: it has no models")
        return self.spec

    def dataset(self, data_dir: Path) -> Dataset:
        """The data that the study began with.

        Args:
            data_dir: the folder of downloaded data sets.

        Raises:
            DataError: the data cannot be read.
            StudyError: they have changed since, or the study was simulated.
        """
        spec = self.study_spec
        self.check_data()
        dataset = datasets.load(spec.data, data_dir, spec.seed)
        if dataset.fingerprint != self.data_summary.fingerprint:
            raise StudyError(
                f"study '{self.name}' was started with other data: '{spec.data.path or spec.data.name}' has changed"
                " since. Put the data back, or run a new search on them"
            )
        self.note_data(spec)
        return dataset

    def check_data(self) -> None:
        """Looks whether the file or folder of the data set is where it was.

        Raises:
            DataError: it is not.
        """
        path = _data_path(self.spec)
        if path is not None and not Path(path).exists():
            raise DataError(
                f"the data of study '{self.name}' are not at '{path}' any more; --data-path says where they are now"
            )

    def note_data(self, spec: StudySpec) -> None:
        """Remembers where a spec has the data, which were found to be the study's."""
        path = _data_path(spec)
        if path is not None and Path(path) != self.locations.data:
            self.locations = replace(self.locations, data=Path(path))
            with contextlib.suppress(OSError):  # one that can only be read is told again next time
                self.locations.write(self.folder)

    @cached_property
    def record(self) -> "OptunaStudy":
        """The Optuna study; `use` gives it a sampler that proposes.

        Raises:
            StudyError: there is none, it is damaged, `spec.yaml` is not what the study was made with, or the database
                has the record of another folder's study.
        """
        try:
            record = OptunaStudy(study_name=self.name, storage=self._open_storage(), sampler=_NO_SAMPLER)
        except (KeyError, FileNotFoundError):
            where = self.locations.database.url if self.locations.database else self.folder
            raise StudyError(f"'{where}' has no record of study '{self.name}'") from None
        except (
            ArithmeticError,
            AssertionError,
            AttributeError,
            LookupError,
            TypeError,
            ValueError,
            RecursionError,
        ) as error:
            # Optuna, of what it reads
            raise self._damaged(str(error) or type(error).__name__) from error
        except OSError as error:
            raise StudyError(f"study '{self.name}': its record in '{self.folder}' cannot be read: {error}") from error
        if self.locations.database is not None:
            self._check_own(record.user_attrs.get("id"), self.locations.database.url)
        if self._storage is None:
            self._check_spec(record.user_attrs.get(_SPEC))
        return record

    def _damaged(self, what: object) -> StudyError:
        return StudyError(
            f"study '{self.name}': its record in '{self.folder}' is damaged: {what}; put it back from a copy, or run a"
            " new search"
        )

    def _check_own(self, kept: object, database: str) -> None:
        """Holds a record in a database to be this folder's: another database has another study of this name."""
        own, file = self.locations.record, self.folder / FILE
        if own is None:
            raise StudyError(
                f"study '{self.name}': '{file}' does not say which record is its own; if it is the one in database"
                f' \'{database}\', write "record": "{kept}" there'
            )
        if own != kept:
            raise StudyError(
                f"study '{self.name}': '{file}' names another record than database '{database}' has of a study of this"
                " name; put back what that file said"
            )

    def _check_spec(self, kept: Any) -> None:
        """Compares the spec with what the record has of it; release 0.1 kept nothing there."""
        if not isinstance(kept, dict | None):
            raise self._damaged("its spec is no mapping")
        if kept is None or self.spec.model_dump(mode="json", exclude_unset=True) == kept:
            return
        changed = differences(specs.load_stored(kept), self.spec, left=())
        if changed:
            shown = "; ".join(f"{name} was {old}, is {new}" for name, (old, new) in changed.items())
            file = self.folder / SPEC
            raise StudyError(
                f"study '{self.name}': '{file}' was changed after the study was made: {shown}. Put that back: limits"
                " such as --trials are given on the command line, and for anything else there is a new study (`hpo"
                f" search --study NEW --from {self.name}`)"
            )

    def command(self, name: str) -> str:
        """A command of `hpo` for this study, as it can be copied: with `--storage` and `--trust` where it needs them.

        Args:
            name: of the command, such as `resume`.
        """
        storage = self.folder.parent
        where = "" if storage == _STORAGE else f" --storage {quote(str(storage))}"
        return f"hpo {name} --study {self.name}{where}{' --trust' if self.own_code(name) else ''}"

    def own_code(self, command: str) -> list[str]:
        """The import paths that its stored spec names and that a command, such as `resume`, would import."""
        return self.spec.own_code(*_IMPORTED.get(command, ()))

    # ---- the code that trains it ---------------------------------------------------------------------------------

    @property
    def code(self) -> tuple[TrainingCode, ...]:
        """The code that trains its trials, as it began and as was accepted later; empty where nothing is known."""
        try:
            return tuple(TrainingCode.from_json(kept) for kept in self.record.user_attrs.get(_CODE, ()))
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            raise self._damaged(f"what it has of the code: {error}") from error

    def check_code(self, now: TrainingCode, accept: bool, call: str) -> None:
        """Compares the code that is to train with the code that trained the study's trials.

        Args:
            now: what is to train.
            accept: whether changed code is taken for the same, because the user says so.
            call: of Python, by which the objective can be given.

        Raises:
            StudyError: it is other code; nothing is said where nothing is known of the study's.
        """
        check(f"study '{self.name}'", self.code, now, accept, call)

    def accept_code(self, now: TrainingCode) -> None:
        """Records code that was accepted, so that the next search need not ask."""
        known = self.code
        if known and all(one.changes(now) for one in known):
            self.record.set_user_attr(_CODE, [one.to_json() for one in (*known, now)])

    def _open_storage(self, new: bool = False) -> optuna.storages.BaseStorage:
        if self._storage is not None:
            return self._storage
        return self.locations.database.storage(new) if self.locations.database else journal(self.folder, new)

    @property
    def is_there(self) -> bool:
        """Whether its folder is where it was, and was not renamed or removed; one in memory always is."""
        return self._storage is not None or (self.folder / SPEC).exists()

    @property
    def exhausted(self) -> bool:
        """Whether nothing more is to be proposed: the sampler has nothing, or no config is left."""
        return self.record.exhausted or self.used_up is not None

    @property
    def used_up(self) -> int | None:
        """How many configs the space has, once each of them has been tried; None before, and where they may repeat."""
        if self._possible is None or len(self._tried) < self._possible:
            return None
        return self._possible

    @property
    def live(self) -> bool:
        """Whether it has trials that have not ended."""
        return any(trial.state in LIVE for trial in self.trials())

    @cached_property
    def _possible(self) -> int | None:
        return possible_configs(self.spec)

    @cached_property
    def _tried(self) -> set[ConfigKey]:
        """The configs of all trials that have begun; those that failed were tried too."""
        begun = (trial for trial in self.trials() if trial.began is not None or trial.state not in LIVE)
        return {config_key(trial.config) for trial in begun}

    @property
    def id(self) -> str:
        """Unique among all studies, whatever their names and storages.

        Raises:
            StudyError: the record has none, or what would say of anything that it is this study's.
        """
        own = self.record.user_attrs.get("id")
        if not isinstance(own, str) or not _ID.fullmatch(own):
            raise StudyError(
                f"study '{self.name}': its record is damaged: its id is no 32 digits; put it back from a copy, or run a"
                " new search"
            )
        return own

    @cached_property
    def data_summary(self) -> DataSummary:
        """What is kept of the data.

        Raises:
            StudyError: the study was simulated.
        """
        if not (self.folder / DATA_FILE).exists():
            raise StudyError(f"study '{self.name}' was simulated: it has no data")
        try:
            return DataSummary.read(self.folder / DATA_FILE)
        except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
            raise StudyError(
                f"study '{self.name}': {DATA_FILE} is damaged, or of another version of hpo: {error}; run a new search"
            ) from error

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
        storage, study_id = self.record._storage, self.record._study_id
        try:
            trial_id = storage.get_trial_id_from_study_id_trial_number(study_id, number)
        except KeyError:
            count = storage.get_n_trials(study_id)
            raise StudyError(f"study '{self.name}' has no trial {number}; it has {count}") from None
        return self._record(storage.get_trial(trial_id))

    def leaderboard(self) -> list[TrialRecord]:
        """Trials with a finite value, the best first; ties go to the older one.

        Those that keep to the constraints come first. With several objectives it goes by Pareto front.
        """
        trials = {trial.number: trial for trial in self.trials()}
        worth = {number: trial.fitness for number, trial in trials.items() if trial.fitness is not None}
        return [trials[number] for number in fitness.ranking(worth)]

    def best(self) -> TrialRecord | None:
        """The incumbent: the best trial at full resource, or where there is none yet the best of all."""
        ranked = self.leaderboard()
        complete = [trial for trial in ranked if trial.state is State.COMPLETE]
        return next(iter(complete or ranked), None)

    @property
    def reference(self) -> int | None:
        """The number of the trial that has the user's own config; None where the spec does not say all of it."""
        config = self._space.default(self.spec)
        if not all(name in config for name in self._space.parameters if self._space.active(name, config)):
            return None
        trials = self.record.get_trials(deepcopy=False)
        return next((trial.number for trial in trials if trial.system_attrs.get(_FIXED) == config), None)

    def pareto(self) -> list[TrialRecord]:
        """The trials that keep to the constraints and that no other dominates, by their first objective."""
        trials = {trial.number: trial for trial in self.trials()}
        best = fitness.front({n: trial.fitness for n, trial in trials.items() if trial.fitness is not None})
        return sorted((trials[number] for number in best), key=lambda trial: (trial.fitness, trial.number))

    def spent(self) -> Spent:
        """What counts against the budget.

        Of trials that have not ended their epochs do; those of another study do not at all. A child that goes on for
        another trial is none more.
        """
        trials = [trial for trial in self.trials() if not trial.taken_over]
        ended = sum(trial.state not in LIVE and not trial.inherited for trial in trials)
        seconds = self.record.user_attrs.get(_GPU_SECONDS, 0.0)
        if not isinstance(seconds, int | float):
            raise self._damaged(f"its '{_GPU_SECONDS}' is no number")
        hours = seconds / 3600.0
        return Spent(ended, sum(len(trial.reports) for trial in trials), hours)

    # ---- what happens --------------------------------------------------------------------------------------------

    def use(self, sampler: optuna.samplers.BaseSampler) -> None:
        """Sets who proposes."""
        self.record.sampler = sampler

    def ask(self) -> TrialRecord:
        """A new trial with a proposed config."""
        with self._together():
            trial = self._proposed(self.record.ask)
        self._running[trial.number] = trial._trial_id
        return self.trial(trial.number)

    def _proposed(self, make: Callable[[], optuna.Trial]) -> optuna.Trial:
        """A trial whose config is whole."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # a default between two steps of a range is wanted as it is
            trial = make()
            self._space.suggest(trial)
        trial.set_user_attr(_BEGAN, self._moment())
        if self._possible is not None:
            self._tried.add(config_key(trial.params))
        return trial

    @property
    def last(self) -> Moment:
        """The time when something was recorded last."""
        moments = (moment for trial in self.trials() for moment in (trial.began, trial.last) if moment)
        return max(moments, default=NEVER, key=lambda moment: moment.order)

    def _moment(self) -> Moment:
        """Now."""
        if self._order is None:
            self._order = count(1 + self.last.order)
        return Moment(next(self._order), self.clock())

    def unfinished(self) -> list[TrialRecord]:
        """The trials that an earlier search has left running or paused; from now on they are this one's.

        Where that search died in the middle of what it wrote of a trial, the rest is written: a proposal is made again
        by the sampler, which makes the same one.
        """
        for frozen in self.record.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            self._running[frozen.number] = frozen._trial_id
            if not isinstance(frozen.system_attrs.get(_FIXED), dict | None):
                raise self._damaged(f"trial {frozen.number}: its '{_FIXED}' is no mapping")
            with self._together():
                if _BEGAN not in frozen.user_attrs:
                    self._proposed(partial(optuna.Trial, self.record, frozen._trial_id))
                record = self.trial(frozen.number)
                if record.reports:
                    self._tell_optuna(frozen._trial_id, record.epoch, record.reports[record.epoch])
        for frozen in self.record.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
            if _INHERITED in frozen.user_attrs:
                self.ask()
        trials = [self.trial(number) for number in self._running]
        return [self._lend(trial) if trial.inherited and not trial.reports else trial for trial in trials]

    def bear(self, config: Mapping[str, Any], parent: int, epoch: int, replaces: int) -> TrialRecord:
        """A new trial with a given config that begins where another one's stored state stands.

        Args:
            config: of the new trial.
            parent: number of the other.
            epoch: after which its state was stored.
            replaces: number of a third, which ends for the new one.
        """
        lineage = {"strategy": self.spec.scheduler.name, "parents": [parent], "operator": "explore"}
        with self._together():
            attributes = {"lineage": lineage, _INHERITED: epoch, _REPLACES: replaces}
            self.record.enqueue_trial(dict(config), user_attrs=attributes)
            child = self.ask()
        return self._lend(child)

    def _lend(self, child: TrialRecord) -> TrialRecord:
        """Gives a child the state of its parent, unless it has one: the child, which inherits what that state has seen.

        A parent that trains meanwhile may have stored a later one than it had when it was chosen.
        """
        assert child.lineage is not None
        parent = child.lineage["parents"][0]
        if not self.artifacts.has_state(child.number):  # an earlier search may have died before or after
            self.artifacts.lend_state(parent, child.number)
        stands = self.artifacts.state_epoch(child.number, of=parent)
        if stands is None or stands == child.inherited:
            return child
        with self._together():
            self.record._storage.set_trial_user_attr(self._running[child.number], _INHERITED, stands)
        return self.trial(child.number)

    def report(self, number: int, epoch: int, metrics: Metrics) -> None:
        """Records one report of a running trial."""
        storage, trial_id = self.record._storage, self._running[number]
        with self._together():
            storage.set_trial_user_attr(trial_id, f"{_REPORT}{epoch}", _written(metrics, self._moment()))
            self._tell_optuna(trial_id, epoch, metrics)

    def _tell_optuna(self, trial_id: int, epoch: int, metrics: Metrics) -> None:
        """A report, as its samplers read it."""
        storage = self.record._storage
        value = metrics.get(self.spec.objective.metric, math.nan)
        storage.set_trial_intermediate_value(trial_id, epoch, float(value))
        for name, excess in fitness.excesses(self.spec, metrics).items():  # the last's; `end` writes the best's
            storage.set_trial_system_attr(trial_id, f"{_CONSTRAINT}:{name}", excess)

    def pause(self, number: int) -> None:
        """Records that a running trial waits."""
        with self._together():
            self.record._storage.set_trial_user_attr(self._running[number], _PAUSED, True)

    def resume(self, number: int) -> None:
        """Records that a paused trial goes on."""
        with self._together():
            self.record._storage.set_trial_user_attr(self._running[number], _BEGAN, self._moment())
            self.record._storage.set_trial_user_attr(self._running[number], _PAUSED, False)

    def note_gpu_seconds(self, seconds: float) -> None:
        """Records how long its trials have held GPUs, in all searches."""
        with self._together():
            self.record.set_user_attr(_GPU_SECONDS, seconds)

    def retry(self, number: int) -> int:
        """Records that a running trial begins again after it had failed; returns how often it has by now."""
        again = self.trial(number).retries + 1
        with self._together():
            self.record._storage.set_trial_user_attr(self._running[number], _RETRIES, again)
        return again

    def end(self, number: int, outcome: Outcome) -> TrialRecord:
        """Records a trial's outcome: Optuna is told COMPLETE, PRUNED at its last step, or FAIL."""
        with self._together():
            self._end(number, self._running.pop(number), outcome)
        with contextlib.suppress(OSError):  # `hpo gc` removes what stays
            self.artifacts.drop_state(number)
        return self.trial(number)

    def _end(self, number: int, trial_id: int, outcome: Outcome) -> None:
        storage = self.record._storage
        if outcome.reason:
            storage.set_trial_user_attr(trial_id, "reason", outcome.reason)
        if outcome.failure is not None:
            storage.set_trial_user_attr(trial_id, _FAILURE, outcome.failure.value)
        record = self.trial(number)
        if record.best_epoch is not None:
            for name, excess in fitness.excesses(self.spec, record.reports[record.best_epoch]).items():
                storage.set_trial_system_attr(trial_id, f"{_CONSTRAINT}:{name}", excess)
        if outcome.state is State.COMPLETE:
            self.record.tell(number, list(record.values.values()), state=TrialState.COMPLETE)
        else:
            self.record.tell(number, state=_TO_OPTUNA[outcome.state], skip_if_finished=False)

    def _together(self) -> AbstractContextManager[None]:
        """What is written within is flushed once, while a search holds the study."""
        storage = self.record._storage
        return storage.together() if isinstance(storage, CachedStorage) else nullcontext()

    @contextmanager
    def searching(self, told: str = "") -> Iterator[None]:
        """Holds the study for one search.

        Args:
            told: what others may read of it, as `Study.searcher`: how to join its Ray.

        Raises:
            StudyError: another process is searching it (the lock goes with its process, however that ends); or its
                artifacts are in a place that is not known to be its own.
        """
        if self._storage is not None:  # in memory, nobody else can
            with self._alone():
                yield
            return
        self.claim()
        with self.held(told), self._alone():
            yield

    @contextmanager
    def held(self, told: str = "") -> Iterator[None]:
        """Holds the study for this process: nobody searches it meanwhile.

        Raises:
            StudyError: another process is searching it.
        """
        self.check_writable(self.folder.parent, self.folder.name)
        try:
            with ExitStack() as stack:
                stack.enter_context(hold(self.folder / _LOCK, self.name, told))
                if self.locations.database is not None:
                    connection = stack.enter_context(self.locations.database.hold(self.name))
                    if isinstance(storage := self.record._storage, DatabaseStorage):
                        stack.enter_context(storage.through(connection))
                else:
                    mend(self.folder)
                yield
        except NotAFile as error:
            raise StudyError(
                f"study '{self.name}': {error}; what a study writes to is its own: put a copy in its place"
            ) from None

    def claim(self, named: str | None = None) -> None:
        """Holds the place of its artifacts to be its own, where that is outside of its folder.

        Args:
            named: the place that the user names in this command, as a path or a URI; it is taken if nobody owns it yet.

        Raises:
            StudyError: it is another study's, or does not say whose it is.
        """
        place = self.locations.artifacts
        if place is not None:
            claim(place, self.name, self.id, named is not None and str(own_place(named, self.name)) == str(place))

    @property
    def searcher(self) -> tuple[str, str] | None:
        """The process that searches it now, and what that tells the others; None where none does."""
        return holder(self.folder / _LOCK)

    def check_free(self) -> None:
        """Checks that nobody searches it now.

        Raises:
            StudyError: another process does.
        """
        check_free(self.folder / _LOCK, self.name)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Nobody else changes the study's trials: what was read once is not read again."""
        record = self.record
        storage, record._storage = record._storage, CachedStorage(record._storage)
        try:
            yield
        finally:
            record._storage = storage

    def _record(self, trial: FrozenTrial) -> TrialRecord:
        """A trial as it stands; one that has not changed is the record that was made of it before."""
        read, record = self._read.get(trial.number, (None, None))
        if read is not trial or record is None:
            try:
                record = self._of(trial)
            except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, RecursionError) as error:
                raise StudyError(
                    f"study '{self.name}': the record of trial {trial.number} is damaged: {error}; put it back from a"
                    " copy, or run a new search"
                ) from error
            self._read[trial.number] = (trial, record)
        return record

    def _of(self, trial: FrozenTrial) -> TrialRecord:
        written = {
            int(key.removeprefix(_REPORT)): json.loads(value)
            for key, value in trial.user_attrs.items()
            if key.startswith(_REPORT)
        }
        reports = dict(sorted(written.items()))
        if any("moment" not in report for report in reports.values()):
            raise StudyError(
                f"study '{self.name}' was made by another version of hpo, whose reports this one cannot read"
            )
        for name, kind in _KINDS.items():
            if not isinstance(trial.user_attrs.get(name), kind | None):
                raise TypeError(f"its '{name}' is of another kind")
        if not trial.params.keys() <= self._space.parameters.keys():
            raise ValueError("it has a parameter that the search has not")
        if trial.user_attrs.get(_INHERITED) and not _is_lineage(trial.user_attrs.get("lineage"), trial.number):
            raise ValueError("it goes on with the training of no trial before it")
        began = trial.user_attrs.get(_BEGAN)
        return TrialRecord(
            number=trial.number,
            state=_state(trial),
            config=dict(trial.params),
            reports={epoch: _metrics(report["metrics"]) for epoch, report in reports.items()},
            spec=self.spec,
            reason=trial.user_attrs.get("reason"),
            lineage=trial.user_attrs.get("lineage"),
            inherited=trial.user_attrs.get(_INHERITED, 0),
            replaces=trial.user_attrs.get(_REPLACES),
            taken_over=_TAKEN in trial.user_attrs,
            failure=trial.user_attrs.get(_FAILURE),
            retries=trial.user_attrs.get(_RETRIES, 0),
            began=None if began is None else _moment(began),
            reported={epoch: _moment(report["moment"]) for epoch, report in reports.items()},
            ended=None if trial.datetime_complete is None else trial.datetime_complete.timestamp(),
        )


def _data_path(spec: SearchSpec) -> str | None:
    return spec.data.path if isinstance(spec, StudySpec) else None


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


def _written(metrics: Metrics, moment: Moment) -> str:
    """A report as the record has it."""
    return json.dumps({"metrics": dict(metrics), "moment": moment})


def _same_trial(spec: SearchSpec, config: Config, other: SearchSpec, its: Config) -> bool:
    """Whether two configs of two specs ask for the same training."""
    if not isinstance(spec, StudySpec) or not isinstance(other, StudySpec):
        return config == its and spec.training == other.training
    asked = [
        applied.model_dump(include=_TRAINED, exclude={"data": {"path"}})
        for applied in (spec.apply(config), other.apply(its))
    ]
    return asked[0] == asked[1]


def _state(trial: FrozenTrial) -> State:
    if trial.state is TrialState.RUNNING and trial.user_attrs.get(_PAUSED):
        return State.PAUSED
    return _FROM_OPTUNA[trial.state]


def _touched(folder: Path) -> float:
    """The time when a study's record was last written, or searched, on the clock of its files."""
    files = (folder / name for name in ("journal.log", FILE, _LOCK))
    return max((file.lstat().st_mtime for file in files if os.path.lexists(file)), default=0.0)


def _rename(draft: Path, folder: Path) -> None:
    try:
        files.rename(folder.parent, draft.name, folder.name)
    except OSError:
        raise StudyError(f"'{folder}' exists already: another process was faster, or it is no study") from None


def differences(
    mine: SearchSpec, other: SearchSpec, left: Collection[str] = ("budget", "resources", "failures")
) -> dict[str, tuple[Any, Any]]:
    """The settings in which two specs differ: dotted name -> what each has there, None where it has nothing.

    The sections in `left` may differ, and so may the path of the data, which are known by their content.
    """
    ours, theirs = (_flat(spec.model_dump(exclude={"objective", *left})) for spec in (mine, other))
    for flat in (ours, theirs):
        flat.pop("data.path", None)
    for flat, spec in ((ours, mine), (theirs, other)):
        for place, objective in enumerate(spec.objectives):
            flat[f"objective.{place}"] = (objective.metric, tasks.goal_of(objective))  # the goal may be written or not
    names = sorted(ours.keys() | theirs.keys())
    return {name: (ours.get(name), theirs.get(name)) for name in names if ours.get(name) != theirs.get(name)}


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


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
