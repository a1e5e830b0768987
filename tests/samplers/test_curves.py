import math
import time
from collections.abc import Callable, Iterator
from typing import Any, Literal

import numpy as np
import optuna
import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler
from optuna.trial import TrialState, create_trial

from hpo.history import history_of
from hpo.history.measured import Yardstick
from hpo.samplers.curve_arrays import curves_of
from hpo.samplers.curve_model import GaussianProcess, Hyperparameters, Inputs, _negative_log_likelihood, fit
from hpo.samplers.curves import CurveSampler, _promising
from hpo.schedulers import first_rung
from hpo.schedulers.rungs import rungs
from hpo.spec import Parameter
from hpo.spec.dimension import distribution
from hpo.spec.space import Space
from tests.samplers.conformance import BasicSamplerTestCase, RelativeSamplerTestCase, SingleOnlySamplerTestCase
from tests.samplers.constraints import constrain

EPOCHS = 27
SPACE = Space(
    {
        "optimizer": Parameter(values=("sgd", "adam")),
        "lr": Parameter(min=1e-4, max=1.0, log=True),
        "momentum": Parameter(min=0.0, max=0.99, when={"optimizer": ("sgd",)}),
        "layers": Parameter(type="int", min=1, max=4),
    },
    {},
)


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    yield
    optuna.logging.set_verbosity(verbosity)


class TestConformance(BasicSamplerTestCase, RelativeSamplerTestCase, SingleOnlySamplerTestCase):
    @pytest.fixture
    def sampler(self) -> Callable[[], BaseSampler]:
        return lambda: CurveSampler(seed=1, startup=2)


def accuracy(config: dict[str, Any], epoch: int) -> float:
    """A rising curve; 1 is the best end."""
    end = 1.0 - 0.1 * (math.log10(config["lr"]) + 2.0) ** 2 - 0.05 * (config["layers"] - 3) ** 2
    end -= 0.2 if config["optimizer"] == "adam" else 0.1 * (config["momentum"] - 0.9) ** 2
    return float(end - 0.5 / epoch)


def search(
    sampler: CurveSampler,
    value: Callable[[dict[str, Any], int], float] = accuracy,
    direction: Literal["maximize", "minimize"] = "maximize",
    decisions: int = 40,
    restart: bool = False,
) -> tuple[optuna.Study, list[int]]:
    """One worker that pauses every trial after three epochs; returns the study and the epochs of each trial."""
    study = optuna.create_study(direction=direction, sampler=sampler)
    running: dict[int, optuna.Trial] = {}
    epochs: list[int] = []
    for _ in range(decisions):
        if restart:
            study.sampler = sampler = CurveSampler(sampler.seed, epochs=sampler.epochs, space=SPACE)
        number = sampler.resume(study, list(running))
        if number is None:
            trial = study.ask()
            SPACE.suggest(trial)
            number = trial.number
            running[number] = trial
            epochs.append(0)
        for epoch in range(epochs[number] + 1, epochs[number] + 4):
            running[number].report(value(running[number].params, epoch), epoch)
        epochs[number] += 3
        if epochs[number] >= EPOCHS:
            last = running.pop(number)
            study.tell(last, value(last.params, EPOCHS))
    return study, epochs


# ---- the sampler -----------------------------------------------------------------------------------------------------


def test_the_optimum_is_found_and_most_epochs_go_to_the_best() -> None:
    study, epochs = search(CurveSampler(0, epochs=EPOCHS, space=SPACE), decisions=60)
    best = max(study.trials, key=lambda trial: max(trial.intermediate_values.values()))
    assert max(best.intermediate_values.values()) > 0.93
    assert best.params["optimizer"] == "sgd"
    assert max(epochs) == EPOCHS
    assert np.median(epochs) <= 6


def test_a_config_that_the_study_has_is_no_candidate() -> None:
    levels = Parameter(values=(0, 1, 2, 3, 4))
    space = Space({"x": levels, "y": levels, "z": levels}, {})
    sampler = CurveSampler(0, space=space)
    study = optuna.create_study(sampler=sampler)
    for _ in range(70):
        trial = study.ask()
        study.tell(trial, sum((value - 2) ** 2 for value in space.suggest(trial).values()))
    configs = [tuple(trial.params.items()) for trial in study.trials]
    assert len(set(configs[6:])) == 64  # the first six are strata, which may meet
    best = sorted(sum((value - 2) ** 2 for value in trial.params.values()) for trial in study.trials)
    assert best[:19] == [0] + 6 * [1] + 12 * [2]  # who may not repeat the best finds its neighbours


