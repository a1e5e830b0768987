"""Optuna's TPE computes by scipy's functions, and gets what its own would have given."""

from unittest.mock import Mock

import numpy as np
import optuna
import pytest
import scipy.special
from hypothesis import given
from hypothesis import strategies as st
from optuna.samplers._tpe import _truncnorm
from scipy.special import log_ndtr, ndtr

import hpo.samplers.tpe  # noqa: F401  # which uses them


@given(st.lists(st.floats(-30, 12), min_size=1, max_size=50))
def test_the_normal_distributions_logarithm_is_what_optuna_computes(values: list[float]) -> None:
    array = np.array(values)
    own = [_truncnorm._log_ndtr_single(value) for value in values]
    assert _truncnorm._log_ndtr(array) == pytest.approx(own, rel=1e-6, abs=1e-300)
    assert _truncnorm._ndtr(array) == pytest.approx([_truncnorm._ndtr_single(value) for value in values], abs=1e-12)


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_tpe_asks_scipy_for_the_density_of_integers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails where Optuna computes otherwise than by the functions that are replaced."""
    with monkeypatch.context() as changed:
        asked = {name: Mock(wraps=getattr(scipy.special, name)) for name in ("log_ndtr", "ndtr")}
        for name, function in asked.items():
            changed.setattr(_truncnorm, f"_{name}", function)
        study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=0, multivariate=True))
        study.optimize(lambda trial: trial.suggest_int("x", 0, 99) + trial.suggest_float("y", 0, 1), 20)
    assert all(function.called for function in asked.values())
    assert (_truncnorm._log_ndtr, _truncnorm._ndtr) == (log_ndtr, ndtr)
