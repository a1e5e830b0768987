"""What a Ray of one machine is started without."""

import inspect

import pytest
from ray._private.node import Node

from hpo.engine.ray.few_processes import UNUSED, few_processes


def test_what_is_left_out_is_there_again_afterwards() -> None:
    before = [getattr(Node, name) for name in UNUSED]
    with pytest.raises(RuntimeError), few_processes():
        assert Node.start_monitor(None) is None  # type: ignore[arg-type]
        raise RuntimeError
    assert [getattr(Node, name) for name in UNUSED] == before


def test_rays_head_starts_all_of_them_by_these_methods() -> None:
    """Fails where a new Ray starts its processes otherwise."""
    started = inspect.getsource(Node.start_head_processes) + inspect.getsource(Node.start_ray_processes)
    assert [name for name in UNUSED if f"self.{name}(" not in started] == []
