import json
import math
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from hpo.history.comparison import measure_all
from hpo.history.measured import Measured, Yardstick
from hpo.samplers.evolution import STRATEGIES, EvolutionSampler, cma, encoding, nsga2, variation
from hpo.study.ranking import Fitness
from tests.samplers.conformance import (
    BasicSamplerTestCase,
    MultiObjectiveSamplerTestCase,
    RelativeSamplerTestCase,
    SingleOnlySamplerTestCase,
)
from tests.samplers.constraints import constrain

ALL = sorted(STRATEGIES)
SINGLE = [name for name in ALL if not STRATEGIES[name].many_objectives]
Objective = Callable[[optuna.Trial], float]
Direction = Literal["minimize", "maximize"]


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    yield
    optuna.logging.set_verbosity(verbosity)


# ---- Optuna's own suites ---------------------------------------------------------------------------------------------


class _Conformance(BasicSamplerTestCase, RelativeSamplerTestCase):
    @pytest.fixture(params=ALL)
    def sampler(self, request: pytest.FixtureRequest) -> Callable[[], BaseSampler]:
        few: dict[str, Any] = {"cma": {"startup": 2}, "differential": {"mu": 4}}.get(request.param, {"mu": 2})
        return lambda: EvolutionSampler(request.param, seed=1, **few)


class TestConformance(_Conformance):
    """With few random configs, so that the suites' short studies reach the strategies."""


class TestManyObjectives(MultiObjectiveSamplerTestCase):
    @pytest.fixture
    def sampler(self) -> Callable[[], BaseSampler]:
        return lambda: EvolutionSampler("nsga2", seed=1)


class TestOneObjective(SingleOnlySamplerTestCase):
    @pytest.fixture(params=SINGLE)
    def sampler(self, request: pytest.FixtureRequest) -> Callable[[], BaseSampler]:
        return lambda: EvolutionSampler(request.param, seed=1)


# ---- objectives ------------------------------------------------------------------------------------------------------


def sphere(trial: optuna.Trial) -> float:
    """In log space; the minimum is 0 and not in the middle."""
    exponents = [math.log10(trial.suggest_float(f"x{index}", 1e-5, 1.0, log=True)) for index in range(4)]
    return sum((exponent + 1.5 + 0.4 * index) ** 2 for index, exponent in enumerate(exponents))


def mixed(trial: optuna.Trial) -> float:
    """Every type of parameter, and a branch; the minimum is 0."""
    loss = {"sgd": 0.0, "adam": 0.3, "rmsprop": 0.8}[trial.suggest_categorical("optimizer", ["sgd", "adam", "rmsprop"])]
    rate = math.log10(trial.suggest_float("lr", 1e-5, 1.0, log=True))
    loss += 0.02 * (trial.suggest_int("depth", 1, 12) - 7) ** 2
    loss += 0.2 * (math.log2(trial.suggest_int("width", 8, 256, log=True)) - 6) ** 2
    loss += 2 * abs(trial.suggest_float("dropout", 0, 0.6, step=0.05) - 0.2)
    if trial.params["optimizer"] == "sgd":
        return loss + 3 * (trial.suggest_float("momentum", 0.0, 0.99) - 0.9) ** 2 + 0.5 * (rate + 1) ** 2
    return loss + 20 * (trial.suggest_float("beta2", 0.8, 0.999) - 0.95) ** 2 + 0.5 * (rate + 3) ** 2


def categories(trial: optuna.Trial) -> float:
    return float(sum("dacb".index(trial.suggest_categorical(f"c{index}", list("abcd"))) for index in range(5)))


def one(trial: optuna.Trial) -> float:
    return abs(trial.suggest_int("n", 0, 1000) - 333)


def best_of(sampler: BaseSampler, objective: Objective, trials: int = 60) -> float:
    study = optuna.create_study(sampler=sampler)
    study.optimize(objective, n_trials=trials)
    return study.best_value


# ---- does it search? -------------------------------------------------------------------------------------------------


