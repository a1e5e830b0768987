"""The examples run as they stand."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import PATIENCE, ROOT


@pytest.mark.parametrize("example", sorted((ROOT / "examples").glob("*.py")), ids=lambda path: path.name)
def test_it_runs(example: Path) -> None:
    done = subprocess.run([sys.executable, str(example)], capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stderr
    assert "accuracy" in done.stdout
