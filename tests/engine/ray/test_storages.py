"""Every storage with every scheduler, on one machine and on a cluster: short real searches (see `storage_matrix`)."""

import json
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest

from tests.conftest import PATIENCE, ROOT, without_ray
from tests.engine.ray.storage_matrix import MORE, SCHEDULERS
from tests.servers import postgres

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("storages")]


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """(place, storage) -> scheduler -> what became of its searches; each is run once."""
    with postgres() as url:

        @cache
        def run(place: str, storage: str) -> dict[str, dict[str, Any]]:
            database = url if storage == "postgresql" else ""
            command = [sys.executable, "-m", "tests.engine.ray.storage_matrix", place, database]
            environment = without_ray() | {"PYTHONPATH": str(ROOT)}
            folder = tmp_path_factory.mktemp("matrix")
            limit = PATIENCE * len(SCHEDULERS)
            done = subprocess.run(
                command, cwd=folder, env=environment, capture_output=True, text=True, timeout=limit, check=False
            )
            assert done.returncode == 0, done.stderr
            return {told["scheduler"]: told for told in map(json.loads, done.stdout.splitlines())}

        yield run


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("storage", ["journal", "postgresql"])
@pytest.mark.parametrize("place", ["local", "cluster"])
def test_a_search_and_its_continuation_are_whole(searched: Any, place: str, storage: str, scheduler: str) -> None:
    told = searched(place, storage)[scheduler]
    assert "error" not in told
    assert told["began"] == MORE and told["complete"] >= 1 and set(told["states"]) <= {"complete", "pruned"}
    assert told["kept"] and told["whole"] and told["stored"]
    assert told["tracking"] == [None, None]
