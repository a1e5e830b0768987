"""Whole searches, simulated, of spaces with everything: no config that is forbidden is ever trained."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest

import hpo
from hpo.errors import SpecError
from hpo.spec import Config

EVERYTHING: dict[str, Any] = {
    "study": "spaces",
    "objective": {"metric": "loss", "goal": "minimize"},
    "training": {"epochs": 4},
    "budget": {"trials": 24},
    "parameters": {
        "kind": {"values": ["plain", "deep"], "default": "plain"},
        "sizes": {"values": [[64, 64], [128, 64, 32], [32]], "default": [32]},
        "order": {"permutation": ["a", "b", "c"]},
        "in": {"type": "int", "min": 8, "max": 64, "step": 8, "log": True, "default": 16},
        "out": {"type": "int", "min": 8, "max": 64, "step": 8},
        "rate": {"lognormal": [-3, 1], "when": {"kind": "deep"}},
        "dropout": {"normal": [0.3, 0.2], "min": 0, "max": 0.9},
        "units": {"type": "int", "normal": [20, 5], "when": {"sizes": [[32]]}},
        "width": {"min": 1, "max": 1000, "log": True, "steps": 4},
        "hidden": {"equals": "2 * in + out"},
        "scale": {"equals": "rate / 2", "when": {"kind": "deep"}},
    },
    "forbidden": [
        "out <= in",
        {"kind": "deep", "sizes": [[32], [64, 64]]},
        "hidden > 160 and dropout > 0.5",
        {"order": [["a", "b", "c"]]},
    ],
    "configs": [{"in": 8, "sizes": [64, 64]}, {"kind": "deep", "sizes": [128, 64, 32], "rate": 0.125}],
}


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    yield
    optuna.logging.set_verbosity(verbosity)


def curve(config: Config, epoch: int) -> tuple[dict[str, float], float]:
    """Any that has a best config; it fails where a config is not what a trial should get."""
    check(config)
    loss = abs(config["hidden"] - 100) / 100 + config["dropout"] + len(config["sizes"]) / 10
    return {"loss": loss + 1 / epoch}, 1.0 + loss


def check(config: Config) -> None:
    deep, sizes = config["kind"] == "deep", config["sizes"]
    assert sizes in ([64, 64], [128, 64, 32], [32]) and sorted(config["order"]) == ["a", "b", "c"]
    assert type(config["in"]) is int and config["in"] % 8 == 0 and 8 <= config["in"] <= 64
    assert config["width"] in (1.0, 10.0, 100.0, 1000.0)
    assert ("rate" in config) == deep == ("scale" in config) and ("units" in config) == (sizes == [32])
    assert 0 <= config["dropout"] <= 0.9 and type(config.get("units", 0)) is int
    assert config["hidden"] == 2 * config["in"] + config["out"]
    assert not deep or config["scale"] == config["rate"] / 2
    assert config["out"] > config["in"]
    assert not (deep and sizes != [128, 64, 32])
    assert not (config["hidden"] > 160 and config["dropout"] > 0.5)
    assert config["order"] != ["a", "b", "c"]


SAMPLERS: list[Any] = [
    *("curves", "tpe", "gp", "cmaes", "random", "qmc", "nsga2", "portfolio"),
    *({"name": "evolution", "strategy": one} for one in ("mu_plus_lambda", "differential", "cma", "aging", "nsga2")),
]


@pytest.mark.parametrize("sampler", SAMPLERS, ids=lambda one: one if isinstance(one, str) else one["strategy"])
def test_no_sampler_has_a_forbidden_config_trained(sampler: Any) -> None:
    found = hpo.simulate({**EVERYTHING, "sampler": sampler}, curve, workers=3)
    trials = found.study.trials()
    assert len(trials) == 24 and not any(trial.failure for trial in trials), [trial.cause for trial in trials]
    for trial in trials:
        check(trial.config)
    given = {"kind": "plain", "sizes": [32], "in": 16}
    assert {name: trials[0].config[name] for name in given} == given
    assert (trials[1].config["in"], trials[1].config["sizes"]) == (8, [64, 64])
    assert (trials[2].config["kind"], trials[2].config["rate"], trials[2].config["scale"]) == ("deep", 0.125, 0.0625)


def test_the_children_of_a_population_keep_to_it_too() -> None:
    document = {**EVERYTHING, "sampler": "random", "training": {"epochs": 12}, "budget": {"trials": 16}}
    document["scheduler"] = {"name": "pbt", "interval": 1, "resample": 0.5, "quantile": 0.5}
    trials = hpo.simulate(document, curve, workers=4).study.trials()
    children = [trial for trial in trials if trial.lineage]
    assert len(children) > 20 and not any(trial.failure for trial in trials)
    for trial in trials:
        check(trial.config)


class Stubborn(optuna.samplers.BaseSampler):
    """Proposes the first of everything, which is forbidden."""

    def __init__(self, seed: int) -> None: ...

    def infer_relative_search_space(self, study: Any, trial: Any) -> dict[str, Any]:
        return {}

    def sample_relative(self, study: Any, trial: Any, search_space: Any) -> dict[str, Any]:
        return {}

    def sample_independent(self, study: Any, trial: Any, param_name: str, param_distribution: Any) -> Any:
        if isinstance(param_distribution, optuna.distributions.CategoricalDistribution):
            return param_distribution.choices[0]
        return param_distribution.low


def test_a_sampler_of_ones_own_is_held_to_it() -> None:
    document = {**EVERYTHING, "sampler": f"{__name__}:Stubborn"}
    trials = hpo.simulate(document, curve, workers=2).study.trials()
    assert len(trials) == 24
    for trial in trials:
        check(trial.config)


def test_where_nearly_nothing_is_allowed_that_is_said() -> None:
    document = {
        **EVERYTHING,
        "parameters": {"x": {"min": 0, "max": 1}, "y": {"min": 0, "max": 1}},
        "forbidden": ["x + y < 1.9999999"],
        "configs": [],
    }
    with pytest.raises(
        SpecError, match="forbidden: of 2,000 random configs none is allowed; of the last one it is forb"
    ):
        hpo.simulate(document, linear)
    document["forbidden"], document["configs"] = ["x > 0.9 and y < 0.9999999"], [{"x": 0.95}]
    with pytest.raises(
        SpecError, match="configs with {'x': 0.95} none is allowed; .* Forbid less, or narrow the param"
    ):
        hpo.simulate(document, linear)
    document["parameters"], document["configs"] = {"x": {"values": [1, 2]}}, []
    with pytest.raises(SpecError, match="forbidden: no config of the space is allowed"):
        hpo.simulate({**document, "forbidden": "x > 0"}, linear)


def test_a_small_space_ends_when_all_that_is_allowed_was_tried() -> None:
    document = {
        **EVERYTHING,
        "parameters": {name: {"type": "int", "min": 1, "max": 4} for name in "ab"},
        "forbidden": ["a >= b", "a + b == 5"],
        "configs": [{"a": 1, "b": 3}],
    }
    trials = hpo.simulate(document, lambda config, epoch: ({"loss": 0.1}, 1.0)).study.trials()
    assert sorted((trial.config["a"], trial.config["b"]) for trial in trials) == [(1, 2), (1, 3), (2, 4), (3, 4)]


def told(config: Config, epoch: int) -> float:
    return math.sin(len(str(sorted(config.items())))) + 1 / epoch


def asked(folder: Path | None, most: int = 99, **changes: Any) -> list[Config]:
    """The configs of a search by one's own loop, which ends after so many trials."""
    document = {**EVERYTHING, "sampler": "tpe", "scheduler": "none", "budget": {"trials": 8}, **changes}
    configs: list[Config] = []
    with hpo.ask_and_tell(document, storage=folder) as search:
        while len(configs) < most and (trial := search.ask()) is not None:
            configs.append(trial.config)
            search.tell(trial, told(trial.config, 4))
            trial.config.clear()
            configs[-1] = search.study.trial(trial.number).config
    return configs


