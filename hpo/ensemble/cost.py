"""What an ensemble costs to use: parameters, and the time of a call."""

import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from hpo.datasets.dataset import Inputs
from hpo.ensemble.model import Ensemble

BATCHES = (1, 64)
"""Inputs of a call that is timed."""
_WARM_UP = 2


@dataclass(frozen=True)
class Cost:
    """Cost of using an ensemble or one member.

    `milliseconds` maps a number of inputs to the median time of a call with so many, on this machine and device: from
    an array of inputs to an array of predictions. On a CPU it is that of one thread.
    """

    parameters: int
    milliseconds: Mapping[int, float]

    def to_json(self) -> dict[str, Any]:
        """Plain numbers; keys of `milliseconds` are text, as JSON has them."""
        return {
            "parameters": self.parameters,
            "milliseconds": {str(rows): value for rows, value in self.milliseconds.items()},
        }


def cost(ensemble: Ensemble, repeats: int = 9) -> Cost:
    """Measures an ensemble; `cost(ensemble.single(0))` measures its first member alone.

    PyTorch has one thread for the while: many wait for each other where the machine is busy, and times scatter.

    Args:
        ensemble: on the device where it will run.
        repeats: timed calls of each batch, of which the median counts.
    """
    parameters = sum(parameter.numel() for network in ensemble.networks for parameter in network.parameters())
    with _one_thread():
        return Cost(parameters, {rows: _milliseconds(ensemble, rows, repeats) for rows in BATCHES})


def fits(milliseconds: Sequence[float], limit: float) -> int:
    """How many members at most keep a call within a limit, whichever of the candidates are chosen.

    Latency is that of one input on this machine. Members are taken to run one after another, so times add up, and the
    slowest candidates are reckoned with: leave out those that would not fit alone.

    Args:
        milliseconds: of each candidate, as trials report it (`latency_ms`) or `cost` measures it for a batch of 1.
        limit: in milliseconds.

    Returns:
        0 to the number of candidates.
    """
    sums = np.cumsum(sorted(milliseconds, reverse=True))
    return int((sums <= limit).sum())


@contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _milliseconds(ensemble: Ensemble, rows: int, repeats: int) -> float:
    inputs = _inputs(ensemble, rows)
    seconds = []
    for _ in range(_WARM_UP + repeats):
        started = time.perf_counter()
        ensemble.combined_predictions(inputs)  # ends on the CPU, so a GPU has finished
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds[_WARM_UP:]) * 1000


def _inputs(ensemble: Ensemble, rows: int) -> Inputs:
    """Any inputs: how long a network takes does not depend on values. Texts and clips are as long as one may be."""
    if len(ensemble.input_shape) < 3:
        assert ensemble.wanted is not None, "what has a shape knows what it takes"
        return np.ones((rows, *ensemble.input_shape), np.dtype(ensemble.wanted.numbers))
    channels, height, width = ensemble.input_shape
    return np.zeros((rows, height, width, channels), np.uint8)
