import csv
import io
import os
import subprocess
import sys
import threading
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from rich.console import Console

from hpo import spec
from hpo.display import tables
from hpo.display.page import write_report
from hpo.display.progress import Progress
from hpo.ensemble.predictions import Predictions, write_csv
from hpo.study.artifacts import Folder
from hpo.study.study import Study
from hpo.study.trial import Failure, Outcome, State
from hpo.terminal import Answer, Libraries, number, plain, saying, text, warn
from tests.conftest import ROOT, Run, without_ray

NASTY = "[/red] [bold]z[/bold] :warning: \x1b[2J\x1b]0;title\x07\x9b31m \u202eevil\r"
SHOWN = r"[/red] [bold]z[/bold] :warning: \x1b[2J\x1b]0;title\x07\x9b31m \u202eevil\r"


def printed(what: Any, **options: Any) -> str:
    file = io.StringIO()
    Console(file=file, width=400, **options).print(what)
    return file.getvalue()


def test_what_a_terminal_would_obey_is_shown() -> None:
    assert plain(NASTY) == SHOWN
    assert plain("größe\n\tπ 漢字 🙂") == "größe\n\tπ 漢字 🙂"
    assert printed(text(NASTY)) == f"{SHOWN}\n"


@given(st.text())
def test_nothing_printed_is_a_control_character(value: str) -> None:
    shown = plain(value)
    assert all(character in "\n\t" or character.isprintable() or ord(character) > 0x9F for character in shown)
    shown.encode("utf-8")
    if value.isprintable():
        assert shown == value


@pytest.fixture
def hostile(document: dict[str, Any], tmp_path: Path) -> Study:
    """A study whose values, metrics and failures are what a terminal, or rich, would obey."""
    simulated: dict[str, Any] = {
        **{key: document[key] for key in ("study", "training", "budget")},
        "parameters": {"x": {"values": [NASTY]}, "[bold]y[/bold]": {"min": 0.0, "max": 1.0}},
        "objective": {"metric": "[/red]", "goal": "maximize"},
        "sampler": "random",
        "scheduler": "asha",
    }
    made = Study.create(tmp_path / "studies", spec.load_search(simulated))
    trial = made.writer.ask()
    made.writer.report(trial.number, 1, {"[/red]": 0.5})
    made.writer.end(trial.number, Outcome(State.PRUNED, NASTY))
    made.writer.end(made.writer.ask().number, Outcome(State.FAILED, f"Traceback\nValueError: {NASTY}", Failure.ERROR))
    return made


def test_nothing_of_the_users_is_markup_or_obeyed(hpo: Run, hostile: Study) -> None:
    code, out, err = hpo("trials")
    assert (code, err) == (0, "")
    assert f"trial 1 failed: ValueError: {SHOWN[:-2]}" in out
    for command in (["trials"], ["best"], ["studies"], ["trials", "--format", "json"]):
        code, out, err = hpo(*command)
        assert code == 0 and not set(out + err) & {"\x1b", "\x07", "\x9b", "\u202e", "\r"}
        assert "[/red]" in out or command == ["trials", "--format", "json"]


@pytest.mark.parametrize("arguments", [("trials", "--study", NASTY), (f"x{NASTY}",), ("trials", f"--{NASTY}")])
def test_arguments_come_back_plain(hpo: Run, arguments: tuple[str, ...], study: Study) -> None:
    code, out, err = hpo(*arguments)
    assert (code, out) == (2, "") and "[/red] [bold]z[/bold]" in err
    assert not set(err) & {"\x1b", "\x07", "\x9b", "\u202e", "\r"}


def test_lines_warnings_and_progress_are_plain(hostile: Study) -> None:
    for terminal in (False, True):
        file = io.StringIO()
        console = Console(file=file, width=400, force_terminal=terminal, color_system=None)
        saying(console)(NASTY)
        warn(console, "Skipped", NASTY)
        progress = Progress(hostile, hostile.spent().left(hostile.spec.budget), None, console)
        for trial in hostile.trials():
            progress.trial_started(trial)
            progress.trial_ended(trial)
        console.print(progress._render())
        out = file.getvalue()
        assert out.count(SHOWN[:-2]) >= 4 and "\x1b" not in out


def test_every_table_and_the_page_take_any_name(hostile: Study, tmp_path: Path) -> None:
    made = [
        tables.trials_table(hostile, hostile.trials(), NASTY),
        tables.studies_table([hostile]),
        tables.reproduction_table({1: {NASTY: (0.5, 0.6)}}, NASTY),
        tables.scores_table({NASTY: {NASTY: 0.5}}, NASTY),
        tables.members_table([{"name": NASTY, "weight": 0.5, "config": {NASTY: NASTY}}]),
        tables.compared_table({NASTY: 0.5}, NASTY, NASTY),
        tables.diversity_table({NASTY: 0.5}),
    ]
    for table in made:
        out = printed(table, color_system=None, force_terminal=True)
        assert ("\x1b" not in out and "[bold]z[/bold]" in out) or "[/red]" in out
    figure = Figure()
    figure.set_label(f"<script>{NASTY}")
    page = write_report(Folder(tmp_path / "report"), f"<b>{NASTY}", made, {"f": figure}).read_text()
    assert "\x1b" not in page and "<script>" not in page and "<b>" not in page and "[bold]z[/bold]" in page


