"""Programs as training functions: how they report, end, are stopped and go on."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from hpo.errors import StudyError, TrainingError
from hpo.study.artifacts import MOST_PRINTED
from hpo.study.study import Study
from hpo.training.programs import Program
from hpo.training.programs.program import RunningProgram
from hpo.training.reports import reports_of
from tests.conftest import ROOT
from tests.training.programs.conftest import MARK, Start, eventually, processes, py, searched, sh

ONE = '{"epoch": 1, "loss": 0.5}'
LINES = [f'{{"epoch": {epoch}, "loss": {epoch / 2}}}' for epoch in range(1, 6)]
FOREVER = f"echo '{ONE}'; while true; do sleep 0.1; done"


def losses(program: RunningProgram) -> list[tuple[int, float]]:
    return [(report.epoch, report.metrics["loss"]) for report in program]


def state_of(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


# ---- how they report -------------------------------------------------------------------------------------------------


def test_lines_of_json_are_reports(start: Start) -> None:
    words = sh("; ".join(["echo starting", *[f"echo '{line}'" for line in LINES]]))
    assert losses(start(words)) == [(epoch, epoch / 2) for epoch in range(1, 6)]


def test_other_lines_of_json_are_not(start: Start) -> None:
    others = ['{"msg": "hi"}', "[1]", "3", "{", '{"epoch": 1}', "null", '{"epoch": 1, "loss": 1, "time": "12:00"}']
    program = start(sh("; ".join(f"echo '{line}'" for line in others)))
    assert [(report.epoch, report.metrics) for report in program] == [(1, {"loss": 1})]


def test_hpo_report_waits_for_its_answer(start: Start, tmp_path: Path) -> None:
    script = "import hpo\nfor epoch in range(1, 4):\n  hpo.report(loss=epoch / 2)\n  open(f'after{epoch}', 'w')\n"
    program = start(py(script), folder=str(tmp_path))
    for epoch in (1, 2, 3):
        assert next(program).epoch == epoch
        assert not (tmp_path / f"after{epoch}").exists()
    assert next(program, None) is None and (tmp_path / "after3").exists()


def test_hpo_report_needs_nothing_heavy(start: Start) -> None:
    script = "import hpo, sys; hpo.report(loss=len({'torch', 'numpy', 'ray', 'pydantic'} & {*sys.modules}))"
    assert losses(start(py(script))) == [(1, 0.0)]


def test_hpo_report_takes_numbers_of_any_library_and_nothing_else(start: Start) -> None:
    script = "import hpo, torch\nhpo.report({'loss': torch.tensor(0.5)}, epoch=2)\nhpo.report(loss='low')\n"
    program = start(py(script))
    assert next(program).metrics == {"loss": 0.5}
    with pytest.raises(TrainingError, match="exit code 1 after epoch 2: TypeError: hpo.report got 'low' as 'loss'"):
        next(program)


def test_without_a_search_around_hpo_report_does_nothing() -> None:
    done = subprocess.run([sys.executable, "-c", "import hpo; hpo.report(loss=1)"], cwd=ROOT, check=False)
    assert done.returncode == 0


@pytest.mark.parametrize(
    ("pattern", "printed", "found"),
    [
        (r"loss=(?P<loss>[\d.]+)", ["loss=1.5", "x", "loss=2.5"], [(1, 1.5), (2, 2.5)]),
        (
            r"epoch (?P<epoch>\d+).*loss (?P<loss>\S+)",
            ["epoch 2: loss 1e-3", "epoch 4: loss nan"],
            [(2, 0.001), (4, None)],
        ),
        (r"epoch (?P<epoch>\d+)|loss (?P<loss>\S+)", ["epoch 2", "loss 3", "epoch 4", "loss 5"], [(2, 3.0), (4, 5.0)]),
        (r"loss=(?P<loss>[\d.]+)", ["1 loss=3\\rloss=2\\rloss=1"], [(1, 3.0), (2, 2.0), (3, 1.0)]),
    ],
)
def test_a_pattern_finds_reports(pattern: str, printed: list[str], found: list[Any], start: Start) -> None:
    program = start(["printf", "\\n".join(printed) + "\\n"], metrics=pattern)
    assert [(epoch, None if loss != loss else loss) for epoch, loss in losses(program)] == found


def test_what_a_pattern_takes_for_a_number_must_be_one(start: Start) -> None:
    program = start(["echo", "loss=low"], metrics=r"loss=(?P<loss>\w+)")
    with pytest.raises(TrainingError, match=r"printed 'low' \(str\), which `command.metrics` takes for 'loss'"):
        next(program)


def test_one_report_is_of_the_full_training(start: Start) -> None:
    assert losses(start(["echo", '{{"loss": 0.5}}'])) == [(5, 0.5)]
    assert losses(start(["echo", "loss=0.5"], metrics="loss=(?P<loss>.*)")) == [(5, 0.5)]
    assert losses(start(["echo", '{{"loss": 0.5}}'], epochs=1)) == [(1, 0.5)]


def test_several_that_do_not_say_their_epoch_count(start: Start) -> None:
    assert losses(start(["printf", '{{"loss": 1}}\\n{{"loss": 2}}\\n{{"loss": 3}}'])) == [(1, 1.0), (2, 2.0), (3, 3.0)]


@pytest.mark.parametrize(
    ("epochs", "words"), [(1, sh(f"echo '{ONE}'; echo '{LINES[1]}'")), (1, py("print('{\"loss\": 1}\\n' * 2)"))]
)
def test_more_epochs_than_a_full_training_has_are_told(epochs: int, words: list[str], start: Start) -> None:
    with pytest.raises(
        TrainingError, match=r"went on reporting after epoch 1 of 1: training.epochs .--set training.epochs=N"
    ):
        next(start(words, epochs=epochs))
    with pytest.raises(TrainingError, match="the program reported epoch 9 of 5: training.epochs .--set"):
        next(start(["echo", '{{"epoch": 9, "loss": 1}}']))


def test_the_last_report_counts_when_the_program_has_done_all(start: Start, tmp_path: Path) -> None:
    program = start(sh(f"echo '{LINES[4]}'; sleep 0.2; echo saved > model"), folder=str(tmp_path))
    assert next(program).epoch == 5 and (tmp_path / "model").exists()
    failing = start(sh(f"echo '{LINES[4]}'; exit 4"))
    with pytest.raises(TrainingError, match="ended with exit code 4"):
        next(failing)


def test_epochs_that_do_not_increase_and_metrics_that_are_missing_are_told() -> None:
    with pytest.raises(TrainingError, match="the program reported epoch 1 after epoch 1: each must be later"):
        list(run(sh(f"echo '{ONE}'; echo '{ONE}'")))
    with pytest.raises(
        TrainingError, match=r"the program reported 'low' \(str\) as 'loss' at epoch 1, which the study"
    ):
        list(run(["echo", '{{"epoch": 1, "loss": "low"}}']))


def run(words: list[str]) -> Any:
    from hpo.training import Context

    wanted = searched(words)
    assert wanted.command is not None
    return reports_of(Program.of(wanted.command), {"lr": 0.5}, Context(wanted, None, 7))


def test_it_is_told_what_it_needs(start: Start) -> None:
    script = "import os, json, sys\ntold = {n: v for n, v in os.environ.items() if 'HPO' in n}\n"
    script += "print(json.dumps(told), file=sys.stderr)\nprint('{\"loss\": 1}')"
    program = start(py(script), environment={"RATE": "{lr}"}, resumes=True, epochs=1)
    list(program)
    program.close()
    told = json.loads((Path("trial") / "stderr.txt").read_text())
    wanted = {
        "PARAM_LR": "0.5",
        "PARAM_OPTIMIZER_NAME": "sgd",
        "TRIAL": "3",
        "SEED": "7",
        "EPOCHS": "1",
        "STUDY": "own",
    }
    assert {name: told[f"HPO_{name}"] for name in wanted} == wanted
    assert json.loads(told["HPO_CONFIG"]) == {"lr": 0.5, "optimizer.name": "sgd"} and told["HPO_START_EPOCH"] == "1"
    assert not Path(told["HPO_CHECKPOINT"]).exists()  # it goes with the trial


def test_words_and_variables_have_the_values_of_parameters(start: Start) -> None:
    words = ["sh", "-c", 'echo "{{\\"loss\\": {lr}}}"; echo "$0 $RATE $1" >&2', "{optimizer.name}", "{trial}"]
    assert losses(start(words, environment={"RATE": "{lr}:{epochs}"}))[0][1] == 0.5
    start(words).close()
    program = start(words, environment={"RATE": "{lr}:{epochs}"})
    list(program)
    program.close()
    assert Path("trial/stderr.txt").read_text() == "sgd 0.5:5 3\n"


# ---- how they fail ---------------------------------------------------------------------------------------------------


def test_a_failure_is_told_with_the_last_lines(start: Start) -> None:
    program = start(sh(f"echo '{ONE}'; echo first >&2; echo 'ValueError: no' >&2; exit 3"))
    next(program)
    with pytest.raises(TrainingError) as caught:
        next(program)
    assert str(caught.value).splitlines() == [
        "first",
        "the program ended with exit code 3 after epoch 1: ValueError: no",
    ]
    program.close()
    assert Path("trial/stderr.txt").read_text() == "first\nValueError: no\n"
    assert Path("trial/stdout.txt").read_text() == f"{ONE}\n"


def test_one_that_dies_silently_is_told_with_its_signal(start: Start) -> None:
    program = start(sh(f"echo '{ONE}'; kill -9 $$"))
    assert losses_until_error(program) == [(1, 0.5)]
    with pytest.raises(TrainingError, match=r"was ended by SIGKILL \(the kernel does so where memory has run out\)"):
        next(start(sh("kill -9 $$")))


def losses_until_error(program: RunningProgram) -> list[tuple[int, float]]:
    found = []
    with pytest.raises(TrainingError):
        for report in program:
            found.append((report.epoch, report.metrics["loss"]))
    return found


def test_one_that_reports_nothing_is_told_how_to(start: Start) -> None:
    with pytest.raises(
        TrainingError, match='let it print a line of JSON, such as {"epoch": 1, "loss": 0.5}, or call hpo'
    ):
        next(start(["echo", "done"]))
    with pytest.raises(TrainingError, match="`command.metrics`, 'lss=.*', fits no line of its stdout"):
        next(start(["echo", "loss=1"], metrics="lss=(?P<loss>.*)"))


def test_half_a_line_of_json_is_no_report(start: Start) -> None:
    program = start(["printf", f'{LINES[0]}\\n{{"epoch": 2, "lo'.replace("{", "{{").replace("}", "}}")])
    assert losses(program) == [(1, 0.5)]
    with pytest.raises(TrainingError, match='What looks like a report is no JSON: \'{"epoch": 1, "lo\''):
        next(start(["printf", '{{"epoch": 1, "lo']))


def test_bytes_that_are_no_text_are_kept_and_no_report(start: Start) -> None:
    program = start(sh(f"printf '\\377\\376{{\"loss\": \\377}}\\n'; echo '{ONE}'; printf '\\000\\200'"))
    assert losses(program) == [(1, 0.5)]
    program.close()
    assert (
        Path("trial/stdout.txt").read_bytes().startswith(b"\xff\xfe{")
        and b"\0\x80" in Path("trial/stdout.txt").read_bytes()
    )


def test_one_that_prints_100_mb_fills_neither_memory_nor_disk(start: Start) -> None:
    lines = "import sys\nfor _ in range(100): sys.stdout.write(('x' * 999 + '\\n') * 1000)\n"
    program = start(py(f"{lines}print('{ONE}')\nprint('y' * 10**7)\n"))
    assert losses(program) == [(1, 0.5)]
    program.close()
    kept = Path("trial/stdout.txt").read_bytes()
    assert len(kept) < MOST_PRINTED + 100 and kept.startswith(b"xxx") and kept.endswith(b"yyy\n")
    assert f"... {10**8 + 10**7 + len(ONE) + 2 - MOST_PRINTED:,} bytes left out ...".encode() in kept


def test_a_program_that_is_not_there_is_told(start: Start, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="the program 'nope' cannot be started: No such file or directory"):
        next(start(["nope", "{lr}"]))
    (tmp_path / "plain.txt").write_text("x")
    with pytest.raises(TrainingError, match="cannot be started: Permission denied"):
        next(start(["./plain.txt"], folder=str(tmp_path)))
    with pytest.raises(TrainingError, match="its folder '.*nowhere' is not on this machine"):
        start(["true"], folder="nowhere")


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (["nope"], "there is no program 'nope' on the PATH"),
        (["./nope"], "there is no program './nope' in '"),
        (["python", "trian.py"], "there is no 'trian.py' in '.*', which python is to run. Did you mean 'train.py'?"),
        (["python", "train.py"], None),
        (["python", "-m", "nope"], None),
        (["{optimizer.name}"], None),
    ],
)
def test_what_is_missing_is_known_before(run: list[str], message: str | None, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("")
    command = searched(run).command
    assert command is not None
    missing = Program.of(command).missing
    assert missing is None if message is None else missing is not None and __import__("re").search(message, missing)


# ---- how they end ----------------------------------------------------------------------------------------------------


def test_between_two_reports_it_stands_still(start: Start, mark: str) -> None:
    program = start(sh(FOREVER))
    next(program)
    assert eventually(lambda: {state_of(pid) for pid in processes(mark)} <= {"T", "D"})  # D waits for a child
    assert processes(mark)
    program.close()
    assert processes(mark) == []


def test_sigterm_lets_it_end_in_order(start: Start, tmp_path: Path) -> None:
    program = start(sh(f"trap 'echo bye > bye; exit 0' TERM; {FOREVER}"), folder=str(tmp_path), grace=60)
    next(program)
    program.close()
    assert (tmp_path / "bye").exists()


def test_one_that_ignores_sigterm_is_killed(start: Start, mark: str) -> None:
    program = start(sh(f"trap '' TERM HUP INT; {FOREVER}"))
    next(program)
    program.close()
    assert processes(mark) == []


def test_one_that_waits_in_hpo_report_runs_its_finally(start: Start, tmp_path: Path) -> None:
    script = "import hpo\ntry:\n  for i in range(3): hpo.report(loss=i)\nfinally: open('closed', 'w')\n"
    program = start(py(script), folder=str(tmp_path), grace=60)
    next(program)
    program.close()
    assert (tmp_path / "closed").exists()


def test_what_it_prints_while_it_ends_is_kept_and_no_report(start: Start) -> None:
    script = 'import hpo\ntry: hpo.report(loss=1, epoch=1)\nfinally: print(\'{"epoch": 2, "loss": 2}\\nbye\')'
    program = start(py(script), grace=60)
    next(program)
    program.close()
    assert next(program, None) is None and Path("trial/stdout.txt").read_text().endswith("bye\n")


DAEMON = """
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        time.sleep(1000)
    os._exit(0)
