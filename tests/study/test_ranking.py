import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpo import spec
from hpo.study.ranking import Fitness, best_first, crowding, excesses, front, measure

NAN, INF = math.nan, math.inf


def fitnesses(objectives: int) -> st.SearchStrategy[dict[int, Fitness]]:
    """Trials that often tie: few values, some of them infinite, some constraints broken."""
    costs = st.tuples(*[st.sampled_from([0.0, 1.0, 2.0, 3.0, INF])] * objectives)
    one = st.builds(Fitness, st.sampled_from([0.0, 0.0, 0.5, 1.0]), costs)
    return st.lists(one, max_size=12).map(lambda rows: dict(enumerate(rows)))


def searched(objective: Any, constraints: Any = ()) -> spec.SearchSpec:
    return spec.load_search({"study": "s", "objective": objective, "constraints": constraints, "sampler": "random"})


# ---- one report ------------------------------------------------------------------------------------------------------

BOTH = ["accuracy", "nll"]


@pytest.mark.parametrize(
    ("metrics", "costs"),
    [
        ({"accuracy": 0.9, "nll": 0.3}, (-0.9, 0.3)),
        ({"accuracy": 0.9}, (-0.9, INF)),
        ({"accuracy": NAN, "nll": 0.3}, (INF, 0.3)),
        ({"accuracy": INF, "nll": -INF}, (INF, INF)),
        ({}, (INF, INF)),
    ],
)
def test_a_maximized_metric_changes_its_sign_and_a_missing_one_is_as_bad_as_can_be(
    metrics: dict[str, float], costs: tuple[float, ...]
) -> None:
    measured = measure(searched(BOTH), metrics)
    assert measured == Fitness(0.0, costs)
    assert measured.finite == all(map(math.isfinite, costs))


def test_violation_is_the_sum_of_what_is_broken() -> None:
    wanted = searched("accuracy", ["latency_ms <= 5", "recall >= 0.8"])
    assert measure(wanted, {"accuracy": 1, "latency_ms": 5, "recall": 0.8}).violation == 0
    assert measure(wanted, {"accuracy": 1, "latency_ms": 7, "recall": 0.9}).violation == 2
    assert measure(wanted, {"accuracy": 1, "latency_ms": 7, "recall": 0.3}).violation == 2.5
    assert excesses(wanted, {"latency_ms": 4, "recall": 0.3}) == {"latency_ms <= 5": -1, "recall >= 0.8": 0.5}


@pytest.mark.parametrize("metrics", [{}, {"latency_ms": NAN}, {"latency_ms": INF}])
def test_a_constrained_metric_that_is_missing_breaks_its_constraint_more_than_any_number(
    metrics: dict[str, float],
) -> None:
    wanted = searched("accuracy", "latency_ms <= 5")
    missing = measure(wanted, {"accuracy": 1.0, **metrics})
    assert math.isfinite(missing.violation)
    assert missing.violation > measure(wanted, {"accuracy": 0.0, "latency_ms": 1e12}).violation


# ---- two trials ------------------------------------------------------------------------------------------------------


def test_feasible_comes_before_infeasible_and_less_violation_before_more() -> None:
    ordered = [Fitness(0, (1,)), Fitness(0, (9,)), Fitness(0, (INF,)), Fitness(0.1, (0,)), Fitness(0.2, (-9,))]
    assert sorted([*ordered[3:], *ordered[:3]]) == ordered


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (Fitness(0, (1, 1)), Fitness(0, (1, 2)), True),
        (Fitness(0, (1, 1)), Fitness(0, (1, 1)), False),
        (Fitness(0, (1, 2)), Fitness(0, (2, 1)), False),
        (Fitness(0, (9, 9)), Fitness(1, (0, 0)), True),
        (Fitness(1, (0, 0)), Fitness(0, (9, 9)), False),
        (Fitness(1, (9, 9)), Fitness(2, (0, 0)), True),
        (Fitness(1, (0, 0)), Fitness(1, (9, 9)), False),
        (Fitness(0, (1, 1)), Fitness(0, (1, INF)), True),
    ],
)
def test_domination(one: Fitness, other: Fitness, expected: bool) -> None:
    assert one.dominates(other) is expected


