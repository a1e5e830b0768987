"""Simulated studies of many trials, and what each part of the driver costs in them."""

import gc
import math
import resource
import statistics
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import hpo
from hpo.controller import Controller
from hpo.study.study import Study
from hpo.study.trial import Metrics, TrialRecord
from hpo.study.writer import Writer

SEARCHES: dict[str, dict[str, Any]] = {
    "curves + freeze_thaw": {"sampler": "curves", "scheduler": "freeze_thaw"},
    "curves + asha": {"sampler": "curves", "scheduler": "asha"},
    "tpe + asha": {"sampler": "tpe", "scheduler": "asha"},
    "tpe + hyperband": {"sampler": "tpe", "scheduler": "hyperband"},
    "mu_lambda + asha": {"sampler": {"name": "evolution", "strategy": "mu_plus_lambda"}, "scheduler": "asha"},
    "cma + asha": {"sampler": {"name": "evolution", "strategy": "cma"}, "scheduler": "asha"},
    "differential + asha": {"sampler": {"name": "evolution", "strategy": "differential"}, "scheduler": "asha"},
    "aging + asha": {"sampler": {"name": "evolution", "strategy": "aging"}, "scheduler": "asha"},
    "nsga2 + asha": {"sampler": {"name": "evolution", "strategy": "nsga2"}, "scheduler": "asha"},
    "portfolio + asha": {"sampler": "portfolio", "scheduler": "asha"},
    "random + asha": {"sampler": "random", "scheduler": "asha"},
}
"""Name -> settings of the spec."""
_BLOCK = 100
"""Trials at each end of the study whose cost is compared."""


def curve(config: Mapping[str, Any], epoch: int) -> tuple[dict[str, float], float]:
    """A power law of the epoch, worse the further the config is from its best; 1 to 10 s an epoch."""
    far = abs(math.log10(config["lr"]) + 2) + 0.3 * (1 - config["momentum"]) + (0.2 if config["kind"] == "plain" else 0)
    far += abs(config.get("rate", 0.3) - 0.3) + 0.2 * abs(math.log2(config["width"] / 128))
    noise = zlib.crc32(f"{sorted(config.items())} {epoch}".encode()) / 2**32
    return {"loss": far + 1 / epoch + 0.05 * noise}, 1 + 9 * config["width"] / 256


def document(name: str, trials: int, epochs: int) -> dict[str, Any]:
    """The spec of a search: five parameters, one of them conditional."""
    return {
        "study": "scale",
        "training": {"epochs": epochs},
        "parameters": {
            "lr": {"min": 1e-5, "max": 1, "log": True},
            "momentum": {"min": 0, "max": 1},
            "width": {"type": "int", "min": 8, "max": 256, "log": True},
            "kind": {"values": ["plain", "deep"]},
            "rate": {"min": 0, "max": 1, "when": {"kind": "deep"}},
        },
        "objective": {"metric": "loss", "goal": "minimize"},
        "budget": {"trials": trials},
        **SEARCHES[name],
    }


@dataclass
class Meter:
    """An observer, and the seconds of the driver's parts; in CPU time, so that other work on the machine is no cost."""

    parts: dict[str, list[float]] = field(default_factory=lambda: {"suggestion": [], "report": [], "decision": []})
    clocks: list[float] = field(default_factory=list)
    """CPU seconds when each trial began."""
    reports: list[int] = field(default_factory=list)
    """How many reports there had been by then."""
    told: int = 0

    def trial_started(self, trial: TrialRecord) -> None:
        """Notes the time."""
        self.clocks.append(time.process_time())
        self.reports.append(self.told)

    def trial_reported(self, number: int, epoch: int, metrics: Metrics) -> None:
        """Counts."""
        self.told += 1

    def trial_paused(self, number: int) -> None:
        """Nothing to do."""

    def trial_resumed(self, number: int) -> None:
        """Nothing to do."""

    def trial_ended(self, trial: TrialRecord) -> None:
        """Nothing to do."""

    def timed(self, part: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """The call, its CPU seconds noted."""

        def measured(*args: Any) -> Any:
            started = time.process_time()
            try:
                return call(*args)
            finally:
                self.parts[part].append(time.process_time() - started)

        return measured


@contextmanager
def metered(meter: Meter) -> Iterator[None]:
    """The driver with a stopwatch in its hand: a suggestion is a whole `ask`; a decision is all else but reports."""
    asked, reported = Writer.ask, Writer.report
    calls: dict[str, Callable[..., Any]] = {"report": Controller.report, "next": Controller.next}

    def decision(call: Callable[..., Any]) -> Callable[..., Any]:
        def measured(*args: Any) -> Any:
            before, noted = time.process_time(), {part: len(meter.parts[part]) for part in ("suggestion", "report")}
            answer = call(*args)
            others = sum(sum(meter.parts[part][count:]) for part, count in noted.items())
            meter.parts["decision"].append(time.process_time() - before - others)
            return answer

        return measured

    Writer.ask = meter.timed("suggestion", asked)  # type: ignore[method-assign]
    Writer.report = meter.timed("report", reported)  # type: ignore[method-assign]
    for name, call in calls.items():
        setattr(Controller, name, decision(call))
    try:
        yield
    finally:
        Writer.ask, Writer.report = asked, reported  # type: ignore[method-assign]
        for name, call in calls.items():
            setattr(Controller, name, call)


@dataclass(frozen=True)
class Cost:
    """What a study cost its driver; seconds are CPU seconds, and of a trial they include its reports and its end."""

    search: str
    trials: int
    epochs: int
    """Of all trials together."""
    seconds_a_trial: float
    first: float
    """Of the first trials, each."""
    last: float
    """Of the last trials, each: what one more trial costs."""
    median: Mapping[str, float]
    """Of a suggestion, a report and a decision, each among the last tenth of its kind."""
    p95: Mapping[str, float]
    wall: float
    """Seconds by the clock of the whole search, the journal's flushes to the disk among them."""
    opening: float
    """Seconds to read the study anew."""
    journal: int
    """Bytes."""
    memory: int
    """Bytes: the most that the process ever held, torch not loaded."""


def measure(name: str, trials: int, epochs: int, storage: Path) -> Cost:
    """Runs a search on disk and reads it again."""
    spec, meter = document(name, trials, epochs), Meter()
    hpo.simulate({**spec, "study": "warm", "budget": {"trials": 12}}, curve)  # imports
    gc.collect()
    began, clock = time.process_time(), time.monotonic()
    with metered(meter):
        study = hpo.simulate(spec, curve, storage=storage, observers=[meter]).study
    total, wall = time.process_time() - began, time.monotonic() - clock
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    began = time.process_time()
    assert len(Study.open(storage, "scale").trials()) >= trials
    opening = time.process_time() - began
    tails = {part: seconds[-max(1, len(seconds) // 10) :] for part, seconds in meter.parts.items()}
    clocks, block = meter.clocks, min(_BLOCK, trials // 2)
    tail = max(block, trials // 10)
    return Cost(
        search=name,
        trials=trials,
        epochs=meter.told,
        seconds_a_trial=total / trials,
        first=(clocks[block] - clocks[0]) / block,
        last=(clocks[-1] - clocks[-1 - tail]) / tail,
        median={part: statistics.median(seconds) for part, seconds in tails.items()},
        p95={part: float(np.quantile(seconds, 0.95)) for part, seconds in tails.items()},
        wall=wall,
        opening=opening,
        journal=(study.folder / "journal.log").stat().st_size,
        memory=memory,
    )
