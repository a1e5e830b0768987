"""How the predictions of members become one: voting, weights, greedy selection, stacking.

`ensemble.selection` has the table of them (`METHODS`). A soup, which averages weights, is made of checkpoints instead.
"""
