"""What `-v`, `-q` and `--log-file` make of a command's news."""

import io
import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hpo.cli.logs import HarmlessRecord, Lines, _File, _Stderr, forget
from hpo.study.study import Study
from tests.conftest import Run, finish

CURVE = """
def losses(config, epoch):
    return {"loss": config["x"] / epoch}, 1.0
"""


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    yield
    forget()
    assert not [handler for handler in logging.getLogger("hpo").handlers if "logs" in type(handler).__module__]


@pytest.fixture
def planned(tmp_path: Path) -> tuple[str, ...]:
    """A command that runs a search of three trials in virtual time."""
    (tmp_path / "curve.py").write_text(CURVE)
    lines = (
        "study: curves",
        "training: {epochs: 2}",
        "parameters: {x: {min: 1, max: 2}}",
        "objective: {metric: loss, goal: minimize}",
        "sampler: random",
        "scheduler: none",
        "budget: {trials: 3}",
    )
    (tmp_path / "space.yaml").write_text("\n".join(lines))
    return ("plan", "--space", "space.yaml", "--workers", "1", "--curve", "curve:losses")


def test_a_log_file_has_every_event_and_is_appended_to(
    planned: tuple[str, ...], hpo: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    for times in (1, 2):
        code, out, err = hpo(*planned, "--log-file", "hpo.log")
        assert code == 0 and "workers" in out and "trial 0" not in err
        lines = (tmp_path / "hpo.log").read_text().splitlines()
        assert sum("hpo.controller.recording: trial 0 starts: {'x': " in line for line in lines) == times
        assert sum(" DEBUG " in line and "trial 2, epoch 1: {'loss': " in line for line in lines) == times
        assert sum("trial 1 has ended, complete at epoch 2" in line for line in lines) == times
        assert all(line[:2] == "20" and line[19] == "," for line in lines)  # the time


@pytest.mark.parametrize(("flag", "starts", "reports"), [("-v", True, False), ("-vv", True, True)])
def test_verbose_commands_log_to_stderr(
    planned: tuple[str, ...],
    hpo: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    flag: str,
    starts: bool,
    reports: bool,
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    code, out, err = hpo(*planned, flag)
    assert code == 0 and "trial 0" not in out
    assert ("trial 0 starts" in err) is starts and ("trial 2, epoch 1" in err) is reports


@pytest.mark.parametrize("flags", [("-v", "--log-file", "hpo.log"), ("--log-file", "hpo.log", "-v")])
def test_a_line_is_logged_once_whatever_comes_first(
    planned: tuple[str, ...], hpo: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: tuple[str, ...]
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    assert hpo(*planned, *flags)[2].count("trial 0 starts") == 1
    kinds = [type(handler).__name__ for handler in logging.getLogger("hpo").handlers]
    assert sorted(kinds) == ["_File", "_Stderr"]


def test_an_error_is_in_the_log_too(hpo: Run, tmp_path: Path) -> None:
    code, _, err = hpo("trials", "--study", "no\x1b[2Jne", "--log-file", "hpo.log")
    assert code == 2 and err.count("no study") == 1
    logged = (tmp_path / "hpo.log").read_text()
    assert "ERROR" in logged and "no study 'no\\x1b[2Jne'" in logged


def test_a_quiet_command_says_warnings_and_its_answer(study: Study, hpo: Run) -> None:
    finish(study, 1.0, epochs=3)
    (study.artifacts.folder / "00004" / "epoch-0003" / "validation.npy").unlink(missing_ok=True)
    _, out, loud = hpo("ensemble", "--method", "voting")
    code, quiet_out, quiet = hpo("ensemble", "--method", "voting", "--quiet")
    assert code == 0 and "Members" in out and "Members" in quiet_out
    warnings = [line for line in loud.splitlines() if line.startswith(("Skipped", "Warning"))]
    assert warnings == [line for line in quiet.splitlines() if line.strip() and " mlflow" not in line]  # it has its own


@pytest.mark.parametrize("file", ["link", "nowhere/hpo.log", "."])
def test_a_file_that_cannot_be_appended_to_is_one_sentence(hpo: Run, tmp_path: Path, file: str) -> None:
    (tmp_path / "link").symlink_to("elsewhere")
    code, _, err = hpo("studies", "--log-file", file)
    assert code == 2 and f"'{file}' cannot be appended to: " in err and not (tmp_path / "elsewhere").exists()


FORGED = "2026-11-30 09:00:00,000 INFO    1 hpo: trial 7 has ended"


@pytest.mark.parametrize("way", ["log file", "stderr"])
def test_no_text_can_forge_a_line(way: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    handler = _File("hpo.log") if way == "log file" else _Stderr(logging.DEBUG)
    logger = logging.getLogger("hpo.forged")
    logger.addHandler(handler)
    try:
        logger.warning("said\n%s\r\n%s", FORGED, FORGED)
        try:
            raise ValueError(f"bad\n{FORGED}")
        except ValueError:
            logger.exception("failed", stack_info=True)
        sent = {"name": "hpo.forged", "msg": "sent", "levelno": logging.ERROR, "exc_text": f"bad\n{FORGED}"}
        logger.handle(logging.makeLogRecord(sent))
    finally:
        logger.removeHandler(handler)
        if way == "log file":
            handler.close()
    lines = ((tmp_path / "hpo.log").read_text() if way == "log file" else capsys.readouterr().err).splitlines()
    assert not [line for line in lines if line == FORGED]
    assert f"said\\n{FORGED}\\r\\n{FORGED}" in lines[0]
    assert lines[1].endswith("failed") and lines[2] == "  Traceback (most recent call last):"
    own = [line for line in lines if not line.startswith("  ")]
    assert [line.split(": ", 1)[1][:4] for line in own] == ["said", "fail", "sent"]


def test_another_formatter_has_the_traceback_as_it_was() -> None:
    try:
        raise ValueError("bad")
    except ValueError:
        record = logging.getLogger().makeRecord("hpo", logging.ERROR, "", 0, "failed", (), sys.exc_info())
    plain = logging.Formatter().format(record)
    assert Lines().format(record).splitlines()[1] == "  Traceback (most recent call last):"
    assert logging.Formatter().format(record) == plain


def test_no_handler_of_another_package_prints_a_control_character() -> None:
    """MLflow's own handler, for one, prints what a stored text says."""
    before, stream, logger = logging.getLogRecordFactory(), io.StringIO(), logging.getLogger("another.package")
    handler = logging.StreamHandler(stream)
    logging.setLogRecordFactory(HarmlessRecord)
    logger.addHandler(handler)
    try:
        logger.warning("stopped: %s", "\x1b]0;mine\x07 \u200f")
    finally:
        logger.removeHandler(handler)
        logging.setLogRecordFactory(before)
    assert stream.getvalue() == "stopped: \\x1b]0;mine\\x07 \\u200f\n"
