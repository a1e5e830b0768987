"""A program of the user's own as a training function: an iterator of its reports."""

import contextlib
import json
import os
import re
import selectors
import shutil
import signal
import tempfile
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self

from hpo.errors import TrainingError
from hpo.plugins import did_you_mean
from hpo.reporting import ADDRESS
from hpo.spec import Config, SearchSpec
from hpo.spec.command import Command, names, variable, written
from hpo.study.artifacts import PRINTED, printed
from hpo.study.code import Code
from hpo.training.function import Context, Report, TrainingState
from hpo.training.output import Output
from hpo.training.programs import checkpoint
from hpo.training.programs.printed_reports import PrintedReports, Told
from hpo.training.programs.process import ProgramProcess
from hpo.training.programs.report_socket import ReportSocket

_STORE_SECONDS = 10.0
"""What a program prints is stored so often at most while it runs."""
_TOLD = ("HPO_STUDY", "HPO_TRIAL", "HPO_SEED", "HPO_EPOCHS", "HPO_START_EPOCH")
"""The variables that every program has."""
_LONGEST_PATH = 80
"""Letters of the folder for temporary files, beyond which the path of a socket in it would be too long."""
_INTERPRETERS = re.compile(r"(python|pypy|bash|sh|zsh|dash|ksh|Rscript|julia|perl|ruby|node|lua|octave)[\d.]*")


@dataclass(frozen=True)
class Program:
    """What `command` names, as a training function.

    Args:
        command: of a search.
        folder: where it runs.
    """

    command: Command
    folder: Path

    @classmethod
    def of(cls, command: Command) -> Self:
        """The program of a command, whose folder is relative to the current one."""
        return cls(command, Path.cwd() / Path(command.folder or ".").expanduser())

    @property
    def missing(self) -> str | None:
        """What this machine lacks to run it, as a sentence; None where nothing is known to be missing."""
        program, *arguments = self.command.run
        if not self.folder.is_dir():
            return f"its folder '{self.folder}' is not there"
        if not any(names(program)):
            path = self.command.environment.get("PATH", os.environ.get("PATH"))
            named = str(self.folder / program) if "/" in program else program
            if shutil.which(named, path=path) is None:
                where = f"in '{self.folder}'" if "/" in program else "on the PATH"
                return f"there is no program '{program}' {where}"
        script = arguments[0] if arguments and _INTERPRETERS.fullmatch(Path(program).name) else ""
        if script and not script.startswith("-") and not any(names(script)) and not (self.folder / script).exists():
            there = [path.name for path in self.folder.glob(f"*{Path(script).suffix}")] if Path(script).suffix else []
            return f"there is no '{script}' in '{self.folder}', which {program} is to run.{did_you_mean(script, there)}"
        return None

    def code(self) -> Code:
        """The identity of the program: the text of the command, and hashes of the scripts that it names."""
        return Code.of_words(self.command.text, self.command.run, self.folder)

    def __call__(self, config: Config, context: Context) -> "RunningProgram":
        """Starts the program for a config."""
        return RunningProgram(self, config, context)


