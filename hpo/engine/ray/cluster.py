"""Ray: a cluster that is joined, or one of this machine alone, started beside other work."""

import io
import logging
import os
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, redirect_stdout
from pathlib import Path

import ray
import ray._private.node

from hpo.engine.ray import startup
from hpo.engine.ray.few_processes import few_processes
from hpo.errors import ResourceError, first_line
from hpo.signals import deaf_children, handle_anew
from hpo.spec import Resources

_ENVIRONMENT = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # CSV, JSON and TensorBoard files a trial: MLflow has it all
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",  # a trial's last word has no metrics
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # `hpo.signals` does it
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000",  # the study is the record, not Ray's
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",  # the study keeps a failed trial's traceback
    "RAY_AIR_NEW_OUTPUT": "0",  # progress is shown by our own observers
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # the user's relative paths hold
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DISABLE_FAILURE_SIGNAL_HANDLER": "1",  # SIGTERM is ours (`hpo.signals`), and no stack of C++ the user's
    "PL_DISABLE_FORK": "1",  # as Tune has it for its actors, for objectives that use Lightning
    "MALLOC_MMAP_THRESHOLD_": str(2**25),  # a worker keeps the memory of a step for the next one: on Linux, asking for
    "MALLOC_TRIM_THRESHOLD_": str(2**30),  # it anew took 7 % of a small network's training
    "RAY_idle_worker_killing_time_threshold_ms": "20000",  # what Ray has started ahead waits until the trials begin
}
_AHEAD = {"RAY_preload_python_modules": "hpo.engine.ray.worker"}
"""What the processes that Ray has ready import before they are asked to: half a second is gained."""
_FEW_CPUS = 4
"""The CPUs of a machine on which most of Ray's ready processes become workers: there is one for each CPU."""
_SWITCH_SECONDS = 0.0005
"""Seconds between two threads, while one starts Ray and another imports; by default the former waits ten times that."""
_IN_ORDER = ThreadPoolExecutor(1, "ray")
"""One thread starts and stops Ray, so that no start meets a stop."""
_own = threading.Event()
"""Is set while a Ray runs that was started here."""
_KNOCK_SECONDS = 10.0
_STARTS = 3
"""How often a Ray is begun here before it is given up; each has half a minute by Ray's own count."""
_log = logging.getLogger(__name__)


@contextmanager
def cluster(address: str | None = None, modules: Sequence[Path] = ()) -> Iterator[None]:
    """Ray, started here unless it is running; a Ray that was started here is stopped again.

    Args:
        address: of a cluster to join, of which this machine is a node: `auto`, or `HOST:PORT`. None is what RAY_ADDRESS
            says, or else a Ray of this machine alone.
        modules: files and folders of the user's own modules; the machines of a cluster that is joined get copies.

    Raises:
        ResourceError: the cluster cannot be joined, or Ray cannot be started on this machine.
    """
    with starting(address, modules) as wait:
        wait()
        yield


@contextmanager
def starting(address: str | None = None, modules: Sequence[Path] = ()) -> Iterator[Callable[[], object]]:
    """Starts Ray as `cluster` does, but in the background; the function that this gives waits for it.

    An error does not wait: a Ray that nobody needs any more is stopped when it has started.

    Args:
        address: as `cluster` has it.
        modules: as `cluster` has them.

    Raises:
        ResourceError: this machine lacks what Ray needs, or the address is not one of a machine of a cluster.
    """
    named, address = _source(address), joined(address)
    if address is not None and address.startswith("ray://"):
        raise ResourceError(
            f"{named}: a search cannot be steered through Ray's client; run the same command on a machine"
            " of the cluster with `--address auto`, by ssh, `ray exec` or `ray job submit`"
        )
    if not ray.is_initialized():
        startup.check(own=address is None)
    given_up = threading.Event()
    with environment(), environment(_AHEAD if (os.cpu_count() or 1) <= _FEW_CPUS else {}), ExitStack() as busy:
        busy.enter_context(_switching())
        start = _IN_ORDER.submit(_start, address, named, modules, given_up)

        def wait() -> None:
            start.result()
            handle_anew()
            busy.close()

        try:
            yield wait
        finally:
            given_up.set()
            stop = _IN_ORDER.submit(_stop, start)
            if start.done():
                stop.result()


