from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import hpo
from hpo import spec
from hpo.ensemble import contribution
from hpo.ensemble.contribution import Contributions
from hpo.ensemble.methods.greedy import greedy_weights
from hpo.ensemble.score import SCORES, nll
from hpo.errors import InputError, SpecError
from hpo.searching import search as searching
from hpo.spec import Config
from hpo.study.study import Study
from hpo.study.trial import Outcome, State, TrialRecord

ROWS = 400
LABELS = np.arange(ROWS) // 2 % 2


def contributions(own: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of own parts `(candidates, rows)`: the probability of each row's class."""
    return contribution.contributions(own[..., None], SCORES["classification"])


def member(right: float, seed: int) -> NDArray[np.float64]:
    """The probability of each row's own class: 0.9 on a share `right` of the rows, 0.2 on the others."""
    return np.where(np.random.default_rng(seed).random(ROWS) < right, 0.9, 0.2)


def probabilities(own: NDArray[np.float64]) -> NDArray[np.float32]:
    """A two-class prediction with these probabilities of the rows' own classes."""
    both = np.where(np.arange(2) == LABELS[:, None], own[:, None], 1 - own[:, None])
    return both.astype(np.float32)


# ---- what adds how much ----------------------------------------------------------------------------------------------


def test_a_copy_adds_less_than_one_that_errs_elsewhere() -> None:
    good, other = member(0.85, 0), member(0.8, 1)
    gains = contributions(np.stack([good, good, other]))
    assert gains[0] == pytest.approx(gains[1])
    assert gains[0] < gains[2]
    assert nll(good) < nll(other)  # though alone it is the better one


def test_a_member_is_measured_without_itself() -> None:
    good, worse = member(0.9, 0), member(0.6, 1)
    own = np.stack([good, worse])
    assert greedy_weights(own, 10)[0] > 0
    halves = np.arange(ROWS) % 2
    gains = [nll(worse[halves == half]) - nll((good + worse)[halves == half] / 2) for half in (0, 1)]
    assert contributions(own)[0] == pytest.approx(np.mean(gains))


def test_noise_gains_nothing() -> None:
    rng = np.random.default_rng(0)
    good = [member(0.8, seed) for seed in range(5)]
    noise = [rng.beta(1, 1, ROWS) for _ in range(20)]
    gains = contributions(np.stack([*good, *noise]))
    assert gains[5:].max() < 0
    assert gains[5:].max() < gains[:5].min()


def test_what_fits_the_rows_of_selection_alone_gains_nothing() -> None:
    good = [member(0.8, seed) for seed in range(3)]
    halves = np.arange(ROWS) % 2
    fitted = np.where(halves == 0, 0.999, 0.01)  # knows every other row, and is sure of nonsense on the rest
    gains = contributions(np.stack([*good, fitted]))
    assert gains[3] < min(0.0, *gains[:3])


def test_one_candidate_alone_adds_nothing_to_itself() -> None:
    assert contributions(member(0.8, 0)[None]).tolist() == [0.0]


@settings(max_examples=30)
@given(st.integers(1, 6), st.integers(0, 2**32 - 1), st.randoms(use_true_random=False))
def test_contributions_are_finite_and_do_not_depend_on_the_order(count: int, seed: int, shuffler: Any) -> None:
    own = np.random.default_rng(seed).random((count, 20))
    order = list(range(count))
    shuffler.shuffle(order)
    gains = contributions(own)
    assert np.isfinite(gains).all()
    np.testing.assert_allclose(contributions(own[order]), gains[order], atol=1e-12)


# ---- of a study's trials ---------------------------------------------------------------------------------------------


class Stored:
    """Predictions by trial, and who asked for them."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, int | None]] = []
        self.missing: set[int] = set()
        self.broken: set[int] = set()

    def __call__(self, trial: TrialRecord) -> NDArray[np.float32] | None:
        self.asked.append((trial.number, trial.best_epoch))
        if trial.number in self.missing:
            return None
        found = probabilities(member(0.8, trial.number))
        if trial.number in self.broken:
            found[7, 1] = np.nan
        return found


@pytest.fixture
def study() -> Study:
    wanted = {"study": "s", "parameters": {"x": {"min": 0, "max": 1}}, "sampler": "random"}
    return Study.in_memory(spec.load_search(wanted))


def grown(study: Study, *curves: list[float], metric: str = "accuracy") -> None:
    for curve in curves:
        number = study.writer.ask().number
        for epoch, value in enumerate(curve, start=1):
            study.writer.report(number, epoch, {metric: value})


def test_predictions_are_read_once_for_each_trial_and_best_epoch(study: Study) -> None:
    stored = Stored()
    rewards = Contributions(study, LABELS, stored, "classification")
    assert rewards() == {}
    grown(study, [0.5, 0.6], [0.7])
    first = rewards()
    assert rewards() == first
    assert stored.asked == [(0, 2), (1, 1)]
    study.writer.report(0, 3, {"accuracy": 0.4})  # no better: its predictions are the old ones
    rewards()
    assert len(stored.asked) == 2
    study.writer.report(1, 2, {"accuracy": 0.8})
    rewards()
    assert stored.asked[2:] == [(1, 2)]


def test_trials_without_usable_predictions_are_left_out(study: Study) -> None:
    stored = Stored()
    stored.missing, stored.broken = {0}, {2}
    grown(study, [0.5], [0.6], [0.7], [float("nan")], [0.6])
    rewards = Contributions(study, LABELS, stored, "classification")
    assert set(rewards()) == {1, 4}
    rewards()
    assert [number for number, _ in stored.asked] == [0, 1, 2, 4]


def test_pruned_and_running_trials_have_rewards_too(study: Study) -> None:
    grown(study, [0.5], [0.6])
    study.writer.end(0, Outcome(State.PRUNED, "stopped"))
    assert set(Contributions(study, LABELS, Stored(), "classification")()) == {0, 1}


def test_rows_are_halved_not_the_labels_of_a_row() -> None:
    rng = np.random.default_rng(0)
    own = rng.random((3, ROWS, 2))
    one_label = np.stack([own[:, :, 0], own[:, :, 0]], axis=-1)
    same = contribution.contributions(one_label, SCORES["multilabel"])
    np.testing.assert_allclose(same, contribution.contributions(own[:, :, :1], SCORES["multilabel"]), atol=1e-12)


TARGETS = {
    "multilabel": np.random.default_rng(0).integers(0, 2, (ROWS, 3)),
    "regression": np.random.default_rng(0).normal(50.0, 10.0, (ROWS, 2)),
}


@pytest.mark.parametrize("task", ["multilabel", "regression"])
def test_each_task_has_its_own_score(task: str) -> None:
    targets, rng = TARGETS[task], np.random.default_rng(1)
    noise = [rng.normal(0.0, 1.0, targets.shape) for _ in range(2)]

    def predicted(trial: TrialRecord) -> NDArray[np.float32]:
        """The first two err in the same way, the third elsewhere and a little more, the last knows nothing."""
        error = (noise[0], noise[0], 1.1 * noise[1], rng.normal(0.0, 30.0, targets.shape))[trial.number]
        if task == "regression":
            return np.asarray(targets + 3 * error, np.float32)
        return np.asarray(1 / (1 + np.exp(-(4 * targets - 2 + error))), np.float32)

    wanted = document(task=task, data="diabetes", model="mlp", parameters={"optimizer.lr": {"min": 0.01, "max": 1}})
    study = Study.in_memory(spec.load(wanted))
    grown(study, *[[0.5]] * 4, metric=study.spec.objective.metric)
    rewards = searching.rewards(study, (targets, predicted))
    assert rewards is not None
    gains = rewards()
    assert gains[0] == pytest.approx(gains[1])
    assert gains[2] > gains[0] > gains[3]


# ---- as the target of a search ---------------------------------------------------------------------------------------


def document(**changes: Any) -> dict[str, Any]:
    return {
        "study": "members",
        "training": {"epochs": 3},
        "parameters": {"x": {"min": 0, "max": 1}},
        "target": "ensemble",
        "sampler": "tpe",
        "budget": {"trials": 30},
        **changes,
    }


def curve(config: Config, epoch: int) -> tuple[dict[str, float], float]:
    return {"accuracy": config["x"] * epoch / 3}, 1.0


def test_a_search_for_an_ensemble_asks_for_predictions_and_takes_rewards() -> None:
    stored = Stored()
    result = hpo.simulate(document(), curve, predictions=(LABELS, stored))
    assert len(result.study.trials()) == 30
    assert {number for number, _ in stored.asked} > set(range(20))
    assert len(set(stored.asked)) == len(stored.asked)
    plain = hpo.simulate(document(target="single"), curve)
    first, second = ([trial.config for trial in of.study.trials()] for of in (result, plain))
    assert first != second


def test_predictions_and_target_belong_together() -> None:
    with pytest.raises(InputError, match="target: ensemble needs the argument predictions"):
        hpo.simulate(document(), curve)
    with pytest.raises(InputError, match="no other target takes it"):
        hpo.simulate(document(target="single"), curve, predictions=(LABELS, Stored()))


def test_an_ensemble_is_rewarded_by_one_number() -> None:
    with pytest.raises(SpecError, match="target: an ensemble is rewarded by one number: name one objective"):
        hpo.simulate(document(objective=["accuracy", "nll"]), curve, predictions=(LABELS, Stored()))


def test_another_target_is_refused() -> None:
    with pytest.raises(SpecError, match="target: must be 'single' or 'ensemble', got 'both'"):
        hpo.simulate(document(target="both"), curve)
