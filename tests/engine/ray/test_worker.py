"""What a worker goes on from: a stored state that is whole, or none."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from hpo.engine.ray.worker import Worker
from hpo.study.study import Study

WHOLE: dict[str, Any] = {"number": 0, "epoch": 2, "best": (0.0, (-0.5,)), "state": {"w": torch.zeros(1)}}


def worker(study: Study, inherited: int = 0) -> Any:
    """A worker of trial 0, without a process of its own."""
    made: Any = Worker.__new__(Worker)
    made._shared = SimpleNamespace(artifacts=study.artifacts, spec=study.spec)
    made._number, made._inherited, made._claim = 0, inherited, ""
    return made


@pytest.mark.parametrize("best", [None, (0.0, (-0.5,)), (1, (0.5, float("inf")))])
def test_a_whole_state_is_gone_on_from(best: object, study: Study) -> None:
    study.artifacts.save_state(0, {**WHOLE, "best": best})
    assert worker(study)._saved_state()["epoch"] == 2


def test_where_none_is_stored_a_trial_begins(study: Study) -> None:
    assert worker(study)._saved_state() is None


OTHERS: dict[str, list[Any]] = {
    "number": [None, True, "0", 0.0],
    "epoch": [None, True, "2", 2.0, 0, -1, 10**9],
    "best": [0.5, (), (0.0,), (0.0, 0.5), ("a", (0.5,)), (0.0, ("a",)), [0.0, [0.5]]],
    "state": [None, [], "state", 3],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, others in OTHERS.items() for value in others])
def test_a_state_that_is_not_whole_lets_its_trial_begin_anew(name: str, value: object, study: Study) -> None:
    kept = {**WHOLE, name: value}
    study.artifacts.save_state(0, kept)
    with pytest.warns(RuntimeWarning, match="trial 0 begins anew, its state is damaged: it lacks"):
        assert worker(study)._saved_state() is None
    with pytest.raises(ValueError, match="it lacks"):
        worker(study, inherited=1)._saved_state()


@pytest.mark.parametrize("name", list(WHOLE))
def test_a_state_that_lacks_a_part_lets_its_trial_begin_anew(name: str, study: Study) -> None:
    study.artifacts.save_state(0, {key: value for key, value in WHOLE.items() if key != name})
    with pytest.warns(RuntimeWarning, match="trial 0 begins anew, its state is damaged: it lacks"):
        assert worker(study)._saved_state() is None
