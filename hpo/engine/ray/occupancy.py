"""How many trials fit at once, by measured memory: a few steps of the largest configs, then arithmetic on bytes."""

import gc
import io
import math
import re
import resource
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import ray
import torch

from hpo.datasets import Dataset, Examples
from hpo.engine.ray.cluster import trial_resources
from hpo.engine.ray.pickling import Sent
from hpo.engine.ray.worker_settings import WorkerSettings
from hpo.errors import HpoError, ResourceError, first_line
from hpo.spec import Config, Parameter, Resources, StudySpec, TrainingSettings
from hpo.spec.probing import probes
from hpo.spec.space import Space
from hpo.training import Context, TrainingFunction
from hpo.training.function import taken
from hpo.training.precision import choose_device, prediction_batch
from hpo.training.reports import reports_of

_FILLED = 0.9
"""Share of the memory that trials may fill; the rest is for what a few steps do not show, such as fragments."""
_MOST = 99
"""Trials on one GPU. Ray counts GPUs in ten-thousandths, and 1/99 is the last share that is of so many and no more."""
_CONTEXT = 1024**3
"""Bytes. What is taken of a GPU before a trial begins is its process's own context up to here, and others' beyond."""
_RESIDENT = 0.5
"""Rows for training stay on a GPU if they take no more than this of its memory, and so do those for validation."""
_ROWS = 4096
"""Rows for validation at most; a batch of predictions has no more."""
_SECONDS = 15.0
"""Seconds of training and predicting; what would take longer is left out."""
_PATIENCE = 300.0
"""Seconds within which one config must have been measured."""
_NOISE = 1.02
"""A config takes more than another where it takes so many times as much."""
_SIZES = ("training.batch_size", "training.precision", "optimizer.name")
"""Parameters that memory depends on, beside the settings of the model."""
_OPTIMIZERS = ("adamw", "adam", "rmsprop", "sgd", "adagrad")
"""Those first that keep more numbers a weight."""

Node = Mapping[str, float]
"""What Ray says that a machine has: `CPU`, `GPU`, `memory` in bytes."""


@dataclass(frozen=True)
class Footprint:
    """What one trial takes at its peak, in bytes."""

    host: int
    """Bytes of main memory, without what processes share."""
    gpu: int = 0
    """Bytes of the trial's GPU, with its process's context and the training rows; 0 where it trains on none."""
    gpu_memory: int = 0
    """What that GPU has for trials."""

    def union(self, other: "Footprint") -> "Footprint":
        """What the greater of the two takes, of each memory."""
        memory = max(self.gpu_memory, other.gpu_memory)
        return Footprint(max(self.host, other.host), max(self.gpu, other.gpu), memory)

    def __str__(self) -> str:
        if not self.gpu:
            return f"{_size(self.host)} of memory"
        return f"{_size(self.gpu)} of GPU memory and {_size(self.host)} of main memory"


@dataclass(frozen=True)
class Occupancy:
    """How many trials fit at once, what each gets, and how this is known."""

    resources: Resources
    """Resources of one trial; `gpu` is a number."""
    trials: int
    """Trials at once, on the whole cluster."""
    footprint: Footprint
    config: Config
    """The one that took most, by the parameters on which memory depends."""
    by_memory: bool
    """Whether more would fit but for their memory."""

    def __str__(self) -> str:
        config = f" ({_words(self.config)})" if self.config else ""
        share = _share_in_words(float(self.resources.gpu))
        why = "as memory allows" if self.by_memory else "memory would hold more"
        return f"one trial takes up to {self.footprint}{config}: {self.trials} at once{share}, {why}"


def fitting(spec: StudySpec, dataset: Dataset, function: TrainingFunction, resources: Resources) -> Occupancy:
    """Measures how many trials fit at once into the cluster that runs.

    A process that holds what one trial asks for, and of a GPU the whole, trains the config with all parameters on which
    memory depends at their largest, for two steps on batches of real shape, and predicts. Then each of these parameters
    is tried at its other extreme, and stays there if that takes more: memory is mostly monotone. The peak of all is
    what a trial takes. After 15 seconds of this nothing more is tried. Data in main memory do not count: workers map
    the same copy.

    Args:
        spec: of the study.
        dataset: what its trials train on; some of its rows are used.
        function: what is trained.
        resources: what one trial asks for. A `gpu` of `auto` becomes the share that a trial needs; a share that is too
            small for one is raised.

    Raises:
        ResourceError: no node has what one trial asks for or none is free, or a config of the space needs more memory
            than there is.
        HpoError: no config that was tried could be trained.
    """
    each = trial_resources(resources)
    shared = _Shared(
        function=Sent(function),
        spec=spec,
        settings=WorkerSettings.here(each),
        data=_data(dataset, spec.training),
        held=0 if spec.training.folds is None else spec.training.folds * _bytes(dataset.train),
    )
    space = Space.of(spec)
    with _probing(shared, _some(dataset, 2 * _drawn(spec.training) * _largest_batch(spec), _ROWS), each) as measure:
        config, footprint = _largest(space, _choices(spec, space), measure)
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    gpu, trials = arrange(footprint, resources, nodes)
    _, but_for_memory = arrange(Footprint(0), resources, nodes)
    return Occupancy(
        Resources(cpu=resources.cpu, gpu=gpu), trials, footprint, _sized(config), by_memory=trials < but_for_memory
    )


