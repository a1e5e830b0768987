"""The benchmarks run: their quickest peer, their help, their tables. What they measure is not tested."""

import json
import runpy
import subprocess
import sys
import wave
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hpo import api, spec
from tests.conftest import PATIENCE, ROOT

BENCHMARKS = ROOT / "scripts" / "benchmarks"


def command(benchmark: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    program = [sys.executable, str(BENCHMARKS / benchmark), *arguments]
    return subprocess.run(program, capture_output=True, text=True, check=False, timeout=PATIENCE)


def function(benchmark: str, file: str, name: str) -> Any:
    return runpy.run_path(str(BENCHMARKS / benchmark / file))[name]


def test_overhead_times_a_peer_from_outside(tmp_path: Path) -> None:
    record = tmp_path / "overhead.json"
    done = command("overhead", "--trials", "2", "--peers", "Optuna, n_jobs=1", "--json", str(record))
    assert done.returncode == 0, done.stderr
    (run,) = json.loads(record.read_text())["runs"]
    assert run["trials"] == 2
    assert 2 <= run["reports"] <= 18
    assert 0 < run["start_up"] < run["seconds"]
    assert "Optuna, n_jobs=1" in done.stdout
    assert str(tmp_path) not in record.read_text()


@pytest.mark.parametrize("benchmark", ["overhead", "end_to_end"])
def test_an_unknown_peer_is_told_with_those_that_there_are(benchmark: str) -> None:
    done = command(benchmark, "--peers", "nobody")
    assert done.returncode == 2
    assert "no such peer: nobody" in done.stderr
    assert "hpo" in done.stderr


def test_the_objective_of_overhead_learns_and_prefers_the_middle() -> None:
    accuracy = function("overhead", "curve.py", "accuracy")
    good, poor = {"lr": 0.03, "weight_decay": 1e-4}, {"lr": 1e-4, "weight_decay": 1e-4}
    curve = [accuracy(good, epoch) for epoch in range(1, 10)]
    assert curve == sorted(curve)
    assert 0 < accuracy(poor, 9) < curve[-1] < 1


def test_end_to_end_draws_as_many_images_of_each_class(tmp_path: Path) -> None:
    source, target = tmp_path / "all.npz", tmp_path / "some.npz"
    labels = np.repeat(np.arange(10), 6)
    images = np.arange(60 * 48, dtype=np.uint32).astype(np.uint8).reshape(60, 4, 4, 3)
    np.savez(source, x_train=images, y_train=labels, x_test=images[:5], y_test=labels[:5])
    function("end_to_end", "images.py", "write")(source, target, 30, 0)
    with np.load(target, allow_pickle=False) as arrays:
        assert np.bincount(arrays["y_train"]).tolist() == [3] * 10
        assert arrays["x_train"].shape == (30, 4, 4, 3)
        assert arrays["x_test"].shape == (5, 4, 4, 3)


def test_the_script_and_the_product_search_the_same_space_end_to_end() -> None:
    from ray.tune.search.sample import Categorical

    by_hand = runpy.run_path(str(BENCHMARKS / "end_to_end" / "by_hand.py"))
    ours = spec.load_search(BENCHMARKS / "end_to_end" / "search.yaml", {"data.path": "any.npz"}).parameters
    names = {name: name.partition(".")[2] for name in ours}
    assert set(names.values()) == set(by_hand["SPACE"])
    for name, parameter in ours.items():
        theirs = by_hand["SPACE"][names[name]]
        if isinstance(theirs, Categorical):
            assert list(parameter.values or ()) == theirs.categories
        else:
            beyond = 1 if parameter.type == "int" else 0  # Ray's ranges of integers end before their bound
            assert (parameter.min, parameter.max) == (theirs.lower, theirs.upper - beyond)
        assert parameter.default == by_hand["DEFAULT"][names[name]]


def test_early_end_compares_a_search_with_itself(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    errors = 0.5 * rng.random((9, 1)) / np.arange(1, 5)
    clock = np.cumsum(np.ones((9, 4)), axis=1)
    file = tmp_path / "curves.npz"
    np.savez(file, hp=rng.random((9, 2)), hp_names=np.array(["a", "b"]), val_error=errors, cum_seconds=clock)
    done = command("early_end", "--klein", str(file), "--searches", "2", "--full", "30", "--samplers", "tpe")
    assert done.returncode == 0, done.stderr
    *rows, mean = done.stdout.splitlines()
    assert len(rows) == 2 and "2 searches" in mean and "of the epochs saved" in mean


def test_tables_compares_a_search_with_boosting_on_the_same_rows(tmp_path: Path) -> None:
    rows = [f"{row % 5},{'ab'[row % 2]},{row},{'yes' if row % 2 else 'no'}" for row in range(120)]
    (tmp_path / "t.csv").write_text("\n".join(["size,kind,leak,y", *rows]) + "\n")
    words = ("--data", str(tmp_path / "t.csv"), "--target", "y", "--ignore", "leak", "--batch", "16")
    few = ("--trials", "2", "--epochs", "4", "--seeds", "1", "--json", str(tmp_path / "j.json"))
    done = command("tables", *words, *few)
    assert done.returncode == 0, done.stderr
    (run,) = json.loads((tmp_path / "j.json").read_text())["runs"]
    assert run["boosting"] == 1 and run["ensemble"] > 0.9
    assert "t.csv, mlp, test accuracy, mean ± standard deviation of 1 seeds" in done.stdout


def test_the_baseline_of_ratings_draws_biases_of_few_ratings_to_the_mean() -> None:
    shrunk = function("ratings", "__main__.py", "_shrunk")
    biases = shrunk(np.array([1, 1, 1, 1, 1, 2, 0]), np.array([2.0, 2, 2, 2, 2, 6, 9]))
    assert biases[:4].tolist() == [0, 1, 1, 0], "five of 2 as ten of 1; one of 6 as six of 1; nobody's; none"


def test_text_compares_with_words_and_pairs_of_them(tmp_path: Path) -> None:
    for name in ("train", "validation", "test"):
        rows = [f"{row % 2}\ta {'fine' if row % 2 else 'dull'} film {row}" for row in range(40)]
        (tmp_path / f"{name}.tsv").write_text("\n".join(["label\ttext", *rows]) + "\n")
    options = Namespace(
        **{name: tmp_path / f"{name}.tsv" for name in ("validation", "test")},
        data=tmp_path / "train.tsv",
        **{"text": "text", "target": "label", "trials": 2, "epochs": 2},
    )
    assert function("text", "__main__.py", "_tfidf")(options) == 1
    for family in ("bag", "lstm", "gru", "conv1d", "transformer"):
        read = api.validate(function("text", "__main__.py", "_space")(options, family, 3), tell=lambda line: None)
        assert read.study == family and read.seed == 3


def test_speech_is_written_as_files_and_a_table(tmp_path: Path) -> None:
    arrays: dict[str, Any] = {"digit": [7, 3], "speaker": [0, 1], "take": [4, 5], "speaker_names": ["ann", "bob"]}
    audio = np.arange(-500, 1500, dtype=np.int16)
    np.savez(tmp_path / "a.npz", audio=audio, offsets=[0, 800, 2000], sample_rate=8000, **arrays)
    table = function("speech", "__main__.py", "write_clips")(tmp_path / "a.npz", tmp_path)
    assert table.read_text().split() == ["path,label,speaker,part", "7_ann_4.wav,7,ann,test", "3_bob_5.wav,3,bob,train"]
    with wave.open(str(tmp_path / "3_bob_5.wav"), "rb") as clip:
        assert clip.getframerate() == 8000 and clip.readframes(2000) == audio[800:].tobytes()