MARGINS: dict[Objective, float] = {sphere: 0.7, mixed: 0.85, categories: 0.7, one: 0.5}


@pytest.fixture(scope="module")
def random_means() -> dict[Objective, float]:
    return {
        objective: float(np.mean([best_of(RandomSampler(seed=seed), objective) for seed in range(4)]))
        for objective in MARGINS
    }


@pytest.mark.parametrize("objective", MARGINS)
@pytest.mark.parametrize("strategy", ALL)
def test_better_than_random(strategy: str, objective: Objective, random_means: dict[Objective, float]) -> None:
    found = np.mean([best_of(EvolutionSampler(strategy, seed=seed), objective) for seed in range(4)])
    assert found < MARGINS[objective] * random_means[objective]


def test_a_front_is_found() -> None:
    def objective(trial: optuna.Trial) -> tuple[float, float]:
        x = trial.suggest_float("x", 0, 1)
        rest = [trial.suggest_float(f"y{index}", 0, 1) for index in range(3)]
        g = 1 + 3 * sum(rest)
        return x, g * (1 - math.sqrt(x / g))  # ZDT1

    def distance(sampler: BaseSampler) -> float:
        study = optuna.create_study(directions=["minimize", "minimize"], sampler=sampler)
        study.optimize(objective, n_trials=120)
        return float(np.mean([b - (1 - math.sqrt(a)) for a, b in (trial.values for trial in study.best_trials)]))

    assert distance(EvolutionSampler("nsga2", seed=0)) < 0.5 * distance(RandomSampler(seed=0))


# ---- no state outside the study --------------------------------------------------------------------------------------


def with_reports(trial: optuna.Trial) -> float:
    """A value that improves by epoch; some trials stop early, some fail, some are NaN."""
    final = mixed(trial)
    for epoch in range(1, 10):
        trial.report(math.nan if trial.number % 7 == 3 else final + 1 / epoch, epoch)
        if epoch == 3 and trial.number % 3:
            raise optuna.TrialPruned
    if trial.number % 5 == 4:
        raise ValueError("out of memory")
    return final + 1 / 9


@pytest.mark.parametrize("strategy", ALL)
def test_a_sampler_built_anew_goes_on_alike(strategy: str) -> None:
    whole = optuna.create_study(sampler=EvolutionSampler(strategy, seed=3))
    whole.optimize(with_reports, n_trials=36, catch=ValueError)
    killed = optuna.create_study()
    for _ in range(36):
        killed.sampler = EvolutionSampler(strategy, seed=3)
        killed.optimize(with_reports, n_trials=1, catch=ValueError)
    assert [t.params for t in killed.trials] == [t.params for t in whole.trials]
    assert [t.user_attrs for t in killed.trials] == [t.user_attrs for t in whole.trials]


def test_so_does_a_study_read_from_disk(tmp_path: Path) -> None:
    def asked(name: str, once: bool) -> list[dict[str, Any]]:
        """Trials that report in turns, while others are asked for."""
        for number in range(14):
            if number == 0 or not once:
                storage = JournalStorage(JournalFileBackend(str(tmp_path / name)))
                study = optuna.create_study(study_name="s", storage=storage, load_if_exists=True)
                study.sampler = EvolutionSampler("mu_plus_lambda", seed=3, mu=4)
            study.ask({"x": FloatDistribution(0, 1)})
            for other in study.get_trials(states=[TrialState.RUNNING]):
                age = number - other.number
                optuna.Trial(study, other._trial_id).report(
                    abs(other.params["x"] - 0.3) / (1 + other.number % 3 * age), age
                )
                if age == 2:
                    study.tell(other.number, state=TrialState.PRUNED)
        return [trial.params for trial in study.trials]

    assert asked("whole", once=True) == asked("killed", once=False)


@pytest.mark.parametrize("strategy", ALL)
def test_the_seed_decides(strategy: str) -> None:
    def configs(seed: int) -> list[dict[str, Any]]:
        study = optuna.create_study(sampler=EvolutionSampler(strategy, seed=seed))
        study.optimize(mixed, n_trials=15)
        return [trial.params for trial in study.trials]

    assert configs(1) == configs(1)
    assert configs(1) != configs(2)


