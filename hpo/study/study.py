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

import re
from functools import cached_property
from pathlib import Path
from shlex import quote
from typing import Self

import optuna
from optuna.trial import FrozenTrial, TrialState

from hpo import files, tasks
from hpo import spec as specs
from hpo.errors import InputError, StudyError
from hpo.plugins import did_you_mean
from hpo.spec import SearchSpec, StudySpec
from hpo.spec.space import Space
from hpo.study import environment, folder, optuna_study, optuna_trial
from hpo.study.artifacts import Artifacts, Folder, Nowhere, Place
from hpo.study.budget import Spent
from hpo.study.code import TrainingCode, check
from hpo.study.data_summary import DATA_FILE, DataSummary
from hpo.study.folder import SPEC
from hpo.study.hold import Hold
from hpo.study.locations import Locations
from hpo.study.optuna_study import CODE, GPU_SECONDS, OptunaStudy, damaged
from hpo.study.results import Results, Trials
from hpo.study.trial import LIVE, TrialRecord
from hpo.study.wishes import Wishes
from hpo.study.writer import Writer

_STORAGE = Path("studies")
"""The folder of all studies, unless the user names another."""
_IMPORTED = {
    "resume": ("train", "data", "model", "training", "sampler", "scheduler", "callbacks"),
    "ensemble": ("train", "predict", "data", "model", "training"),
}
"""Command -> the sections of a stored spec in which it imports what is the user's own."""
_MOST_SECONDS = 1e15
"""No study has used GPUs for longer."""
_ID = re.compile(r"[0-9a-f]{32}")


