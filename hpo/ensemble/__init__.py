"""Ensembles from predictions that trials have stored: predictions in, weights out, and the final model.

Choosing reads validation predictions alone; nothing in this room but `pool.Pool.test_predictions` opens a test row.
"""