os.wait()
"""


@pytest.mark.parametrize("end", ["close", "itself", "failure"])
def test_what_it_has_forked_goes_with_it(end: str, start: Start, mark: str) -> None:
    """Children of its group that ignore SIGTERM, one in a session of its own, and a daemon."""
    children = "(trap '' TERM; sleep 1000) & setsid sleep 1000 & "
    last = {"close": "sleep 1000", "itself": "exit 0", "failure": "exit 3"}[end]
    program = start(
        [
            "sh",
            "-c",
            f"{children} python -c \"$1\"; echo '{ONE}'; {last}".replace("{", "{{").replace("}", "}}"),
            "sh",
            DAEMON,
        ]
    )
    next(program)
    assert end != "close" or len(processes(mark)) >= 3
    if end == "itself":
        assert next(program, None) is None
    elif end == "failure":
        with pytest.raises(TrainingError, match="exit code 3"):
            next(program)
    else:
        program.close()
    assert processes(mark) == []


def test_a_supervisor_that_is_killed_takes_its_program_along(start: Start, mark: str) -> None:
    program = start(sh(FOREVER))
    next(program)
    leader = min(processes(mark), key=lambda pid: parent(pid) in processes(mark))
    os.kill(parent(leader), signal.SIGKILL)
    with pytest.raises(TrainingError, match="was killed with the process that supervises it after epoch 1"):
        next(program)
    assert eventually(lambda: not processes(mark))


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


WORKER = """
import sys
from tests.training.programs.conftest import searched, sh
from hpo.training import Context
from hpo.study.study import Study
from hpo.training.programs import Program
wanted = searched(sh(sys.argv[2]), mark=sys.argv[1])
program = Program.of(wanted.command)({"lr": 0.5}, Context(wanted, None, 7))
print(next(program).epoch, program._scratch, flush=True)
sys.stdin.read()
"""


def test_a_worker_that_is_killed_leaves_no_process_and_no_file(mark: str, tmp_path: Path) -> None:
    script = f"(trap '' TERM; setsid sleep 1000) & {FOREVER}"
    command = [sys.executable, "-c", WORKER, mark, script]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    worker = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
    assert worker.stdout is not None
    epoch, scratch = worker.stdout.readline().split()
    assert epoch == "1" and Path(scratch).is_dir() and processes(mark)
    worker.kill()
    worker.communicate()
    assert eventually(lambda: not processes(mark) and not Path(scratch).exists())


# ---- how they go on --------------------------------------------------------------------------------------------------

COUNTS = """
import json, os, pathlib, sys, time
def printed(epoch, loss):
    print(json.dumps({"epoch": epoch, "loss": loss}))
    time.sleep(0.5)  # what an epoch takes: it does not wait before the next checkpoint
