"""What a search checks beside its spec's own rules, and what it says of what it found."""

import importlib.util
from pathlib import Path
from signal import SIGINT
from typing import Any

import pytest

from hpo import api, spec
from hpo.errors import HpoError, InputError, SpecError, TrialsError
from hpo.searching import search as searching
from hpo.searching.results import SearchResult
from hpo.searching.search import check_found
from hpo.study.study import Study
from hpo.study.trial import Outcome, State
from tests.conftest import data_summary


def more(study: Study, **limits: Any) -> dict[str, Any]:
    overrides = {f"budget.{name}": value for name, value in limits.items()}
    return searching.in_all(study.spec, overrides, study.folder.parent, None)


def test_a_plus_is_so_many_more_than_the_study_has(study: Study) -> None:
    assert study.spent().trials == 5 and study.spent().epochs == 10
    assert more(study, trials="+20", epochs="+3") == {"budget.trials": 25, "budget.epochs": 13}
    assert more(study, trials=20, time_limit=5.0) == {"budget.trials": 20, "budget.time_limit": 5.0}
    assert more(study, gpu_hours="+2.5") == {"budget.gpu_hours": 2.5}


def test_of_a_new_study_it_is_all(document: dict[str, Any], tmp_path: Path) -> None:
    found = searching.in_all(document, {"budget.trials": "+20"}, tmp_path / "none", None)
    assert found == {"budget.trials": 20}


@pytest.mark.parametrize("text", ["20", "+", "++2", "+2.5", "+0", "+1_0", "more"])
def test_other_texts_are_refused(study: Study, text: str) -> None:
    with pytest.raises(InputError, match=r"budget.trials must be a number, or a text such as '\+20' for so many more"):
        more(study, trials=text)


@pytest.mark.parametrize(
    ("resources", "training", "told"),
    [
        (
            {"gpu": 2},
            {},
            "resources.gpu: must be at most 1, got 2: a trial trains on one GPU and would hold the others",
        ),
        ({"gpu": 1.5}, {}, "resources.gpu: must be at most 1, got 1.5"),
        ({"gpu": 1}, {"device": "cpu"}, "resources.gpu: must be 0 where training.device is cpu, got 1"),
        ({"cpu": 1.5}, {}, "resources.cpu: must be a whole number, or a fraction below 1, got 1.5: .*; write 1 or 2"),
    ],
)
def test_resources_that_would_lie_idle_are_refused(
    document: dict[str, Any], resources: dict[str, float], training: dict[str, str], told: str
) -> None:
    document["resources"] = resources
    document["training"] |= training
    with pytest.raises(SpecError, match=told):
        api.validate(document)


@pytest.mark.parametrize("resources", [{"gpu": "auto"}, {"gpu": 0}, {"gpu": 0.5}, {"gpu": 1, "cpu": 4}, {"cpu": 0.25}])
def test_resources_that_are_used_are_not(document: dict[str, Any], resources: dict[str, Any]) -> None:
    assert api.validate({**document, "resources": resources}).resources.cpu == resources.get("cpu", 1)


def test_a_study_that_asked_for_two_gpus_can_still_be_read(document: dict[str, Any]) -> None:
    Study.create(Path("studies"), spec.load({**document, "resources": {"gpu": 2}}), data_summary())
    assert api.open_study().study_spec.resources.gpu == 2
    with pytest.raises(SpecError, match="resources.gpu: must be at most 1"):
        api.resume()


def test_what_trains_on_the_cpu_holds_no_gpu(document: dict[str, Any]) -> None:
    document["training"]["device"] = "cpu"
    assert spec.load(document).resources.gpu == 0
    assert spec.load({**document, "resources": {"cpu": 2}}).resources.gpu == 0
    assert spec.load({**document, "resources": {"gpu": 1}}).resources.gpu == 1


def failed(document: dict[str, Any], *causes: str, storage: str = "studies") -> Study:
    study = Study.create(Path(storage), spec.load(document), data_summary())
    for cause in causes:
        study.writer.end(study.writer.ask().number, Outcome(State.FAILED, f"Traceback\n{cause}"))
    return study


def test_a_search_that_found_nothing_raises_with_the_commonest_cause(document: dict[str, Any]) -> None:
    study = failed(document, "ValueError: rare", "RuntimeError: often", "RuntimeError: often")
    study.writer.ask()
    with pytest.raises(TrialsError) as raised:
        check_found(SearchResult(study, 1.0))
    assert str(raised.value) == (
        "no trial of study 'squares' has a value: 3 of 4 have failed or diverged, 2 of them: RuntimeError: often; the"
        " study is kept: `hpo log 0 --study squares` shows a traceback; when the cause is mended, `hpo resume --study"
        " squares --retry-failed` begins what has failed again"
    )
    assert isinstance(raised.value, HpoError) and raised.value.exit_code == 1
    other = failed(document, "ValueError: rare", storage="my folder")
    with pytest.raises(TrialsError, match="`hpo log 0 --study squares --storage 'my folder'`"):
        check_found(SearchResult(other, 1.0))
    check_found(SearchResult(study, 1.0, SIGINT))


def test_a_search_that_had_no_time_to_find_anything_says_so(document: dict[str, Any]) -> None:
    study = failed(document)
    study.writer.ask()
    with pytest.raises(TrialsError, match="has a value: none has reported before the search ended; the study is kept"):
        check_found(SearchResult(study, 1.0))


def test_a_search_that_found_something_does_not_raise(study: Study) -> None:
    check_found(SearchResult(study, 1.0))


@pytest.mark.usefixtures("ray_cluster")
def test_python_and_the_command_say_the_same_of_a_study_whose_trials_all_diverge(
    document: dict[str, Any], hpo: Any, space: Path
) -> None:
    told = "4 of 4 have failed or diverged, 4 of them: diverged: accuracy is nan;"
    with pytest.raises(TrialsError, match=told) as raised:
        api.search(document, overrides={"optimizer.lr": 1e30})
    with pytest.raises(TrialsError) as again:  # nothing is left to run, and that is no success either
        api.resume()
    assert str(again.value) == str(raised.value)
    code, _, err = hpo("search", "--space", str(space), "--set", "optimizer.lr=1e30")
    assert code == 1 and err.splitlines()[-1] == f"Error: {raised.value}"


def test_what_runs_trials_is_imported_while_ray_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    named: list[str] = []
    monkeypatch.setattr(searching, "import_module", named.append)
    searching._import_engine()
    assert "hpo.engine.ray.run" in named and "hpo.display.progress" in named
    assert all(importlib.util.find_spec(name) is not None for name in named)
