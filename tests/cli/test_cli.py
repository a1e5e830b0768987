"""The command line: what goes to stdout, exit codes, and one run of everything in processes of their own."""

import csv
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from hpo import spec
from hpo.study.study import Study
from hpo.study.trial import Outcome, State
from tests.conftest import PATIENCE, Run, data_summary, squares, without_ray


def test_help_is_quick_and_teaches() -> None:
    quickest = min(_seconds([sys.executable, "-m", "hpo", "--help"]) for _ in range(3))
    empty = min(_seconds([sys.executable, "-c", "pass"]) for _ in range(3))
    assert quickest - empty < 0.5
    told = subprocess.run([sys.executable, "-m", "hpo", "--help"], capture_output=True, text=True, check=True).stdout
    assert "hpo ensemble --top 5" in told


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--max-latency", "soon"), "'soon' is no time; write for example 5ms"),
        (("--max-latency", "5"), "'5' is no time; write for example 5ms"),
        (("--max-latency", "nanms"), "'nanms' is no time; write for example 5ms"),
        (("--method", "magic"), "unknown --method 'magic'"),
        (("--bags", "1", "--method", "bagging"), "--bags must be at least 2, got 1"),
        (("--folds", "3", "--method", "greedy"), "--folds is of stacking"),
        (("--register", "a:b"), "--register must be a name"),
        (("--top", "0"), "--top must be at least 1, got 0"),
    ],
)
def test_bad_wishes_for_an_ensemble_are_one_line(hpo: Run, study: Study, arguments: Any, message: str) -> None:
    code, out, err = hpo("ensemble", *arguments)
    assert code == 2 and message in err and not out and "Traceback" not in err
    assert not (study.folder / "ensembles").exists()


def test_an_ensemble_is_told_in_tables(hpo: Run, study: Study) -> None:
    code, out, _ = hpo("ensemble", "--method", "voting", "--max-members", "2")
    assert code == 0
    for part in ("Members", "Final temperature", "Test split", "Cost on this machine", "report.html", "hpo predict"):
        assert part in out


def _seconds(command: list[str]) -> float:
    started = time.perf_counter()
    subprocess.run(command, capture_output=True, check=True)
    return time.perf_counter() - started


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "optimizer.rl=0.1"], "optimizer.rl: unknown key. Did you mean 'lr'?"),
        (["--set", "parameters.optimizer.lr.min=3"], "min must not be above max"),
        (["--set", "model.name=rensnet"], "Did you mean 'resnet'?"),
        (["--set", "data.path=none.npz"], "none.npz"),
        (["--set", "data.path=torn.npz"], "torn.npz: cannot be read as .npz"),
        (["--set", "data.path=labels.npz"], "test: labels out of range: must be 0 to 2, got 5"),
        (["--set", "model.width=0"], "layers and width must be at least 1"),
        (["--set", "parameters.model.width={min: 8, max: 9}"], "refuses {'layers': 1, 'width': 8.0}"),
        (["--set", "resources.gpu=3"], "resources.gpu: must be at most 1, got 3"),
        (["--set", "epochs"], "write it as dotted.name=value"),
        (["--time-limit", "soon"], "must be a duration such as 90s"),
        (["--trials", "0"], "0 is not in the range x>=1"),
        (["--concurrency", "two"], "is neither a number of at least 1 nor auto"),
        (["--trails", "3"], "No such option"),
    ],
)
def test_bad_input_is_one_message_exit_code_2_and_no_study(
    hpo: Run, space: Path, tmp_path: Path, arguments: list[str], message: str, ray_cluster: None
) -> None:
    (tmp_path / "torn.npz").write_bytes(b"PK\x03\x04 torn")
    images, labels = squares(60, seed=0)
    np.savez(tmp_path / "labels.npz", x_train=images, y_train=labels, x_test=images, y_test=labels + 5)
    code, out, err = hpo("search", "--space", str(space), *arguments)
    assert (code, out) == (2, "")
    assert message in err and "Traceback" not in err
    assert not list((tmp_path / "studies").glob("*/*")), "a study was left behind"