if sys.argv[1] == "printed":
    report = printed
else:
    from hpo import report
folder = pathlib.Path(os.environ["HPO_CHECKPOINT"])
done = int((folder / "below" / "done").read_text()) if (folder / "below").exists() else 0
assert done + 1 == int(os.environ["HPO_START_EPOCH"])
for epoch in range(done + 1, int(os.environ["HPO_EPOCHS"]) + 1):
    (folder / "below").mkdir(exist_ok=True)
    (folder / "below" / "done").write_text(str(epoch))
    (folder / "weights").write_bytes(bytes(range(256)))
    if not (folder / "last").exists(): (folder / "last").symlink_to("weights")
    report(epoch=epoch, loss=1 / epoch)
"""


@pytest.mark.parametrize("how", ["printed", "called"])
def test_it_goes_on_from_its_checkpoint(how: str, start: Start) -> None:
    program = start([*py(COUNTS), how], resumes=True)
    next(program)
    report = next(program)
    assert report.state is not None
    state = report.state()
    program.close()
    assert set(state["files"]) == {"below/done", "last", "weights"} and state["epoch"] == 2
    again = start([*py(COUNTS), how], resumes=True, resume=state)
    assert losses(again) == [(3, 1 / 3), (4, 0.25), (5, 0.2)]
    again.close()
    if how == "printed":
        lines = Path("trial/stdout.txt").read_text().splitlines()
        assert [json.loads(line)["epoch"] for line in lines] == [1, 2, 3, 4, 5]


def test_one_that_does_not_resume_has_no_folder_and_no_state(start: Start) -> None:
    program = start(sh(f"test -z \"$HPO_CHECKPOINT\" && echo '{ONE}'"))
    assert next(program).state is None


def test_one_that_has_kept_nothing_has_no_state(start: Start) -> None:
    assert next(start(sh(f"echo '{ONE}'; sleep 1000"), resumes=True)).state is None


def test_a_folder_or_a_pipe_behind_a_link_cannot_be_kept(start: Start) -> None:
    report = next(start(sh(f"ln -s / $HPO_CHECKPOINT/root; echo '{ONE}'; sleep 1000"), resumes=True))
    assert report.state is not None
    with pytest.raises(TrainingError, match="checkpoint folder has 'root', which is no file and leads to none"):
        report.state()


FILE = torch.zeros(3, dtype=torch.uint8)


@pytest.mark.parametrize(
    "state",
    [
        {},
        {"epoch": 9, "files": {}},
        {"epoch": True, "files": {}},
        {"epoch": 1, "files": {"../out": FILE}},
        {"epoch": 1, "files": {"/etc/out": FILE}},
        {"epoch": 1, "files": {"a/../../out": FILE}},
        {"epoch": 1, "files": {"": FILE}},
        {"epoch": 1, "files": {"a": torch.zeros(3)}},
        {"epoch": 1, "files": {"a": b"x"}},
        {"epoch": 1, "files": {3: FILE}},
    ],
)
def test_a_stored_checkpoint_writes_nothing_elsewhere(state: Any, start: Start, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="the stored state is no checkpoint of a program"):
        start(["true"], resumes=True, resume=state)
    assert not list(tmp_path.rglob("out"))


def test_a_mark_is_seen(mark: str) -> None:
    """Or the tests above would look for nothing."""
    sleeper = subprocess.Popen(["sleep", "1000"], env={MARK: mark, "PATH": os.environ["PATH"]})
    assert eventually(lambda: processes(mark) == [sleeper.pid])
    sleeper.kill()
    sleeper.wait()


def test_a_study_of_programs_has_no_ensemble_and_says_so(tmp_path: Path) -> None:
    made = Study.create(tmp_path / "studies", searched(["true", "{lr}"]))
    with pytest.raises(StudyError, match="is trained by a program, whose trials leave no predictions here"):
        _ = made.study_spec
