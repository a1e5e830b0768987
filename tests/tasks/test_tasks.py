from typing import Any

import pytest

from hpo import spec, tasks
from hpo.spec import Objective


def searched(objective: Any) -> spec.SearchSpec:
    return spec.load_search({"study": "s", "objective": objective, "sampler": "random"})


@pytest.mark.parametrize(
    ("objective", "goal"),
    [
        ({"metric": "accuracy"}, "maximize"),
        ({"metric": "nll"}, "minimize"),
        ({"metric": "latency_ms"}, "minimize"),
        ({"metric": "reward", "goal": "maximize"}, "maximize"),
        ({"metric": "accuracy", "goal": "minimize"}, "minimize"),
    ],
)
def test_what_is_better_follows_from_the_metric_unless_it_is_written(objective: dict[str, Any], goal: str) -> None:
    assert tasks.goal_of(Objective(**objective)) == goal
    assert tasks.goal(searched([objective, "ece"])) == goal


def test_a_cost_is_to_be_minimized() -> None:
    assert (tasks.cost("minimize", 0.3), tasks.cost("maximize", 0.3)) == (0.3, -0.3)


def test_only_a_simulated_search_may_name_its_own_metrics() -> None:
    assert list(tasks.check_goal(searched({"metric": "reward", "goal": "maximize"}))) == []
    (problem,) = tasks.check_goal(searched("reward"))
    assert problem.key == ("objective", "goal")
    (problem,) = tasks.check_goal(searched(["nll", "reward"]))
    assert problem.key == ("objective", "1", "goal")


def test_every_objective_has_a_goal_and_no_metric_two_kinds() -> None:
    for goals in tasks.GOALS.values():
        assert not goals.keys() & tasks.COSTS.keys()
        assert not {*goals, *tasks.COSTS} & set(tasks.REPORTED)


def test_a_model_trains_and_reports_all_that_is_promised(document: dict[str, Any], tmp_path: Any) -> None:
    from hpo import datasets
    from hpo.training import Context, train

    wanted = spec.load(document)
    context = Context(wanted, datasets.load(wanted.data, tmp_path, 0), seed=0)
    report = next(iter(train({}, context)))
    promised = {*tasks.GOALS[wanted.task], *tasks.COSTS, *tasks.REPORTED}
    assert promised <= report.metrics.keys()
