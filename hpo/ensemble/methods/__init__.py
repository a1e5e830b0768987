"""How the predictions of members become one: voting, weights, greedy selection, stacking, soups of weights."""
