"""Voting: the best trials, all with the same say."""

from hpo.ensemble.combiner import Average, Median, Votes
from hpo.ensemble.member_choice import best_members
from hpo.ensemble.score import Predictions, Targets
from hpo.errors import InputError


def soft_voting(predictions: Predictions, targets: Targets, top: int, task: str = "classification") -> Average:
    """The mean of the `top` best candidates' predictions.

    Args:
        predictions: `(candidates, rows, outputs)`.
        targets: of the same rows.
        top: how many members.
        task: whose score says which are best.
    """
    members = best_members(predictions, targets, top, task)
    return Average(members, (1 / len(members),) * len(members), task)


def hard_voting(predictions: Predictions, targets: Targets, top: int, task: str = "classification") -> Votes:
    """One vote for each of the `top` best candidates, for a class or on each label; arguments as `soft_voting`.

    Raises:
        InputError: the task is regression.
    """
    if task == "regression":
        raise InputError("hard_voting needs classes or labels, and regression has none; use voting or median")
    return Votes(best_members(predictions, targets, top, task), task)


def median(predictions: Predictions, targets: Targets, top: int, task: str = "regression") -> Median:
    """The median of the `top` best candidates' values, which one bad member cannot move far; as `soft_voting`.

    Raises:
        InputError: the task is another than regression.
    """
    if task != "regression":
        raise InputError(f"median is for regression, and the task is {task}; use voting or hard_voting")
    return Median(best_members(predictions, targets, top, task))
