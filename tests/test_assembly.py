"""From a study to an ensemble on disk and in MLflow; what is chosen never sees a test row."""

import ast
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hpo
from hpo import api, assembly
from hpo.assembly import Request
from hpo.ensemble.model import Ensemble
from hpo.errors import InputError, StudyError
from hpo.study import Study
from tests.conftest import finish

PACKAGE = Path(hpo.__file__).parent


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"method": "greedi"}, "unknown --method 'greedi'. Did you mean 'greedy'?"),
        ({"select": "random"}, "unknown --select 'random'"),
        ({"top": 0}, "--top must be at least 1, got 0"),
        ({"pool": 1}, "--pool must be at least 2, got 1"),
        ({"method": "bagging", "bags": 1}, "--bags must be at least 2, got 1"),
        ({"method": "stacking", "folds": 1}, "--folds must be at least 2, got 1"),
        ({"method": "greedy", "folds": 3}, "--folds is of stacking"),
        ({"max_latency": 0.0}, "--max-latency must be above 0"),
        ({"method": "bagging", "max_latency": 1.0}, "--max-latency is for stored trials"),
        ({"register": "a/b"}, "--register must be a name"),
    ],
)
def test_a_bad_request_is_one_sentence_and_leaves_nothing(study: Study, asked: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        api.build_ensemble(storage=study.folder.parent, **asked)
    assert message in str(caught.value)
    assert not (study.folder / "ensembles").exists()


def test_the_folder_has_all_that_was_promised(study: Study) -> None:
    result = api.build_ensemble(method="greedy", top=3, storage=study.folder.parent)
    assert result.report is not None and result.report.exists()
    assert {"weights.png", "reliability.png", "confusion.png", "score_by_members.png"} <= {
        path.name for path in result.report.parent.iterdir()
    }
    document = json.loads((result.folder / "result.json").read_text())
    assert document["method"] == "greedy" and document["cost"]["ensemble"]["parameters"] > 0
    assert document["calibration"]["after"]["nll"] <= document["calibration"]["before"]["nll"] + 1e-9
    assert sum(member["weight"] for member in document["members"]) == pytest.approx(1)
    assert Ensemble(result.folder).task == "classification"


def test_what_is_chosen_does_not_depend_on_test_rows(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = study.folder.parent
    first = api.build_ensemble(storage=storage)
    for file in study.artifacts.folder.glob("*/epoch-*/test.npy"):
        np.save(file, np.roll(np.load(file), 1, axis=1))
    second = api.build_ensemble(storage=storage)
    assert first.method == second.method and first.members == second.members
    assert first.validation == second.validation and first.test != second.test


def test_without_test_files_nothing_is_chosen_differently_and_nothing_half_done_is_left(study: Study) -> None:
    for file in study.artifacts.folder.glob("*/epoch-*/test.npy"):
        file.unlink()
    with pytest.raises(StudyError, match="its test predictions cannot be read"):
        api.build_ensemble(storage=study.folder.parent)
    assert not list((study.folder / "ensembles").glob("*"))


def test_test_rows_are_read_in_one_place() -> None:
    """Whoever names the split `test` beside a reading call, in all that chooses; the scoring in `build` is the one."""
    readers: set[str] = set()
    for path in [*PACKAGE.glob("ensemble/*.py"), *PACKAGE.glob("assembly/*.py"), *PACKAGE.glob("retraining/*.py")]:
        for function in ast.walk(ast.parse(path.read_text())):
            if isinstance(function, ast.FunctionDef):
                for node in ast.walk(function):
                    if isinstance(node, ast.Call) and _reads_test(node):
                        readers.add(f"{path.parent.name}/{path.name}:{function.name}")
    assert readers == READERS


READERS = {
    "ensemble/pool.py:test_predictions",
    "retraining/retrained.py:test_predictions",
    "assembly/draft.py:from_pool",
    "assembly/trained.py:from_retrained",
    "assembly/build.py:_scored",
}
"""The two that read, the two that pass them on unread, and the one that calls, after everything is chosen."""


def _reads_test(call: ast.Call) -> bool:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    says_test = any(isinstance(argument, ast.Constant) and argument.value == "test" for argument in call.args)
    reads = name in ("predictions", "_read", "stack") and says_test
    return reads or name in ("test_predictions", "test")


def test_a_limit_of_latency_chooses_among_fast_trials(study: Study) -> None:
    storage = study.folder.parent
    with pytest.raises(InputError, match="--max-latency 5ms: the fastest of 4 candidates takes inf ms"):
        api.build_ensemble(max_latency=5.0, storage=storage)
    for milliseconds in (2.0, 3.0, 9.0):
        timed(study, milliseconds)
    result = api.build_ensemble(method="voting", max_latency=5.0, storage=storage)
    assert [member["trial"] for member in result.members] in ([5, 6], [6, 5])
    assert len(api.build_ensemble(method="voting", max_latency=3.5, storage=storage).members) == 1


def timed(study: Study, milliseconds: float) -> None:
    """Another good trial that says how fast its model is."""
    finish(study, 2.0, epochs=3, latency_ms=milliseconds)


def test_a_request_knows_what_it_needs() -> None:
    assert Request(method="bagging").needs_data and Request(method="stacking", folds=3).needs_data
    assert Request(method="soup").needs_data and not Request(method="soup").trains
    assert not Request().needs_data
    assert assembly.find is not None
