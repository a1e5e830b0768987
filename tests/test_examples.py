"""The examples run as they stand."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import PATIENCE, ROOT

SAYS = {"autoencoder": "val_mse 0.0", "gan": "distance "}
"""What an example prints that is not of an ensemble."""


EXAMPLES = [
    pytest.param(path, marks=[pytest.mark.slow] if path.stem in SAYS else [], id=path.name)
    for path in sorted((ROOT / "examples").glob("*.py"))
]


@pytest.mark.parametrize("example", EXAMPLES)
def test_it_runs(example: Path) -> None:
    done = subprocess.run([sys.executable, str(example)], capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stderr
    assert SAYS.get(example.stem, "test accuracy") in done.stdout
