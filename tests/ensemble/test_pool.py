import shutil

import numpy as np
import pytest

from hpo.ensemble.pool import Pool
from hpo.errors import StudyError
from hpo.study import Study


def test_the_best_trials_come_first_pruned_ones_too(study: Study) -> None:
    pool = Pool.load(study, 50)
    assert [trial.number for trial in pool.trials] == [trial.number for trial in study.leaderboard()]
    assert 3 in {trial.number for trial in pool.trials}
    assert pool.validation.shape == (4, 60, 3)
    assert Pool.load(study, 2).validation.shape == (2, 60, 3)


def test_broken_predictions_are_skipped_by_name(study: Study) -> None:
    folders = {number: study.artifacts.read(number) for number in range(4)}
    assert all(folders.values())
    best, second = (trial.number for trial in study.leaderboard()[:2])
    (folders[best].folder / "validation.npy").write_bytes(b"torn")  # type: ignore[union-attr]
    np.save(folders[second].folder / "validation.npy", np.zeros((3, 3), np.float16))  # type: ignore[union-attr]
    pool = Pool.load(study, 50)
    assert len(pool.trials) == 2
    assert pool.skipped[0].startswith(f"trial {best}: its validation predictions cannot be read")
    assert pool.skipped[1] == f"trial {second}: its validation predictions are (3, 3), the study's are (60, 3)"


def test_fewer_than_two_trials_are_refused(study: Study) -> None:
    for number in range(1, 4):
        shutil.rmtree(study.artifacts.folder / f"{number:05d}")
    with pytest.raises(StudyError, match="has 1 trials with stored predictions; an ensemble needs two. Skipped: trial"):
        Pool.load(study, 50)


def test_test_predictions_follow_the_members(study: Study) -> None:
    pool = Pool.load(study, 50)
    np.testing.assert_array_equal(pool.test_predictions([2, 0])[1], pool.test_predictions([0])[0])
    stored = study.artifacts.read(pool.trials[2].number)
    assert stored is not None
    (stored.folder / "test.npy").unlink()
    with pytest.raises(StudyError, match="its test predictions cannot be read"):
        pool.test_predictions([2])
