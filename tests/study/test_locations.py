import json
from pathlib import Path
from typing import Any

import pytest

from hpo import api, datasets, spec
from hpo.controller.disk import DiskBudget
from hpo.engine.ray import member_training
from hpo.engine.ray.pickling import Sent
from hpo.engine.ray.worker_settings import WorkerSettings
from hpo.ensemble.model import Ensemble
from hpo.ensemble.pool import Pool
from hpo.ensemble.retrain.retrained import FOLDER
from hpo.errors import InputError, StudyError
from hpo.study.artifacts import Artifacts, place
from hpo.study.garbage import collect
from hpo.study.study import Study
from hpo.training import train
from tests.conftest import data_summary, finish

STUDIES = Path("studies")


@pytest.fixture
def elsewhere(document: dict[str, Any], store: str, tmp_path: Path) -> Study:
    """A study with the artifacts of four trials in an object store."""
    uri = f"s3://bucket/{tmp_path.name}?{store}"
    made = Study.create(STUDIES, spec.load(document), data_summary(), artifacts=uri)
    for skill in (2.0, 1.5, 1.0):
        finish(made, skill, epochs=3)
    finish(made, 0.5, epochs=1)
    return made


def test_artifacts_in_an_object_store_are_found_again(elsewhere: Study, store: str, tmp_path: Path) -> None:
    places = json.loads((elsewhere.folder / "places.json").read_text())
    assert (places["artifacts"], places["database"]) == (f"s3://bucket/{tmp_path.name}/squares?{store}", None)
    assert places["beside"] == {"data": "../../squares.npz"}
    assert (elsewhere.folder / "journal.log").exists() and not (elsewhere.folder / "artifacts").exists()
    opened = Study.open(STUDIES, "squares")
    assert [trial.number for trial in Pool.load(opened, 50).trials] == [
        trial.number for trial in elsewhere.leaderboard()
    ]
    with pytest.raises(StudyError, match="'s3://.*' is no folder of this machine"):
        assert opened.artifacts.folder


def test_an_ensemble_is_built_from_an_object_store_and_needs_it_no_more(elsewhere: Study) -> None:
    result = api.build_ensemble(method="greedy", top=2, storage=STUDIES)
    collect(elsewhere, keep=0, dry_run=False)
    assert len(elsewhere.artifacts.files()) == 1  # the incumbent's
    assert len(elsewhere.artifacts.evicted()) == 3
    assert Ensemble(result.folder).task == "classification"


def test_a_budget_holds_in_an_object_store(elsewhere: Study) -> None:
    budget = DiskBudget(elsewhere, 0, members=2)
    freed = budget.evict()
    assert len(freed.trials) == 2 and len(elsewhere.artifacts.files()) == 2
    assert budget.problem is not None and "must stay" in budget.problem


def test_members_are_trained_into_an_object_store(elsewhere: Study) -> None:
    """What a worker does; the workers of the tests' Ray cluster have no credentials."""
    study = elsewhere.study_spec
    dataset = datasets.load(study.data, Path("data"), study.seed)
    artifacts = Artifacts(elsewhere.place / FOLDER / "deep")
    job = member_training.Job(0, "member 0", elsewhere.trial(0).config, seed=1)
    shared = member_training._Shared(Sent(train), study, artifacts, WorkerSettings.here({"cpu": 1}))
    done = member_training._train(job, "fingerprint", shared, dataset)
    assert "reason" not in done
    found = member_training._found(job, "fingerprint", artifacts, dataset)
    assert found is not None and found.stored is not None and found.stored.splits == {"validation", "test"}
    assert member_training._found(job, "another", artifacts, dataset) is None


def test_a_shared_folder_may_have_the_artifacts(document: dict[str, Any], tmp_path: Path) -> None:
    made = Study.create(STUDIES, spec.load(document), data_summary(), artifacts="shared")
    finish(made, 1.0, epochs=3)
    assert Study.open(STUDIES, "squares").artifacts.folder == tmp_path / "shared" / "squares" / "artifacts"
    assert made.artifacts.read(0) is not None


def test_the_default_places_are_not_written_down_but_that_of_the_data_is(document: dict[str, Any]) -> None:
    made = Study.create(STUDIES, spec.load(document), data_summary())
    own = {"spec.yaml", "data.npz", "environment.json", "journal.log"}
    assert {path.name for path in made.folder.iterdir()} == own | {"places.json"}
    kept = json.loads((made.folder / "places.json").read_text())
    assert kept["artifacts"] is None and kept["database"] is None and kept["data"] == document["data"]["path"]
    assert made.artifacts.folder == STUDIES / "squares" / "artifacts"


def test_a_place_that_is_taken_is_refused(
    elsewhere: Study, document: dict[str, Any], store: str, tmp_path: Path
) -> None:
    uri = f"s3://bucket/{tmp_path.name}?{store}"
    with pytest.raises(StudyError, match="holds files already: of another study 'squares'; .* --study"):
        Study.create(Path("others"), spec.load(document), data_summary(), artifacts=uri)
    assert list(Path("others").iterdir()) == []


@pytest.mark.parametrize("uri", ["s3://nothing/a?QUERY", "/proc/none", "s3://"])
def test_a_place_that_cannot_be_written_is_one_sentence(document: dict[str, Any], store: str, uri: str) -> None:
    with pytest.raises(StudyError, match="artifacts cannot be written to '.*/squares.*': ") as error:
        Study.create(STUDIES, spec.load(document), data_summary(), artifacts=uri.replace("QUERY", store))
    assert "\n" not in str(error.value) and list(STUDIES.iterdir()) == []


@pytest.mark.parametrize(
    "uri",
    [
        "s3://key:word@bucket",
        "s3://key:wo/rd@bucket/folder",
        "gs://word@bucket",
        "s3://key:wo?rd@bucket/folder",
        "s3://bucket/folder?endpoint_override=http://user:word@host:9000",
        "s3://bucket/folder?region=x&secret_key=word",
        "abfs://container:word@account.dfs.core.windows.net/folder",
        "abfs://container@account.dfs.core.windows.net/folder?client_secret=word",
    ],
)
def test_credentials_are_refused_before_anything_is_made(document: dict[str, Any], uri: str) -> None:
    with pytest.raises(InputError, match="given with credentials") as error:
        Study.create(STUDIES, spec.load(document), data_summary(), artifacts=uri)
    assert "word@" not in str(error.value) and "rd@" not in str(error.value) and "=word" not in str(error.value)
    assert list(STUDIES.iterdir()) == []


@pytest.mark.parametrize(
    "uri",
    [
        "s3://bucket/some@body/folder?region=eu-west-1&endpoint_override=host:9000&scheme=http",
        "abfs://container@account.dfs.core.windows.net/folder",
        "gs://bucket?monkey=1&design=2",
    ],
)
def test_what_only_looks_like_credentials_is_a_place(uri: str) -> None:
    assert str(place(uri)) == uri