@pytest.mark.parametrize("strategy", ALL)
def test_global_chance_is_neither_used_nor_moved(strategy: str) -> None:
    study = optuna.create_study(sampler=EvolutionSampler(strategy, seed=1))
    random.seed(7)
    np.random.seed(7)  # noqa: NPY002
    study.optimize(sphere, n_trials=25)
    drawn = random.random(), np.random.random()  # noqa: NPY002
    random.seed(7)
    np.random.seed(7)  # noqa: NPY002
    assert drawn == (random.random(), np.random.random())  # noqa: NPY002


def test_the_order_in_which_values_are_asked_for_does_not_matter() -> None:
    def configs(names: str) -> list[dict[str, float]]:
        study = optuna.create_study(sampler=EvolutionSampler(seed=1))
        study.optimize(lambda trial: sum(trial.suggest_float(name, 0, 1) for name in names), n_trials=20)
        return [trial.params for trial in study.trials]

    assert configs("abc") == configs("cab")


# ---- asynchronous, at equal resource ---------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", ALL)
def test_nobody_waits(strategy: str) -> None:
    study = optuna.create_study(sampler=EvolutionSampler(strategy))
    trials = [study.ask() for _ in range(30)]
    for trial in trials:
        mixed(trial)
    assert all(t.user_attrs["lineage"]["operator"] == "random" for t in study.trials)
    trials[0].report(0.5, 1)  # one paused trial is enough to breed from
    study.ask()
    assert study.trials[-1].user_attrs["lineage"]["parents"] == [0]


@pytest.mark.parametrize("strategy", ALL)
def test_failed_and_nan_trials_have_no_children(strategy: str) -> None:
    study = optuna.create_study(sampler=EvolutionSampler(strategy))
    study.optimize(with_reports, n_trials=40, catch=ValueError)
    useless = {
        t.number
        for t in study.trials
        if t.state is TrialState.FAIL or (t.state is TrialState.PRUNED and t.number % 7 == 3)
    }
    parents = {number for t in study.trials for number in t.user_attrs["lineage"]["parents"]}
    assert useless
    assert not useless & parents


@pytest.mark.parametrize("strategy", ALL)
def test_when_all_trials_fail_the_configs_stay_random(strategy: str) -> None:
    study = optuna.create_study(sampler=EvolutionSampler(strategy))
    for _ in range(30):
        mixed(trial := study.ask())
        study.tell(trial, state=TrialState.FAIL)
    assert {t.user_attrs["lineage"]["operator"] for t in study.trials} == {"random"}


def reached(values: dict[int, list[float]], direction: Direction = "minimize") -> optuna.Study:
    """A study of paused trials: each has a value at epoch 1, some at epochs that follow."""
    study = optuna.create_study(direction=direction)
    for reports in values.values():
        trial = study.ask()
        trial.suggest_float("x", 0, 1)
        for epoch, value in enumerate(reports, start=1):
            trial.report(value, epoch)
    return study


def test_a_longer_trial_is_not_a_better_one() -> None:
    study = reached({0: [0.9, 0.1, 0.01], **{number: [0.5] for number in range(1, 10)}})
    study.sampler = EvolutionSampler("mu_plus_lambda", mu=9, tournament=3)
    for _ in range(40):
        study.ask()
    assert 0 not in {number for t in study.trials[10:] for number in t.user_attrs["lineage"]["parents"]}


def test_enough_long_trials_are_compared_among_themselves() -> None:
    study = reached({**{n: [0.9, 0.8 + n / 100] for n in range(4)}, **{n: [0.1] for n in range(4, 20)}})
    study.sampler = EvolutionSampler("mu_plus_lambda", mu=4)
    for _ in range(20):
        study.ask()
    assert {number for t in study.trials[20:] for number in t.user_attrs["lineage"]["parents"]} == {0, 1, 2, 3}