def test_where_all_candidates_are_known_a_paused_trial_goes_on() -> None:
    space = Space({"x": Parameter(values=("a", "b", "c"))}, {})
    sampler = CurveSampler(0, epochs=9, space=space, startup=3)
    study = optuna.create_study(direction="maximize")
    for place, value in enumerate("abc"):
        study.enqueue_trial({"x": value})
        trial = study.ask()
        space.suggest(trial)
        trial.report(0.1 * place, 2)
    assert sampler.resume(study, [0, 1, 2]) is not None
    assert sampler.resume(study, [0]) == 0  # however bad it is


def test_goals_are_mirror_images() -> None:
    up, _ = search(CurveSampler(3, epochs=EPOCHS, space=SPACE), decisions=25)
    down, _ = search(CurveSampler(3, epochs=EPOCHS, space=SPACE), lambda c, e: -accuracy(c, e), "minimize", 25)
    assert [trial.params for trial in up.trials] == [trial.params for trial in down.trials]


def test_a_sampler_made_anew_for_each_decision_proposes_the_same() -> None:
    whole, one = search(CurveSampler(5, epochs=EPOCHS, space=SPACE), decisions=25)
    pieces, other = search(CurveSampler(5, epochs=EPOCHS, space=SPACE), decisions=25, restart=True)
    assert [trial.params for trial in whole.trials] == [trial.params for trial in pieces.trials]
    assert one == other


def test_seeds_differ() -> None:
    one, other = (search(CurveSampler(seed, epochs=EPOCHS, space=SPACE), decisions=8)[0] for seed in (0, 1))
    assert [trial.params for trial in one.trials] != [trial.params for trial in other.trials]


def test_configs_keep_to_the_conditions() -> None:
    study, _ = search(CurveSampler(1, epochs=EPOCHS, space=SPACE))
    assert {trial.params["optimizer"] for trial in study.trials} == {"sgd", "adam"}
    assert all(("momentum" in trial.params) == (trial.params["optimizer"] == "sgd") for trial in study.trials)


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(lambda config, epoch: 1.0, id="flat"),
        pytest.param(lambda config, epoch: float(round(accuracy(config, epoch))), id="tied"),
        pytest.param(
            lambda config, epoch: math.nan if config["lr"] > 0.01 else accuracy(config, epoch), id="diverging"
        ),
        pytest.param(lambda config, epoch: -1e300 if epoch == 1 else -(10.0 ** (300 * config["lr"])), id="huge"),
        pytest.param(lambda config, epoch: math.inf if epoch > 3 else accuracy(config, epoch), id="infinite"),
        pytest.param(lambda config, epoch: math.sin(1e6 * config["lr"] * epoch), id="noise"),
    ],
)
def test_no_objective_is_too_odd(value: Callable[[dict[str, Any], int], float]) -> None:
    study, _ = search(CurveSampler(2, epochs=EPOCHS, space=SPACE), value, decisions=20)
    assert len(study.trials) >= 6


def test_configs_that_fail_are_avoided() -> None:
    study = optuna.create_study(sampler=CurveSampler(0))

    def objective(trial: optuna.Trial) -> float:
        x = trial.suggest_float("x", 0.0, 1.0)
        if x > 0.5:
            raise RuntimeError("out of memory")
        return (x - 0.49) ** 2

    study.optimize(objective, n_trials=30, catch=(RuntimeError,))
    assert sum(trial.state is TrialState.FAIL for trial in study.trials[10:]) <= 8


@pytest.mark.parametrize("feasible", [0.0, 0.3])
def test_constraints_are_kept_away_from(feasible: float) -> None:
    study = optuna.create_study(sampler=CurveSampler(0))
    for _ in range(20):
        trial = study.ask()
        x = trial.suggest_float("x", 0.01, 1.0)
        constrain(trial, "small", x - feasible)
        study.tell(trial, -x)
    assert sum(trial.params["x"] <= 0.3 for trial in study.trials[10:]) >= (5 if feasible else 0)


