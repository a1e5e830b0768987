"""CMA-ES whose state in the study is numbers.

Optuna keeps a pickle there, and unpickles whatever stands in its place: code of anyone who can write to the study.
"""

import json
import pickle
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, TypeAlias

import cmaes
import numpy as np
from optuna.samplers import CmaEsSampler
from optuna.trial import FrozenTrial

_INNER = "_cma"
"""The attribute of CMA-ES with margin that is an optimizer itself."""
_TYPES = ("bool", "int64", "float64")
_Optimizer: TypeAlias = cmaes.CMA | cmaes.SepCMA | cmaes.CMAwM


class NumbersCmaEs(CmaEsSampler):
    """Optuna's sampler, with another way for its state into the study and out of it."""

    def _split_optimizer_str(self, optimizer_str: str) -> dict[str, str]:
        made = pickle.loads(bytes.fromhex(optimizer_str))  # by our caller, of the optimizer that it has at hand
        parts: dict[str, str] = super()._split_optimizer_str(json.dumps(_written(made)))
        return parts

    def _restore_optimizer(self, completed_trials: list[FrozenTrial]) -> _Optimizer | None:
        """The last state that is one: what is none, such as a pickle, is passed over."""
        for trial in reversed(completed_trials):
            parts = {
                name: part for name, part in trial.system_attrs.items() if name.startswith(self._attr_key_optimizer)
            }
            with suppress(ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError):
                return _optimizer(self._kind, json.loads(self._concat_optimizer_attrs(parts)))
        return None

    @property
    def _kind(self) -> type[_Optimizer]:
        kind: type[_Optimizer] = cmaes.CMAwM if self._with_margin else cmaes.CMA
        return cmaes.SepCMA if self._use_separable_cma else kind


def _written(optimizer: _Optimizer) -> dict[str, Any]:
    """What makes an optimizer up, but for its random numbers, which are drawn anew for every trial."""
    state: dict[str, Any] = optimizer.__getstate__()
    return {name: _written(value) if name == _INNER else _number(value) for name, value in state.items()}


def _number(value: Any) -> Any:
    """A number of Python's as it is, and one of numpy's or an array with its type and shape."""
    if not isinstance(value, np.ndarray | np.generic):
        return value
    return {"type": value.dtype.name, "shape": value.shape, "values": value.ravel().tolist()}


def _optimizer(kind: type[_Optimizer], state: Mapping[str, Any]) -> _Optimizer:
    """The optimizer of a state.

    Raises:
        ArithmeticError, AttributeError, LookupError, TypeError, ValueError: it is none.
    """
    if any(hasattr(kind, name) for name in state):
        raise AttributeError("a method is no part of a state")
    made: Any = object.__new__(kind)
    values = {name: _optimizer(cmaes.CMA, value) if name == _INNER else _read(value) for name, value in state.items()}
    if isinstance(made, cmaes.CMAwM):
        vars(made).update(values)
    else:
        made.__setstate__(values)
    if not isinstance(made.dim, int) or not isinstance(made.generation, int):
        raise TypeError("its dimensions and generation are numbers")
    return made


def _read(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    if value["type"] not in _TYPES:
        raise ValueError(f"an array of {value['type']} is no part of a state")
    return np.array(value["values"], value["type"]).reshape(value["shape"])[()]