def arrange(footprint: Footprint, wanted: Resources, nodes: Sequence[Node]) -> tuple[float, int]:
    """What trials of this footprint get of a GPU each, and how many fit at once.

    Args:
        footprint: of one trial; a memory of 0 is no limit.
        wanted: what a trial asks for; its CPUs are what it gets.
        nodes: the machines; the GPUs are taken to be alike.

    Returns:
        The GPUs of a trial, such that no more of them fit on one than its memory holds, and the number of trials, which
        is at least 1.
    """
    by_host = [min(int(node.get("CPU", 0) / wanted.cpu + 1e-9), _by_memory(footprint.host, node)) for node in nodes]
    gpus = [int(node.get("GPU", 0)) for node in nodes]
    if wanted.gpu == 0 or (wanted.gpu == "auto" and not any(gpus)):
        return 0.0, max(1, sum(by_host))
    on_one = _MOST if footprint.gpu == 0 else int(_FILLED * footprint.gpu_memory / footprint.gpu)
    if wanted.gpu == "auto":  # no more than the machines have CPUs for
        on_one = min(on_one, max(math.ceil(most / count) for most, count in zip(by_host, gpus, strict=True) if count))
    least = share(min(max(1, on_one), _MOST))
    gpu = least if wanted.gpu == "auto" else max(least, wanted.gpu)
    by_gpu = [int(count / gpu) if gpu > 1 else count * int(1 / gpu + 1e-9) for count in gpus]
    return gpu, max(1, sum(map(min, by_host, by_gpu)))


