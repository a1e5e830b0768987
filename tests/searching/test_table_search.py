"""Tables as people have them, from the file to the predictions, on real Ray."""

import csv
import json
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from ruamel.yaml import YAML

import hpo as product
from hpo.ensemble.model import Ensemble
from hpo.spec import StudySpec
from hpo.study.study import Study
from hpo.tracking.ensembles import tracking_to
from hpo.tracking.store import tracking_uri
from tests.conftest import Run

ROWS = 240


def table(rows: int = ROWS, seed: int = 0) -> pd.DataFrame:
    """Customers, of whom those leave that pay much on a short contract; some ages are not known."""
    drawn = np.random.default_rng(seed)
    contract = drawn.choice(["month", "year", "two years"], rows)
    price = drawn.normal(50, 20, rows).round(2)
    age = np.where(drawn.random(rows) < 0.2, np.nan, drawn.integers(18, 90, rows))
    since = pd.Timestamp("2020-01-01") + pd.to_timedelta(drawn.integers(0, 1000, rows), "D")
    leaves = np.where((contract == "month") & (price > 40), "leaves", "stays")
    columns = {"age": age, "contract": contract, "price": price, "since": since.strftime("%Y-%m-%d")}
    return pd.DataFrame({"id": [f"c{row}" for row in range(rows)], **columns, "then": leaves})


@pytest.mark.usefixtures("ray_cluster")
def test_a_table_is_searched_combined_served_and_exported(hpo: Run) -> None:
    table().to_csv("customers.csv", index=False)
    code, out, err = hpo("init", "--data", "customers.csv", "--target", "then")
    assert code == 0 and "Wrote search.yaml. Next: `hpo search -f search.yaml`." in out, err
    file = Path("search.yaml")
    assert (
        "    id: ignore  # left out\n" in file.read_text() and "    age: number  # number, missing" in file.read_text()
    )
    file.write_text(file.read_text().replace("id: ignore", "id: ids").replace("epochs: 30", "epochs: 9"))
    code, out, err = hpo("validate", "-f", "search.yaml")
    assert code == 0 and "Note: column 'contract': category, 3: month, two years, year." in err, err
    code, out, err = hpo("search", "-f", "search.yaml", "--trials", "3")
    assert code == 0, err
    study = Study.open(Path("studies"), "customers")
    assert study.best_trial.value is not None and study.best_trial.value > 0.85
    code, out, err = hpo("reproduce", str(study.best_trial.number))
    assert code == 0 and "is reproduced on cpu: to the bit" in out, err
    code, out, err = hpo("ensemble", "--method", "voting", "--format", "json")
    assert code == 0, err
    made = json.loads(out)
    assert made["run_id"] is not None, err

    new = table(50, seed=1)
    del new["then"]
    new[["price", "contract", "id", "since", "age"]].to_parquet("new.parquet")
    code, out, err = hpo("predict", "--ensemble", made["ensemble"], "--input", "new.parquet", "--output", "-")
    assert code == 0, err
    rows = list(csv.DictReader(out.splitlines()))
    assert [row["input"] for row in rows] == new["id"].tolist()
    ensemble = Ensemble(Path("studies/customers/ensembles") / made["ensemble"])
    again = ensemble.predict_proba(new)
    np.testing.assert_allclose([float(row["p_leaves"]) for row in rows], again[:, 0], atol=1e-6)
    assert [row["prediction"] for row in rows] == ensemble.predict(new.to_dict("list"))
    new["contract"] = "for ever"  # nobody had such a contract: the network is told of none
    assert np.isfinite(ensemble.predict_proba(new)).all()

    with tracking_to(tracking_uri(Path("studies"))):
        served = mlflow.pyfunc.load_model(f"runs:/{made['run_id']}/model")
    later = table(50, seed=1).drop(columns="then")
    np.testing.assert_allclose(served.predict(later), again, atol=1e-6)
    as_sent = pd.DataFrame(json.loads(later.to_json(orient="records")))  # as a server gets it
    np.testing.assert_allclose(served.predict(as_sent), again, atol=1e-6)
    code, out, err = hpo("export", "--ensemble", made["ensemble"], "--output", "model.onnx")
    assert code == 0 and "differ by" in out, err