def test_a_full_disk_and_a_closed_stdout_are_a_sentence(study: Study) -> None:
    for redirection, code, message in (
        (">/dev/full", 1, "Error: stdout cannot be written: No space left on device\n"),
        (">&-", 1, "Error: stdout is closed, and the answer was to go there\n"),
        ("2>/dev/full", 0, ""),
        ("2>&-", 0, ""),
    ):
        assert shell(f"hpo trials {redirection}") == (code, message)
    assert shell("hpo trials --format json >/dev/full")[0] == 1
    assert shell("hpo --help >/dev/full") == (1, "Error: [Errno 28] No space left on device\n")
    assert shell("hpo trials --study none >/dev/full 2>/dev/full")[0] == 2


def test_a_reader_that_has_ended_is_no_error(study: Study) -> None:
    assert shell("{ hpo trials; echo $? >code; } | true; cat code >&2") == (0, "141\n")


def shell(line: str) -> tuple[int, str]:
    """Exit code and stderr of a line for bash."""
    script = f'hpo() {{ "{sys.executable}" -m hpo "$@"; }}; {line}'
    environment = {**without_ray(), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, env=environment)
    return done.returncode, done.stderr


def test_files_do_not_take_the_place_of_a_closed_stream(tmp_path: Path) -> None:
    opened = "print(open('x', 'w').fileno(), file=open('y', 'w'))"
    script = f"from hpo.cli.program import _open_standard_streams as o; o(); {opened}"
    code = f'"{sys.executable}" -c "{script}" <&- >&- 2>&-'
    assert subprocess.run(["bash", "-c", code], env=os.environ | {"PYTHONPATH": str(ROOT)})
    assert int((tmp_path / "y").read_text()) > 2


def test_no_cell_is_a_formula(tmp_path: Path) -> None:
    outputs = ["=cmd|' /C calc'!A0", "-1", "+1e3", "@SUM(1)", "-x", "\tx", "\rx", "plain"]
    names = ["=a.png", "-5", "-b.png", *"cdefg"]
    values = np.eye(len(outputs), dtype=np.float32) - np.float32(0.25)
    file = tmp_path / "predictions.csv"
    write_csv(file, [Predictions(names, outputs, values)])
    with file.open(newline="", encoding="utf-8") as lines:
        header, *rows = csv.reader(lines)
    assert header == ["input", "prediction", *(f"p_{name}" for name in outputs)]
    assert [row[0] for row in rows] == ["'=a.png", "-5", "'-b.png", *"cdefg"]
    assert [row[1] for row in rows] == [
        "'=cmd|' /C calc'!A0",
        "-1",
        "+1e3",
        "'@SUM(1)",
        "'-x",
        "'\tx",
        "'\rx",
        "plain",
    ]
    assert all(float(cell) in (-0.25, 0.75) for row in rows for cell in row[2:])
    write_csv(file, [Predictions(["a"], ["=t", "-u"], values[:1, :2], "regression", (1.0, 1.0))])
    assert file.read_text().splitlines()[0] == "input,'=t,'-u,'=t_low,'=t_high,'-u_low,'-u_high"
    write_csv(file, [Predictions(["a"], ["=t", "-u"], np.ones((1, 2), np.float32), "multilabel")])
    assert file.read_text().splitlines()[1] == "a,'=t;'-u,1,1"


def test_bytes_of_a_file_name_that_are_no_text_are_shown(tmp_path: Path) -> None:
    file = tmp_path / "predictions.csv"
    write_csv(file, [Predictions(["\udcffc.png"], ["x", "y"], np.eye(2, dtype=np.float32)[:1])])
    assert file.read_text(encoding="utf-8").splitlines()[1] == "\\udcffc.png,x,1,0"


def test_predictions_go_to_stdout(hpo: Run, study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = Predictions(["a\x1b", "b"], ["x", "y"], np.eye(2, dtype=np.float32))
    monkeypatch.setattr("hpo.api.predict_batches", lambda *_, **__: [batch])
    code, out, err = hpo("predict", "--ensemble", "x", "--input", "y", "--output", "-")
    assert (code, err) == (0, "2 predictions\n")
    assert out == "input,prediction,p_x,p_y\r\na\x1b,x,1,0\r\nb,y,0,1\r\n"
    assert not (tmp_path / "-").exists()
    monkeypatch.setattr(Answer, "__init__", lambda self: self.__dict__.update(_stream=sys.__stdout__, terminal=True))
    assert "a\\x1b,x,1,0\n" in hpo("predict", "--ensemble", "x", "--input", "y", "--output", "-")[1]


@pytest.mark.parametrize(("thread", "told"), [("ray_listen_error_messages", ""), ("another", "lines of a library")])
def test_what_ray_prints_of_its_nodes_is_not_shown(thread: str, told: str) -> None:
    shown = io.StringIO()
    with redirect_stdout(Libraries(shown)):
        printing = threading.Thread(target=lambda: sys.stdout.write("lines of a library"), name=thread)
        printing.start()
        printing.join()
    assert shown.getvalue() == told


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.0, "0.0000"),
        (0.93333, "0.9333"),
        (-1.5, "-1.5000"),
        (99999.0, "99999.0000"),
        (1e5, "1e+05"),
        (1234567.0, "1.23e+06"),
        (0.01, "0.0100"),
        (0.00012345, "0.000123"),
        (-2e-9, "-2e-09"),
        (float("nan"), "nan"),
        (float("inf"), "inf"),
    ],
)
def test_a_value_shows_something_of_itself_whatever_its_size(value: float, shown: str) -> None:
    assert number(value) == shown
