import shutil
from pathlib import Path
from typing import Any

import pytest

from hpo import api, spec
from hpo.errors import StudyError
from hpo.study import optuna_study
from hpo.study.folder import study_names
from hpo.study.study import Study
from tests import servers
from tests.conftest import Run, data_summary, finish
from tests.study.kills import Killed, killed_after

STUDIES = Path("studies")


def test_what_goes_with_a_study_is_said_first(study: Study) -> None:
    (study.folder / "ensembles" / "first").mkdir(parents=True)
    planned = api.remove("squares", dry_run=True)
    assert (planned.trials, planned.ensembles, planned.artifacts, planned.database) == (5, ("first",), None, None)
    assert planned.bytes == sum(file.stat().st_size for file in study.folder.rglob("*") if file.is_file())
    assert str(planned).startswith("study 'squares', ") and "ensemble first" in str(planned)
    assert study_names(STUDIES) == ["squares"]


def test_a_removed_study_is_gone_and_others_stay(study: Study, document: dict[str, Any]) -> None:
    Study.create(STUDIES, spec.load({**document, "study": "other"}), data_summary())
    api.remove("squares")
    assert study_names(STUDIES) == ["other"] and [path.name for path in STUDIES.iterdir()] == ["other"]
    with pytest.raises(StudyError, match="no study 'squares'"):
        api.remove("squares")


def test_a_study_that_is_searched_stays(study: Study, hpo: Run) -> None:
    with study.hold.searching():
        code, out, err = hpo("rm", "squares", "--yes")
    assert (code, out) == (2, "") and "is being searched by another process" in err
    assert len(study.trials) == 5


def test_nobody_is_asked_without_a_terminal(study: Study, hpo: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    with Path("/dev/null").open() as nothing:
        monkeypatch.setattr("sys.stdin", nothing)
        code, out, err = hpo("rm", "squares")
    assert (code, out) == (2, "") and "To be removed: study 'squares'" in err and "--yes" in err
    assert study_names(STUDIES) == ["squares"]
    code, out, err = hpo("rm", "squares", "--yes")
    assert code == 0 and out == "Removed study 'squares'.\n" and "5 trials" in err
    assert study_names(STUDIES) == []


@pytest.mark.parametrize("arguments", [(), ("squares", "--ensemble", "x"), ("--ensemble", "x", "--artifacts", "y")])
def test_one_thing_is_to_be_named(study: Study, hpo: Run, arguments: tuple[str, ...]) -> None:
    code, out, err = hpo("rm", *arguments, "--yes")
    assert (code, out) == (2, "") and ("name what is to be removed" in err or "--artifacts is of a study" in err)


def test_killed_at_any_moment_a_removal_is_gone_on_with(document: dict[str, Any]) -> None:
    made = Study.create(STUDIES, spec.load(document), data_summary(), artifacts="shared")
    finish(made, 1.0, epochs=3)
    for folder in (STUDIES, Path("shared")):
        shutil.copytree(folder, f"kept-{folder.name}")
    for changes in range(200):
        for folder in (STUDIES, Path("shared")):
            shutil.rmtree(folder, ignore_errors=True)
            shutil.copytree(f"kept-{folder.name}", folder)
        try:
            with killed_after(changes):
                api.remove("squares", tell=lambda line: None)
        except Killed:
            if study_names(STUDIES):
                api.remove("squares")
        else:
            break
        assert study_names(STUDIES) == [] and not list(Path("shared").rglob("*.*"))
    assert changes > 5


def test_links_in_a_study_lead_nowhere(study: Study) -> None:
    Path("mine").mkdir()
    Path("mine/file").write_text("kept")
    (study.folder / "artifacts" / "link").symlink_to(Path("mine").absolute())
    (study.folder / "ensembles").mkdir()
    (study.folder / "ensembles" / "link").symlink_to(Path("mine").absolute())
    api.remove("squares")
    assert not study.folder.exists() and Path("mine/file").read_text() == "kept"


def test_artifacts_that_are_not_known_to_be_its_own_stay(document: dict[str, Any]) -> None:
    made = Study.create(STUDIES, spec.load(document), data_summary(), artifacts="shared")
    finish(made, 1.0, epochs=3)
    Path("shared/squares/.study").unlink()
    with pytest.raises(StudyError, match="is not proven to be this study's"):
        api.remove("squares")
    assert study_names(STUDIES) == ["squares"] and Path("shared/squares/artifacts").exists()
    api.remove("squares", artifacts="shared")
    assert study_names(STUDIES) == [] and not Path("shared/squares").exists()


def test_a_record_in_a_database_goes_too(document: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    with servers.postgres() as url:
        monkeypatch.setenv("HPO_DATABASE", url)
        made = Study.create(STUDIES, spec.load(document), data_summary(), database=url)
        finish(made, 1.0, epochs=3)
        planned = api.remove("squares", dry_run=True)
        assert (
            planned.database is not None and "s3cret" not in str(planned) and "its record in database" in str(planned)
        )
        optuna_study.forget(made)  # as of a removal that was killed
        assert api.remove("squares").trials is None and study_names(STUDIES) == []
        again = Study.create(STUDIES, spec.load(document), data_summary(), database=url)
        finish(again, 1.0, epochs=3)
        api.remove("squares")
        Study.create(STUDIES, spec.load(document), data_summary(), database=url)


def test_runs_in_mlflow_follow_a_study(study: Study, hpo: Run) -> None:
    from mlflow import MlflowClient
    from mlflow.entities import ViewType

    from hpo.tracking.store import STUDY_TAG, tracking_uri
    from hpo.tracking.writer import Tracker

    with Tracker(study, STUDIES):
        pass
    built = [api.build_ensemble(method=method, top=2).name for method in ("voting", "greedy")]

    def runs(view: int = ViewType.ACTIVE_ONLY) -> list[Any]:
        client = MlflowClient(tracking_uri=tracking_uri(STUDIES))
        experiments = [one.experiment_id for one in client.search_experiments()]
        return list(client.search_runs(experiments, run_view_type=view))

    before = runs()
    assert len(before) == 8
    renamed = api.rename("squares", "corners")
    assert {run.data.tags[STUDY_TAG] for run in runs()} == {"corners"}
    assert "corners" in {run.info.run_name for run in runs()} and "squares" not in {run.info.run_name for run in runs()}
    with Tracker(renamed, STUDIES):
        pass
    assert len(runs()) == 8, "MLflow was told the same again"
    code, out, _ = hpo("rm", "--ensemble", built[0], "--yes")
    assert code == 0 and f"ensembles/{built[0]}'" in out and not (renamed.folder / "ensembles" / built[0]).exists()
    assert len(runs()) == 7 and built[0] not in {run.info.run_name for run in runs()}
    assert [one.name for one in api.ensembles("corners")] == [built[1]]
    api.remove("corners")
    assert runs() == [] and len(runs(ViewType.DELETED_ONLY)) == 8


def test_a_registered_ensemble_outlives_its_study(study: Study) -> None:
    import mlflow

    from hpo.tracking.ensembles import tracking_to
    from hpo.tracking.store import tracking_uri

    built = api.build_ensemble(method="voting", top=2, register="corners")
    example = study.data_summary.example
    api.remove("squares")
    with tracking_to(tracking_uri(STUDIES)):
        model = mlflow.pyfunc.load_model(str(built.registered))
    assert model.predict(example).shape == (1, 3)
