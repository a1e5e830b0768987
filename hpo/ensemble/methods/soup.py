"""Greedy model soup: the members' weights are averaged, not their predictions (Wortsman et al. 2022, "Model Soups").

One network then costs no more than a single trial. It works only from one initialisation: networks that began from
other random numbers lie in other valleys, and the mean of their weights is worth nothing. Trials begin from numbers of
their own; children of population based training go on from the state of another trial and share its beginning.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from hpo.ensemble.score import Predictions, Targets, costs
from hpo.errors import InputError
from hpo.models.weights import Weights
from hpo.study.study import Study
from hpo.study.trial import TrialRecord


@dataclass(frozen=True, eq=False)
class Soup:
    """What was averaged: places among the ingredients, the best first; the mean weights; their score."""

    members: tuple[int, ...]
    weights: Weights = field(repr=False)
    cost: float


def greedy_soup(
    ingredients: Sequence[Weights],
    predict: Callable[[Weights], Predictions],
    targets: Targets,
    task: str = "classification",
) -> Soup:
    """Adds ingredients in the order of their scores, each if the mean of all weights then scores no worse.

    Args:
        ingredients: checkpoints of one architecture that began from the same weights.
        predict: weights -> predictions of the validation rows `(rows, outputs)`.
        targets: of the same rows.
        task: whose score is minimized.

    Raises:
        InputError: there are none, or their arrays differ in name or shape.
    """
    _check_shapes(ingredients)

    def cost(weights: Weights) -> float:
        return float(costs(predict(weights), targets, task))

    singles = [cost(weights) for weights in ingredients]
    first, *others = sorted(range(len(ingredients)), key=lambda place: singles[place])
    members, mixed, best = [first], ingredients[first], singles[first]
    for place in others:
        tried = mean_weights([ingredients[member] for member in [*members, place]])
        if (value := cost(tried)) <= best:
            members, mixed, best = [*members, place], tried, value
    return Soup(tuple(members), mixed, best)


def mean_weights(ingredients: Sequence[Weights]) -> Weights:
    """The mean of every array of floats; of integers, which count batches, those of the first."""
    mixed = {}
    for name, array in ingredients[0].items():
        if np.issubdtype(array.dtype, np.floating):
            stacked = np.stack([weights[name] for weights in ingredients])
            mixed[name] = stacked.mean(axis=0, dtype=np.float64).astype(array.dtype)
        else:
            mixed[name] = array
    return mixed


def kin(study: Study, trials: Sequence[TrialRecord]) -> tuple[int, ...]:
    """The places of the most trials whose weights may be averaged; of as many, those of the better first one.

    They share the architecture (the model and its settings) and the initialisation (the trial that they go back to,
    child by child, through population based training).

    Raises:
        InputError: no two trials do; the message says what differs.
    """
    records = {trial.number: trial for trial in study.trials()}
    groups: dict[tuple[int, str], list[int]] = {}
    for place, trial in enumerate(trials):
        architecture = repr(study.study_spec.apply(trial.config).model)
        groups.setdefault((_ancestor(trial, records), architecture), []).append(place)
    largest = max(groups.values(), key=len, default=[])
    if len(largest) < 2:
        raise InputError(_refusal({origin for origin, _ in groups}, len(trials)))
    return tuple(largest)


def _ancestor(trial: TrialRecord, records: Mapping[int, TrialRecord]) -> int:
    """The trial whose random initial weights this one began with."""
    while trial.inherited and trial.lineage and trial.lineage["parents"]:
        parent = records.get(int(trial.lineage["parents"][0]))
        if parent is None or parent.number >= trial.number:  # a child is younger than its parent
            break
        trial = parent
    return trial.number


def _refusal(origins: set[int], trials: int) -> str:
    if trials < 2:
        return f"a soup needs two trials or more, there are {trials}"
    if len(origins) == trials:
        return (
            f"a soup averages weights of one initialisation, and each of these {trials} trials began from random"
            " weights of its own, by its seed; search with `scheduler: pbt`, whose children go on from their parents'"
            " weights, or use greedy or voting, which average predictions"
        )
    return (
        "a soup averages weights of one architecture and initialisation, and the trials here that share their"
        " beginning differ in the model's settings; use greedy or voting, which average predictions"
    )


def _check_shapes(ingredients: Sequence[Weights]) -> None:
    if not ingredients:
        raise InputError("a soup needs at least one checkpoint, there are none")
    shapes = [{name: array.shape for name, array in weights.items()} for weights in ingredients]
    for place, other in enumerate(shapes):
        if other != shapes[0]:
            names = sorted(name for name in {*shapes[0], *other} if shapes[0].get(name) != other.get(name))
            raise InputError(
                f"a soup averages weights of one architecture, and checkpoint {place} differs from the first in"
                f" '{names[0]}': {other.get(names[0])} instead of {shapes[0].get(names[0])}"
            )
