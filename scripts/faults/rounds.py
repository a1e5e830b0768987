"""Drivers that are killed, and what must hold after each."""

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from mlflow.entities import ViewType

from hpo.study.folder import study_names
from hpo.study.study import Study
from hpo.study.trial import LIVE, State
from hpo.tracking.store import connect, trial_runs

_DRIVER = Path(__file__).with_name("driver.py")
_EARLIEST, _LATEST = 5.0, 16.0
"""Seconds after its start that a driver is killed."""
ORPHAN_SECONDS, _AGENT_SECONDS = 60.0, 120.0
"""In which all processes of a killed driver must be gone. Those that do no work look for Ray for a minute first."""
_IDLE = ("ray::DashboardAgent", "ray::RuntimeEnvAgent", "/agent.py", "/agent/main.py", "default_worker.py")
"""Ray's agents, and workers that have not begun."""
_WHOLE_SECONDS = 300.0

SPACE = """\
study: {name}
data: {{name: digits, validation: 0.2}}
model: {{name: mlp, layers: 1, width: 32}}
training: {{epochs: 9, batch_size: 64, device: cpu}}
optimizer: {{name: sgd, lr: 0.1, momentum: 0.9}}
parameters:
  optimizer.lr: {{min: 1.0e-4, max: 1.0, log: true}}
  model.width:  {{type: int, min: 8, max: 64, log: true}}
objective: {{metric: accuracy}}
sampler: {sampler}
scheduler: {scheduler}
budget: {{trials: {trials}}}
resources: {{cpu: 1, gpu: 0}}
seed: {seed}
"""
SEARCHES = (("curves", "freeze_thaw"), ("tpe", "asha"), ("random", "{name: pbt, interval: 3}"), ("tpe", "asha_stop"))


class Broken(AssertionError):
    """Something that must hold does not."""


@dataclass
class Tally:
    """What was done."""

    kills: int = 0
    studies: int = 0
    trials: int = 0
    epochs: int = 0
    trained: int = 0
    """Epochs, those that were trained again after a kill among them."""


def run(folder: Path, rounds: int, trials: int, seed: int) -> Tally:
    """Kills drivers until there were so many kills; each study is searched to its end.

    Raises:
        Broken: a trial is missing or too many, one that had ended was trained again, a process is left, or MLflow has
            not what the study has.
    """
    chance, tally, searches = random.Random(seed), Tally(), []
    while tally.kills < rounds:
        sampler, scheduler = SEARCHES[tally.studies % len(SEARCHES)]
        name = f"faults-{tally.studies}"
        space = folder / f"{name}.yaml"
        space.write_text(
            SPACE.format(name=name, sampler=sampler, scheduler=scheduler, trials=trials, seed=tally.studies)
        )
        search = _Search(space, folder / "studies", folder / f"{name}.txt", name)
        searches.append(search)
        while tally.kills < rounds and search.killed(chance.uniform(_EARLIEST, _LATEST)):
            tally.kills += 1
            print(f"kill {tally.kills}: {search.state()}", file=sys.stderr, flush=True)
        search.to_the_end()
        tally.studies += 1
        study = search.check(trials)
        tally.trials += len(study.trials())
        tally.epochs += study.spent().epochs
        tally.trained += sum(search.trained().values())
    for search in searches:
        wait_for_orphans(search.sessions, lambda name: True, _AGENT_SECONDS)
    return tally


