"""The way from a search to its Ray: where that is cut, Ray ends this process after a minute, with words of its own."""

import contextlib
import errno
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import ray

from hpo.engine.ray.cluster import knock, started_here

_LOOK_SECONDS, _KNOCK_SECONDS = 1.0, 5.0
"""The time between two looks at Ray, and the time that an answer may take."""
_PATIENCE = 45.0
"""Seconds without an answer of the head after which the search ends; Ray itself ends it after 60."""
_AWAY = (errno.ECONNREFUSED, errno.ECONNRESET, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ETIMEDOUT)
_REFUSALS = 2
"""Refused connections in a row after which the node of this machine has ended."""
_LOST = "{cursor}Error: {what}, so this command has ended. What is done is kept: {way}"
_KILLED = (
    "{cursor}Error: this command was killed: its machine ran out of memory, its Ray cluster took it for lost, or"
    " somebody did it. What is done is kept: the same command goes on"
)
_LAST_WORDS = 'read -r said || printf "%s\\n" "$1" >&2'
"""A shell that outlives this process, and says what may have happened where that has ended without a word."""
_CURSOR = "\x1b[?25h"


@contextmanager
def lifeline() -> Iterator[None]:
    """Ends this process with a sentence and exit code 1 when its Ray is lost: its threads hang in Ray's own code then.

    Nothing else is to be done: a study's record, and what members leave, are whole at any moment.
    """
    over, head, node = threading.Event(), str(ray.get_runtime_context().gcs_address), _node_here()
    with _last_words() as hush:
        watch = threading.Thread(target=_watch, args=(head, node, over, hush), name="lifeline", daemon=True)
        watch.start()
        try:
            yield
        finally:
            over.set()


@contextmanager
def _last_words() -> Iterator[Callable[[], None]]:
    """Starts a shell that says how to go on where this process is killed, by the kernel or by Ray's native code.

    Yields:
        A function that ends the shell without a word.
    """
    words = ["sh", "-c", _LAST_WORDS, "sh", _KILLED.format(cursor=_cursor())]
    shell = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True)

    def hush() -> None:
        shell.communicate(b"over\n")

    try:
        yield hush
    finally:
        hush()


def _watch(head: str, node: str | None, over: threading.Event, hush: Callable[[], None]) -> None:
    """Knocks at two addresses, and asks nothing else of a Ray that may be gone: its own calls would wait for it."""
    heard, refused = time.monotonic(), 0
    while not over.wait(_LOOK_SECONDS):
        if _knocked(head) is None:
            heard = time.monotonic()
        elif time.monotonic() - heard >= _PATIENCE:
            _end(f"the head of the Ray cluster, {head},", f"has not answered for {_PATIENCE:g} s", over, hush)
        refused = refused + 1 if node is not None and _knocked(node) == errno.ECONNREFUSED else 0
        if refused >= _REFUSALS:
            _end("the Ray node of this machine, cut off from its head,", "has ended", over, hush)


def _end(who: str, what: str, over: threading.Event, hush: Callable[[], None]) -> None:
    """Says what has happened and how to go on, and ends the process."""
    if over.is_set():
        return
    hush()
    way = "start the cluster again, or leave --address (RAY_ADDRESS) out, and the same command goes on"
    if started_here():
        who, way = "the Ray that this command had started", "run it again, and it goes on"
    told = sys.__stderr__
    if told is not None:
        with contextlib.suppress(OSError):
            print(_LOST.format(cursor=_cursor(), what=f"{who} {what}", way=way), file=told, flush=True)
    os._exit(1)


def _cursor() -> str:
    """Shows a terminal's cursor again, which the display of progress has hidden."""
    return _CURSOR + "\n" if sys.__stderr__ is not None and sys.__stderr__.isatty() else ""


def _node_here() -> str | None:
    """The address of the node of this machine."""
    here = ray.get_runtime_context().get_node_id()
    found = (node for node in ray.nodes() if node["NodeID"] == here)
    return next((f"{node['NodeManagerAddress']}:{node['NodeManagerPort']}" for node in found), None)


def _knocked(address: str) -> int | None:
    """The error of one who is not there, or is not reached; None where somebody is, or this process cannot ask."""
    try:
        knock(address, _KNOCK_SECONDS)
    except TimeoutError:
        return errno.ETIMEDOUT
    except OSError as error:
        return error.errno if error.errno in _AWAY else None
    return None
