from types import SimpleNamespace
from typing import Any

import pytest

from hpo.engine.ray.tune_controller import settle


class Trainable:
    """What Tune would make an actor of."""


def settled() -> Any:
    """Tune's controller, behind what it shows to schedulers, after it was settled twice."""
    controller = SimpleNamespace(_actor_force_cleanup_timeout=10, _class_cache="Tune's")
    for _ in range(2):
        settle(SimpleNamespace(_tune_controller=controller))  # type: ignore[arg-type]
    return controller


def test_a_worker_has_time_to_store_its_trial() -> None:
    assert settled()._actor_force_cleanup_timeout == 60


def test_on_a_ray_of_our_own_actors_have_no_environment_and_take_the_ready_processes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("hpo.engine.ray.tune_controller.started_here", lambda: True)
    cache = settled()._class_cache
    actor = cache.get(Trainable)
    assert cache.get(Trainable) is actor and "runtime_env" not in actor._default_options


def test_on_a_cluster_that_is_joined_tune_passes_its_variables_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hpo.engine.ray.tune_controller.started_here", lambda: False)
    assert settled()._class_cache == "Tune's"


def test_a_simulation_has_no_controller() -> None:
    settle(SimpleNamespace())  # type: ignore[arg-type]