class _Search:
    def __init__(self, space: Path, storage: Path, notes: Path, name: str) -> None:
        self._space, self._storage, self._notes, self._name = space, storage, notes, name
        self.sessions: set[int] = set()
        """Of the processes of its drivers."""
        self._ended: dict[int, int] = {}
        """Trials that had ended -> how often their epochs had been trained by then."""

    def killed(self, after: float) -> bool:
        """Starts the driver and kills it after so many seconds; False where it had ended by then."""
        driver = self._start()
        try:
            driver.wait(after)
        except subprocess.TimeoutExpired:
            driver.send_signal(signal.SIGKILL)
            driver.wait()
        wait_for_orphans(self.sessions, working, ORPHAN_SECONDS)
        if driver.returncode == 0:
            return False
        if driver.returncode != -signal.SIGKILL:
            raise Broken(f"the driver failed: {self._log.read_text()[-2000:]}")
        self._nothing_twice()
        trained = self.trained()
        self._ended = {number: trained[number] for number in self._over()}
        return True

    def to_the_end(self) -> None:
        """Runs the driver undisturbed."""
        driver = self._start()
        if driver.wait(_WHOLE_SECONDS) != 0:
            raise Broken(f"the driver failed: {self._log.read_text()[-2000:]}")
        wait_for_orphans(self.sessions, working, ORPHAN_SECONDS)
        self._nothing_twice()

    def state(self) -> str:
        """How far the study is."""
        if self._name not in study_names(self._storage):
            return "no study yet"
        counts = Counter(trial.state.value for trial in self._study().trials())
        return ", ".join(f"{count} {state}" for state, count in sorted(counts.items())) or "no trial yet"

    def trained(self) -> Counter[int]:
        """How often epochs of each trial were trained, by the workers' own notes."""
        lines = self._notes.read_text().splitlines() if self._notes.exists() else []
        if not lines:
            return Counter()
        study = self._study()
        numbers = {study.spec.trial_seed(trial.number): trial.number for trial in study.trials()}
        return Counter(numbers[int(line.split()[0])] for line in lines)

    def check(self, trials: int) -> Study:
        """The study, if it and MLflow are whole."""
        study = self._study()
        found = study.trials()
        of_budget = [trial for trial in found if not trial.inherited]
        if len(of_budget) != trials:
            raise Broken(f"{self._name} has {len(of_budget)} trials, not {trials}")
        if any(trial.state in LIVE or trial.state is State.FAILED for trial in found):
            raise Broken(f"{self._name}: {self.state()}: {[trial.reason for trial in found if trial.reason][-1]}")
        for trial in found:
            if sorted(trial.reports) != list(range(trial.inherited + 1, trial.epoch + 1)):
                raise Broken(f"{self._name}: trial {trial.number} has reports of epochs {sorted(trial.reports)}")
        check_mlflow(study, self._storage)
        return study

    def _nothing_twice(self) -> None:
        """No trial that had ended before the driver was started has been trained since."""
        trained = self.trained()
        for number, before in self._ended.items():
            if trained[number] != before:
                raise Broken(f"{self._name}: trial {number} had ended and was trained again")

    def _over(self) -> list[int]:
        """The trials that have ended."""
        if self._name not in study_names(self._storage):
            return []
        return [trial.number for trial in self._study().trials() if trial.state not in LIVE]

    def _study(self) -> Study:
        return Study.open(self._storage, self._name)

    @property
    def _log(self) -> Path:
        return self._space.with_suffix(".log")

    def _start(self) -> "subprocess.Popen[bytes]":
        words = [sys.executable, str(_DRIVER), str(self._space), str(self._storage), str(self._notes)]
        with self._log.open("w") as log:
            driver = subprocess.Popen(words, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
        self.sessions.add(driver.pid)
        return driver


def check_mlflow(study: Study, storage: Path) -> None:
    """That MLflow has each trial of an ended study once, with all of its reports.

    Raises:
        Broken: it has not.
    """
    client, experiment = connect(storage)
    runs = client.search_runs([experiment], f"tags.`hpo.study_id` = '{study.id}'", ViewType.ALL, 10_000)
    kinds = Counter(run.data.tags["hpo.kind"] for run in runs)
    if kinds != {"study": 1, "trial": len(study.trials())}:
        raise Broken(f"MLflow has {dict(kinds)} runs of a study with {len(study.trials())} trials")
    parent = next(run for run in runs if run.data.tags["hpo.kind"] == "study")
    for number, run in trial_runs(client, experiment, study).items():
        trial = study.trial(number)
        history = client.get_metric_history(run.info.run_id, trial.metric)
        told = [(point.step, point.value) for point in sorted(history, key=lambda point: point.step)]
        if told != [(epoch, metrics[trial.metric]) for epoch, metrics in trial.reports.items()]:
            raise Broken(f"MLflow has reports {told} of trial {number}, which made {trial.reports}")
        if run.info.status != "FINISHED" or run.data.tags["mlflow.parentRunId"] != parent.info.run_id:
            raise Broken(f"MLflow's run of trial {number} is {run.info.status}")


def wait_for_orphans(sessions: Collection[int], names: Callable[[str], bool], seconds: float) -> None:
    """Waits until no process of some sessions is left that has such a name.

    Raises:
        Broken: one is left after so many seconds.
    """
    deadline = time.monotonic() + seconds
    while left := [name for name in _processes(sessions) if names(name)]:
        if time.monotonic() > deadline:
            raise Broken(f"processes are left: {left}")
        time.sleep(0.2)


def working(name: str) -> bool:
    """Whether a process is none of those that stay for a minute."""
    return not any(idle in name for idle in _IDLE)


def _processes(sessions: Collection[int]) -> list[str]:
    """The commands of the processes of these sessions; a driver has one of its own."""
    found = []
    for place in Path("/proc").iterdir():
        if place.name.isdecimal():
            try:
                if os.getsid(int(place.name)) in sessions and (command := (place / "cmdline").read_bytes()):
                    found.append(command.replace(b"\0", b" ").decode(errors="replace").strip())
            except OSError:  # it has ended
                continue
    return found
