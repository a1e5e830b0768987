import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from hpo.tasks import GOALS
from hpo.tasks.features import History
from hpo.tasks.forecasting import Forecasting
from hpo.tasks.kinds import kind

NUMBERS = arrays.arrays(np.float64, (7, 4), elements=st.floats(-1e6, 1e6, allow_subnormal=False))


@given(NUMBERS, NUMBERS, st.floats(0.01, 100))
def test_errors_are_those_of_their_definitions(forecasts: np.ndarray, truth: np.ndarray, naive: float) -> None:
    task = kind("forecasting", [History("y", naive_error=naive)])
    measured = task.measure(torch.from_numpy(forecasts), torch.from_numpy(truth))
    assert measured.keys() == GOALS["forecasting"].keys()
    errors = np.abs(forecasts - truth)
    assert measured["mae"] == pytest.approx(errors.mean())
    assert measured["mase"] == pytest.approx(errors.mean() / naive)
    assert measured["rmse"] == pytest.approx(np.sqrt(np.square(errors).mean()))
    sizes = np.abs(forecasts) + np.abs(truth)
    shares = np.divide(2 * errors, sizes, out=np.zeros_like(errors), where=sizes > 0)
    assert measured["smape"] == pytest.approx(shares.mean()) and 0 <= measured["smape"] <= 2


def test_a_forecast_as_good_as_the_naive_one_has_mase_one() -> None:
    truth = torch.tensor([[3.0, 5.0]])
    assert Forecasting(2.0).measure(truth + 2, truth)["mase"] == 1.0
    assert np.isnan(Forecasting.of([]).measure(truth + 2, truth)["mase"])  # nobody has measured the naive error
