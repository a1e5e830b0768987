"""The machines of a cluster: how many trials they have room for now, and whether they see what they must."""

import time
import uuid
from collections.abc import Callable
from pathlib import Path

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from hpo.engine.cluster import slots
from hpo.errors import ResourceError

_LOOK_SECONDS = 2.0
"""Between two looks at the machines."""
_PATIENCE = 60.0
"""Seconds within which every machine must have answered."""


def room(each: dict[str, float], most: int) -> Callable[[], int]:
    """What says how many trials fit on the cluster now; machines that have joined or left are seen after seconds.

    Args:
        each: what one trial asks for, as `trial_resources` has it.
        most: no more than so many.

    Returns:
        A function that never says 0: where no machine is left, a trial waits for the next one to join.
    """
    last = (-_LOOK_SECONDS, 0)

    def now() -> int:
        nonlocal last
        if time.monotonic() - last[0] >= _LOOK_SECONDS:
            last = (time.monotonic(), max(1, min(slots(each), most)))
        return last[1]

    return now


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
