"""A study that release 0.1 has made: digits, a small network, four trials of three epochs, without its mlflow.db."""

import json
import shutil
from pathlib import Path

import pytest

from tests.conftest import Run

MADE = Path(__file__).parent / "release_0_1"
VALUES = {0: 0.90278, 1: 0.68403, 2: 0.93403, 3: 0.94444}
"""What release 0.1 has shown of each trial."""


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    """The folder of its studies, as a user would have it."""
    return Path(shutil.copytree(MADE, tmp_path / "studies"))


def test_it_opens_and_lists(hpo: Run, storage: Path) -> None:
    code, out, _ = hpo("studies", "--format", "json")
    assert code == 0 and [study["study"] for study in json.loads(out)] == ["before"]
    code, out, _ = hpo("trials", "--study", "before", "--format", "json")
    found = {trial["trial"]: trial for trial in json.loads(out)}
    assert code == 0 and {number: round(trial["value"], 5) for number, trial in found.items()} == VALUES
    assert {trial["state"] for trial in found.values()} == {"complete"}


def test_it_builds_an_ensemble(hpo: Run, storage: Path) -> None:
    code, out, err = hpo("ensemble", "--study", "before", "--method", "voting", "--top", "3", "--format", "json")
    assert code == 0, err
    assert {member["trial"] for member in json.loads(out)["members"]} == {0, 2, 3}


@pytest.mark.usefixtures("ray_cluster")
def test_it_goes_on(hpo: Run, storage: Path) -> None:
    code, _, err = hpo("resume", "--study", "before", "--trials", "5")
    assert code == 0, err
    _, out, _ = hpo("trials", "--study", "before", "--format", "json")
    found = {trial["trial"]: trial for trial in json.loads(out)}
    assert {number: round(found[number]["value"], 5) for number in VALUES} == VALUES
    assert found[4]["state"] in ("complete", "pruned") and len(found) == 5
