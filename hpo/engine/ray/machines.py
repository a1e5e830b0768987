"""The machines of a cluster: how many trials they have room for now, and whether they see what they must."""

import logging
import math
import time
from collections.abc import Mapping
from typing import Any

import ray
from ray.util.placement_group import PlacementGroup, placement_group, remove_placement_group
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from hpo.engine.ray.cluster import fit, knock, started_here
from hpo.errors import ResourceError, last_line
from hpo.study.artifacts import Mark

HELPER = "hpo_helper"
"""The resource by which a machine is known that came to help with a search (`--join`)."""
_LOOK_SECONDS = 2.0
"""Seconds between two looks at the machines."""
_GOODBYE_SECONDS = 1.5
"""Seconds by which the workers of a machine may die before its Ray does."""
_LATELY_SECONDS = 15.0
"""Seconds after a machine was lost within which the death of a worker is put down to that."""
_KNOCK_SECONDS = 1.0
"""Seconds that a machine has to answer."""
_PATIENCE = 60.0
"""Seconds within which every machine must have answered."""
_NODE_LABEL = "ray.io/node-id"
"""The label by which Ray's selectors know a machine."""
_log = logging.getLogger(__name__)


class Machines:
    """The cluster while a search runs; machines that join or leave are seen after seconds.

    One that joins is asked whether it sees what it must; until it has answered it has no room. One that does not is
    named once and barred: what a trial could take of it is reserved.

    Args:
        each: what one trial asks for, as `trial_resources` has it.
        most: trials at once, no more than so many beside those of helpers.
        mark: in the folder that all must see; None where there is no such folder.

    Raises:
        ResourceError: a machine does not see it, has no hpo, or does not answer.
    """

    def __init__(self, each: dict[str, float], most: int, mark: Mark | None = None) -> None:
        self._each, self._most, self._mark = each, most, mark
        self._looked = self._left = -math.inf
        self._gone: set[str] = set()
        """Those that did not answer, and that Ray may still believe to be there."""
        self._alive: frozenset[str] = frozenset()
        self._places: dict[str, str] = {}
        """Where the Ray of each takes connections: host and port."""
        self._missed: set[str] = set()
        """The addresses of those that do not answer, and that has been told."""
        self._slots = 1
        self._here, self._head = ray.get_runtime_context().get_node_id(), ray.get_runtime_context().gcs_address
        self._seeing = {self._here} | check_shared(mark)
        self._asked: dict[ray.ObjectRef[bool], tuple[str, float]] = {}
        """Their answers to come -> who, and when it was asked."""
        self._barred: dict[str, list[PlacementGroup]] = {}
        self._look()

    def doubt(self) -> str | None:
        """Asks all machines again, since one does not see the folder any more.

        Returns:
            Why no machine can store anything, where this one does not see it either.
        """
        if self._mark is not None and not self._mark.seen:
            return f"'{self._mark.folder}', where trials store what they leave, is gone or is not what it was"
        self._seeing, self._looked = {self._here}, -math.inf
        return None

    def miss(self, address: str) -> None:
        """Tells of a machine on which a worker was lost; Ray itself may take a minute to know that it is gone.

        One that answers was out of reach for a while, or `_look` will tell of it.
        """
        if not any(_reached(place) for place in self._places.values() if _host(place) == address):
            self._tell(address)

    def _tell(self, address: str) -> None:
        """Tells once of another machine that is gone; if the head is not reached, this one is, as `lifeline` tells."""
        if address in self._missed or address == _host(self._places[self._here]) or not _reached(self._head):
            return
        self._missed.add(address)
        _log.warning(
            "machine %s has left, or the way to it is cut; its trials begin again elsewhere, from what they had stored",
            address,
        )

    def close(self) -> None:
        """Gives free what is reserved of barred machines."""
        for groups in self._barred.values():
            for group in groups:
                remove_placement_group(group)
        self._barred.clear()

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
        if lost := self._alive - alive:
            self._left = self._looked
            for name in lost & self._seeing:
                self._tell(_host(self._places[name]))
        self._places |= {name: _place(node) for name, node in nodes.items()}
        self._missed -= {_host(self._places[name]) for name in alive - self._alive}  # another with this address
        self._alive = alive
        room = {name: fit(self._each, nodes[name]["Resources"]) for name in alive}
        self._ask({name: _host(self._places[name]) for name in alive if room[name]}, room)
        room = {name: room[name] for name in alive & self._seeing}
        helping = sum(room[name] for name in room if HELPER in nodes[name]["Resources"])
        self._slots = max(1, min(sum(room.values()) - helping, self._most) + helping)

    def _ask(self, addresses: Mapping[str, str], room: Mapping[str, int]) -> None:
        """Asks those of whom nothing is known, and hears those that have answered meanwhile."""
        waiting = {name for name, _ in self._asked.values()}
        for name in addresses.keys() - self._seeing - self._barred.keys() - waiting:
            self._asked[_question(name, self._mark)] = name, self._looked
        if not self._asked:
            return
        answered, _ = ray.wait(list(self._asked), num_returns=len(self._asked), timeout=0)
        for answer, (name, asked) in list(self._asked.items()):
            if answer not in answered and self._looked - asked < _PATIENCE:
                continue
            del self._asked[answer]
            if name not in addresses:
                continue
            try:
                _check_answer(answer, addresses[name], self._mark)
            except ResourceError as error:
                _log.warning("%s. It gets no trial until Ray is started there again.", error)
                self._barred[name] = [_reserved(name, self._each) for _ in range(room[name])]
            else:
                self._seeing.add(name)


