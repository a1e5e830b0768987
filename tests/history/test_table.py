import math
from collections.abc import Callable

import optuna
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.storages import BaseStorage, InMemoryStorage
from optuna.trial import TrialState

from hpo.history import history_of
from hpo.history.comparison import measure_all, ranked, resource
from hpo.history.measured import Yardstick
from hpo.study.ranking import Fitness
from hpo.study.storage.cached import CachedStorage
from tests.history.test_measured import MAXIMIZE, MINIMIZE


def test_what_has_not_changed_is_measured_once() -> None:
    study = optuna.create_study()
    asked = [study.ask() for _ in range(3)]
    for trial in asked:
        trial.report(0.5, 1)
    study.tell(asked[0], 0.5)
    before = measure_all(study, MINIMIZE)
    asked[1].report(0.4, 2)
    study.tell(asked[2], state=TrialState.FAIL)
    after = measure_all(study, MINIMIZE)
    assert [trial.number for trial in after] == [0, 1]
    assert after[0] is before[0]
    assert after[1].at(2) == Fitness(0, (0.4,))
    assert measure_all(study, MINIMIZE)[1] is after[1]
    assert measure_all(study, MAXIMIZE)[0].at(1) == Fitness(0, (-0.5,))
    assert measure_all(optuna.create_study(), MINIMIZE) == []


@given(
    st.lists(st.tuples(st.integers(0, 6), st.integers(1, 4), st.integers(0, 3), st.booleans()), max_size=40),
    st.sampled_from([InMemoryStorage, lambda: CachedStorage(InMemoryStorage())]),
)
@settings(max_examples=60)
def test_what_is_kept_between_calls_is_what_measuring_anew_would_find(
    steps: list[tuple[int, int, int, bool]], storage: Callable[[], BaseStorage]
) -> None:
    study = optuna.create_study(storage=storage())
    open_trials: dict[int, optuna.Trial] = {}
    yardstick = Yardstick(tuple(study.directions))
    for key, epoch, value, fails in steps:
        trial = open_trials[key] = open_trials.get(key) or study.ask()
        if epoch not in study.trials[trial.number].intermediate_values:
            trial.report(float(value), epoch)
        if fails:
            study.tell(open_trials.pop(key), state=TrialState.FAIL)
        kept = measure_all(study, yardstick)
        anew = [known for t in study.get_trials(deepcopy=False) if (known := yardstick.measure(t)) is not None]
        assert [known.number for known in kept] == [known.number for known in anew]
        assert all(known.same(other) for known, other in zip(kept, anew, strict=True))
        table, trials = history_of(study, yardstick).table, study.get_trials(deepcopy=False)
        assert table.reports == sum(len(trial.intermediate_values) for trial in trials)
        assert set(table.touched) == set(range(len(trials)))
        for least in (1, 3):
            wanted = [known.number for known in ranked(anew, least)]
            assert [known.number for known in ranked(kept, least, 2)] == wanted[:2]
            assert table.resource(least) == (resource(anew, least) if anew else math.inf)