@pytest.mark.parametrize(("direction", "winner"), [("minimize", 3), ("maximize", 12)])
@pytest.mark.parametrize("strategy", ["mu_plus_lambda", "mu_comma_lambda", "aging"])
def test_directions(strategy: str, direction: Direction, winner: int) -> None:
    study = reached({n: [{3: 0.0, 12: 1.0}.get(n, 0.5)] for n in range(20)}, direction)
    study.sampler = EvolutionSampler(strategy, tournament=100)
    study.ask()
    assert study.trials[-1].user_attrs["lineage"]["parents"] == [winner]


@pytest.mark.parametrize("strategy", ["mu_plus_lambda", "mu_comma_lambda", "nsga2"])
def test_feasible_trials_are_parents(strategy: str) -> None:
    study = optuna.create_study(sampler=EvolutionSampler(strategy))
    for number in range(30):
        trial = study.ask({"x": FloatDistribution(0, 1)})
        constrain(trial, "memory", 1.0 if number % 2 else -1.0)
        study.tell(trial, 0.0 if number % 2 else 1.0)
    asked = [study.ask() for _ in range(10)]
    parents = {n for trial in asked for n in study.trials[trial.number].user_attrs["lineage"]["parents"]}
    assert parents
    assert all(n % 2 == 0 for n in parents)


def test_several_objectives_of_paused_trials() -> None:
    sampler = EvolutionSampler("nsga2", metrics=["accuracy", "latency"], mu=4)
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)
    for number in range(12):
        trial = study.ask({"x": FloatDistribution(0, 1)})
        metrics = {"accuracy": 0.9 if number == 5 else 0.1, "latency": 2.0 if number == 6 else 3.0}
        trial.set_user_attr("report:1", json.dumps({"metrics": metrics}))
    parents = set()
    for _ in range(10):
        study.ask()
        parents |= set(study.trials[-1].user_attrs["lineage"]["parents"])
    assert {5, 6} <= parents


# ---- lineage ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", ALL)
def test_every_trial_says_where_it_comes_from(strategy: str) -> None:
    study = optuna.create_study(sampler=EvolutionSampler(strategy))
    study.optimize(mixed, n_trials=25)
    for trial in study.trials:
        lineage = json.loads(json.dumps(trial.user_attrs["lineage"]))
        assert lineage.keys() == {"strategy", "parents", "operator", "sigma"}
        assert lineage["strategy"] == strategy
        assert all(parent < trial.number for parent in lineage["parents"])
        assert bool(lineage["parents"]) == (trial.number >= 10) == (lineage["sigma"] is not None)


def test_a_child_has_its_own_step_size() -> None:
    study = optuna.create_study(sampler=EvolutionSampler(sigma=0.1))
    study.optimize(sphere, n_trials=40)
    sizes = [t.user_attrs["lineage"]["sigma"] for t in study.trials[10:]]
    assert len(set(sizes)) == len(sizes)
    assert all(0.003 <= size <= 0.5 for size in sizes)


def test_a_given_config_is_said_to_be_given_and_a_lineage_is_kept() -> None:
    study = optuna.create_study(sampler=EvolutionSampler())
    study.enqueue_trial({"x": 0.25})
    study.enqueue_trial({"x": 0.5}, user_attrs={"lineage": {"strategy": "aging", "parents": [7]}})
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1) + trial.suggest_float("y", 0, 1), n_trials=2)
    assert study.trials[0].user_attrs["lineage"]["operator"] == "given"
    assert study.trials[0].params["x"] == 0.25
    assert study.trials[1].user_attrs["lineage"] == {"strategy": "aging", "parents": [7]}


# ---- the start -------------------------------------------------------------------------------------------------------


def test_the_first_configs_share_out_each_range() -> None:
    study = optuna.create_study(sampler=EvolutionSampler(mu=12))
    trials = [study.ask() for _ in range(12)]
    wide = sorted(int(trial.suggest_float("x", 0, 12)) for trial in trials)
    logs = sorted(int(math.log10(trial.suggest_float("y", 1, 1e12, log=True))) for trial in trials)
    letters = [trial.suggest_categorical("z", list("abc")) for trial in trials]
    assert wide == logs == list(range(12))
    assert {letter: letters.count(letter) for letter in "abc"} == {"a": 4, "b": 4, "c": 4}


