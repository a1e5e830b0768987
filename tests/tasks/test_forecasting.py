import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from hpo.spec import SearchSpec
from hpo.tasks import GOALS
from hpo.tasks.features import History
from hpo.tasks.forecasting import Forecasting
from hpo.tasks.kinds import kind, task_for
from hpo.tasks.measuring import measured

NUMBERS = arrays.arrays(np.float64, (7, 4), elements=st.floats(-1e6, 1e6, allow_subnormal=False))


@given(NUMBERS, NUMBERS, st.floats(0.01, 100))
def test_errors_are_those_of_their_definitions(forecasts: np.ndarray, truth: np.ndarray, naive: float) -> None:
    task = kind("forecasting")
    task.layout = [History("y", naive_error=naive)]
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
    task = Forecasting()
    assert np.isnan(task.measure(truth + 2, truth)["mase"])  # nobody has measured the naive error
    task.layout = [History("y", naive_error=2.0)]
    assert task.measure(truth + 2, truth)["mase"] == 1.0


def test_a_search_is_measured_by_what_is_known_of_its_series() -> None:
    spec = SearchSpec.model_validate(
        {
            "study": "s",
            "task": "forecasting",
            "training": {"loss": "huber", "huber_delta": 1.0},
            "budget": {"trials": 1},
        }
    )
    assert (spec.base, spec.objective.metric) == ("regression", "mase")
    predictions, truth = np.zeros((2, 3)), np.full((2, 3), 4.0)
    assert measured(spec, ["1", "2", "3"], predictions, truth, [History("y", naive_error=2.0)])["mase"] == 2.0
    losses = task_for(spec, ["1", "2", "3"]).loss(torch.from_numpy(predictions), torch.from_numpy(truth))
    assert losses.tolist() == [7.0, 7.0]  # as of regression: twice the error less one


def test_the_base_of_forecasts_is_not_written_otherwise() -> None:
    document = {"study": "s", "task": "forecasting", "budget": {"trials": 1}}
    spec = SearchSpec.model_validate(document)
    assert SearchSpec.model_validate(spec.model_dump()) == spec
    with pytest.raises(ValueError, match="base is of tasks of your own, and task forecasting is one of ours"):
        SearchSpec.model_validate({**document, "base": "classification"})
