import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from hpo import api, spec
from hpo.errors import InputError, StudyError
from hpo.study.folder import study_names
from hpo.study.storage.journal import Journal
from hpo.study.study import Study
from tests import servers
from tests.conftest import Run, data_summary, finish
from tests.study.kills import Killed, killed_after

STUDIES = Path("studies")


def records(name: str) -> list[dict[str, Any]]:
    return [trial.to_json() for trial in Study.open(STUDIES, name).trials]


def test_everything_of_a_study_has_its_new_name(study: Study) -> None:
    before, own = records("squares"), study.id
    renamed = api.rename("squares", "corners")
    assert study_names(STUDIES) == ["corners"] and records("corners") == before
    assert (renamed.name, renamed.spec.study, renamed.folder) == ("corners", "corners", STUDIES / "corners")
    assert "study: corners\n" in (STUDIES / "corners" / "spec.yaml").read_text()
    assert renamed.record.study_name == "corners"
    assert "squares" not in (STUDIES / "corners" / "journal.log").read_text().splitlines()[0]
    assert renamed.id == Study.open(STUDIES, "corners").id == own
    assert list(Journal(str(STUDIES / "corners" / "journal.log"), new=False).read_logs(0)), "a checksum is wrong"


def test_a_renamed_study_goes_on(study: Study, document: dict[str, Any]) -> None:
    renamed = api.rename("squares", "corners")
    with renamed.hold.searching():
        finish(renamed, 2.5, epochs=3)
    assert len(Study.open(STUDIES, "corners").trials) == 6
    again = api.rename("corners", "squares")
    assert again.names == ("squares", "corners") and len(again.trials) == 6
    made = Study.create(STUDIES, spec.load({**document, "study": "corners"}), data_summary())
    assert made.trials == []


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("../x", "a study's name must be letters, digits"),
        ("", "a study's name must be letters, digits"),
        ("mlflow.db", "is a name of MLflow's own files"),
        ("x.", "must not end in '.'"),
        ("squares", "there is a study 'squares' in 'studies' already"),
        ("taken", "there is a study 'taken' in 'studies' already"),
    ],
)
def test_a_name_that_cannot_be_is_refused(study: Study, name: str, message: str) -> None:
    (STUDIES / "taken").mkdir()
    with pytest.raises(InputError, match=message):
        api.rename("squares", name)
    assert (records("squares") and not (study.folder / "places.json").exists()) or "names" not in json.loads(
        (study.folder / "places.json").read_text()
    )


def test_a_study_that_is_searched_keeps_its_name(study: Study) -> None:
    with study.hold.searching(), pytest.raises(StudyError, match="is being searched by another process"):
        api.rename("squares", "corners")
    assert study_names(STUDIES) == ["squares"]


def test_killed_at_any_moment_a_study_is_whole_under_one_name(study: Study, tmp_path: Path) -> None:
    before = records("squares")
    shutil.copytree(STUDIES, "kept")
    seen = set()
    for changes in range(100):
        shutil.rmtree(STUDIES)
        shutil.copytree("kept", STUDIES)
        try:
            with killed_after(changes):
                api.rename("squares", "corners", tell=lambda line: None)
        except Killed:
            (STUDIES / study_names(STUDIES)[0] / "journal.log.lock").unlink(missing_ok=True)  # Optuna's, of 30 s
            (name,) = study_names(STUDIES)
            seen.add(name)
            assert records(name) == before
            if changes % 2:  # whoever goes on with the search under this name must find all in order
                with Study.open(STUDIES, name).hold.searching():
                    pass
            api.rename("squares", "corners")
        else:
            break
        assert study_names(STUDIES) == ["corners"] and records("corners") == before
        assert "study: corners\n" in (STUDIES / "corners" / "spec.yaml").read_text()
        assert Study.open(STUDIES, "corners").record.study_name == "corners"
    assert seen == {"squares", "corners"} and changes > 8


