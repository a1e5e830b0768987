import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from hpo import spec
from hpo.display.progress import Progress
from hpo.display.tables import duration, studies_table, trials_table
from hpo.study.budget import Left
from hpo.study.study import Study
from hpo.study.trial import Outcome, State
from tests.conftest import data_summary


def text(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def run_one(study: Study, console: Console) -> int:
    with Progress(study, Left(trials=4), time_limit=60, console=console) as progress:
        trial = study.writer.ask()
        progress.trial_started(trial)
        study.writer.report(trial.number, 1, {"accuracy": 0.25})
        progress.trial_reported(trial.number, 1, {"accuracy": 0.25})
        if console.is_terminal:
            console.print(progress._render())
        progress.trial_ended(study.writer.end(trial.number, Outcome(State.PRUNED)))
    return trial.number


def test_plain_lines_where_the_output_is_no_terminal(study: Study) -> None:
    console = Console(file=io.StringIO(), width=200)
    number = run_one(study, console)
    (line,) = text(console).splitlines()
    assert line.startswith(
        f"trial {number} pruned at epoch 1: accuracy 0.2500 (epoch 1);"
        " 6/9 ended (3 complete, 2 pruned, 1 failed), 0 running, best"  # those of an earlier search are among them
    )
    assert line.endswith("left")


def test_a_terminal_shows_running_trials_and_the_best(study: Study) -> None:
    console = Console(file=io.StringIO(), width=200, force_terminal=True, color_system=None)
    number = run_one(study, console)
    shown = text(console)
    assert f"trial {number}" in shown and "epoch 1/3" in shown and "best config: model.width=" in shown


def test_tables_show_every_trial_and_study(study: Study) -> None:
    console = Console(file=io.StringIO(), width=200)
    console.print(trials_table(study, study.trials(), "squares"))
    console.print(studies_table([study]))
    shown = text(console)
    for state in ("complete", "pruned", "failed"):
        assert state in shown
    assert "maximize accuracy" in shown


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0.4, "0s"), (59.4, "59s"), (60, "1m00s"), (3599, "59m59s"), (3600, "1h00m"), (11100, "3h05m")],
)
def test_durations_read_well(seconds: float, expected: str) -> None:
    assert duration(seconds) == expected


def test_a_mean_over_folds_and_seeds_has_its_deviation(document: dict[str, Any], tmp_path: Path) -> None:
    document["training"]["seeds"] = 3
    made = Study.create(tmp_path / "several", spec.load(document), data_summary())
    number = made.writer.ask().number
    made.writer.report(number, 1, {"accuracy": 0.75, "accuracy_std": 0.0125})
    console = Console(file=io.StringIO(), width=200)
    console.print(trials_table(made, made.trials(), "squares"))
    assert "0.7500 ± 0.0125" in text(console)


def test_a_failure_is_told_once_with_its_cause(study: Study) -> None:
    console = Console(file=io.StringIO(), width=300)
    with Progress(study, Left(trials=4), time_limit=None, console=console) as progress:
        for epochs in (0, 1):
            trial = study.writer.ask()
            progress.trial_started(trial)
            if epochs:
                study.writer.report(trial.number, 1, {"accuracy": 0.5})
                progress.trial_reported(trial.number, 1, {"accuracy": 0.5})
            progress.trial_ended(study.writer.end(trial.number, Outcome(State.FAILED, "Traceback\nKeyError: 'x'")))
    first, second = text(console).splitlines()
    assert "failed before its first report: KeyError: 'x';" in first
    assert "failed at epoch 1, accuracy 0.5000 (epoch 1): KeyError: 'x';" in second


def test_a_value_is_told_with_its_epoch(study: Study) -> None:
    console = Console(file=io.StringIO(), width=300)
    with Progress(study, Left(epochs=50), time_limit=None, console=console) as progress:
        trial = study.writer.ask()
        progress.trial_started(trial)
        for epoch, value in ((1, 0.9938), (2, 0.3403)):
            study.writer.report(trial.number, epoch, {"accuracy": value})
            progress.trial_reported(trial.number, epoch, {"accuracy": value})
        progress.trial_paused(trial.number)
        progress.trial_ended(study.writer.end(trial.number, Outcome(State.PRUNED)))
    paused, pruned = text(console).splitlines()
    assert paused.startswith(f"trial {trial.number} paused at epoch 2: accuracy 0.3403 (epoch 2); ")
    assert pruned.startswith(f"trial {trial.number} pruned at epoch 2: accuracy 0.9938 (epoch 1); ")
    best = study.best()
    assert best is not None and best.value is not None
    told = f"{best.value:.4f} (trial {best.number}, epoch {best.best_epoch})"
    assert f"best {told}" in pruned
    console.print(trials_table(study, [study.trial(trial.number)], ""), studies_table([study]))
    shown = text(console)
    assert "of epoch" in shown and told in shown
    row = next(line for line in shown.splitlines() if "0.9938" in line and "│" in line)
    assert [cell.strip() for cell in row.split("│")][3:6] == ["2", "0.9938", "1"]


def test_a_paused_trial_is_a_line_and_frees_its_slot(study: Study) -> None:
    console = Console(file=io.StringIO(), width=200)
    with Progress(study, Left(epochs=50), time_limit=None, console=console) as progress:
        trial = study.writer.ask()
        progress.trial_started(trial)
        progress.trial_reported(trial.number, 1, {"accuracy": 0.25})
        progress.trial_paused(trial.number)
        progress.trial_resumed(trial.number)
        progress.trial_reported(trial.number, 2, {"accuracy": 0.5})
    (line,) = text(console).splitlines()
    assert line.startswith(f"trial {trial.number} paused at epoch 1: accuracy 0.2500 (epoch 1); 5 ended")
    assert "0 running, 1 paused, 1/50 epochs" in line
