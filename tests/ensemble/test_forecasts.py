"""A search over forecasts, from the table to the next steps with their times and the ends of the interval."""

import csv
import json
import math
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest

import hpo
from hpo.datasets.series import Series
from hpo.ensemble.model import Ensemble
from hpo.errors import InputError
from tests.conftest import Run
from tests.datasets.test_forecasting import lines

SPACE: dict[str, Any] = {
    "study": "f",
    "task": "forecasting",
    "data": {
        **{"path": "t.csv", "target": "y", "time": "when", "horizon": 6, "window": 24},
        **{"series": "shop", "known": "free"},
    },
    "model": "linear_forecast",
    "training": {"epochs": 8, "batch_size": 16, "device": "cpu"},
    "optimizer": {"name": "adam", "lr": 0.01},
    "parameters": {"optimizer.lr": {"min": 5e-3, "max": 2e-2}, "model.covariates": {"values": [False, True]}},
    "budget": {"trials": 3},
    "scheduler": "asha_stop",
}


def noisy(steps: int) -> list[float]:
    generator = np.random.default_rng(0)
    return [round(10 * math.sin(step * math.pi / 12) + float(generator.normal()), 3) for step in range(steps)]


@pytest.mark.usefixtures("ray_cluster")
def test_series_are_searched_combined_and_forecast(hpo: Run, tmp_path: Path) -> None:
    Path("t.csv").write_text(lines(400, ("north", "south"), y=noisy(400)))
    Path("f.json").write_text(json.dumps(SPACE))
    code, out, err = hpo("search", "-f", "f.json")
    assert code == 0 and "mase" in out, err
    code, out, err = hpo("ensemble", "--method", "voting", "--level", "0.8")
    assert code == 0 and "naive errors of the window to either side holds 80% of new values" in out, err
    result = json.loads((tmp_path / "studies/f/ensembles/f-1/result.json").read_text())
    assert result["test"]["mase"] < 2 and result["interval"]["relative"]

    Path("history.csv").write_text(lines(40, ("south", "east"), y=[*noisy(37), "", "", ""]))
    code, _, err = hpo("predict", "--ensemble", "f-1", "--input", "history.csv", "-o", "next.csv")
    assert code == 0, err
    rows = list(csv.DictReader(Path("next.csv").read_text().splitlines()))
    assert [row["shop"] for row in rows] == ["south"] * 6 + ["east"] * 6
    assert [row["when"] for row in rows[:2]] == ["2024-01-02T13:00:00", "2024-01-02T14:00:00"]
    assert all(float(row["y_low"]) < float(row["y"]) < float(row["y_high"]) for row in rows)

    ensemble = Ensemble(tmp_path / "studies/f/ensembles/f-1")
    frame = pd.read_csv("history.csv")
    assert ensemble.predict(frame) == pytest.approx(np.array([float(row["y"]) for row in rows]).reshape(2, 6), rel=1e-5)
    low, high = ensemble.predict_interval(frame)
    assert (high - low)[0] == pytest.approx([float(row["y_high"]) - float(row["y_low"]) for row in rows[:6]], rel=1e-4)
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/studies/mlflow.db")
    served = mlflow.pyfunc.load_model(f"runs:/{result['run_id']}/model")
    assert served.predict(frame.astype({"free": float, "heat": float})) == pytest.approx(ensemble.predict(frame))

    code, _, err = hpo("ensemble", "--method", "stacking", "--folds", "3")
    assert code == 2 and "--folds would train on what follows the windows" in err


def test_a_level_is_of_numbers_and_a_share() -> None:
    with pytest.raises(InputError, match=r"--level must be between 0 and 1, got 80"):
        hpo.build_ensemble("f", level=80)


def test_a_quiet_window_has_a_narrow_interval_and_never_none() -> None:
    from hpo.datasets.spacing import Spacing

    series = Series("y", "t", None, (), (), 8, 2, 3, "window", Spacing("numbers", 1), naive_error=2.0)
    windows = np.zeros((4, 8, 1))
    windows[1, :, 0] = np.arange(8)
    windows[2, :, 0] = np.nan
    windows[3, :, 0] = [0, np.nan, 0, 0, np.nan, 6, 0, 0]
    assert series.spread(windows).tolist() == [0.2, 3.0, 2.0, 2.0]
