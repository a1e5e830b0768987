"""A study that release 0.1 has made: digits, a small network, four trials of three epochs, without its mlflow.db."""

import json
import shutil
from pathlib import Path

import pytest

from hpo.errors import StudyError
from hpo.study.format import ATTRIBUTE, FORMAT, SPEC_ATTRIBUTE, format_of
from hpo.study.study import Study
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
    assert Study.open(storage, "before").record.user_attrs[ATTRIBUTE] == FORMAT


def test_a_held_study_of_before_is_of_todays_format(storage: Path) -> None:
    study = Study.open(storage, "before")
    assert format_of(study, study.record.user_attrs) == 1 and study.record.user_attrs.get(SPEC_ATTRIBUTE) is None
    with study.hold.held():
        pass
    again = Study.open(storage, "before")
    assert format_of(again, again.record.user_attrs) == FORMAT and again.trials() == study.trials()
    file = storage / "before" / "spec.yaml"
    file.write_text(file.read_text().replace("epochs: 3", "epochs: 4"))
    with pytest.raises(StudyError, match=r"was changed after the study was made: training.epochs was 3, is 4"):
        Study.open(storage, "before").trials()


@pytest.mark.parametrize(
    ("found", "told"),
    [
        (FORMAT + 1, "is of a later release of hpo: its format is 3, and this release reads up to 2"),
        ("2", "its format is no number, got '2'"),
        (0, "its format is no number, got 0"),
        (True, "its format is no number, got True"),
    ],
)
def test_a_format_that_is_not_known_is_refused(hpo: Run, storage: Path, found: object, told: str) -> None:
    Study.open(storage, "before").record.set_user_attr(ATTRIBUTE, found)
    for command in ("trials", "resume", "ensemble"):
        code, _, err = hpo(command, "--study", "before")
        assert code == 2 and told in err
    assert "before" in hpo("studies")[2]
