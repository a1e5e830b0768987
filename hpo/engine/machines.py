"""The machines of a cluster: how many trials they have room for now, and whether they see what they must."""

import math
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from hpo.engine.cluster import fit, knock, started_here
from hpo.errors import ResourceError

HELPER = "hpo_helper"
"""The resource by which a machine is known that came to help with a search (`--join`)."""
_LOOK_SECONDS = 2.0
"""Between two looks at the machines."""
_GOODBYE_SECONDS, _LATELY_SECONDS, _KNOCK_SECONDS = 1.5, 15.0, 1.0
"""How much earlier than its Ray the workers of a machine may die, how much later that may be told, and how long its
answer may take."""
_PATIENCE = 60.0
"""Seconds within which every machine must have answered."""


class Machines:
    """The cluster while a search runs; machines that join or leave are seen after seconds.

    Args:
        each: what one trial asks for, as `trial_resources` has it.
        most: trials at once, no more than so many beside those of helpers.
    """

    def __init__(self, each: dict[str, float], most: int) -> None:
        self._each, self._most = each, most
        self._looked = self._left = -math.inf
        self._gone: set[str] = set()
        """Those that did not answer, and that Ray may still believe to be there."""
        self._alive: frozenset[str] = frozenset()
        self._slots = 1
        self._look()

    def slots(self) -> int:
        """How many trials it has room for now; never 0: where no machine is left, a trial waits for the next one."""
        if time.monotonic() - self._looked >= _LOOK_SECONDS:
            self._look()
        return self._slots

    @property
    def own(self) -> bool:
        """Whether it is one machine, whose Ray was started here, for this search alone."""
        return started_here() and len(self._alive) == 1

    def left_lately(self) -> bool:
        """Whether a machine has left in the last seconds, or does so in the next one.

        Ray itself may take half a minute to know it, where the machine did not say goodbye in order.
        """
        until = time.monotonic() + (_GOODBYE_SECONDS if len(self._alive) > 1 else 0.0)
        while time.monotonic() - self._left > _LATELY_SECONDS:
            if time.monotonic() > until:
                return False
            time.sleep(0.1)
            self._look(asking=True)
        return True

    def _look(self, asking: bool = False) -> None:
        nodes = {node["NodeID"]: node for node in ray.nodes() if node["Alive"]}
        if asking:
            self._gone |= {name for name, node in nodes.items() if not _answers(node)}
        alive = frozenset(nodes.keys() - self._gone)
        self._looked = time.monotonic()
        if self._alive - alive:
            self._left = self._looked
        self._alive = alive
        room = {name: fit(self._each, nodes[name]["Resources"]) for name in alive}
        helping = sum(room[name] for name in alive if HELPER in nodes[name]["Resources"])
        self._slots = max(1, min(sum(room.values()) - helping, self._most) + helping)


def _answers(node: Mapping[str, Any]) -> bool:
    """Whether a machine's Ray still takes connections, or is only too busy to."""
    try:
        knock(f"{node['NodeManagerAddress']}:{node['NodeManagerPort']}", _KNOCK_SECONDS)
    except TimeoutError:
        return True
    except OSError:
        return False
    return True


def check_shared(folder: Path) -> None:
    """Checks that every machine on which trials may run sees a folder; on one machine there is nothing to check.

    Raises:
        ResourceError: a machine does not see it, has no hpo, or does not answer.
    """
    machines = {
        node["NodeID"]: node["NodeManagerAddress"]
        for node in ray.nodes()
        if node["Alive"] and node["Resources"].get("CPU", 0) > 0
    }
    if len(machines) < 2:
        return
    folder.mkdir(parents=True, exist_ok=True)
    marker = folder / f".seen-{uuid.uuid4().hex}"
    marker.touch()
    try:
        sees = ray.remote(num_cpus=0, max_retries=0)(_sees)
        asked = {
            sees.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote(marker): address
            for node, address in machines.items()
        }
        done, silent = ray.wait(list(asked), num_returns=len(asked), timeout=_PATIENCE)
        if silent:
            raise ResourceError(f"machine {asked[silent[0]]} does not answer for {_PATIENCE:g} s; look at `ray status`")
        for answer in done:
            _check_answer(answer, asked[answer], folder)
    finally:
        marker.unlink()


def _check_answer(answer: "ray.ObjectRef[bool]", address: str, folder: Path) -> None:
    try:
        seen = ray.get(answer)
    except ray.exceptions.RayError as error:
        reason = str(error).strip().splitlines()[-1]
        raise ResourceError(f"machine {address} cannot run hpo; install the same version there: {reason}") from error
    if not seen:
        raise ResourceError(
            f"machine {address} does not see '{folder}', where trials store what they leave;"
            " use a folder that all machines share (--storage), or --artifacts URI"
        )


def _sees(marker: Path) -> bool:
    return marker.exists()