@pytest.mark.parametrize("killed", [1, 5])
def test_a_search_that_goes_on_repeats_nothing_and_proposes_the_same(killed: int, tmp_path: Path) -> None:
    whole = asked(None)
    first = asked(tmp_path / "parts", killed)
    rest = asked(tmp_path / "parts")
    assert len(whole) == 8 and first + rest == whole


def test_trials_are_taken_over_where_their_configs_are_allowed(tmp_path: Path) -> None:
    from hpo.spec.space import Space
    from hpo.study.warm_start import taken_over

    asked(tmp_path / "studies")
    earlier = hpo.open_study("spaces", tmp_path / "studies")
    assert len(taken_over(earlier, earlier.spec)) == 8
    space = Space.of(earlier.spec)
    for frozen, trial in zip(taken_over(earlier, earlier.spec), earlier.trials(), strict=True):
        assert space.config(frozen.params) == trial.config
    narrower = earlier.spec.model_copy(update={"forbidden": (*earlier.spec.forbidden, "in > 8")})
    kept = [space.config(frozen.params) for frozen in taken_over(earlier, narrower)]
    assert kept == [trial.config for trial in earlier.trials() if trial.config["in"] == 8] != []


# ---- the whole grid --------------------------------------------------------------------------------------------------

GRID: dict[str, Any] = {
    "study": "grid",
    "objective": {"metric": "loss", "goal": "minimize"},
    "training": {"epochs": 4},
    "sampler": "grid",
    "parameters": {
        "kind": {"values": ["plain", "deep"], "default": "deep"},
        "rate": {"min": 1e-3, "max": 1, "log": True, "steps": 4},
        "depth": {"type": "int", "min": 1, "max": 3, "when": {"kind": "deep"}},
        "sizes": {"values": [[1, 2], [3]]},
        "sum": {"equals": "rate + 1"},
    },
    "forbidden": {"kind": "plain", "sizes": [[3]]},
}
GRID_SIZE = 4 + 4 * 3 * 2


