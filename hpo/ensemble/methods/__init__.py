"""How the predictions of members become one, by name: voting, weights, greedy selection, stacking.

A soup, which averages weights, is made of checkpoints instead.
"""

from collections.abc import Callable, Mapping

from hpo.ensemble.combiner import Combiner
from hpo.ensemble.methods.greedy import bagged_greedy, greedy
from hpo.ensemble.methods.stacking import stacking, stacking_boosting, stacking_ridge
from hpo.ensemble.methods.voting import hard_voting, median, soft_voting
from hpo.ensemble.methods.weighted import weighted_voting
from hpo.ensemble.score import Predictions, Targets

Method = Callable[[Predictions, Targets, int, str], Combiner]
"""A method: candidates `(candidates, rows, outputs)`, targets, a number of members and a task -> a combiner."""

METHODS: Mapping[str, Method] = {
    "voting": soft_voting,
    "median": median,
    "bagged_greedy": bagged_greedy,
    "greedy": greedy,
    "weighted": weighted_voting,
    "stacking": stacking,
    "stacking_ridge": stacking_ridge,
    "stacking_boosting": stacking_boosting,
    "hard_voting": hard_voting,
}
"""The plainest first, which `auto` prefers."""