def _reserved(name: str, each: Mapping[str, float]) -> PlacementGroup:
    """What one trial could take of a machine, as soon as it is free."""
    bundle = {kind: amount for kind, amount in (("CPU", each["cpu"]), ("GPU", each["gpu"])) if amount}
    group: PlacementGroup = placement_group([bundle], bundle_label_selector=[{_NODE_LABEL: name}])
    return group


def _answers(node: Mapping[str, Any]) -> bool:
    """Whether a machine's Ray still takes connections, or is only too busy to."""
    return _reached(_place(node), busy=True)


def _place(node: Mapping[str, Any]) -> str:
    return f"{node['NodeManagerAddress']}:{node['NodeManagerPort']}"


def _host(place: str) -> str:
    return place.rpartition(":")[0]


def _reached(address: str, busy: bool = False) -> bool:
    """Whether somebody takes connections there; `busy` is the answer where none comes in time."""
    try:
        knock(address, _KNOCK_SECONDS)
    except TimeoutError:
        return busy
    except OSError:
        return False
    return True


def check_shared(mark: Mark | None) -> set[str]:
    """Checks that every machine on which trials may run sees a folder; on one machine there is nothing to check.

    Returns:
        The machines, by Ray's names.

    Raises:
        ResourceError: a machine does not see it, has no hpo, or does not answer.
    """
    machines = {
        node["NodeID"]: node["NodeManagerAddress"]
        for node in ray.nodes()
        if node["Alive"] and node["Resources"].get("CPU", 0) > 0
    }
    if len(machines) < 2:
        return set(machines)
    asked = {_question(name, mark): address for name, address in machines.items()}
    ray.wait(list(asked), num_returns=len(asked), timeout=_PATIENCE)
    for answer, address in asked.items():
        _check_answer(answer, address, mark)
    return set(machines)


def _question(name: str, mark: Mark | None) -> "ray.ObjectRef[bool]":
    """Whether a machine sees the mark, which also shows that it has hpo."""
    task = ray.remote(num_cpus=0, max_retries=0)(_sees)
    answer: ray.ObjectRef[bool] = task.options(
        scheduling_strategy=NodeAffinitySchedulingStrategy(name, soft=False)
    ).remote(mark)
    return answer


def _check_answer(answer: "ray.ObjectRef[bool]", address: str, mark: Mark | None) -> None:
    try:
        seen = ray.get(answer, timeout=0)
    except ray.exceptions.GetTimeoutError:
        raise ResourceError(
            f"machine {address} does not answer for {_PATIENCE:g} s; look at `ray status`, and whether '"
            f"{mark.folder if mark else 'hpo'}' can be read there"
        ) from None
    except ray.exceptions.RayError as error:
        raise ResourceError(
            f"machine {address} cannot run hpo; install the same version there: {last_line(error)}"
        ) from error
    if not seen:
        assert mark is not None
        raise ResourceError(
            f"machine {address} does not see '{mark.folder}', where trials store what they leave;"
            " use a folder that all machines share (--storage), or --artifacts URI"
        )


def _sees(mark: Mark | None) -> bool:
    return mark is None or mark.seen
