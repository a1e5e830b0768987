"""`hpo run` without a search file, and `hpo log`."""

import json
from pathlib import Path

import pytest

from hpo import spec
from tests.conftest import Run

WORDS = ("--", "python", "train.py", "--lr", "{lr}", "--depth", "{depth}")
ASKED = ("--param", "lr=log:1e-4..1", "--param", "depth=int:1..4", "--minimize", "loss")


def test_run_makes_a_search_file_that_says_the_same(hpo: Run) -> None:
    more = (
        "--trials",
        "20",
        "--set",
        "training.epochs=9",
        "--seed",
        "3",
        "--metrics",
        "loss=(?P<loss>.*)",
        "--resumes",
    )
    code, out, err = hpo("run", "--dry-run", *ASKED, *more, *WORDS)
    assert code == 0, err
    Path("space.yaml").write_text(out)
    made = spec.read("space.yaml").checked()
    assert made.study == "train" and made.seed == 3 and made.budget.trials == 20 and made.training.epochs == 9
    assert made.objective.goal == "minimize" and list(made.parameters) == ["lr", "depth"]
    assert made.command is not None and made.command.run == WORDS[1:] and made.command.resumes
    assert not Path("studies").exists()


def test_run_needs_no_dashes_before_the_program(hpo: Run) -> None:
    assert hpo("run", "--dry-run", *ASKED, *WORDS) == hpo("run", "--dry-run", *ASKED, *WORDS[1:])


def test_run_lays_its_options_over_a_search_file(hpo: Run) -> None:
    goal = {"metric": "acc", "goal": "maximize"}
    held = {"study": "held", "objective": goal, "parameters": {"lr": {"min": 0.1, "max": 0.2}}}
    Path("space.yaml").write_text(json.dumps(held))
    code, out, err = hpo(
        "run", "--dry-run", "--space", "space.yaml", "--param", "opt=adam,sgd", "./go", "{lr}", "{opt}"
    )
    assert code == 0, err
    Path("made.yaml").write_text(out)
    made = spec.read("made.yaml").checked()
    assert made.study == "held" and made.objective.metric == "acc" and list(made.parameters) == ["lr", "opt"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--param", "lr=0..1", "train", "{lr}"), "say what is searched for: --minimize METRIC, or --maximize METRIC"),
        ((*ASKED, "train", "{lrr}"), "there is no parameter 'lrr' for {lrr}"),
        (("--param", "lr=0..1..2", "--minimize", "loss", "train"), "--param lr=0..1..2: '0..1..2' is no range;"),
        (ASKED, "Missing argument"),
        ((*ASKED, "--metrics", "(", "train"), "command.metrics: is no regular expression"),
        (("--param", "lr=2..1", "--minimize", "loss", "train"), "parameters.lr: min must not be above max"),
    ],
)
def test_what_is_wrong_is_one_sentence(arguments: tuple[str, ...], message: str, hpo: Run) -> None:
    code, out, err = hpo("run", "--dry-run", *arguments)
    assert (code, out) == (2, "") and message in err and "Traceback" not in err


def test_a_program_that_is_not_there_starts_nothing(hpo: Run) -> None:
    code, _, err = hpo("run", *ASKED, *WORDS)
    assert code == 2 and "cannot be run: there is no 'train.py' in" in err and not Path("studies").exists()


@pytest.mark.usefixtures("ray_cluster")
def test_run_searches_and_goes_on(hpo: Run) -> None:
    Path("train.sh").write_text('echo "loss is $1"\n')
    words = ("--", "sh", "train.sh", "{x}")
    asked = ("run", "--param", "x=0..1", "--minimize", "loss", "--metrics", "loss is (?P<loss>.*)", "--format", "json")
    code, out, err = hpo(*asked, "--trials", "2", *words)
    assert code == 0 and json.loads(out)["trials"]["complete"] == 2, err
    assert "The search file of this" in err and "run:\n  - sh" in err
    code, out, _ = hpo(*asked, "--trials", "+1", *words)
    assert code == 0 and json.loads(out)["trials"]["complete"] == 3
    code, out, _ = hpo("log", "0", "--study", "train", "--stream", "stdout")
    assert code == 0 and out.startswith("loss is ")


def test_other_studies_have_no_log(study: object, hpo: Run) -> None:
    code, _, err = hpo("log", "0")
    assert code == 2 and "trial 0 of study 'squares' has no log: it has printed nothing" in err
    code, out, _ = hpo("log", "4")
    assert code == 0 and out.strip().endswith("--- traceback of trial 4\nTraceback\nValueError: no")
    code, out, _ = hpo("log", "4", "--stream", "traceback")
    assert (code, out.strip()) == (0, "Traceback\nValueError: no")
    assert "hpo log 4" in hpo("trials")[1].replace("\n", " ")
