"""What a search has found: its trials, the best of them, and all of them as a table."""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Self

from hpo.errors import StudyError
from hpo.spec import Config, SearchSpec
from hpo.study import ranking
from hpo.study.trial import State, TrialRecord

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from hpo.study.optuna_study import OptunaStudy


class Trials(list[TrialRecord]):
    """Trials by number, as they were when they were asked for. `study.trials()` gives the same as `study.trials`."""

    def __call__(self) -> Self:
        """Itself."""
        return self


class Results(ABC):
    """The results of a search, under the names that a study of Optuna's has for them."""

    name: str
    spec: SearchSpec

    @property
    @abstractmethod
    def record(self) -> "OptunaStudy":
        """The Optuna study."""

    @property
    @abstractmethod
    def trials(self) -> Trials:
        """All trials that were started, by number."""

    def leaderboard(self) -> list[TrialRecord]:
        """Trials with a finite value, the best first; ties go to the older one.

        Those that keep to the constraints come first. With several objectives it goes by Pareto front.
        """
        trials = {trial.number: trial for trial in self.trials}
        worth = {number: trial.fitness for number, trial in trials.items() if trial.fitness is not None}
        return [trials[number] for number in ranking.best_first(worth)]

    def best(self) -> TrialRecord | None:
        """The incumbent: the best trial at full resource, or where there is none yet the best of all."""
        ranked = self.leaderboard()
        complete = [trial for trial in ranked if trial.state is State.COMPLETE]
        return next(iter(complete or ranked), None)

    def pareto(self) -> list[TrialRecord]:
        """The trials that keep to the constraints and that no other dominates, by their first objective."""
        trials = {trial.number: trial for trial in self.trials}
        best = ranking.front({n: trial.fitness for n, trial in trials.items() if trial.fitness is not None})
        return sorted((trials[number] for number in best), key=lambda trial: (trial.fitness, trial.number))

    @property
    def best_trial(self) -> TrialRecord:
        """The incumbent, as `best` gives it.

        Raises:
            StudyError: no trial has a value yet.
        """
        best = self.best()
        if best is None:
            raise StudyError(f"study '{self.name}' has no trial with a value yet")
        return best

    @property
    def best_params(self) -> Config:
        """The config of the best trial: parameter name -> value.

        Raises:
            StudyError: no trial has a value yet.
        """
        return dict(self.best_trial.config)

    @property
    def best_value(self) -> float:
        """The objective of the best trial at its best epoch; of several objectives the first.

        Raises:
            StudyError: no trial has a value yet.
        """
        value = self.best_trial.value
        assert value is not None, "the leaderboard has only trials with a value"
        return value

    def to_dataframe(self) -> "pd.DataFrame":
        """All trials as a pandas DataFrame, one row a trial; the index is the trial's number.

        Columns:
            `state`: `running`, `paused`, `complete`, `pruned` or `failed`.
            `value`: the objective at the best epoch; of several objectives the first; missing without a finite one.
            `epochs`, `best_epoch`: whole numbers; the latter is missing without a finite report.
            `started`, `reported`: when it was first and last heard of, UTC; in a simulation virtual time, from 1970.
            `failure`, `reason`: the kind of failure, and why it was stopped or failed, where it was.
            `feasible`: whether it keeps to the constraints; where the search has some.
            `params.NAME`: a column a parameter, of whole numbers (`Int64`), numbers (`float64`), texts (`string`) or
            switches (`boolean`), or of objects where its values are mixed; missing where it was not active.
            `metrics.NAME`: a column a metric, at the best epoch.
        """
        from hpo.study.dataframe import dataframe

        return dataframe(self.trials, self.spec)

    def plot(self) -> "Figure":
        """The learning curve of every trial as a matplotlib figure: the objective by epoch.

        Optuna draws it (`optuna.visualization.matplotlib.plot_intermediate_values`); its other pictures take
        `study.record`.

        Raises:
            StudyError: the search has several objectives, which Optuna draws no curves of.
        """
        from hpo.study.dataframe import curves

        if self.spec.objective.others:
            raise StudyError(f"study '{self.name}' has several objectives; `to_dataframe` has all their values")
        return curves(self.record, self.spec.objective.metric)

    def found(self) -> str:
        """The number of trials and the best of them, in words; empty where they cannot be read."""
        try:
            trials, best = self.trials, self.best()
        except Exception:  # a repr never fails
            return ""
        return f"{len(trials)} trial{'' if len(trials) == 1 else 's'}{_best(best)}"


def _best(trial: TrialRecord | None) -> str:
    return "" if trial is None else f", best {trial.metric} {_number(trial.value)} (trial {trial.number})"


def _number(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