def test_parameters_are_shuffled_apart() -> None:
    study = optuna.create_study(sampler=EvolutionSampler(mu=12))
    trials = [study.ask({name: FloatDistribution(0, 1) for name in "xy"}) for _ in range(12)]
    assert abs(np.corrcoef([[trial.params[name] for trial in trials] for name in "xy"])[0, 1]) < 0.8


# ---- settings --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"strategy": "diferential"}, "unknown strategy 'diferential'. Did you mean 'differential'?"),
        ({"strategy": 3}, "unknown strategy '3'."),
        ({"strategy": "cma", "sigmaa": 1}, "strategy 'cma' has no setting 'sigmaa'. Did you mean 'sigma'?"),
        ({"mu": 0}, "'mu' must be at least 1, not 0"),
        ({"mu": 2.5}, "'mu' must be a whole number, not 2.5"),
        ({"mu": True}, "'mu' must be a whole number, not True"),
        ({"seed": -1}, "'seed' must be at least 0, not -1"),
        ({"crossover": 1.5}, "'crossover' must be from 0 to 1, not 1.5"),
        ({"mutation": "all"}, "'mutation' must be a number, not 'all'"),
        ({"sigma": 0}, "'sigma' must be above 0 and at most 0.5, not 0"),
        ({"strategy": "mu_comma_lambda", "mu": 9, "lam": 3}, "'lam' must be at least 'mu', which is 9, not 3"),
        ({"strategy": "differential", "mu": 3}, "'mu' must be at least 4, not 3"),
        ({"strategy": "differential", "factor": 3}, "'factor' must be above 0 and at most 2, not 3"),
        ({"strategy": "nsga2", "mu": 1}, "'mu' must be at least 2, not 1"),
        ({"strategy": "cma", "lam": 1}, "'lam' must be at least 4, not 1"),
    ],
)
def test_a_bad_setting_is_one_sentence(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError)) as caught:
        EvolutionSampler(**arguments)
    assert str(caught.value).startswith(message)


def test_one_objective_is_said_to_be_one() -> None:
    study = optuna.create_study(directions=["minimize"] * 3, sampler=EvolutionSampler("cma"))
    with pytest.raises(ValueError, match="strategy 'cma' has one objective, this study 3; 'nsga2' has many"):
        study.ask()


# ---- encodings and operators -----------------------------------------------------------------------------------------