@pytest.mark.usefixtures("ray_cluster")
def test_groups_are_cross_validated_and_numbers_predicted_with_an_interval(hpo: Run) -> None:
    drawn = np.random.default_rng(0)
    kind, size = drawn.choice(list("abc"), 150), drawn.normal(size=150)
    price = np.select([kind == "a", kind == "b"], [10.0, 20.0], 30.0) + size
    frame = pd.DataFrame({"kind": kind, "size": size, "house": np.arange(150) // 5, "price": price})
    Path("prices.jsonl").write_text(frame.to_json(orient="records", lines=True))
    search = {
        "study": "prices",
        "task": "regression",
        "data": {"path": "prices.jsonl", "target": "price", "groups": "house"},
        "model": {"name": "mlp", "width": 16},
        "training": {"epochs": 20, "batch_size": 16, "folds": 3},
        "optimizer": {"name": "adamw", "lr": 0.03},
        "parameters": {"optimizer.lr": {"min": 0.01, "max": 0.05}},
        "budget": {"trials": 2},
    }
    study = product.search(search, storage="studies").study
    made = product.build_ensemble("prices", storage="studies", method="voting")
    assert study.best_value < 5
    found = product.predict(made.name, {"kind": ["a", "c"], "size": [0.0, None]}, storage="studies")
    assert found.outputs == ("price",) and found.values[0, 0] < found.values[1, 0]
    Path("prices.jsonl").rename("moved.jsonl")
    code, _, err = hpo("resume", "--study", "prices", "--trials", "+1", "--data-path", "moved.jsonl")
    assert code == 0, err


def test_a_first_file_is_written_once_and_told_what_it_cannot_be(hpo: Run) -> None:
    table(30).to_csv("t.csv", index=False)
    Path("there.yaml").touch()
    for arguments, message in (
        (("--data", "t.csv", "--target", "them"), "t.csv: has no column 'them'. Did you mean 'then'?"),
        (("--data", "none.csv", "--target", "then"), "none.csv: cannot be read: No such file or directory"),
        (("--data", "t.txt", "--target", "then"), "--data t.txt: is no table by its name, which must end in .csv"),
        (
            ("--data", "t.csv", "--target", "then", "-o", "there.yaml"),
            "there.yaml: is there already; name another file",
        ),
    ):
        code, _, err = hpo("init", *arguments)
        assert code == 2 and message in err
    code, out, _ = hpo("init", "--data", "t.csv", "--target", "price", "--output", "-")
    assert code == 0 and "task: regression" in out and "objective: {metric: rmse}" in out
    assert not Path("search.yaml").exists()


@pytest.mark.parametrize("end", ["\r", "\x85", "\u2028", "\u2029", "\x0b", "\x0c"])
def test_a_first_file_has_nothing_of_the_data_but_comments_and_names(hpo: Run, end: str) -> None:
    evil = f"{end}callbacks: [{{name: subprocess:getoutput, cmd: id}}]{end}#"
    frame = pd.DataFrame({"y": [0, 1] * 15, "city": ["a" + evil, "b", "c"] * 10})
    name = f"t{evil.replace('/', '')}.csv"
    frame.to_csv(name, index=False)
    code, _, err = hpo("init", "--data", name, "--target", "y")
    assert code == 0, err
    read = YAML(typ="safe").load(Path("search.yaml").read_text())
    assert "callbacks" not in read and read["data"]["path"] == name and read["data"]["columns"] == {"city": "category"}


def test_a_first_file_reads_back_whatever_its_columns_are_called(hpo: Run) -> None:
    names = ["${HOME}", "a: b", "# c", "yes", "12", "it's", "ä", "-", "null"]
    pd.DataFrame({name: ["a", "b"] * 20 for name in names} | {"y": ["n", "y", "y", "n"] * 10}).to_csv(
        "t.csv", index=False
    )
    code, _, err = hpo("init", "--data", "t.csv", "--target", "y")
    assert code == 0, err
    read = product.validate("search.yaml", tell=lambda line: None)
    assert isinstance(read, StudySpec) and list(read.data.columns) == names
