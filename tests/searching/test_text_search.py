"""Texts and clips as people have them, from the file to the predictions."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

import hpo as product
from hpo.ensemble.model import Ensemble
from hpo.spec import StudySpec
from tests.conftest import Run
from tests.training.test_sequences import clips, texts


@pytest.mark.usefixtures("ray_cluster")
def test_texts_are_searched_combined_and_predicted_from_columns_in_another_order(hpo: Run) -> None:
    texts(Path())
    code, out, err = hpo("init", "--data", "texts.csv", "--target", "said")
    assert code == 0 and "Wrote search.yaml." in out, err
    file = Path("search.yaml")
    written = file.read_text()
    assert "model: {name: lstm," in written and "    text: tokens  # text, " in written
    file.write_text(written.replace("dropout: 0.4", "dropout: 0.1").replace("epochs: 8", "epochs: 6"))
    code, _, err = hpo("search", "-f", "search.yaml", "--trials", "2", "--set", "training.batch_size=8")
    assert code == 0, err
    code, out, err = hpo("ensemble", "--method", "voting", "--format", "json")
    assert code == 0, err
    made = json.loads(out)
    new = [("a lovely w3", "n1"), ("w1 w2 awful w4 w5 w6 w7", "n2"), ("", "n3")]
    with Path("new.csv").open("w", newline="") as out_file:
        csv.writer(out_file).writerows([("text", "name"), *new])
    code, out, err = hpo("predict", "--ensemble", made["ensemble"], "--input", "new.csv", "--output", "-")
    assert code == 0, err
    rows = list(csv.DictReader(out.splitlines()))
    ensemble = Ensemble(Path("studies/texts/ensembles") / made["ensemble"])
    turned = ensemble.predict_proba({"name": ["n1", "n2", "n3"], "text": [text for text, _ in new]})
    np.testing.assert_allclose([float(row["p_good"]) for row in rows], turned[:, 1], atol=1e-6)
    assert [row["prediction"] for row in rows][:2] == ["good", "bad"]


def test_a_first_file_for_clips_names_their_spectrogram(hpo: Run) -> None:
    clips(Path())
    code, _, err = hpo("init", "--data", "clips.csv", "--target", "pitch")
    assert code == 0, err
    written = Path("search.yaml").read_text()
    assert "    clip: audio  # sound, 8,000" in written and "length: 10.0" in written
    read = product.validate("search.yaml", tell=lambda line: None)
    assert isinstance(read, StudySpec) and read.model.name == "conv1d"
    assert read.data.augment == ("time_mask", "band_mask")
