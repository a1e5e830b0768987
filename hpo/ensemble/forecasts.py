"""The next steps of series, by an ensemble of forecasts: values, times, and the ends of the interval."""

from collections.abc import Sequence

import numpy as np

from hpo.datasets.series import Latest
from hpo.ensemble.model import Ensemble
from hpo.ensemble.predictions import Forecast


def forecast(ensemble: Ensemble, latest: Sequence[Latest]) -> Forecast:
    """What follows the latest steps of each series.

    Args:
        ensemble: of forecasts.
        latest: of each series its last steps, as `hpo.datasets.inputs.latest_of` reads them.

    Raises:
        DataError: a window is not what the ensemble takes.
    """
    assert ensemble.wanted is not None and ensemble.wanted.encoding.series is not None, "it forecasts series"
    series = ensemble.wanted.encoding.series
    windows = np.stack([each.numbers for each in latest])
    values = ensemble.combined_predictions(windows)
    spacing = series.spacing
    times = [[spacing.written(time) for time in spacing.after(each.time, series.horizon)] for each in latest]
    return Forecast(
        [each.name for each in latest],
        ensemble.outputs,
        values,
        ensemble.task,
        ensemble.half_widths(windows),
        times,
        series.time,
        series.target,
        series.series,
    )