class RunningProgram(Iterator[Report]):
    """A program that trains one config; each step runs it to its next report, and between two it stands still.

    Args:
        program: what runs.
        config: parameter name -> value.
        context: the search, the seed and the number of the trial, its place for files, and the state to go on from.

    Raises:
        TrainingError: it cannot be started, or its state is damaged.
    """

    def __init__(self, program: Program, config: Config, context: Context) -> None:
        self._spec, self._place, command = context.spec, context.place, program.command
        self._resumes, self._epochs = command.resumes, context.spec.training.epochs
        self._parser = PrintedReports(context.spec)
        before = {} if self._place is None or context.resume is None else printed(self._place)
        self._output = [Output(before.get(name, b"")) for name in PRINTED]
        self._stored_at = time.monotonic()
        self._reports: deque[Told] = deque()
        self._held: Told | None = None
        """A report that is not passed on before the next one, or the program's end."""
        self._deaf = self._reported = False
        self._scratch = _scratch()
        self._checkpoint = self._scratch / "checkpoint"
        self._selector = selectors.DefaultSelector()
        self._epoch = self._heard = 0
        self._process: ProgramProcess | None = None
        try:
            self._checkpoint.mkdir()
            if context.resume is not None and self._resumes:
                self._epoch = self._heard = checkpoint.unpack(context.resume, self._checkpoint, self._epochs)
            self._socket = ReportSocket(self._scratch / "report", self._selector, self._hear)
            self._process = self._started(program, config, context)
        except BaseException:
            self._let_go()
            raise

    def __next__(self) -> Report:
        """Lets the program run to its next report.

        Raises:
            TrainingError: it has failed, or ended without any report.
        """
        while not self._reports:
            if self._process is None:
                raise StopIteration
            if self._process.over:
                self._finish()
                if not self._reports:
                    raise StopIteration
                break
            self._process.go_on()
            self._socket.answer("go")
            self._process.wait()
        return self._report(self._reports.popleft())

    def close(self) -> None:
        """Ends the program: one that waits in `hpo.report` ends by itself, any other by SIGTERM, or else SIGKILL."""
        if self._process is not None and not self._process.over:
            waits = self._socket.waits
            self._deaf = True
            self._socket.answer("stop")
            self._process.go_on()
            self._process.end(patience=self._grace if waits else 0.0)
        if self._process is not None:
            self._let_go()
            self._process = None
            self._store()

    @property
    def _grace(self) -> float:
        assert self._spec.command is not None
        return self._spec.command.grace

    # ---- how it starts and ends --------------------------------------------------------------------------------------

    def _started(self, program: Program, config: Config, context: Context) -> ProgramProcess:
        told = _told_values(context, self._checkpoint if self._resumes else None, self._epoch)
        parameters = {name: written(value) for name, value in config.items()}
        values: dict[str, str | None] = {
            **{name.removeprefix("HPO_").lower(): text for name, text in told.items()},
            **dict.fromkeys(context.spec.parameters),
            **parameters,
        }
        command = program.command.filled(values)
        environment = {
            **{"PYTHONUNBUFFERED": "1"},  # or Python would keep its reports until its end
            **{name: text for name, text in os.environ.items() if not _ours(name)},
            **command.environment,
            **{variable(name): text for name, text in parameters.items()},
            **told,
            "HPO_CONFIG": json.dumps(config),
            ADDRESS: str(self._scratch / "report"),
        }
        if not program.folder.is_dir():
            raise TrainingError(f"the program cannot be started: its folder '{program.folder}' is not on this machine")
        try:
            return ProgramProcess(
                command.run, environment, program.folder, self._scratch, command.grace, self._selector, self._listen
            )
        except OSError as error:
            raise TrainingError(f"the program cannot be started: {error}") from error

    def _finish(self) -> None:
        """Takes what the program has said last, and its end.

        Raises:
            TrainingError: it could not be started, has failed, or has reported nothing.
        """
        assert self._process is not None
        if self._process.failed is not None:
            assert self._spec.command is not None
            words = self._spec.command.run
            raise TrainingError(f"the program '{words[0]}' cannot be started: {os.strerror(self._process.failed)}")
        for told in self._parser.end():
            self._hear_printed(told)
        if self._reports:
            return
        if self._process.status:
            raise TrainingError(_failure(self._process, self._epoch, self._output))
        if self._held is not None:
            self._reports.append(Told(self._held.metrics, self._epochs))
            self._held = None
        elif not self._reported and not self._epoch:
            raise TrainingError(_silence(self._spec, self._parser.torn))

    def _let_go(self) -> None:
        """Lets go of all that it holds, and removes its folder."""
        if self._process is not None:
            self._process.close()
        with contextlib.suppress(AttributeError):  # it has not come so far
            self._socket.close()
        self._selector.close()
        shutil.rmtree(self._scratch, ignore_errors=True)

    # ---- what it says ------------------------------------------------------------------------------------------------

    def _listen(self, stream: int, content: bytes) -> None:
        self._output[stream].add(content)
        if stream == 0 and not self._deaf:
            for told in self._parser.feed(content):
                self._hear_printed(told)

    def _hear_printed(self, told: Told) -> None:
        """Takes a report that was printed; the program stands still until it is told to go on.

        The first one that does not say its epoch may be the only one, and so of the full training.
        """
        if told.epoch is None and not self._reported and not self._resumes:
            self._reported, self._held = True, told
            return
        if self._process is not None:
            self._process.halt()
        self._hear(told)

    def _hear(self, told: Told) -> None:
        """Takes a report. That of the last epoch is passed on when the program has ended, which may have more to do."""
        if self._deaf:
            return
        held, self._held, self._reported = self._held, None, True
        if held is not None:
            if self._epochs == 1 or held.epoch is not None:
                raise TrainingError(
                    f"the program went on reporting after epoch {self._epochs} of {self._epochs}: training.epochs"
                    " (--set training.epochs=N) says how many a full training has"
                )
            self._heard += 1
            self._reports.append(Told(held.metrics, self._heard))
        epoch = self._heard + 1 if told.epoch is None else _whole(told.epoch)
        self._heard = epoch if type(epoch) is int else self._heard
        told = Told(told.metrics, epoch)
        if type(epoch) is int and epoch == self._epochs:
            self._held = told
        else:
            self._reports.append(told)

    def _report(self, told: Told) -> Report:
        epoch = told.epoch
        if isinstance(epoch, int) and epoch > self._epochs:
            raise TrainingError(
                f"the program reported epoch {epoch} of {self._epochs}: training.epochs (--set training.epochs=N) says"
                " how many a full training has"
            )
        self._epoch = epoch
        if time.monotonic() - self._stored_at >= _STORE_SECONDS:
            self._store()
        goes_on = self._resumes and bool(checkpoint.names(self._checkpoint))
        return Report(epoch, told.metrics, state=partial(self._state, epoch) if goes_on else None)

    def _state(self, epoch: int) -> TrainingState:
        return checkpoint.packed(self._checkpoint, epoch)

    def _store(self) -> None:
        """Stores what the program has printed so far."""
        self._stored_at = time.monotonic()
        if self._place is not None:
            for name, output in zip(PRINTED, self._output, strict=True):
                if kept := output.kept:
                    self._place.write(name, kept)


