import math
from collections.abc import Sequence

import numpy as np
import optuna
from hypothesis import given
from hypothesis import strategies as st

from hpo.history import history_of
from hpo.history.measured import Yardstick
from hpo.history.rows import Array, Configs, with_room
from hpo.spec import Config


@given(st.lists(st.integers(0, 50), max_size=8))
def test_room_grows_and_what_is_there_stays(counts: list[int]) -> None:
    rows, most = np.empty((0, 2)), 0
    for count in counts:
        before, rows, most = rows, with_room(rows, count), max(most, count)
        assert most <= len(rows) <= 2 * most
        assert np.array_equal(rows[: len(before)], before, equal_nan=True)
        assert np.isnan(rows[len(before) :]).all()
        rows[:] = count


def encode(configs: Sequence[Config]) -> Array:
    return np.array([[config.get("x", math.nan)] for config in configs])


def test_a_row_follows_its_trial() -> None:
    study = optuna.create_study()
    configs = Configs(encode, 1)

    def shown() -> list[float]:
        rows = configs.update(history_of(study, Yardstick(tuple(study.directions))).table)
        return [float(row[0]) for row in rows[: len(study.trials)]]

    assert shown() == []
    first = study.ask()
    assert np.isnan(shown()).all()
    x = first.suggest_float("x", 0, 1)
    study.ask()
    assert shown()[0] == x and math.isnan(shown()[1])
    study.tell(first, 0.5)
    third = study.ask()
    assert shown()[0] == x and len(shown()) == 3
    assert third.suggest_float("x", 0, 1) == shown()[2]