def test_help_names_no_range_where_there_is_none(hpo: Run) -> None:
    told = hpo("ensemble", "--help")[1]
    assert "[default: 5]" in told and "x<=" not in told


def test_a_missing_space_is_named(hpo: Run) -> None:
    code, out, err = hpo("search", "--space", "none.yaml")
    assert (code, out, err) == (2, "", "Error: none.yaml: no such file; --space wants the path of a YAML file\n")


def test_an_unknown_command_and_a_missing_option_exit_with_2(hpo: Run) -> None:
    assert hpo("serch")[0] == 2
    assert hpo("search")[0] == 2
    assert hpo("predict", "--ensemble", "x", "--input", "y")[0] == 2


def test_a_place_that_cannot_be_written_is_refused_before_the_work(hpo: Run, tmp_path: Path) -> None:
    for output in (str(tmp_path), "nowhere/preds.csv"):
        code, _, err = hpo("predict", "--ensemble", "x", "--input", "y", "--output", output)
        assert code == 2 and f"--output {output}: is a folder, or its folder does not exist" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("search", "--space", "x.yaml", "--trials", "1_000"),
            "'1_000' is not a whole number, nor one with a + before it",
        ),
        (("resume", "--trials", "+0"), "0 is not in the range x>=1"),
        (("resume", "--epochs", "+-3"), "-3 is not in the range x>=1"),
        (("resume", "--gpu-hours", "nan"), "'nan' is not a number, nor one with a + before it"),
        (("search", "--space", "x.yaml", "--seed", "+5"), "'+5' is not a whole number"),
        (("ensemble", "--top", "+5"), "'+5' is not a whole number"),
        (("ensemble", "--max-latency", "+5ms"), "'+5ms' is no time"),
        (("plan", "--space", "x.yaml", "--workers", "\u0663"), "is not a whole number"),
        (("plan", "--space", "x.yaml", "--seconds-per-epoch", "+1"), "'+1' is not a number"),
        (("gc", "--keep", "+3"), "'+3' is not a whole number"),
    ],
)
def test_no_sign_is_swallowed(hpo: Run, arguments: Any, message: str) -> None:
    code, out, err = hpo(*arguments)
    assert (code, out) == (2, "") and message in err and "Traceback" not in err


def test_validate_tells_what_may_not_be_meant(hpo: Run, space: Path) -> None:
    few = ("--set", "parameters.optimizer.lr=", "--set", "parameters.model.width={values: [8, 16]}")
    code, out, err = hpo("validate", "--space", str(space), *few, "--set", "budget.trials=30")
    assert code == 0 and "is valid" in out
    assert err == (
        "Note: the space has 2 possible configs, fewer than the budget of 30 trials: the search ends when all have been"
        " tried.\n"
    )


def test_validate_tells_a_condition_that_never_holds(hpo: Run, space: Path) -> None:
    momentum = "parameters.optimizer.momentum={min: 0.8, max: 0.9, when: {optimizer.name: sgd}}"
    code, out, err = hpo("validate", "--space", str(space), "--set", momentum)
    assert code == 0 and "is valid" in out
    assert err == (
        "Note: 'optimizer.momentum' is never active and so never searched: its `when` wants optimizer.name to be 'sgd',"
        " which is fixed at 'adam'.\n"
    )
    assert hpo("validate", "--space", str(space), "--set", momentum, "--set", "optimizer.name=sgd")[2] == ""


