"""Members whose training function is the user's own: their `predict` function says what they predict."""

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from hpo.ensemble.score import Predictions
from hpo.errors import DataError, InputError, shown
from hpo.plugins import Registry
from hpo.spec import Config

FUNCTIONS = Registry("predict function", {})
_NONE = (
    "the members of this ensemble are of a training function of your own, and it has no function that predicts: write"
    " predict(config, state, inputs) beside it, or name one in the search file (predict: module:function), and build"
    " the ensemble again"
)


@dataclass(frozen=True, eq=False)
class OwnMember:
    """What a trial has left: its config, and the state of its best epoch."""

    name: str
    config: Config
    state: Mapping[str, Any]
    copies: int = 1
    """How many trainings of the config there were; with more than one, `state` has the state of each."""

    @property
    def states(self) -> Sequence[Mapping[str, Any]]:
        """What each training has left.

        Raises:
            DataError: it is damaged.
        """
        states = [self.state] if self.copies == 1 else self.state.get("copies")
        if (
            not isinstance(states, list)
            or len(states) != self.copies
            or not all(isinstance(s, Mapping) for s in states)
        ):
            raise DataError(f"{self.name}: its checkpoint is damaged: it has not the states of {self.copies} trainings")
        return states


class OwnMembers:
    """Predicts by a function of the user's own, member by member.

    Args:
        path: the function's import path, `(config, state, inputs) -> (n, outputs)`; None where there is none.
        members: in the ensemble's order.
        outputs: how many columns predictions have.
        binary: whether one column alone is the probability of the second of two classes.

    Raises:
        InputError: the function cannot be imported, or is not trusted.
    """

    def __init__(self, path: str | None, members: Iterable[OwnMember], outputs: int, binary: bool) -> None:
        self._function: Callable[..., Any] | None = None if path is None else FUNCTIONS.load(path)
        self._members, self._outputs, self._binary = tuple(members), outputs, binary and outputs == 2

    def __call__(self, inputs: Any) -> Predictions:
        """Each member's predictions `(members, n, outputs)`, not calibrated.

        Args:
            inputs: whatever the function takes.

        Raises:
            DataError: the function raises, or gives something else.
            InputError: there is no function.
        """
        if self._function is None:
            raise InputError(_NONE)
        arrays = [self._predicted(member, inputs) for member in self._members]
        if len({len(array) for array in arrays}) > 1:
            raise DataError(f"the members predict different numbers of rows: {[len(array) for array in arrays]}")
        return np.stack(arrays)

    def single(self, place: int) -> Self:
        """One member alone."""
        alone = type(self)(None, (self._members[place],), self._outputs, self._binary)
        alone._function = self._function
        return alone

    def _predicted(self, member: OwnMember, inputs: Any) -> NDArray[np.float32]:
        arrays = [self._predicted_by(member, state, inputs) for state in member.states]
        if len({len(array) for array in arrays}) > 1:
            raise DataError(f"{member.name}: its copies predict different numbers of rows")
        mean: NDArray[np.float32] = np.mean(arrays, axis=0)
        return mean

    def _predicted_by(self, member: OwnMember, state: Mapping[str, Any], inputs: Any) -> NDArray[np.float32]:
        assert self._function is not None
        try:
            made = self._function(dict(member.config), dict(state), inputs)
            if hasattr(made, "detach"):
                made = made.detach().float().cpu()
            array = np.asarray(made, dtype=np.float32)
        except Exception as error:  # a user's function may raise anything
            raise DataError(f"{member.name}: predict fails: {type(error).__name__}: {error}") from error
        if array.ndim == 1:
            array = np.stack([1 - array, array], axis=1) if self._binary else array[:, None]
        if array.ndim != 2 or array.shape[1] != self._outputs:
            raise DataError(
                f"{member.name}: predict must give an array (rows, {self._outputs}), got {shown(array.shape)}"
            )
        return array


def path_of(train: str | None, predict: str | None) -> str | None:
    """The import path of the function that predicts: the one that is named, or `predict` beside the training function.

    Args:
        train: the import path of the training function, which was imported before.
        predict: what the search file names.
    """
    if predict is not None or train is None:
        return predict
    module, _, _ = train.partition(":")
    beside = callable(getattr(sys.modules.get(module), "predict", None))
    return f"{module}:predict" if beside else None