def _whole(epoch: Any) -> Any:
    """An epoch that JSON has as 3.0, as a whole number; anything else as it is."""
    return int(epoch) if isinstance(epoch, float) and epoch.is_integer() else epoch


def _told_values(context: Context, folder: Path | None, reached: int) -> dict[str, str]:
    """What every program is told by environment variables, beside its parameters."""
    values = context.spec.study, context.number, context.seed, context.spec.training.epochs, reached + 1
    told = dict(zip(_TOLD, map(str, values), strict=True))
    return told if folder is None else {**told, "HPO_CHECKPOINT": str(folder)}


def _ours(name: str) -> bool:
    """Whether a variable is one that a program is told, which a program around this search may have been told."""
    return name.startswith("HPO_PARAM_") or name in (*_TOLD, "HPO_CHECKPOINT", "HPO_CONFIG", ADDRESS)


def _scratch() -> Path:
    """A new folder that only this user can enter, whose name is short enough for a socket in it."""
    usual = tempfile.gettempdir()
    return Path(tempfile.mkdtemp(prefix="hpo-program-", dir=usual if len(usual) <= _LONGEST_PATH else "/tmp"))


def _failure(process: ProgramProcess, epoch: int, output: list[Output]) -> str:
    """Why a trial has failed: the last lines that its program has printed, and how it ended."""
    status = process.status or 0
    how = f"ended with exit code {status}"
    if process.bereaved:
        how = "was killed with the process that supervises it"
    elif status < 0:
        how = f"was ended by {_signal(-status)}"
        if -status == signal.SIGKILL:
            how += " (the kernel does so where memory has run out)"
    when = f" after epoch {epoch}" if epoch else " before its first report"
    stdout, stderr = output
    lines = stderr.last or stdout.last
    last = f": {lines[-1]}" if lines else ", and printed nothing"
    return "\n".join([*lines[:-1], f"the program {how}{when}{last}"])


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _silence(spec: SearchSpec, torn: str | None) -> str:
    """What is said of a program that has ended well and reported nothing."""
    metric = spec.objective.metric
    torn = "" if torn is None else f" What looks like a report is no JSON: {torn[:200]!r}."
    pattern = spec.command.metrics if spec.command is not None else None
    if pattern is not None:
        return f"the program ended without a report: `command.metrics`, {pattern!r}, fits no line of its stdout.{torn}"
    return (
        f'the program ended without a report: let it print a line of JSON, such as {{"epoch": 1, "{metric}": 0.5}}, or'
        f" call hpo.report(epoch=1, {metric}=0.5), or say by `command.metrics` how '{metric}' is found in what it"
        f" prints.{torn}"
    )