def test_validate_says_what_is_searched(hpo: Run, space: Path) -> None:
    assert hpo("validate", "--space", str(space)) == (
        0,
        f"{space} is valid: 2 parameters, at most 4 trials, each of up to 3 epochs.\n",
        "",
    )
    code, out, _ = hpo("validate", "--space", str(space), "--format", "json", "--set", "training.epochs=7")
    assert code == 0 and json.loads(out)["training"]["epochs"] == 7


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("print('hello')", None),
        ("import argparse; argparse.ArgumentParser().parse_args()", "ends the program while it is imported"),
        ("import sys; print('hello'); sys.exit(3)", "ends the program while it is imported"),
        ("import no_such_module", "cannot be imported: No module named 'no_such_module'"),
    ],
)
def test_what_a_model_does_while_it_is_imported_is_one_sentence(
    hpo: Run, space: Path, tmp_path: Path, code: str, message: str | None
) -> None:
    name = f"imported_{abs(hash(code))}"
    net = "def net(input_shape, outputs):\n    return nn.Sequential(nn.Flatten(), nn.Linear(64, outputs))\n"
    (tmp_path / f"{name}.py").write_text(f"from torch import nn\n{code}\n{net}")
    given = ("--set", f"model={{name: '{name}:net'}}", "--set", "parameters={}", "--format", "json")
    exit_code, out, err = hpo("validate", "--space", str(space), *given)
    if message is None:
        assert (exit_code, json.loads(out)["model"]["name"], err) == (0, f"{name}:net", "hello\n")
    else:
        assert (exit_code, out, err.count("\n")) == (2, "", 1)
        assert f"model '{name}:net': module '{name}' {message}" in err and "usage:" not in err


def test_studies_trials_and_best_are_listed(hpo: Run, study: Study) -> None:
    assert "squares" in hpo("studies")[1]
    assert json.loads(hpo("studies", "--format", "json")[1]) == [
        {"study": "squares", "trials": {"running": 0, "paused": 0, "complete": 3, "pruned": 1, "failed": 1}}
    ]
    assert "trial 4 failed: ValueError: no" in hpo("trials")[1]
    trials = json.loads(hpo("trials", "--study", "squares", "--format", "json")[1])
    assert [trial["state"] for trial in trials] == ["complete"] * 3 + ["pruned", "failed"]
    best = study.best()
    assert best is not None
    assert json.loads(hpo("best", "--format", "json")[1])["trial"] == best.number
    assert f"{best.value:.4f}" in hpo("best")[1]


def test_a_value_is_listed_with_its_epoch(hpo: Run, document: dict[str, Any], tmp_path: Path) -> None:
    """It is the best epoch's, and not the one's at which the trial was stopped."""
    study = Study.create(tmp_path / "studies", spec.load(document), data_summary())
    number = study.writer.ask().number
    for epoch, value in ((1, 0.5938), (2, 0.3403)):
        study.writer.report(number, epoch, {"accuracy": value})
    study.writer.end(number, Outcome(State.PRUNED))
    for command in ("trials", "best"):
        (row,) = [line for line in hpo(command)[1].splitlines() if "pruned" in line]
        assert [cell.strip() for cell in row.split("│")][1:6] == ["0", "pruned", "2", "0.5938", "1"]
    assert "0.5938 (trial 0, epoch 1)" in hpo("studies")[1]


def test_an_empty_storage_says_what_to_do(hpo: Run) -> None:
    assert "Run `hpo search` first" in hpo("studies")[1]
    for command in ("trials", "best", "ensemble"):
        code, out, err = hpo(command)
        assert (code, out) == (2, "") and "Run `hpo search` first" in err
    code, _, err = hpo("ui")
    assert code == 2 and "Run `hpo search` first" in err


def test_a_changed_spec_is_refused_with_what_changed(hpo: Run, study: Study, space: Path) -> None:
    code, out, err = hpo("search", "--space", str(space), "--set", "training.batch_size=64")
    assert (code, out) == (2, "")
    assert "was started with another spec: training.batch_size was 32, is 64. Put that back, or give" in err
    code, out, err = hpo("search", "--space", str(space), "--set", "optimizer.lr=0.5")
    assert (
        code == 2
        and "optimizer.lr was 0.01, is 0.5; " in err
        and "parameters.optimizer.lr.log was True, is not set" in err
    )


