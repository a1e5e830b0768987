"""What the suite itself relies on."""

import os
import subprocess
import sys
from pathlib import Path

GROUPED = """
import os
from pathlib import Path

import pytest

@pytest.mark.xdist_group("one")
@pytest.mark.parametrize("number", range(6))
def test_one(number):
    Path(f"{number}.txt").write_text(os.environ["PYTEST_XDIST_WORKER"])
"""


def test_tests_of_a_group_run_in_one_process(tmp_path: Path) -> None:
    """Or each process would start a Ray, a PostgreSQL and a cluster of its own; pytest-xdist says nothing then."""
    (tmp_path / "test_grouped.py").write_text(GROUPED)
    words = ["-n", "2", "--dist", "loadgroup", "-p", "no:cacheprovider", "test_grouped.py"]
    alone = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
    subprocess.run([sys.executable, "-m", "pytest", *words], check=True, capture_output=True, env=alone)
    workers = [file.read_text() for file in tmp_path.glob("*.txt")]
    assert len(workers) == 6 and len(set(workers)) == 1
