"""What a training function is given beside its config, and what it leaves there for its next report."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hpo.errors import TrainingError, first_line
from hpo.spec import SearchSpec
from hpo.study.artifacts import Split
from hpo.training import randomness
from hpo.training.evidence import checked_evidence
from hpo.training.function import Context, TrainingState
from hpo.training.optimizers import load_learned, with_own_steps

_CONTEXT = "context"
"""The key of a state that a context has made: what training functions yield as a state has other keys."""
_KEY = (str, int, float, bool, bytes, type(None))
_PLAIN = (*_KEY, complex)


class TrialContext:
    """What a training function of the user's own is given beside its config, and what it leaves for its next report.

    Args:
        given: the search, the data, the seed, and the state to go on from.

    Raises:
        TrainingError: the state is damaged.
    """

    def __init__(self, given: Context) -> None:
        self.spec: SearchSpec = given.spec
        """The search: its fixed settings, and what is searched for."""
        self._dataset, self._fold = given.dataset, given.fold
        self._held_out = given.fold is None
        self.seed: int = given.seed
        """The trial's seed; generators of Python, numpy and torch are set to it before the function begins."""
        self.inherited: bool = given.inherited
        """Whether the state to go on from is another trial's, of another config (`scheduler: pbt`)."""
        self._resume, self._reached = given.resume, 0
        self._tracked: Mapping[str, Any] | None = None
        self._random: Mapping[str, Any] | None = None
        if given.resume is not None and set(given.resume) == {_CONTEXT}:
            self._open(given.resume[_CONTEXT])
        self._taken = False
        self._parts: dict[str, Any] = {}
        self._saved: TrainingState | None = None
        self._saved_at: int | None = None
        """The epoch of what was saved; None until it is reported."""
        self._predictions: dict[Split, NDArray[np.floating[Any]]] = {}
        self._targets: dict[Split, NDArray[Any]] = {}

    @property
    def resume(self) -> TrainingState | None:
        """The state to go on from: what `save` was given, empty if only parts are tracked; None begins anew."""
        self._taken = True
        return self._resume

    @property
    def epochs(self) -> int:
        """How many epochs a full training has: `training.epochs` of the search file."""
        return self.spec.training.epochs

    @property
    def dataset(self) -> Any:
        """The data set that `data` in the search file names, as the fold sees it; None where there is no `data`."""
        self._held_out |= self._dataset is not None
        return self._dataset

    @property
    def fold(self) -> int | None:
        """The number of the fold to hold out, from 0 on, of `training.folds`; None without folds."""
        self._held_out = True
        return self._fold

    @property
    def folds(self) -> int | None:
        """How many folds there are: `training.folds` of the search file."""
        return self.spec.training.folds

    @property
    def start(self) -> int:
        """The epoch to begin with: 1, or the one after that of the state to go on from."""
        self._taken = True
        return self._reached + 1

    def track(self, *parts: Any, **named: Any) -> None:
        """Saves parts with each report, and restores them now if the trial goes on.

        Random generators of torch, numpy and Python are saved and restored with them. Weights of modules are what
        `predict` is given. Optimizers and learning-rate schedulers of a trial that goes on from another's state keep
        their own settings.

        Args:
            parts: modules, optimizers, learning-rate schedulers, and whatever else has `state_dict` and
                `load_state_dict`; they are called `part1`, `part2` and so on.
            named: the same, by names that are the same in each training.

        Raises:
            TrainingError: a part has no such methods, a name is given twice, or the stored state does not fit.
        """
        self._taken = True
        both = {f"part{place}": part for place, part in enumerate(parts, len(self._parts) + 1)} | named
        for name, part in both.items():
            _check_part(name, part, self._parts)
            self._parts[name] = part
            if self._tracked is not None:
                self._restore(name, part)
        if self._random is not None:
            randomness.restore(self._random)

    def save(self, state: TrainingState) -> None:
        """Keeps a state, from which the trial can go on: `resume` will be it.

        It is of the report that comes next, and stays with later ones until another is saved.

        Args:
            state: tensors, which are copied, numbers and texts, in dicts, lists and tuples.

        Raises:
            TrainingError: the state has something else in it.
        """
        if not isinstance(state, Mapping):
            raise TrainingError(f"context.save wants a dict of tensors and numbers, got {type(state).__name__}")
        self._saved, self._saved_at = copied_to_host(storable(state, "context.save: state")), None

    def predictions(self, predictions: Any, targets: Any, split: Split = "validation") -> None:
        """Makes the trial a candidate for ensembles, if the epoch reported next is its best.

        Args:
            predictions: probabilities `(rows, classes)`, or `(rows,)` of the second of two classes; of `task:
                multilabel` probabilities `(rows, labels)`; of `task: regression` values `(rows,)` or `(rows, targets)`.
            targets: the truth of the same rows, which are the same in each trial: class numbers from 0 on `(rows,)`,
                zeros and ones `(rows, labels)`, or values.
            split: `validation`, by which ensembles are chosen, or `test`, on which they are scored once.

        Raises:
            TrainingError: the arrays are of other shapes, or hold what is no probability, no class or not finite.
        """
        checked = checked_evidence(self.spec.base, predictions, targets, split)
        self._predictions[split], self._targets[split] = checked

    # ---- for who runs the training function ----------------------------------------------------------------------

    @property
    def begun_at(self) -> int:
        """The epoch after which a training function goes on that has looked at its state; 0 where it has not."""
        return self._reached if self._taken else 0

    @property
    def leaves(self) -> bool:
        """Whether an epoch leaves anything if it is the trial's best."""
        return bool(self._predictions or self._parts or self._saved)

    @property
    def goes_on(self) -> bool:
        """Whether there is a state from which the trial can go on."""
        return bool(self._parts) or self._saved is not None

    def check_held_out(self) -> None:
        """Checks that the function knows which fold it is to hold out, before its report is taken for that fold's.

        Raises:
            TrainingError: it has looked neither at its fold nor at the data of it.
        """
        if not self._held_out:
            raise TrainingError(
                f"training.folds is {self.folds}, and the training function has not looked at `context.fold`, which"
                " says what to hold out: hold out that part of its rows, or leave training.folds out"
            )

    def reported(self, epoch: int) -> None:
        """Notes that an epoch is reported: what was saved since the last report is of it."""
        if self._saved_at is None:
            self._saved_at = epoch

    def evidence(self) -> "tuple[dict[Split, NDArray[np.floating[Any]]], dict[Split, NDArray[Any]]]":
        """What was predicted since the last report, and the truth: split -> array."""
        given = self._predictions, self._targets
        self._predictions, self._targets = {}, {}
        return given

    def state(self, epoch: int) -> TrainingState:
        """What is needed to go on after an epoch, as the next context takes it apart."""
        saved_at = self._saved_at or epoch
        made: dict[str, Any] = {"epoch": epoch if self._parts else saved_at, "saved": self._saved}
        if self._parts:
            made["tracked"] = {
                name: storable(part.state_dict(), f"the state of {name}") for name, part in self._parts.items()
            }
            made["random"] = randomness.states()
        return {_CONTEXT: made}

    def weights(self) -> TrainingState:
        """A copy of what `predict` is given: the weights of tracked modules, and what was saved."""
        modules = {name: part.state_dict() for name, part in self._parts.items() if isinstance(part, torch.nn.Module)}
        return {**copied_to_host(storable(modules, "the weights of modules")), **(self._saved or {})}

    def _open(self, made: Any) -> None:
        """Takes a state apart that `state` has made."""
        epoch = made.get("epoch") if isinstance(made, Mapping) else None
        if type(epoch) is not int or not 1 <= epoch <= self.epochs:
            raise TrainingError(f"the stored state does not fit what is trained: its epoch must be 1 to {self.epochs}")
        saved, tracked, random = (made.get(name) for name in ("saved", "tracked", "random"))
        if not all(part is None or isinstance(part, Mapping) for part in (saved, tracked, random)):
            raise TrainingError("the stored state does not fit what is trained: its parts are no mappings")
        self._resume, self._reached, self._tracked, self._random = saved or {}, epoch, tracked, random

    def _restore(self, name: str, part: Any) -> None:
        """Lets a part take its stored state up."""
        assert self._tracked is not None
        if name not in self._tracked:
            raise TrainingError(f"the stored state has no '{name}': track the same parts, by the same names, as before")
        state = self._tracked[name]
        if self.inherited and isinstance(part, torch.optim.lr_scheduler.LRScheduler):
            return
        try:
            if not isinstance(part, torch.optim.Optimizer):
                part.load_state_dict(state)
            elif self.inherited or any(group.get("fused") for group in part.param_groups):
                load_learned(part, state, settings=not self.inherited)
            else:
                part.load_state_dict(with_own_steps(part, state))
        except Exception as error:  # what a part of the user's own raises
            raise TrainingError(
                f"the stored state of '{name}' does not fit what is trained: {first_line(error)}"
            ) from error


