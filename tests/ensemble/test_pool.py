import ast
import shutil
from pathlib import Path

import numpy as np
import pytest

import hpo
from hpo.ensemble.method_choice import choose
from hpo.ensemble.pool import Pool
from hpo.errors import StudyError
from hpo.study.study import Study
from tests.conftest import finish

PACKAGE = Path(hpo.__file__).parent


def rewrite(study: Study, number: int, split: str, array: np.ndarray) -> None:
    stored = study.artifacts.read(number)
    assert stored is not None
    np.save(stored.place.path / f"{split}.npy", array.astype(np.float16))


def test_the_best_trials_come_first_pruned_ones_too(study: Study) -> None:
    pool = Pool.load(study, 50)
    assert [trial.number for trial in pool.trials] == [trial.number for trial in study.leaderboard()]
    assert 3 in {trial.number for trial in pool.trials}
    assert pool.validation.shape == (4, 60, 3)
    assert pool.task == "classification"
    assert Pool.load(study, 2).validation.shape == (2, 60, 3)


def test_broken_predictions_are_skipped_by_name(study: Study) -> None:
    for skill in (1.2, 1.1, 0.9):
        finish(study, skill, epochs=3)
    torn, other, infinite, elsewhere = (trial.number for trial in study.leaderboard()[:4])
    stored = study.artifacts.read(torn)
    assert stored is not None
    (stored.place.path / "validation.npy").write_bytes(b"torn")
    rewrite(study, other, "validation", np.zeros((3, 3)))
    rewrite(study, infinite, "validation", np.full((60, 3), np.nan))
    own = study.artifacts.read(elsewhere)
    assert own is not None
    rewrite(study, elsewhere, "validation", own.predictions("validation")[:, [1, 2, 0]])
    pool = Pool.load(study, 50)
    assert len(pool.trials) == 3
    assert pool.skipped[0].startswith(f"trial {torn}: its validation predictions cannot be read")
    assert pool.skipped[1] == f"trial {other}: its validation predictions are (3, 3), the study's are (60, 3)"
    assert pool.skipped[2] == f"trial {infinite}: its validation predictions are not all finite"
    assert pool.skipped[3].startswith(f"trial {elsewhere}: its validation predictions have accuracy 0.")
    assert pool.skipped[3].endswith("they are of another split or seed")
    assert pool.skipped[4] == "trial 4 has no finite accuracy (failed)"


def test_trials_that_have_not_ended_are_left_out(study: Study) -> None:
    running, paused = study.writer.ask().number, study.writer.ask().number
    for number in (running, paused):
        study.writer.report(number, 1, {"accuracy": 0.99, "nll": 0.1})
    study.writer.pause(paused)
    with study.hold.searching():
        pool = Pool.load(study, 50)
    assert len(pool.trials) == 4
    assert f"trial {running} is running; it may be a member when it has ended" in pool.skipped
    assert f"trial {paused} is paused; it may be a member when it has ended" in pool.skipped


def test_trials_of_a_search_that_was_interrupted_are_candidates(study: Study) -> None:
    number = study.writer.ask().number
    study.writer.report(number, 1, study.trial(0).reports[1])
    assert f"trial {number} has no stored predictions" in Pool.load(study, 50).skipped
    stored = study.artifacts.read(0)
    assert stored is not None
    study.artifacts.write(number, 1, stored.weights(), {"validation": stored.predictions("validation")})
    assert number in [trial.number for trial in Pool.load(study, 50).trials]


def test_what_was_evicted_is_said_so(study: Study) -> None:
    finish(study, 1.2, epochs=3)
    evicted = study.leaderboard()[0].number
    study.artifacts.evict(evicted)
    pool = Pool.load(study, 50)
    assert len(pool.trials) == 4
    assert pool.skipped[0] == f"trial {evicted}: its artifacts were evicted"


def test_fewer_than_two_trials_are_refused(study: Study) -> None:
    for number in range(1, 4):
        shutil.rmtree(study.artifacts.folder / f"{number:05d}")
    with pytest.raises(StudyError, match="has 1 trial with stored predictions; an ensemble needs two. Skipped: trial"):
        Pool.load(study, 50)


def test_test_predictions_follow_the_members(study: Study) -> None:
    pool = Pool.load(study, 50)
    np.testing.assert_array_equal(pool.test_predictions([2, 0])[1], pool.test_predictions([0])[0])
    stored = study.artifacts.read(pool.trials[2].number)
    assert stored is not None
    (stored.place.path / "test.npy").write_bytes(b"no array")
    with pytest.raises(StudyError, match=r"trial \d+: its test predictions cannot be read"):
        pool.test_predictions([2])


# ---- test rows are out of reach until everything is chosen -----------------------------------------------------------


def test_everything_is_chosen_without_test_rows(study: Study) -> None:
    for file in study.artifacts.folder.glob("*/epoch-*/test.npy"):
        file.write_bytes(b"no array")
    pool = Pool.load(study, 50)
    choice = choose("auto", pool.validation, pool.targets, 3, best=pool.best)
    assert choice.costs
    with pytest.raises(StudyError, match="its test predictions cannot be read"):
        pool.test_predictions(choice.combiner.members)


def test_test_rows_are_read_in_one_place() -> None:
    """In the room of ensembles only the pool's one method names the test split, and nothing in the room calls it."""
    for path in (PACKAGE / "ensemble").glob("*.py"):
        tree = ast.parse(path.read_text())
        named = [node for node in ast.walk(tree) if isinstance(node, ast.Constant) and node.value == "test"]
        calls = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute) and node.attr == "test_predictions"]
        assert calls == [], f"{path.name} reads test rows"
        assert len(named) == (1 if path.name == "pool.py" else 0), f"{path.name} names the test split"


def test_only_the_scoring_of_what_was_chosen_asks_for_test_rows() -> None:
    callers = []
    for path in PACKAGE.rglob("*.py"):
        for function in ast.walk(ast.parse(path.read_text())):
            if isinstance(function, ast.FunctionDef):
                attributes = {node.attr for node in ast.walk(function) if isinstance(node, ast.Attribute)}
                if "test_predictions" in attributes:
                    callers.append(f"{path.parent.name}/{path.name}: {function.name}")
    assert sorted(callers) == ["build/build.py: _scored", "build/draft.py: from_pool"]  # the latter not at once