@given(fitnesses(2))
def test_domination_is_a_strict_partial_order(trials: dict[int, Fitness]) -> None:
    rows = list(trials.values())
    for one in rows:
        assert not one.dominates(one)
        for other in rows:
            assert not (one.dominates(other) and other.dominates(one))
            assert not one.dominates(other) or one < other
            assert all(one.dominates(third) for third in rows if one.dominates(other) and other.dominates(third))


# ---- all trials ------------------------------------------------------------------------------------------------------


@given(fitnesses(1))
def test_the_ranking_of_one_objective_is_the_stable_order(trials: dict[int, Fitness]) -> None:
    assert best_first(trials) == sorted(trials, key=lambda number: (trials[number], number))


@given(st.integers(2, 3).flatmap(fitnesses))
def test_the_ranking_of_several_has_everybody_once_and_nobody_before_a_dominator(trials: dict[int, Fitness]) -> None:
    ranked = best_first(trials)
    assert sorted(ranked) == sorted(trials)
    for place, number in enumerate(ranked):
        assert not any(trials[later].dominates(trials[number]) for later in ranked[place + 1 :])


def plain_ranking(trials: dict[int, Fitness]) -> list[int]:
    """By definition: those that nobody left dominates, again and again."""
    left, ranked = list(trials), []
    while left:
        first = [number for number in left if not any(trials[other].dominates(trials[number]) for other in left)]
        distance = dict(zip(first, crowding([trials[number].costs for number in first]), strict=True))
        ranked += sorted(first, key=lambda number: -distance[number])
        left = [number for number in left if number not in first]
    return ranked


@given(st.integers(2, 4).flatmap(fitnesses))
def test_the_ranking_of_several_is_that_of_the_definition(trials: dict[int, Fitness]) -> None:
    assert best_first(trials) == plain_ranking(trials)


def test_within_a_front_the_loneliest_come_first() -> None:
    line = {"a": (0.0, 10.0), "b": (1.0, 9.0), "c": (2.0, 8.0), "d": (6.0, 4.0), "e": (10.0, 0.0), "bad": (11.0, 11.0)}
    assert best_first({name: Fitness(0, costs) for name, costs in line.items()}) == ["a", "e", "d", "c", "b", "bad"]


@given(st.integers(1, 3).flatmap(fitnesses))
def test_the_front_is_what_is_feasible_finite_and_not_dominated(trials: dict[int, Fitness]) -> None:
    found = front(trials)
    candidates = {number: one for number, one in trials.items() if one.violation == 0 and one.finite}
    for number, one in candidates.items():
        dominated = any(other.dominates(one) for other in candidates.values())
        assert (number in found) is not dominated
    assert set(found) <= set(candidates)
    assert bool(found) == bool(candidates)


def test_crowding_is_the_neighbours_distance_as_a_share_of_the_span() -> None:
    assert crowding([(0, 10), (2, 6), (5, 5), (10, 0)]) == pytest.approx([INF, 0.5 + 0.5, 0.8 + 0.6, INF])
    assert crowding([]) == []
    assert crowding([(1, 1)]) == [INF]


@given(st.integers(1, 3).flatmap(fitnesses))
def test_crowding_is_never_negative_or_nan_and_infinite_at_an_end_of_each_objective(trials: dict[int, Fitness]) -> None:
    costs = [one.costs for one in trials.values()]
    distances = crowding(costs)
    assert len(distances) == len(costs)
    assert all(distance >= 0 for distance in distances)
    for column in range(len(costs[0]) if costs else 0):
        for end in (min, max):
            extreme = end(row[column] for row in costs)
            assert INF in [far for far, row in zip(distances, costs, strict=True) if row[column] == extreme]