def test_without_reports_it_is_plain_bayesian_optimization() -> None:
    study = optuna.create_study(sampler=CurveSampler(0))
    study.optimize(lambda t: sum((t.suggest_float(f"x{i}", 0.0, 1.0) - 0.3) ** 2 for i in range(3)), n_trials=30)
    assert study.best_value < 0.01


def test_resume_prefers_the_curve_that_is_ahead() -> None:
    sampler = CurveSampler(0, epochs=EPOCHS, space=SPACE)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    for _ in range(10):
        trial = study.ask()
        config = SPACE.suggest(trial)
        for epoch in range(1, 10):
            trial.report(accuracy(config, epoch), epoch)
    order = sorted(study.trials, key=lambda trial: trial.intermediate_values[9])
    chosen = [sampler.resume(study, [order[0].number, order[-1].number]) for sampler in _samplers(10)]
    assert order[-1].number in chosen
    assert order[0].number not in chosen


def test_nothing_is_resumed_before_the_random_configs_or_when_nothing_is_paused() -> None:
    sampler = CurveSampler(0, epochs=EPOCHS, space=SPACE)
    study, _ = search(sampler, decisions=4)
    assert len(study.trials) == 4
    assert sampler.resume(study, [0, 1, 2, 3]) is None
    study, _ = search(sampler)
    assert sampler.resume(study, []) is None


def test_ten_thousand_trials_do_not_slow_it_down() -> None:
    distributions: dict[str, BaseDistribution] = {"x": FloatDistribution(0.0, 1.0), "y": FloatDistribution(0.0, 1.0)}
    rng = np.random.default_rng(0)
    study = optuna.create_study(sampler=CurveSampler(0, epochs=EPOCHS))
    study.add_trials(
        create_trial(params={"x": x, "y": y}, distributions=distributions, value=x + y, intermediate_values={3: x + y})
        for x, y in rng.random((10_000, 2)).tolist()
    )
    study.ask(distributions)
    began = time.perf_counter()
    trial = study.ask(distributions)
    assert time.perf_counter() - began < 10.0
    assert trial.params["x"] + trial.params["y"] < 0.3


@pytest.mark.parametrize("setting", ["epochs", "startup"])
def test_settings_are_checked(setting: str) -> None:
    settings: dict[str, Any] = {setting: 0}
    with pytest.raises(ValueError, match=f"{setting} must be at least 1, got 0"):
        CurveSampler(0, **settings)


def _samplers(count: int) -> list[CurveSampler]:
    return [CurveSampler(seed, epochs=EPOCHS, space=SPACE) for seed in range(count)]


# ---- the model -------------------------------------------------------------------------------------------------------


def test_the_gradient_is_the_slope_of_the_likelihood() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.random((12, 4)), rng.normal(size=12)
    groups, theta = np.array([0, 1, 1, 2]), np.array([-0.3, 0.2, -1.0, 0.1, -3.0])
    _, gradient = _negative_log_likelihood(theta, x, y, groups)
    for place in range(len(theta)):
        step = np.eye(len(theta))[place] * 1e-5
        up, down = (_negative_log_likelihood(theta + sign * step, x, y, groups)[0] for sign in (1, -1))
        assert gradient[place] == pytest.approx((up - down) / 2e-5, rel=1e-4)


def test_the_posterior_passes_through_what_it_knows() -> None:
    rng = np.random.default_rng(0)
    x = rng.random((30, 2))
    y = np.sin(6 * x[:, 0])
    model = GaussianProcess(fit(x, y, np.array([0, 1])), x, y)
    mean, deviation = model.predict(x)
    assert mean == pytest.approx(y, abs=0.05)
    assert deviation.max() < 0.1
    assert model.predict(np.array([[5.0, 5.0]]))[1][0] > 0.3


def test_twins_are_no_singular_matrix() -> None:
    x, y = np.zeros((50, 2)), np.ones(50)
    model = GaussianProcess(Hyperparameters(np.ones(2), 1.0, 1e-12), x, y)
    assert model.predict(x[:1])[0] == pytest.approx([1.0], abs=1e-3)


def test_what_is_believed_is_no_news_and_no_longer_uncertain() -> None:
    rng = np.random.default_rng(0)
    x, y, other = rng.random((10, 2)), rng.normal(size=10), np.array([[0.5, 0.5]])
    model = GaussianProcess(Hyperparameters(np.full(2, 0.3), 1.0, 1e-4), x, y)
    before, after = model.predict(other), model.believing(other).predict(other)
    assert after[0] == pytest.approx(before[0], abs=1e-3)
    assert after[1] < 0.1 * before[1]