@st.composite
def numerical(draw: st.DrawFn) -> BaseDistribution:
    low, width = draw(st.integers(-50, 50)), draw(st.integers(0, 60))
    match draw(st.sampled_from(["float", "log float", "stepped float", "int", "stepped int", "log int"])):
        case "float":
            return FloatDistribution(low / 7, (low + width) / 7)
        case "log float":
            return FloatDistribution(10.0 ** (low / 10), 10.0 ** ((low + width) / 10), log=True)
        case "stepped float":
            step = draw(st.sampled_from([0.1, 0.05, 0.3, 1.5]))
            return FloatDistribution(round(low * step, 9), round((low + width) * step, 9), step=step)
        case "int":
            return IntDistribution(low, low + width)
        case "stepped int":
            step = draw(st.integers(1, 9))
            return IntDistribution(low, low + width // step * step, step=step)
    return IntDistribution(abs(low) + 1, abs(low) + 1 + width, log=True)


categorical = st.lists(st.sampled_from("abcdefg"), min_size=1, max_size=7, unique=True).map(CategoricalDistribution)
units = st.floats(0, 1)
seeds = st.integers(0, 2**32 - 1)


def allowed(value: Any, distribution: BaseDistribution) -> bool:
    kinds = {FloatDistribution: float, IntDistribution: int, CategoricalDistribution: str}
    right = type(value) is kinds[type(distribution)]
    return right and distribution._contains(distribution.to_internal_repr(value))


@given(numerical() | categorical, units)
def test_every_place_is_a_value(distribution: BaseDistribution, unit: float) -> None:
    assert allowed(encoding.from_unit(unit, distribution), distribution)


@given(numerical(), units)
def test_a_value_is_found_again(distribution: BaseDistribution, unit: float) -> None:
    value = encoding.from_unit(unit, distribution)
    place = float(encoding.to_unit(value, distribution))
    assert 0 <= place <= 1
    assert encoding.from_unit(place, distribution) == pytest.approx(value, rel=1e-9, abs=1e-9)
    if encoding.size(distribution) is not None:
        assert encoding.from_unit(place, distribution) == value


@given(numerical() | categorical, units, st.floats(0.003, 0.5), seeds)
def test_a_mutation_changes_the_value_within_its_range(
    distribution: BaseDistribution, unit: float, sigma: float, seed: int
) -> None:
    value = encoding.from_unit(unit, distribution)
    mutated = variation.mutate(value, distribution, sigma, np.random.default_rng(seed))
    assert allowed(mutated, distribution)
    if encoding.size(distribution) not in (1, None):
        assert mutated != value


@given(numerical() | categorical, units, units, seeds)
def test_a_crossover_stays_in_the_range(distribution: BaseDistribution, one: float, other: float, seed: int) -> None:
    values = [encoding.from_unit(unit, distribution) for unit in (one, other)]
    child = variation.combine(values, distribution, np.random.default_rng(seed))
    assert allowed(child, distribution)
    if isinstance(distribution, CategoricalDistribution):
        assert child in values


@given(st.floats(-5, 5))
def test_reflection(unit: float) -> None:
    assert 0 <= variation.reflected(unit) <= 1
    if 0 <= unit <= 1:
        assert variation.reflected(unit) == unit


def test_a_value_outside_a_changed_range_is_not_inherited() -> None:
    study = optuna.create_study(sampler=EvolutionSampler(mu=4))
    study.optimize(lambda trial: trial.suggest_int("n", 0, 10), n_trials=8)
    study.optimize(lambda trial: trial.suggest_int("n", 100, 110), n_trials=8)
    assert all(100 <= trial.params["n"] <= 110 for trial in study.trials[8:])


def test_a_default_between_two_steps_is_varied() -> None:
    study = optuna.create_study(sampler=EvolutionSampler("differential", mu=4))
    study.enqueue_trial({"n": 0.26})
    with pytest.warns(UserWarning, match="out of range"):
        study.optimize(lambda trial: trial.suggest_float("n", 0, 1, step=0.5), n_trials=1)
    study.optimize(lambda trial: trial.suggest_float("n", 0, 1, step=0.5), n_trials=20)


# ---- parts of strategies ---------------------------------------------------------------------------------------------


def at_once(values: list[float], violation: float = 0, number: int = 0) -> tuple[Fitness, Measured]:
    trial = optuna.create_trial(values=values)
    trial.number = number
    costs = tuple(values)
    return Fitness(violation, costs), Measured(trial, math.inf, (0,), (costs,), violation)


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4), st.sampled_from([0, 0, 0, 0.5, 2])), min_size=1))
def test_penalties_keep_constrained_domination(points: list[tuple[int, int, float]]) -> None:
    rows = [at_once([float(a), float(b)], violation) for a, b, violation in points]
    costs = nsga2.with_penalties(rows)
    for (one, _), ours in zip(rows, costs, strict=True):
        for (other, _), theirs in zip(rows, costs, strict=True):
            assert one.dominates(other) == bool((ours <= theirs).all() and (ours < theirs).any())


def test_survivors_are_of_the_first_fronts_and_spread_out() -> None:
    front = [at_once([float(n), 10.0 - n], number=n) for n in range(11)]
    crowded = [at_once([5.01, 5.0], number=11), at_once([5.0, 5.001], number=12)]
    worse = [at_once([20.0, 20.0 + n], number=13 + n) for n in range(5)]
    kept = {survivor.trial.number for survivor in nsga2.survive([*worse, *crowded, *front], 6)}
    assert {0, 10} <= kept <= set(range(11))