@contextmanager
def _switching() -> Iterator[None]:
    """Threads take turns more often."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(_SWITCH_SECONDS)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


def joined(address: str | None) -> str | None:
    """The address of the cluster that is joined: the one given, or what RAY_ADDRESS says; None where none is."""
    return address or os.environ.get("RAY_ADDRESS") or None


def started_here() -> bool:
    """Whether the Ray in use was started by this process, on this machine alone."""
    return _own.is_set()


def _source(address: str | None) -> str:
    """An address as the user has given it, for messages."""
    return f"RAY_ADDRESS={joined(None)}" if address is None else f"--address {address}"


def _start(address: str | None, named: str, modules: Sequence[Path], given_up: threading.Event) -> bool:
    """Whether Ray was started or joined here; False where it was running in this process, or nobody waits for it."""
    if ray.is_initialized():
        return False
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # the study keeps what Tune would complain of
    if address is not None:  # a cluster is joined only where that is said
        _join(address, named, modules)
        return True
    with startup.turn(given_up):
        return _start_here(given_up)


def _join(address: str, named: str, modules: Sequence[Path]) -> None:
    try:
        knock(address)
        ray.init(
            address=address,
            runtime_env={"py_modules": [str(path) for path in modules]} if modules else None,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    except Exception as error:  # Ray raises anything, a bare Exception too
        out = "unset RAY_ADDRESS" if named.startswith("RAY_ADDRESS") else "leave --address out"
        raise ResourceError(
            f"{named}: no Ray cluster can be joined there: {_reason(error)};"
            f" start one on this machine with `ray start`, or {out}"
        ) from error


def _start_here(given_up: threading.Event) -> bool:
    """Starts a Ray of this machine, again where it was too slow; False where nobody waits for it any more."""
    failed: Exception | None = None
    for number in range(1, _STARTS + 1):
        if given_up.is_set():
            return False
        if failed is not None:
            _log.warning("Ray did not start: %s; start %d of %d ...", _reason(failed), number, _STARTS)
        try:
            with deaf_children(), few_processes():
                ray.init("local", include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
            _own.set()
            return True
        except Exception as error:  # Ray raises anything, a bare Exception where it was too slow
            _end_processes(error)
            failed = error
            if isinstance(error, OSError | ValueError):  # nothing that passes
                break
    assert failed is not None
    raise ResourceError(
        f"Ray cannot be started on this machine: {_reason(failed)}; try again when the machine has less to do. Ray's"
        " own logs are in ray/session_latest/logs below the temporary folder"
    ) from failed


def _end_processes(error: BaseException) -> None:
    """Ends what a start that failed has begun, which Ray itself leaves to the end of this process."""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        node = frame.f_locals.get("self")
        if isinstance(node, ray._private.node.Node):
            node.kill_all_processes(check_alive=False, allow_graceful=False)
            return


def _reason(error: BaseException) -> str:
    return first_line(error).rstrip(".")


def knock(address: str, seconds: float = _KNOCK_SECONDS) -> None:
    """Raises an OSError where nobody listens, a TimeoutError after so long: Ray itself would try for minutes."""
    host, _, port = address.rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host, int(port)), timeout=seconds).close()


def _stop(start: Future[bool]) -> None:
    if start.exception() is None and start.result():
        _own.clear()
        with redirect_stdout(io.StringIO()):  # Ray prints there what it has kept back of the errors of its nodes
            ray.shutdown()


@contextmanager
def environment(variables: Mapping[str, str] = _ENVIRONMENT) -> Iterator[None]:
    """What Ray and its workers read from the environment, set for a while; what the user has set stays."""
    added = {key: value for key, value in variables.items() if key not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for key in added:
            os.environ.pop(key, None)


def trial_resources(wanted: Resources) -> dict[str, float]:
    """What one trial asks of the running cluster; `auto` is one GPU where there is any.

    Raises:
        ResourceError: no node has so much.
    """
    most = {kind: max((node.get(kind, 0.0) for node in _nodes()), default=0.0) for kind in ("CPU", "GPU")}
    gpu = (1.0 if most["GPU"] >= 1 else 0.0) if wanted.gpu == "auto" else float(wanted.gpu)
    for name, amount, kind in (("cpu", wanted.cpu, "CPU"), ("gpu", gpu, "GPU")):
        if amount > most[kind]:
            raise ResourceError(
                f"resources.{name}: a trial asks for {amount:g}, but the largest machine has {most[kind]:g};"
                " ask for less"
            )
    each = {"cpu": wanted.cpu, "gpu": gpu}
    if slots(each) == 0:
        raise ResourceError(
            f"resources: no single machine has {wanted.cpu:g} CPUs and {gpu:g} GPUs together; ask for less"
        )
    return each


def slots(resources: dict[str, float]) -> int:
    """How many trials fit on the cluster at once."""
    return sum(fit(resources, node) for node in _nodes())


def fit(resources: dict[str, float], node: dict[str, float]) -> int:
    """How many trials fit on one node; a share of a GPU is never of two."""
    cpu, gpu = resources["cpu"], resources["gpu"]
    by_cpu = [int(node.get("CPU", 0) / cpu + 1e-9)] if cpu > 0 else []
    there = node.get("GPU", 0)
    by_gpu = [int(there) * int(1 / gpu + 1e-9) if gpu < 1 else int(there / gpu + 1e-9)] if gpu > 0 else []
    return min(by_cpu + by_gpu)


def _nodes() -> list[dict[str, float]]:
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]
