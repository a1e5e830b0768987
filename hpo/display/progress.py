"""Progress of a search: a live display on a terminal, plain lines elsewhere. Always on stderr."""

import time
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from hpo.display.tables import at_epoch, config_text, duration
from hpo.study.budget import Left
from hpo.study.study import Study
from hpo.study.trial import LIVE, Metrics, State, TrialRecord
from hpo.terminal import number, saying, text

_RECENT = 5


class Progress:
    """An observer that shows trials running, done, stopped and failed, the best so far and the time left.

    Args:
        study: the study that is searched.
        left: how many trials and epochs this search may run.
        time_limit: seconds, or None.
        console: where to write.
    """

    def __init__(self, study: Study, left: Left, time_limit: float | None, console: Console) -> None:
        self._study, self._left, self._time_limit, self._console = study, left, time_limit, console
        self._say = saying(console)
        self._started = time.monotonic()
        self._counts = dict.fromkeys(State, 0)
        earlier = [trial for trial in study.trials() if trial.state not in LIVE]
        for trial in earlier:
            self._counts[trial.state] += 1
        self._before = sum(trial.is_paid for trial in earlier)
        self._epochs: dict[int, tuple[int, float]] = {}
        self._paused: dict[int, tuple[int, float]] = {}
        self._reports = 0
        self._ended = 0
        self._recent: list[str] = []
        self._best = study.best()
        self._live = Live(get_renderable=self._render, console=console, refresh_per_second=4, transient=True)

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._console.is_terminal:
            self._live.stop()

    def trial_started(self, trial: TrialRecord) -> None:
        """Counts it as running, or as paused where an earlier search has left it so."""
        self._counts[trial.state] += 1
        value = trial.reports[trial.epoch][trial.metric] if trial.reports else float("nan")
        (self._paused if trial.state is State.PAUSED else self._epochs)[trial.number] = (trial.epoch, value)

    def trial_reported(self, number: int, epoch: int, metrics: Metrics) -> None:
        """Shows where the trial stands."""
        self._reports += 1
        self._epochs[number] = (epoch, metrics[self._study.spec.objective.metric])

    def trial_paused(self, number: int) -> None:
        """Counts it as paused; prints a line where there is no live display."""
        self._counts[State.RUNNING] -= 1
        self._counts[State.PAUSED] += 1
        epoch, value = self._paused[number] = self._epochs.pop(number)
        if not self._console.is_terminal:
            metric = self._study.spec.objective.metric
            line = f"trial {number} paused at epoch {epoch}: {metric} {at_epoch(value, epoch)}; {self._summary()}"
            self._say(line)

    def trial_resumed(self, number: int) -> None:
        """Counts it as running again."""
        self._counts[State.PAUSED] -= 1
        self._counts[State.RUNNING] += 1
        self._epochs[number] = self._paused.pop(number)

    def trial_ended(self, trial: TrialRecord) -> None:
        """Moves it to its outcome; prints a line where there is no live display."""
        self._counts[State.PAUSED if trial.number in self._paused else State.RUNNING] -= 1
        self._counts[trial.state] += 1
        self._ended += trial.is_paid  # a child goes on for another trial that has ended
        self._epochs.pop(trial.number, None)
        self._paused.pop(trial.number, None)
        self._best = self._better(trial)
        line = self._line(trial)
        if self._console.is_terminal:
            self._recent = [*self._recent, line][-_RECENT:]
        else:
            self._say(f"{line}; {self._summary()}")

    def _better(self, trial: TrialRecord) -> TrialRecord | None:
        """The incumbent, now that a trial has ended; once a trial is complete, only another one can take its place."""
        best, spec = self._best, self._study.spec
        if spec.objective.others or best is None or best.state is not State.COMPLETE:
            return self._study.best()
        if trial.state is not State.COMPLETE or trial.fitness is None or best.fitness is None:
            return best
        return min(best, trial, key=lambda one: (one.fitness, one.number))

    def _line(self, trial: TrialRecord) -> str:
        metric = self._study.spec.objective.metric
        value = "no value" if trial.value is None else f"{metric} {at_epoch(trial.value, trial.best_epoch)}"
        if trial.state is State.FAILED and trial.cause:
            when = f"at epoch {trial.epoch}, {value}" if trial.reports else "before its first report"
            return f"trial {trial.number} failed {when}: {trial.cause}"
        return f"trial {trial.number} {trial.state.value} at epoch {trial.epoch}: {value}"

    def _summary(self) -> str:
        counts = self._counts
        budget = self._left
        paused = f", {counts[State.PAUSED]} paused" if counts[State.PAUSED] else ""
        of_trials = "" if budget.trials is None else f"/{self._before + budget.trials}"
        of_epochs = "" if budget.epochs is None else f", {self._reports}/{budget.epochs} epochs"
        text = (
            f"{self._before + self._ended}{of_trials} ended"
            f" ({counts[State.COMPLETE]} complete, {counts[State.PRUNED]} pruned,"
            f" {counts[State.FAILED]} failed), {counts[State.RUNNING]} running{paused}{of_epochs}"
        )
        if self._best is not None and self._best.value is not None:
            text += f", best {at_epoch(self._best.value, self._best.best_epoch, self._best.number)}"
        left = self._seconds_left()
        return text if left is None else f"{text}, about {duration(left)} left"

    def _share(self) -> float:
        """How much of the budget is spent, 0 to 1: of whichever limit is nearest."""
        shares = [0.0]
        if self._left.trials:  # where none is left, only failed ones begin again
            shares.append(self._ended / self._left.trials)
        if self._left.epochs is not None:
            shares.append(self._reports / self._left.epochs)
        if self._time_limit is not None:
            shares.append((time.monotonic() - self._started) / self._time_limit)
        return min(1.0, max(shares))

    def _seconds_left(self) -> float | None:
        """Seconds left by the pace so far, and never beyond the time limit; None before anything has ended."""
        elapsed, share = time.monotonic() - self._started, self._share()
        limits = []
        if share and (self._ended or self._left.epochs is not None):
            limits.append(elapsed / share * (1 - share))
        if self._time_limit is not None:
            limits.append(self._time_limit - elapsed)
        return max(0.0, min(limits)) if limits else None

    def _render(self) -> Group:
        metric = self._study.spec.objective.metric
        bar = Table.grid(padding=(0, 1))
        bar.add_row(
            text(self._study.name, "bold"),
            ProgressBar(total=1.0, completed=self._share(), width=40),
            text(self._summary()),
        )
        running = Table.grid(padding=(0, 2))
        for trial, (epoch, value) in sorted(self._epochs.items()):
            reported = f"{metric} {number(value)}" if epoch else "starting"
            running.add_row(f"  trial {trial}", f"epoch {epoch}/{self._study.spec.training.epochs}", text(reported))
        lines = [text(f"  {line}", "dim") for line in self._recent]
        best = text("" if self._best is None else f"  best config: {config_text(self._best.config)}", "green")
        return Group(bar, best, running, *lines)
