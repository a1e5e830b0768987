"""LCBench (Zimmer et al. 2021) as YAHPO's surrogate (Pfisterer et al. 2022): learning curves of small networks.

A folder has `config_space.json`, `encoding.json` and `model.onnx`; a task is an OpenML task id.
"""

import json
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnxruntime
from numpy.typing import NDArray

Config = Mapping[str, int | float]
"""Name -> value, in raw units, for the names of `LCBench.space`."""

Floats = NDArray[np.float64]

EPOCHS = 52
"""The length of every curve."""

TASKS = (
    *(3945, 34539, 126026, 146212, 167149, 167161, 167181, 167185, 167200),
    *(168329, 168331, 168868, 168910, 189862, 189866, 189905, 189908),
)
"""The tasks of the comparison: of the 34 ids in config_space.json, sorted as integers, those at even positions."""

TUNING = TASKS[0::2]
"""The half on which settings of the product may be chosen."""

HELD_OUT = TASKS[1::2]
"""The half on which nothing is chosen."""

_INPUTS = ("batch_size", "learning_rate", "momentum", "weight_decay", "num_layers", "max_units", "max_dropout")
"""The columns of `x_cont` after the epoch."""

_SECONDS, _VAL_ACCURACY = 0, 1
"""Columns of the output."""


class Parameter(NamedTuple):
    """The range of one hyperparameter, both ends included; `kind` is int or float."""

    kind: str
    low: float
    high: float
    log: bool


class LCBench:
    """One task: the search space, and the curve of any config in it."""

    def __init__(self, folder: Path, task: int) -> None:
        """Loads the model.

        Raises:
            ValueError: the folder has no such task.
        """
        described = json.loads((folder / "config_space.json").read_text())
        parameters = {entry["name"]: entry for entry in described["hyperparameters"]}
        tasks = sorted(int(choice) for choice in parameters["OpenML_task_id"]["choices"])
        if task not in tasks:
            raise ValueError(f"task must be one of {tasks}, got {task}")
        self.task = task
        self.space = {name: _parameter(parameters[name]) for name in _INPUTS}
        self.query_seconds = 0.0
        """CPU seconds spent in the surrogate so far."""
        self._code = json.loads((folder / "encoding.json").read_text())["OpenML_task_id"][str(task)]
        self._session = _session(folder / "model.onnx")
        self._curves: dict[tuple[float, ...], tuple[Floats, Floats]] = {}

    def curve(self, config: Config) -> tuple[Floats, Floats]:
        """The val_accuracy `(52,)` in percent after each epoch, and the seconds `(52,)` that each takes.

        The surrogate's cumulative seconds are not quite monotone; they are made so, and none is below zero.
        """
        key = tuple(config[name] for name in self.space)
        if key not in self._curves:
            epochs = np.arange(1, EPOCHS + 1, dtype=np.float32)
            output = self._query(epochs, np.tile(np.array(key, dtype=np.float32), (EPOCHS, 1)))
            clock = np.maximum.accumulate(np.maximum(output[:, _SECONDS], 0.0))
            self._curves[key] = output[:, _VAL_ACCURACY], np.diff(clock, prepend=0.0)
        return self._curves[key]

    def reference(self, n: int = 4000, seed: int = 0) -> tuple[float, float]:
        """The best and the median val_accuracy in percent of n random configs at the last epoch."""
        rng = np.random.default_rng(seed)
        configs = [self.sample(rng) for _ in range(n)]
        rows = np.array([[config[name] for name in self.space] for config in configs], dtype=np.float32)
        accuracies = self._query(np.full(n, EPOCHS, dtype=np.float32), rows)[:, _VAL_ACCURACY]
        return float(accuracies.max()), float(np.median(accuracies))

    def sample(self, rng: np.random.Generator) -> dict[str, int | float]:
        """A uniform draw from the space."""
        return self.decode(rng.random(len(self.space)))

    def decode(self, units: Floats) -> dict[str, int | float]:
        """The config at a point `(7,)` of the unit cube. Every whole number has the same share of its (log) range."""
        return {name: _decode(*pair) for name, *pair in zip(self.space, self.space.values(), units, strict=True)}

    def _query(self, epochs: NDArray[np.float32], rows: NDArray[np.float32]) -> Floats:
        started = time.process_time()
        x_cat = np.full((len(rows), 1), self._code, dtype=np.int32)
        (output,) = self._session.run(None, {"x_cat": x_cat, "x_cont": np.column_stack([epochs, rows])})
        self.query_seconds += time.process_time() - started
        return np.asarray(output, dtype=np.float64)


def _parameter(entry: Mapping[str, float | str | bool]) -> Parameter:
    # The range goes to 5, but the networks of the data set have 1 to 4 hidden layers: the surrogate never saw a fifth.
    high = 4.0 if entry["name"] == "num_layers" else float(entry["upper"])
    return Parameter(str(entry["type"]).removeprefix("uniform_"), float(entry["lower"]), high, bool(entry["log"]))


def _decode(parameter: Parameter, unit: float) -> int | float:
    margin = 0.5 if parameter.kind == "int" else 0.0
    low, high = parameter.low - margin, parameter.high + margin
    value = math.exp(math.log(low) + unit * math.log(high / low)) if parameter.log else low + unit * (high - low)
    value = min(max(value, parameter.low), parameter.high)
    return round(value) if parameter.kind == "int" else value


def _session(model: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