def test_everything_end_to_end(space: Path, tmp_path: Path) -> None:
    """Search, ensemble and predict as a user runs them, and the logged model in a process of its own."""

    def command(*arguments: str) -> str:
        environment = without_ray()
        done = subprocess.run(arguments, capture_output=True, text=True, timeout=PATIENCE, env=environment, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    hpo = [sys.executable, "-m", "hpo"]
    found = json.loads(command(*hpo, "search", "--space", str(space), "--trials", "6", "--format", "json"))
    assert found.keys() == {"study", "trials", "best", "seconds"}
    assert sum(found["trials"].values()) == 6 and found["trials"]["failed"] == 0
    assert found["best"].keys() == {"trial", "value", "epoch", "config"}

    assert list(Path("studies").rglob("validation.npy")) and not list(Path("studies").rglob("test.npy"))
    more = json.loads(command(*hpo, "resume", "--trials", "7", "--ensemble", "--format", "json"))
    assert more["study"] == found["study"] and sum(more["trials"].values()) == 7
    built = more["ensemble"]
    assert {"ensemble", "method", "members", "validation", "test", "best_single"} <= built.keys()
    assert built["members"][0].keys() == {"name", "trial", "weight", "config"}
    assert built["best_single"].keys() == {"trial", "test"}

    images, _ = squares(30, seed=9)
    np.save(tmp_path / "new.npy", images)
    assert {"note", "gain", "calibration", "cost", "report"} <= built.keys() and Path(built["report"]).exists()
    exported = command(*hpo, "export", "--ensemble", built["ensemble"], "--member", "0", "--output", "member.onnx")
    assert "ONNX Runtime and PyTorch differ by" in exported and Path("member.onnx").exists()
    command(*hpo, "predict", "--ensemble", built["ensemble"], "--input", "new.npy", "--output", "preds.csv")
    with (tmp_path / "preds.csv").open() as file:
        rows = list(csv.DictReader(file))
    predicted = np.array([[row[f"p_{label}"] for label in range(3)] for row in rows], np.float32)

    script = (
        "import mlflow, numpy, sys\n"
        f"mlflow.set_tracking_uri('sqlite:///{tmp_path}/studies/mlflow.db')\n"
        f"model = mlflow.pyfunc.load_model('runs:/{built['run_id']}/model')\n"
        "numpy.save('served.npy', model.predict(numpy.load('new.npy')[..., None]))\n"
    )
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    np.save(elsewhere / "new.npy", images)
    subprocess.run([sys.executable, "-c", script], check=True, cwd=elsewhere, capture_output=True, timeout=PATIENCE)
    np.testing.assert_array_equal(np.load(elsewhere / "served.npy"), predicted)


def test_what_is_left_out_of_the_data_is_told(hpo: Run, tmp_path: Path) -> None:
    for split in ("train", "test"):
        for name in ("cat", "dog", ".ipynb_checkpoints"):
            folder = tmp_path / "pets" / split / name
            folder.mkdir(parents=True)
            for number in range(4):
                Image.fromarray(np.full((8, 8), 99 * number, np.uint16)).save(folder / f"{number}.png")
    (tmp_path / "pets.yaml").write_text(
        "study: pets\ndata: {name: image_folder, path: pets, size: 8, validation: 0.5}\nmodel: mlp\n"
    )
    code, _, told = hpo("validate", "--space", "pets.yaml")
    assert code == 0
    assert "Note: hidden files and folders left out: 2 (train/.ipynb_checkpoints, test/.ipynb_checkpoints)" in told
    assert "Note: pictures of 16 bits read as 8 bits, 0 to 1023 as 0 to 255: 16 (cat/0.png, cat/1.png, " in told


def test_the_best_config_is_ready_to_paste(hpo: Run, study: Study, space: Path) -> None:
    best = study.best_trial
    code, out, _ = hpo("best", "--format", "yaml")
    assert code == 0 and out.startswith(f"# trial {best.number} of study squares: accuracy ")
    sections = spec.parse_plain(out)
    assert {f"{name}.{key}": value for name, keys in sections.items() for key, value in keys.items()} == best.config
    code, out, _ = hpo("best", "--format", "flags")
    assert code == 0 and out.count("--set ") == 2 and out.count("\n") == 1
    code, out, _ = hpo("validate", "--space", str(space), *out.split(), "--format", "json")
    assert code == 0 and json.loads(out)["optimizer"]["lr"] == best.config["optimizer.lr"]