def test_another_name_for_what_was_never_called_so(study: Study) -> None:
    with pytest.raises(StudyError, match="no study 'circles' in 'studies', and 'squares' was never called so"):
        api.rename("circles", "squares")


def test_a_folder_that_somebody_renames_is_still_refused(study: Study) -> None:
    study.folder.rename(STUDIES / "other")
    with pytest.raises(StudyError, match="is study 'squares'; name its folder so again"):
        Study.open(STUDIES, "other")


def test_a_damaged_journal_is_not_made_sound(study: Study) -> None:
    journal = study.folder / "journal.log"
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join([*lines[:5], lines[5].replace(b":", b": ", 1), *lines[6:]]))
    with pytest.raises(StudyError, match="line 6 of .* is not as it was written"):
        api.rename("squares", "corners")


def test_artifacts_elsewhere_stay_and_are_the_study_s_own(document: dict[str, Any], tmp_path: Path) -> None:
    made = Study.create(STUDIES, spec.load(document), data_summary(), artifacts="shared")
    finish(made, 1.0, epochs=3)
    renamed = api.rename("squares", "corners")
    assert renamed.artifacts.folder == tmp_path / "shared" / "squares" / "artifacts"
    opened = Study.open(STUDIES, "corners")
    opened.hold.claim()  # proven for the new name
    opened.hold.claim("shared")  # and named as before
    with opened.hold.searching():
        finish(opened, 2.0, epochs=3)
    assert len(opened.artifacts.files()) == 2


def test_a_study_in_a_database_is_renamed_there(document: dict[str, Any], tmp_path: Path) -> None:
    with servers.postgres() as url:
        made = Study.create(STUDIES, spec.load(document), data_summary(), database=url)
        finish(made, 1.0, epochs=3)
        other = Study.create(STUDIES, spec.load({**document, "study": "taken"}), data_summary(), database=url)
        shutil.move(other.folder, "elsewhere")
        with pytest.MonkeyPatch.context() as environment:
            environment.setenv("HPO_DATABASE", url)
            with pytest.raises(StudyError, match="has a study 'taken' already"):
                api.rename("squares", "taken")
            renamed = api.rename("squares", "corners")
            assert renamed.record.study_name == "corners" and len(renamed.trials) == 1
            # killed between the folder and the database
            (STUDIES / "corners").rename(STUDIES / "squares")
            places = json.loads((STUDIES / "squares" / "places.json").read_text())
            places["names"] = ["corners", "squares"]
            (STUDIES / "squares" / "places.json").write_text(json.dumps(places))
            assert len(Study.open(STUDIES, "squares").trials) == 1
            assert api.rename("corners", "squares").record.study_name == "squares"


def test_the_command_says_what_it_did(study: Study, hpo: Run) -> None:
    code, out, _ = hpo("rename", "squares", "corners")
    assert code == 0 and out.startswith("Study 'squares' is 'corners' now; `hpo resume --study corners`")
    code, out, err = hpo("rename", "squares", "x y")
    assert (code, out) == (2, "") and "no study 'squares'" in err


def test_a_name_that_only_a_stored_file_gives_is_none_of_the_study(document: dict[str, Any], tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    (shared / "photos").mkdir(parents=True)
    (shared / "photos" / "a.jpg").write_text("mine")
    study = Study.create(STUDIES, spec.load({**document, "study": "a"}), data_summary(), artifacts=str(shared))
    places = study.folder / "places.json"
    known = json.loads(places.read_text())
    known |= {"artifacts": str(shared / "photos"), "beside": {}, "names": ["photos", "a"]}
    places.write_text(json.dumps(known))
    assert Study.open(STUDIES, "a").names == ("a",)
    with pytest.raises(StudyError, match="is not proven to be this study's"):
        api.remove("a", storage=STUDIES, artifacts=str(shared))
    assert (shared / "photos" / "a.jpg").is_file()