def test_cma_moves_and_narrows() -> None:
    study = optuna.create_study(sampler=EvolutionSampler("cma"))
    study.optimize(sphere, n_trials=200)
    steps = [t.user_attrs["lineage"]["sigma"] for t in study.trials[10:]]
    assert steps[-1] < 0.2 * steps[0]
    assert study.best_value < 0.002


def test_cma_begins_anew_where_nothing_is_left_to_find() -> None:
    study = optuna.create_study(sampler=EvolutionSampler("cma", sigma=0.3))
    study.optimize(lambda trial: abs(trial.suggest_float("x", 0, 1) - 0.3), n_trials=200)
    steps = [t.user_attrs["lineage"]["sigma"] for t in study.trials[10:]]
    assert 0.3 not in steps[:50]
    assert 0.3 in steps


def test_cma_varies_what_all_trials_have() -> None:
    study = optuna.create_study(sampler=EvolutionSampler("cma"))
    study.optimize(mixed, n_trials=20)
    trials = measure_all(study, Yardstick(tuple(study.directions)))
    assert list(cma.common_space(trials)) == ["depth", "dropout", "lr", "width"]


def test_a_place_in_the_population_goes_to_the_better() -> None:
    study = optuna.create_study(sampler=EvolutionSampler("differential", mu=4))
    study.optimize(sphere, n_trials=60)
    parents = [t.user_attrs["lineage"]["parents"] for t in study.trials[4:]]
    assert all(len(set(four)) == 4 for four in parents)
    assert all(
        study.trials[later[0]].value <= study.trials[sooner[0]].value
        for index, later in enumerate(parents)
        for sooner in parents[:index]
        if later[0] - 4 >= 0 and parents[later[0] - 4][0] == sooner[0]
    )


def test_the_plus_strategy_may_keep_its_parents_for_a_while() -> None:
    study = optuna.create_study(sampler=EvolutionSampler(mu=5, lam=10))
    study.optimize(sphere, n_trials=40)
    for trial in study.trials[10:]:
        assert all(parent < trial.number // 10 * 10 for parent in trial.user_attrs["lineage"]["parents"])


@pytest.mark.parametrize(("strategy", "memory"), [("mu_comma_lambda", 12), ("aging", 12)])
def test_the_old_are_forgotten(strategy: str, memory: int) -> None:
    settings: dict[str, Any] = {"lam": memory, "mu": 4} if strategy == "mu_comma_lambda" else {"mu": memory}
    study = optuna.create_study(sampler=EvolutionSampler(strategy, **settings))
    study.optimize(sphere, n_trials=40)
    assert all(
        parent >= trial.number - memory for trial in study.trials for parent in trial.user_attrs["lineage"]["parents"]
    )


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5), st.integers(0, 2)), min_size=1, max_size=30))
def test_first_fronts_are_whole_fronts(rows: list[tuple[int, int, int]]) -> None:
    costs = np.array(rows, float)
    left, fronts = set(range(len(rows))), list[set[int]]()
    while left:
        dominated = {
            b for b in left for a in left if (costs[a] <= costs[b]).all() and (costs[a] < costs[b]).any()
        }  # fmt: skip
        fronts.append(left - dominated)
        left = dominated
    taken: set[int] = set()
    for front in fronts:
        for least in range(len(taken) + 1, len(taken | front) + 1):
            assert nsga2.first_fronts(costs, least) == sorted(taken | front)
        taken |= front


def test_cma_replays_the_last_generations() -> None:
    trials = [at_once([float(number % 7)], number=number)[1] for number in range(2000)]
    size, last = 8, 0
    for count in (400, 640, 641, 800, 2000):
        window = cma.Cma(lam=size)._window(trials[:count])
        begins = count - window
        assert begins % (20 * size) == 0
        assert begins >= last
        assert window >= min(count, 60 * size)
        assert window < (60 + 20 + 1) * size
        last = begins