class Study(Results):
    """One search on disk. Create it with `Study.create`, open it with `Study.open`.

    What it was made with, and what its trials are, stand here; `writer` writes what happens, `hold` says who may.
    """

    def __init__(
        self,
        folder: Path | None,
        spec: SearchSpec,
        storage: optuna.storages.BaseStorage | None = None,
        places: Locations | None = None,
    ) -> None:
        self._folder = folder
        self.spec = spec
        self.name = spec.study
        self.goal = tasks.goal(spec)
        self.goals = [tasks.goal_of(objective) for objective in spec.objectives]
        self.locations = places or Locations()
        self.place: Place = self.locations.artifacts or (Nowhere() if folder is None else Folder(folder))
        """The place of the artifacts of trials, and of the members that ensembles have trained."""
        self.artifacts = Artifacts(self.place / "artifacts")
        self.hold = Hold(self)
        self.writer = Writer(self)
        self.wishes = Wishes(self)
        self._storage = storage
        self._space = Space.of(spec)
        self._reader = optuna_trial.Reader(spec, self._space)

    @classmethod
    def in_memory(cls, spec: SearchSpec) -> Self:
        """A study without a folder or any other place on disk, for a simulated search; it is gone with its process."""
        storage = optuna.storages.InMemoryStorage()
        study = cls(None, spec, storage)
        optuna_study.begin(study, storage)
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
        """Makes the study's folder, whole or not at all, and enqueues the configs that are tried first.

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
        with folder.drafted(storage, spec.study) as draft:
            files.write(draft, SPEC, specs.dump(spec).encode())
            if data_summary is not None:
                data_summary.write(draft / DATA_FILE)
                environment.write(draft)
            path = spec.data.path if isinstance(spec, StudySpec) else None
            where = Locations.chosen(spec.study, artifacts, database, path)
            where.write(draft, spec.study)
            made = cls(draft, spec, places=where)
            optuna_study.begin(made, optuna_study.storage_of(made, new=True), earlier, code)
            try:
                folder.finish(draft, storage / spec.study)
            except StudyError:
                optuna_study.forget(made)
                raise
        study = cls.open(storage, spec.study, database)
        study.hold.claim(artifacts)
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
        names = folder.study_names(storage)
        if name not in names:
            hint = did_you_mean(name, names) if names else " There are no studies yet: run `hpo search` first."
            raise StudyError(f"no study '{name}' in '{storage}'.{hint}")
        own = storage / name
        folder.check_links(own)
        spec, places = specs.load_stored(own / SPEC), Locations.read(own, database)
        if spec.study != name:
            if places.names[-1:] != (name,):
                raise StudyError(
                    f"'{own}' is study '{spec.study}'; name its folder so again: a study keeps its name, unless `hpo"
                    " rename` gives it another"
                )
            spec = spec.model_copy(update={"study": name})  # `hpo rename` was killed at its end
        if data_path is not None and (not isinstance(spec, StudySpec) or spec.data.path is None):
            raise InputError(f"--data-path {data_path}: the data set of study '{name}' has no path; leave it out")
        where = data_path or places.data
        if where is not None and isinstance(spec, StudySpec):
            spec = spec.model_copy(update={"data": spec.data.moved(str(Path(where).absolute()))})
        return cls(own, spec, places=places)

    def __repr__(self) -> str:
        where = "memory" if self.is_in_memory else f"'{self.folder.parent}'"
        found = "" if self.locations.database is not None else self.found()  # a server might be waited for
        return f"<Study '{self.name}' in {where}, {self.goal} {self.spec.objective.metric}{found and f': {found}'}>"

    # ---- what it was made with -----------------------------------------------------------------------------------

    @property
    def folder(self) -> Path:
        """The study's folder.

        Raises:
            StudyError: it is in memory.
        """
        if self._folder is None:
            raise StudyError(f"study '{self.name}' is in memory: it has no folder")
        return self._folder

    @property
    def names(self) -> tuple[str, ...]:
        """The study's name, and those that it has had, the last one first: parts of it may still be called so."""
        return tuple(dict.fromkeys((self.name, *reversed(self.locations.names))))

    @property
    def study_spec(self) -> StudySpec:
        """The spec of a search over models.

        Raises:
            StudyError: the study was simulated, or has a training function with data of its own.
        """
        if self.spec.command is not None:
            raise StudyError(f"study '{self.name}' is trained by a program, whose trials leave no predictions here")
        if not isinstance(self.spec, StudySpec):
            why = "was simulated" if self.spec.train is None else "has a training function with data of its own"
            raise StudyError(f"study '{self.name}' {why}: it has no models")
        return self.spec

    @cached_property
    def data_summary(self) -> DataSummary:
        """What is kept of the data.

        Raises:
            StudyError: the study was simulated.
        """
        if self.is_in_memory or not (self.folder / DATA_FILE).exists():
            raise StudyError(f"study '{self.name}' was simulated: it has no data")
        try:
            read = DataSummary.read(self.folder / DATA_FILE)
            read.check(self.study_spec.base)
        except (OSError, ValueError) as error:
            raise StudyError(
                f"study '{self.name}': {DATA_FILE} is damaged, or of another version of hpo: {error}; run a new search"
            ) from error
        return read

    @property
    def code(self) -> tuple[TrainingCode, ...]:
        """The code that trains its trials, as it began and as was accepted later; empty where nothing is known."""
        try:
            return tuple(TrainingCode.from_json(kept) for kept in self.record.user_attrs.get(CODE, ()))
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            raise damaged(self, f"what it has of the code: {error}") from error

    def check_code(self, now: TrainingCode, accept: bool, call: str) -> None:
        """Compares the code that is to train with the code that trained the study's trials.

        Args:
            now: what is to train.
            accept: whether changed code is taken for the same, because the user says so.
            call: of Python, by which the objective can be given.

        Raises:
            StudyError: it is other code; nothing is said where nothing is known of the study's, or where no trial has
                reported yet, so that there is nothing to mix.
        """
        untrained = not any(trial.reports for trial in self.trials())
        check(f"study '{self.name}'", self.code, now, accept or untrained, call)

    def accept_code(self, now: TrainingCode) -> None:
        """Records code that was accepted, so that the next search need not ask."""
        known = self.code
        if known and all(one.changes(now) for one in known):
            self.record.set_user_attr(CODE, [one.to_json() for one in (*known, now)])

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

    @property
    def is_in_memory(self) -> bool:
        """Whether it has no folder."""
        return self._folder is None

    @property
    def is_there(self) -> bool:
        """Whether its folder is where it was, and was not renamed or removed; one in memory always is."""
        return self.is_in_memory or (self.folder / SPEC).exists()

    def command(self, name: str) -> str:
        """A command of `hpo` for this study, as it can be copied: with `--storage` and `--trust` where it needs them.

        Args:
            name: of the command, such as `resume`.
        """
        storage = _STORAGE if self.is_in_memory else self.folder.parent
        where = "" if storage == _STORAGE else f" --storage {quote(str(storage))}"
        return f"hpo {name} --study {self.name}{where}{' --trust' if self.own_code(name) else ''}"

    def own_code(self, command: str) -> list[str]:
        """What its stored spec names of the user's own and a command, such as `resume`, would run."""
        program = [] if self.spec.command is None or command != "resume" else [self.spec.command.text]
        return self.spec.own_code(*_IMPORTED.get(command, ())) + program

    # ---- its trials ----------------------------------------------------------------------------------------------

    @cached_property
    def record(self) -> OptunaStudy:
        """The Optuna study.

        Raises:
            StudyError: there is none, it is damaged, `spec.yaml` is not what the study was made with, or the database
                has the record of another folder's study.
        """
        return optuna_study.opened(self, self._storage)

    @property
    def trials(self) -> Trials:
        """All trials that were started, by number; read anew each time.

        Raises:
            StudyError: a trial is damaged, or one that waits to be started is.
        """
        read = [(trial.state, self._read(trial)) for trial in self.record.get_trials(deepcopy=False)]
        return Trials(trial for state, trial in read if state != TrialState.WAITING)

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
        return self._read(storage.get_trial(trial_id))

    @property
    def live(self) -> bool:
        """Whether it has trials that have not ended."""
        return any(trial.state in LIVE for trial in self.trials)

    @property
    def reference(self) -> int | None:
        """The number of the trial that has the user's own config; None where the spec does not say all of it."""
        config = self._space.default(self.spec)
        if not all(name in config for name in self._space.parameters if self._space.active(name, config)):
            return None
        trials = self.record.get_trials(deepcopy=False)
        return next((trial.number for trial in trials if trial.system_attrs.get(optuna_trial.FIXED) == config), None)

    def spent(self) -> Spent:
        """What counts against the budget.

        Of trials that have not ended their epochs do; those of another study do not at all. A child of
        population based training that replaces a trial is not counted again, nor is a failed trial that begins again.
        """
        trials = [trial for trial in self.trials if not trial.taken_over]
        ended = sum(trial.state not in LIVE and trial.is_paid for trial in trials)
        seconds = self.record.user_attrs.get(GPU_SECONDS, 0.0)
        if not (type(seconds) in (int, float) and 0 <= seconds <= _MOST_SECONDS):
            raise damaged(self, f"its '{GPU_SECONDS}' is no number of seconds")
        return Spent(ended, sum(len(trial.reports) for trial in trials), seconds / 3600.0)

    def _read(self, trial: FrozenTrial) -> TrialRecord:
        """A trial as it stands."""
        try:
            return self._reader.read(trial)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, RecursionError) as error:
            raise StudyError(
                f"study '{self.name}': the record of trial {trial.number} is damaged: {error}; put it back from a"
                " copy, or run a new search"
            ) from error
