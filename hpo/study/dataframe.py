"""Trials as tables and pictures that other packages make: pandas, and Optuna with matplotlib."""

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from hpo.spec import SearchSpec
from hpo.study.trial import TrialRecord

if TYPE_CHECKING:
    import optuna
    import pandas as pd
    from matplotlib.figure import Figure


def dataframe(trials: Sequence[TrialRecord], spec: SearchSpec) -> "pd.DataFrame":
    """One row a trial; `hpo.study.results.Results.to_dataframe` says which columns there are."""
    import pandas as pd

    best = [trial.reports[trial.best_epoch] if trial.best_epoch is not None else {} for trial in trials]
    columns: dict[str, Any] = {
        "state": pd.array([trial.state.value for trial in trials], dtype="string"),
        "value": np.array([np.nan if trial.value is None else trial.value for trial in trials], np.float64),
        "epochs": pd.array([trial.epoch for trial in trials], dtype="Int64"),
        "best_epoch": pd.array([trial.best_epoch for trial in trials], dtype="Int64"),
        "started": _moments([_started(trial) for trial in trials]),
        "reported": _moments([trial.last.at if trial.reported else None for trial in trials]),
        "failure": pd.array([trial.failure for trial in trials], dtype="string"),
        "reason": pd.array([trial.reason for trial in trials], dtype="string"),
    }
    if spec.constraints:
        columns["feasible"] = pd.array([trial.feasible for trial in trials], dtype="boolean")
    names = dict.fromkeys([*spec.parameters, *(name for trial in trials for name in trial.config)])
    columns |= {f"params.{name}": _typed([trial.config.get(name) for trial in trials]) for name in names}
    metrics = dict.fromkeys(name for metrics in best for name in metrics)
    columns |= {f"metrics.{name}": np.array([m.get(name, np.nan) for m in best], np.float64) for name in metrics}
    return pd.DataFrame(columns, index=pd.Index([trial.number for trial in trials], dtype="int64", name="trial"))


def curves(record: "optuna.Study", metric: str) -> "Figure":
    """The learning curves of all trials; the figure is no part of pyplot's state."""
    import matplotlib.pyplot as plt
    from optuna.exceptions import ExperimentalWarning
    from optuna.visualization.matplotlib import plot_intermediate_values

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        axes = plot_intermediate_values(record)
    axes.set(title=record.study_name, xlabel="epoch", ylabel=metric)
    figure = cast("Figure", axes.figure)
    plt.close(figure)
    return figure


def _started(trial: TrialRecord) -> float | None:
    moments = [moment for moment in (trial.began, *trial.reported.values()) if moment is not None]
    return min((moment.at for moment in moments), default=None)


def _moments(seconds: Sequence[float | None]) -> Any:
    """Seconds since 1970 as pandas' moments in UTC."""
    import pandas as pd

    values = np.array([np.nan if at is None else at for at in seconds], np.float64)
    return pd.to_datetime(pd.Series(values), unit="s", utc=True, errors="coerce").array  # none where it is no moment


def _typed(values: Sequence[Any]) -> Any:
    """A column of the narrowest type that holds all values; a missing one is None."""
    import pandas as pd

    known = [value for value in values if value is not None]
    if known and all(isinstance(value, bool) for value in known):
        return pd.array(values, dtype="boolean")
    if known and all(isinstance(value, int) and not isinstance(value, bool) for value in known):
        return pd.array(values, dtype="Int64")
    if known and all(isinstance(value, int | float) and not isinstance(value, bool) for value in known):
        return np.array([np.nan if value is None else value for value in values], np.float64)
    if known and all(isinstance(value, str) for value in known):
        return pd.array(values, dtype="string")
    made = np.empty(len(values), object)  # a list is one value
    made[:] = values
    return made