def keys(configs: list[Config]) -> list[str]:
    return [str(sorted(config.items())) for config in configs]


@pytest.mark.parametrize("scheduler", ["none", "asha", "hyperband", "asha_stop", "median"])
def test_a_grid_is_tried_whole_each_config_once(scheduler: str) -> None:
    def curve(config: Config, epoch: int) -> tuple[dict[str, float], float]:
        if config["rate"] == 0.1 and config["sizes"] == [3]:
            raise RuntimeError("by design")
        return {"loss": config["rate"] / epoch}, 1.0

    document = {**GRID, "scheduler": scheduler, "failures": {"max_failures": 99}}
    trials = hpo.simulate(document, curve, workers=3).study.trials()
    assert len(trials) == GRID_SIZE == len(set(keys([trial.config for trial in trials])))
    assert {trial.config["rate"] for trial in trials} == {0.001, 0.01, 0.1, 1.0}
    assert all(trial.config["sum"] == trial.config["rate"] + 1 for trial in trials)


def test_a_grid_that_goes_on_tries_what_is_left(tmp_path: Path) -> None:
    changes = {**GRID, "study": "grid", "budget": {}, "configs": []}
    whole = asked(None, **changes)
    first = asked(tmp_path / "parts", 5, **changes)
    rest = asked(tmp_path / "parts", **changes)
    assert len(whole) == GRID_SIZE and keys(first + rest) == keys(whole)


def test_a_budget_below_the_grid_holds_and_its_order_is_by_the_seed() -> None:
    found = [hpo.simulate({**GRID, "seed": seed, "budget": {"trials": 9}}, linear) for seed in (0, 0, 1)]
    first, same, other = (keys([trial.config for trial in one.study.trials()]) for one in found)
    assert len(first) == 9 and first == same != other


def linear(config: Config, epoch: int) -> tuple[dict[str, float], float]:
    return {"loss": config["rate"]}, 1.0


def test_a_grid_with_several_objectives_and_one_as_an_ensembles_target_end() -> None:
    document = {**GRID, "objective": [GRID["objective"], {"metric": "cost", "goal": "minimize"}]}
    both = hpo.simulate(document, lambda config, epoch: ({"loss": config["rate"], "cost": 1.0}, 1.0))
    assert len(both.study.trials()) == GRID_SIZE


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"parameters": {"x": {"min": 0, "max": 1}}, "forbidden": []}, "needs the values of 'x': give `steps`"),
        ({"parameters": {"x": {"normal": [0, 1]}}, "forbidden": []}, "needs the values of 'x'"),
        (
            {"parameters": {name: {"type": "int", "min": 1, "max": 30} for name in "abc"}, "forbidden": []},
            "the grid has more than 10,000 configs",
        ),
        ({"parameters": {"x": {"values": [1, 2], "prior": 1}}, "forbidden": []}, "tries all values alike"),
        ({"scheduler": "pbt", "budget": {"trials": 9}}, "'pbt' changes configs"),
        ({"sampler": {"name": "grid", "sed": 3}}, "refuses {'sed': 3}"),
    ],
)
def test_what_is_no_grid_is_one_sentence(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(SpecError) as caught:
        hpo.simulate({**GRID, **changes}, linear)
    assert len(caught.value.lines) == 1 and said in caught.value.lines[0]


def test_settings_that_nobody_reads_are_told() -> None:
    own = {
        "study": "own",
        "objective": {"metric": "loss", "goal": "minimize"},
        "parameters": {"lr": {"min": 0, "max": 1}},
    }
    training = {"epochs": 3, "batch_size": 32, "seeds": 2}
    (note,) = hpo.api.remarks({**own, "train": "json:loads", "training": training})
    where = "'json:loads' finds it only as context.spec.training.batch_size"
    assert note == f"training.batch_size is of the built-in loop, and {where}."
    command = {**own, "command": "sh {lr}", "training": {"epochs": 1, "precision": "float32"}}
    (note,) = hpo.api.remarks(command)
    assert note == "training.precision is of the built-in loop, and a program is not told of it."


def test_the_size_of_a_grid_is_told() -> None:
    from hpo.spec import load_search

    assert list(hpo.api.remarks(GRID)) == [f"the grid has {GRID_SIZE} configs."]
    small = list(hpo.api.remarks({**GRID, "budget": {"trials": 5}}))
    assert small == [f"the grid has {GRID_SIZE} configs, of which the budget lets 5 be tried."]
    one = load_search(GRID)
    assert one.budget.trials is None and load_search({**GRID, "sampler": "tpe"}).budget.trials == 32
    assert load_search(one.model_dump(exclude_unset=True)).budget == one.budget
    plan = hpo.plan(GRID, workers=[1, 2])
    assert [forecast.trials for forecast in plan.forecasts] == [GRID_SIZE] * 2
