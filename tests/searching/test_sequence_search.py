"""Texts and clips from the file to the predictions, on real Ray, and plug-ins from outside for each seam."""

import csv
import json
import sys
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from ruamel.yaml import YAML

from hpo.ensemble.model import Ensemble
from hpo.errors import DataError
from hpo.study.study import Study
from hpo.tracking.ensembles import tracking_to
from hpo.tracking.store import tracking_uri
from tests.conftest import Run
from tests.datasets.columns.test_audio import tone
from tests.training.test_sequences import clips, document, texts

OWN = '''
"""A kind of column, and a model: genes as counts of their letters."""

import json
from collections import Counter
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn

from hpo.tasks.features import Feature


@dataclass(frozen=True)
class Gene:
    kind: ClassVar[str] = "genes:Gene"
    name: str
    letters: str

    @property
    def features(self):
        return tuple(Feature(f"{self.name} {letter}") for letter in self.letters)

    def encode(self, cells):
        counts = [Counter(cell or "") for cell in cells]
        return np.array([[count[letter] for letter in self.letters] for count in counts], float)

    def decode(self, numbers):
        return "".join(letter * int(count) for letter, count in zip(self.letters, numbers))

    def told(self):
        return f"a gene of {self.letters}"

    def to_json(self):
        return {"letters": self.letters}

    @classmethod
    def fit(cls, name, cells, settings):
        return cls(name, "".join(sorted(set("".join(cells)))))

    @classmethod
    def from_json(cls, name, document):
        return cls(name, document["letters"])


class Net(nn.Module):
    def __init__(self, features, outputs, width):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(features, width), nn.ReLU(), nn.Linear(width, outputs))

    def forward(self, rows):
        return self.layers(rows)


def net(input_shape, outputs, *, width=8):
    return Net(input_shape[0], outputs, width)
'''