def share(trials: int) -> float:
    """The part of a GPU of which exactly so many (1 to 99) fit on it, in the ten-thousandths in which Ray counts."""
    return (10_000 // trials) / 10_000


def _by_memory(host: int, node: Node) -> int:
    """How many trials a machine's main memory holds."""
    memory = node.get("memory", 0.0)
    if host == 0 or memory == 0:
        return sys.maxsize
    return int(_FILLED * memory / host) or int(host <= memory)


@dataclass(frozen=True)
class _Shared:
    function: Sent
    spec: StudySpec
    settings: WorkerSettings
    data: Sequence[int]
    """Bytes of each array of rows that a trial moves to its device."""
    held: int
    """Bytes of main memory in which a worker has rows of its own."""


@dataclass(frozen=True)
class _Tried:
    """What came of training a config: a footprint, or the reason why there is none."""

    footprint: Footprint | None = None
    reason: str = ""
    too_large: bool = False
    seconds: float = 0.0
    """Seconds of training and predicting."""


def _largest_batch(spec: StudySpec) -> int:
    """The most rows of a training step of any config."""
    name = "training.batch_size"
    searched = [int(config[name]) for _, config in probes(spec) if name in config]
    return max(searched, default=spec.training.batch_size)


def _choices(spec: StudySpec, space: Space) -> dict[str, list[Any]]:
    """Parameter -> the values to try, as they are recorded, first the one that is likely to take most.

    Of numbers on which memory depends these are both ends, of texts and flags all. Any other parameter stays at its
    small end: a large learning rate might diverge.
    """
    return {name: _extremes(name, space.parameters[name]) for name in spec.parameters if name in space.parameters}


def _extremes(name: str, parameter: Parameter) -> list[Any]:
    values = parameter.probes()
    if not _sizes(name):
        return values[:1]
    if name == "optimizer.name":
        return [min(values, key=_OPTIMIZERS.index)]
    if any(isinstance(value, bool) or not isinstance(value, int | float) for value in values):
        return values
    return sorted({min(values), max(values)}, reverse=True)


def _sizes(name: str) -> bool:
    return name.startswith("model.") or name in _SIZES


def _largest(
    space: Space, choices: Mapping[str, Sequence[Any]], measure: Callable[[Config], _Tried]
) -> tuple[Config, Footprint]:
    """The config that takes most, as far as one parameter after the other shows, and the peak of all that were tried.

    `measure` trains a config; the peak that it gives may be one of those that its process has trained before.
    """
    chosen = {name: values[0] for name, values in choices.items()}
    largest = _active(space, chosen)
    tried = _Tried(reason="the largest configs are not allowed") if largest is None else measure(largest)
    peak, spent = tried.footprint, tried.seconds
    for name, value in [(name, value) for name, values in choices.items() for value in values[1:]]:
        other = _turned(space, chosen, name, value)
        config = _active(space, other)
        if config is None or config == largest or spent + tried.seconds > _SECONDS:
            continue
        tried = measure(config)
        spent += tried.seconds
        if tried.footprint is None:
            continue
        if peak is None or _takes(tried.footprint) > _NOISE * _takes(peak):
            chosen, largest = other, config
        peak = tried.footprint if peak is None else peak.union(tried.footprint)
    if peak is None:
        raise HpoError(f"--concurrency auto: no trial could be measured: {tried.reason}")
    return largest or {}, peak


def _takes(footprint: Footprint) -> int:
    """The share that a trial takes of the memory that runs out first."""
    return footprint.gpu or footprint.host


def _turned(space: Space, values: Mapping[str, Any], name: str, value: Any) -> dict[str, Any]:
    """These values with one of them changed, and its conditions met."""
    turned = {**values, name: value}
    for parent, wanted in space.parameters[name].when.items():
        if parent in turned and turned[parent] not in wanted:
            turned = _turned(space, turned, parent, wanted[0])
    return turned


def _active(space: Space, values: Mapping[str, Any]) -> Config | None:
    """The config that a trial with these recorded values gets, of those that are active, if it is allowed."""
    recorded: Config = {}
    for name in space.parameters:
        if space.active(name, recorded):
            recorded[name] = values[name]
    return space.config(recorded) if space.allows(recorded) else None


@contextmanager
def _probing(shared: _Shared, dataset: Dataset, each: Mapping[str, float]) -> Iterator[Callable[[Config], _Tried]]:
    """Measures configs one after the other in a process of their own, with the resources of one trial."""
    options = {"num_cpus": each["cpu"], "num_gpus": math.ceil(each["gpu"]), "max_restarts": 0}
    probe: Any = ray.remote(_Probe).options(**options).remote(ray.put(shared), ray.put(dataset))

    def measure(config: Config) -> _Tried:
        try:
            tried: _Tried = ray.get(probe.measure.remote(config), timeout=_PATIENCE)
        except ray.exceptions.GetTimeoutError:
            raise ResourceError(
                f"--concurrency auto: no trial could be measured within {_PATIENCE:g} s; is the cluster busy?"
                " Wait until it is free, or give a number of trials"
            ) from None
        except ray.exceptions.RayTaskError as error:
            raise HpoError(f"--concurrency auto: no trial could be measured: {error.cause}") from error
        except ray.exceptions.RayError as error:
            tried = _Tried(reason=f"its process died: {type(error).__name__}", too_large=True)
        if tried.too_large:
            config = _sized(config)
            raise ResourceError(
                f"--concurrency auto: a trial{f' with {_words(config)}' if config else ''} needs more memory than there"
                f" is ({tried.reason}); {'lower these bounds' if config else 'make the model or its batches smaller'},"
                " or give a number of trials"
            )
        return tried

    try:
        yield measure
    finally:
        ray.kill(probe)


class _Probe:
    """The process that trains what is measured."""

    def __init__(self, shared: _Shared, dataset: Dataset) -> None:
        self._shared, self._dataset = shared, dataset
        self._marks: _Marks | None = None

    def measure(self, config: Config) -> _Tried:
        """Trains a config for a few steps; marks of main memory are the highest so far, whichever config made them."""
        self._shared.settings.enter()  # imports take their time, and none of what there is to train
        started = time.monotonic()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                footprint = self._train(config)
        except Exception as error:  # whatever a user's model raises
            reason = first_line(error)[:200]
            return _Tried(reason=reason, too_large=_of_memory(error), seconds=time.monotonic() - started)
        return _Tried(footprint, seconds=time.monotonic() - started)

    def _train(self, config: Config) -> Footprint:
        shared = self._shared
        device = choose_device(shared.spec.training.device)
        self._marks = self._marks or _Marks(device)
        training = shared.spec.apply(config).training
        steps = 1 if training.epochs > 1 else 2  # an epoch: from the second step on there are gradients and moments
        rows = steps * _drawn(training) * training.batch_size
        some = _some(self._dataset, rows, prediction_batch(device))
        context = Context(shared.spec, some, seed=0)
        _train_a_little(shared.function.loaded(), config, context)
        return self._marks.read(shared)


def _train_a_little(function: TrainingFunction, config: Config, context: Context) -> None:
    """Two short epochs; the state of the first is in memory while the second trains, as where a worker writes it."""
    reports = reports_of(function, config, context)
    written = io.BytesIO()
    for report in islice(reports, 1):
        snapshot = taken(report)
        if report.state is not None:
            torch.save(dict(report.state()), written)
        del snapshot
    for report in islice(reports, 1):
        taken(report)


def _of_memory(error: Exception) -> bool:
    """Whether it is for want of memory; for main memory torch has no class of its own."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)


class _Marks:
    """The high-water marks of this process's memory. All that knows of devices is here."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._before = 0
        if device.type != "cpu":
            free, total = torch.accelerator.get_memory_info()
            self._before = total - free

    def read(self, shared: _Shared) -> Footprint:
        """What one trial takes."""
        gc.collect()
        host = _peak_resident() + shared.held
        if self._device.type == "cpu":
            return Footprint(host)
        reserved, peak = torch.accelerator.memory_reserved(), torch.accelerator.max_memory_reserved()
        free, total = torch.accelerator.get_memory_info()
        torch.accelerator.empty_cache()
        process, memory = of_gpu(total, self._before, total - free - reserved)
        resident = sum(size for size in shared.data if size <= _RESIDENT * memory)
        return Footprint(host, process + peak + resident, memory)


def of_gpu(total: int, before: int, after: int) -> tuple[int, int]:
    """Bytes of a GPU that a process takes beside its tensors, and bytes that there are for trials.

    Args:
        total: of the GPU.
        before: what was taken of it when the process had nothing on it but its context.
        after: what is taken of it now but for the process's tensors.
    """
    foreign = max(0, before - _CONTEXT)
    return max(before, after) - foreign, total - foreign


def _peak_resident() -> int:
    """Bytes of main memory that this process has held at most, without files and what else processes share."""
    status = Path("/proc/self/status")
    if not status.exists():
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
    sizes = dict(re.findall(r"^(VmHWM|RssFile|RssShmem):\s+(\d+) kB$", status.read_text(), re.MULTILINE))
    return 1024 * (int(sizes["VmHWM"]) - int(sizes.get("RssFile", 0)) - int(sizes.get("RssShmem", 0)))


def _some(dataset: Dataset, train: int, validation: int) -> Dataset:
    """The first rows of each split."""

    def first(examples: Examples, count: int) -> Examples:
        return examples.take(np.arange(min(count, len(examples))))

    splits = first(dataset.train, train), first(dataset.validation, validation), first(dataset.test, 1)
    return Dataset(*splits, dataset.outputs)


def _drawn(training: TrainingSettings) -> int:
    """How many rows there must be for each one that is trained on: a fold holds out half of them at most."""
    return 1 if training.folds is None else 2


def _data(dataset: Dataset, training: TrainingSettings) -> Sequence[int]:
    """Bytes of each array of rows that a trial moves to its device: a copy in each fold has its own."""
    whole, folds = _bytes(dataset.train), training.folds
    if folds is None:
        return whole, _bytes(dataset.validation)
    return (whole - whole // folds, whole // folds) * training.copies


def _bytes(examples: Examples) -> int:
    arrays = (examples.inputs, examples.targets, examples.weights)
    return sum(array.nbytes for array in arrays if array is not None)


def _sized(config: Config) -> Config:
    """The parameters on which memory depends."""
    return {name: value for name, value in config.items() if _sizes(name)}


def _words(config: Config) -> str:
    return ", ".join(f"{name} {value}" for name, value in config.items())


def _size(size: int) -> str:
    """A number of bytes in words, such as 850 MB or 1.3 GB."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"


def _share_in_words(gpu: float) -> str:
    if gpu == 0:
        return ""
    if gpu >= 1:
        return f", {gpu:g} GPU{'s' if gpu > 1 else ''} each"
    names = {2: "half", 3: "a third", 4: "a quarter"}
    count = int(1 / gpu)
    return f", {names.get(count, f'1/{count}')} of a GPU each"