def _check_part(name: str, part: Any, known: Mapping[str, Any]) -> None:
    if not all(callable(getattr(part, method, None)) for method in ("state_dict", "load_state_dict")):
        raise TrainingError(
            f"context.track: {name} is {type(part).__name__}, which has no state_dict and load_state_dict: track"
            " modules, optimizers and schedulers, and keep other values by context.save"
        )
    if name in known:
        raise TrainingError(f"context.track: '{name}' is tracked already; give each part a name of its own")


def storable(value: Any, where: str) -> Any:
    """A value as plain containers, tensors, numbers and texts, as a trial's state is stored.

    Args:
        value: of any nesting; tensors are not copied.
        where: what the message calls it.

    Raises:
        TrainingError: there is something else in it.
    """
    if isinstance(value, torch.Tensor) and value.layout is torch.strided and not value.is_quantized:
        return value.detach()
    if isinstance(value, np.generic):
        return storable(value.item(), where)
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, Mapping):
        return {_key(key, where): storable(item, f"{where}[{key!r:.40}]") for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        items = [storable(item, f"{where}[{place}]") for place, item in enumerate(value)]
        return items if isinstance(value, list) else tuple(items) if isinstance(value, tuple) else set(items)
    hint = ": torch.from_numpy makes a tensor of it" if isinstance(value, np.ndarray) else ""
    raise TrainingError(
        f"{where} is {type(value).__name__}, and a state has dense tensors, numbers, texts, lists and dicts alone{hint}"
    )


def _key(key: Any, where: str) -> Any:
    if isinstance(key, tuple):
        return tuple(_key(part, where) for part in key)
    if isinstance(key, np.generic):
        return key.item()
    if not isinstance(key, _KEY):
        raise TrainingError(f"{where} has a key of type {type(key).__name__}: keys are texts and numbers")
    return key


def copied_to_host(value: Any) -> Any:
    """The same containers with tensors of their own in the host's memory, which stay when the training goes on."""
    if isinstance(value, torch.Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, Mapping):
        return {key: copied_to_host(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(copied_to_host(item) for item in value)
    return value