def predictions() -> list[dict[str, str]]:
    with Path("p.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def write(space: dict[str, object], name: str = "space.yaml") -> None:
    with Path(name).open("w") as file:
        YAML(typ="safe").dump(space, file)


@pytest.mark.usefixtures("ray_cluster")
def test_texts_are_searched_combined_served_and_exported(hpo: Run) -> None:
    write(document(Path.cwd(), "text") | {"scheduler": "none"})
    code, _, err = hpo("validate", "-f", "space.yaml")
    assert code == 0 and "Note: column 'text': text, " in err, err
    code, _, err = hpo("search", "-f", "space.yaml")
    assert code == 0, err
    study = Study.open(Path("studies"), "sequences")
    assert study.best_trial.value is not None and study.best_trial.value > 0.8
    code, out, err = hpo("reproduce", str(study.best_trial.number))
    assert code == 0 and "is reproduced on cpu: to the bit" in out, err
    code, out, err = hpo("ensemble", "--method", "voting", "--format", "json")
    assert code == 0, err
    made = json.loads(out)
    assert made["run_id"] is not None and made["test"]["accuracy"] > 0.7, err

    new = pd.DataFrame({"then": [1, 2, 3], "text": ["a lovely w1 w2", "w3 awful w4", None]})
    new.to_csv("new.csv", index=False)
    code, out, err = hpo("predict", "--ensemble", made["ensemble"], "--input", "new.csv", "--output", "p.csv")
    assert code == 0 and "left out: 1 (then)" in err, err
    rows = predictions()
    assert [row["prediction"] for row in rows[:2]] == ["good", "bad"] and len(rows) == 3
    ensemble = Ensemble(Path("studies/sequences/ensembles") / made["ensemble"])
    expected = [float(row["p_good"]) for row in rows]
    np.testing.assert_allclose(ensemble.predict_proba(new)[:, 1], expected, atol=1e-5)
    with tracking_to(tracking_uri(Path("studies"))):
        served = mlflow.pyfunc.load_model(f"runs:/{made['run_id']}/model")
    np.testing.assert_allclose(served.predict(new[["text"]].fillna(""))[:, 1], expected, atol=1e-5)
    code, out, err = hpo("export", "--ensemble", made["ensemble"], "--output", "m.onnx")
    assert code == 0 and "differ by" in out, err
    with pytest.raises(DataError, match="lacks column 'text', which the model was trained with"):
        ensemble.predict(pd.DataFrame({"words": ["a"]}))


@pytest.mark.usefixtures("ray_cluster")
def test_clips_are_searched_combined_and_served(hpo: Run) -> None:
    write(document(Path.cwd(), "sound") | {"scheduler": "none"})
    code, _, err = hpo("search", "-f", "space.yaml")
    assert code == 0, err
    code, out, err = hpo("ensemble", "--method", "voting", "--format", "json")
    assert code == 0, err
    made = json.loads(out)
    assert made["run_id"] is not None, err
    Path("new.csv").write_text("clip\n0.wav\n1.wav\n")
    code, out, err = hpo("predict", "--ensemble", made["ensemble"], "--input", "new.csv", "--output", "p.csv")
    assert code == 0, err
    rows = predictions()
    assert [row["prediction"] for row in rows] == ["high", "low"]
    samples = [(tone(hertz) / 32_767).tolist() for hertz in (1500, 300)]
    with tracking_to(tracking_uri(Path("studies"))):
        served = mlflow.pyfunc.load_model(f"runs:/{made['run_id']}/model")
    assert served.predict(pd.DataFrame({"clip": samples})).argmax(axis=1).tolist() == [0, 1]


@pytest.mark.usefixtures("ray_cluster")
def test_a_kind_of_column_and_a_model_come_from_outside(hpo: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("genes.py").write_text(OWN)
    monkeypatch.syspath_prepend(Path.cwd())
    monkeypatch.delitem(sys.modules, "genes", raising=False)
    draw = np.random.default_rng(0)
    genes = ["".join(draw.choice(list("ACGT"), 30)) for _ in range(120)]
    rich = ["rich" if gene.count("G") + gene.count("C") > 15 else "poor" for gene in genes]
    pd.DataFrame({"gene": genes, "content": rich}).to_csv("genes.csv", index=False)
    write(
        {
            "study": "genes",
            "data": {"path": "genes.csv", "target": "content", "columns": {"gene": "genes:Gene"}},
            "model": {"name": "genes:net"},
            "training": {"epochs": 8, "batch_size": 16},
            "optimizer": {"name": "adamw", "lr": 0.05},
            "parameters": {"model.width": {"values": [8, 16]}},
            "budget": {"trials": 2},
            "scheduler": "none",
        }
    )
    code, _, err = hpo("search", "-f", "space.yaml")
    assert code == 0, err
    code, out, err = hpo("ensemble", "--method", "voting", "--format", "json", "--trust")
    assert code == 0, err
    made = json.loads(out)
    pd.DataFrame({"gene": ["GCGCGCGCGCGCGCGCGCGCGCGCGCGCGC", "A" * 30]}).to_csv("new.csv", index=False)
    code, out, err = hpo(
        *("predict", "--ensemble", made["ensemble"], "--input", "new.csv", "--output", "p.csv", "--trust")
    )
    assert code == 0, err
    assert [row["prediction"] for row in predictions()] == ["rich", "poor"]


def test_what_makes_no_input_is_told_with_its_line(hpo: Run) -> None:
    clips(Path.cwd())
    Path("3.wav").write_bytes(b"ID3\x04" + bytes(64))
    write(document(Path.cwd(), "sound"))
    Path("3.wav").write_bytes(b"ID3\x04" + bytes(64))
    code, _, err = hpo("validate", "-f", "space.yaml")
    assert code == 2 and "clips.csv:5: column 'clip': '" in err and "its content is no WAV" in err, err
    texts(Path.cwd())
    space = document(Path.cwd(), "text")
    space["data"]["columns"] = {"text": "words"}
    write(space)
    code, _, err = hpo("validate", "-f", "space.yaml")
    assert code == 2 and "image, ignore, or module:Class of your own, got 'words'" in err, err
    assert not Path("studies").exists()
