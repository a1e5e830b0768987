"""Ratings of items by users, from the file to the predictions, on real Ray."""

import csv
import json
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest

from hpo.ensemble.model import Ensemble
from hpo.study.study import Study
from hpo.tracking.ensembles import tracking_to
from hpo.tracking.store import tracking_uri
from tests.conftest import ROOT, Run

USERS, ITEMS = 40, 300


def ratings(rows: int = 3000) -> pd.DataFrame:
    """Users who rate high or low, items that are good or bad, and tastes."""
    drawn = np.random.default_rng(0)
    user, item = drawn.integers(0, USERS, rows), drawn.integers(0, ITEMS, rows)
    bias, quality = drawn.normal(0, 0.7, USERS), drawn.normal(0, 0.7, ITEMS)
    taste, kind = drawn.normal(0, 0.7, USERS), drawn.normal(0, 0.7, ITEMS)
    rating = 3 + bias[user] + quality[item] + taste[user] * kind[item] + drawn.normal(0, 0.2, rows)
    stars = (rating.clip(0.5, 5) * 2).round() / 2
    return pd.DataFrame({"userId": user, "movieId": 100 + item, "rating": stars, "timestamp": 10**9 + np.arange(rows)})


@pytest.mark.usefixtures("ray_cluster")
def test_ratings_are_searched_combined_served_and_exported(hpo: Run) -> None:
    frame = ratings()
    frame.to_csv("ratings.csv", index=False)
    space = str(ROOT / "search_spaces" / "ncf_ratings.yaml")
    changed = ("data.path=ratings.csv", "training.epochs=6", "training.batch_size=64", "optimizer.lr=0.01")
    sets = [word for change in changed for word in ("--set", change)]
    code, _, err = hpo("search", "-f", space, *sets, "--trials", "3")
    assert code == 0, err
    study = Study.open(Path("studies"), "ncf-ratings")
    assert study.best_trial.value is not None and study.best_trial.value < 0.8 * frame["rating"].std()
    code, out, err = hpo("reproduce", str(study.best_trial.number))
    assert code == 0 and "is reproduced on cpu: to the bit" in out, err
    code, out, err = hpo("ensemble", "--method", "voting", "--format", "json")
    assert code == 0, err
    made = json.loads(out)
    assert made["run_id"] is not None, err

    pairs = frame[["movieId", "userId"]].head(20)
    pairs.loc[20] = [10**6, 10**6]  # nobody has seen them
    pairs.to_csv("pairs.csv", index=False)
    code, out, err = hpo("predict", "--ensemble", made["ensemble"], "--input", "pairs.csv", "--output", "-")
    assert code == 0, err
    told = [float(row["rating"]) for row in csv.DictReader(out.splitlines())]
    ensemble = Ensemble(Path("studies/ncf-ratings/ensembles") / made["ensemble"])
    predicted = ensemble.predict(pairs.to_dict("list"))
    np.testing.assert_allclose(told, np.asarray(predicted)[:, 0], atol=1e-4)
    assert np.corrcoef(told[:20], frame["rating"].head(20))[0, 1] > 0.7
    assert abs(told[20] - frame["rating"].mean()) < 0.5
    with tracking_to(tracking_uri(Path("studies"))):
        served = mlflow.pyfunc.load_model(f"runs:/{made['run_id']}/model")
    np.testing.assert_allclose(served.predict(pairs)[:, 0], told, atol=1e-4)
    code, out, err = hpo("export", "--ensemble", made["ensemble"], "--output", "model.onnx")
    assert code == 0 and "differ by" in out, err


def test_a_network_of_one_number_a_category_refuses_entities(hpo: Run) -> None:
    ratings(200).to_csv("ratings.csv", index=False)
    search = {
        "study": "s",
        "task": "regression",
        "data": {"path": "ratings.csv", "target": "rating", "columns": {"userId": "entity", "movieId": "entity"}},
        "model": {"name": "mlp"},
        "parameters": {"optimizer.lr": {"min": 0.01, "max": 0.05}},
        "objective": "rmse",
    }
    Path("s.yaml").write_text(json.dumps(search))
    code, _, err = hpo("validate", "-f", "s.yaml")
    assert code == 2 and "it takes a number for each category, and column 'userId' is of entities" in err, err
    code, _, err = hpo("validate", "-f", "s.yaml", "--set", "model.name=neumf")
    assert code == 2 and "these data have 'timestamp' beside them; leave it out (`data.columns`: ignore)" in err, err