@pytest.mark.parametrize("count", [1, 3, 12])
def test_what_is_believed_is_as_if_it_had_been_known(count: int) -> None:
    rng = np.random.default_rng(1)
    x, y, others, at = rng.random((30, 3)), rng.normal(size=30), rng.random((count, 3)), rng.random((50, 3))
    others[-1] = x[0]  # as when a trial goes on from where it was seen
    known = Hyperparameters(np.full(3, 0.4), 1.3, 1e-3)
    model = GaussianProcess(known, x, y)
    whole = GaussianProcess(known, np.vstack([x, others]), np.concatenate([y, model.predict(others)[0]]))
    for found, expected in zip(model.believing(others).predict(at), whole.predict(at), strict=True):
        assert found == pytest.approx(expected, rel=1e-6, abs=1e-6)
    assert model.predict(x)[0] == pytest.approx(GaussianProcess(known, x, y).predict(x)[0])  # it stays as it was


def test_inputs_settle_on_values_and_come_back() -> None:
    inputs = Inputs({"n": IntDistribution(1, 4), "f": FloatDistribution(0.1, 10.0, log=True, step=None)})
    units = inputs.settled(np.random.default_rng(0).random((20, 2)))
    configs = [inputs.config(row) for row in units]
    assert {config["n"] for config in configs} == {1, 2, 3, 4}
    assert inputs.units(configs) == pytest.approx(units)


def test_an_inactive_parameter_is_marked() -> None:
    distributions = {"optimizer": CategoricalDistribution(("sgd", "adam")), "momentum": FloatDistribution(0.0, 0.99)}
    inputs = Inputs(distributions, SPACE)
    units = inputs.units([{"optimizer": "sgd", "momentum": 0.0}, {"optimizer": "adam"}])
    assert np.isnan(units).tolist() == [[False, False], [False, True]]
    columns = inputs.columns(units, np.zeros(2))
    assert columns.shape[1] == len(inputs.groups) == 5
    assert np.all(np.isfinite(columns))
    assert columns[0, 3] > 0.0 == columns[1, 3]


def test_settled_units_have_the_parameters_that_their_configs_have() -> None:
    space = Space(
        {
            "kind": Parameter(values=("a", "b", "c")),
            "depth": Parameter(type="int", min=1, max=3, when={"kind": ("a", "b")}),
            "rate": Parameter(min=0.0, max=1.0, when={"depth": (2, 3), "mode": ("on",)}),
            "off": Parameter(min=0.0, max=1.0, when={"mode": ("off",)}),
        },
        {"mode": "on"},
    )
    distributions: dict[str, BaseDistribution] = {
        name: distribution(parameter) for name, parameter in space.parameters.items()
    }
    inputs = Inputs(distributions, space)
    units = inputs.settled(np.random.default_rng(0).random((200, 4)))
    for row in units:
        assert list(inputs.config(row)) == [name for name, unit in zip(distributions, row, strict=True) if unit == unit]
    assert 0 < np.isnan(units[:, 2]).sum() < 200
    assert np.isnan(units[:, 3]).all()


def test_of_very_many_paused_trials_the_best_of_each_epoch_are_judged() -> None:
    study = optuna.create_study()
    x = FloatDistribution(0.0, 1.0)
    for number in range(300):
        curve = {1: float(number), **({3: float(number)} if number % 3 == 0 else {})}
        study.add_trial(
            create_trial(
                state=TrialState.RUNNING, params={"x": number / 300}, distributions={"x": x}, intermediate_values=curve
            )
        )
    sampler = CurveSampler(epochs=9)
    chosen = sampler.resume(study, range(300))
    assert chosen is None or chosen < 300
    history = history_of(study, Yardstick(tuple(study.directions)))
    curves = curves_of(history, Inputs({"x": x}), rungs(9, first_rung(9)))
    judged = set(_promising(curves, np.arange(300)).tolist())
    assert {n for n in range(300) if n % 3 == 0} == {n for n in judged if n % 3 == 0}
    assert {n for n in judged if n % 3} == set([n for n in range(300) if n % 3][:100])
