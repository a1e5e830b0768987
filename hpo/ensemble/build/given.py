"""An ensemble of predictions that any other tool has made: weights, scores and a report, without networks.

    FOLDER/
        targets/validation.npy, targets/test.npy    what is true of the rows
        NAME/validation.npy, NAME/test.npy          what model NAME predicts of them, in the same order
        outputs.txt                                 names of the outputs, a line each; may be missing
        ensembles/NAME/                             what is made: result.json, report/report.html

Targets are labels `(rows,)` of whole numbers from 0 on, with probabilities `(rows, classes)` that sum to one; or
switches `(rows, labels)`, with the probability of each; or floats `(rows,)` or `(rows, targets)`, with values of the
same shape. Nothing is unpickled, and an array whose header claims more than its file has is refused.
"""

import json
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hpo import files
from hpo.display.page import PAGE
from hpo.ensemble.build import report
from hpo.ensemble.build.listing import RESULT
from hpo.ensemble.calibration import fit_temperature, temper
from hpo.ensemble.diversity import diversity
from hpo.ensemble.method_choice import Choice, choose
from hpo.ensemble.score import Predictions, Targets, costs
from hpo.errors import DataError, InputError
from hpo.files.arrays import load_array
from hpo.spec import is_study_name
from hpo.study.artifacts import Folder, Split
from hpo.tasks.kinds import kind

TARGETS, ENSEMBLES, OUTPUTS = "targets", "ensembles", "outputs.txt"
"""What in the folder is no model."""
_SPLITS: tuple[Split, Split] = ("validation", "test")
_MOST_TEXT = 2**20
_SUM = 1e-2
"""How far from one the probabilities of a row may sum."""


@dataclass(frozen=True, eq=False)
class Given:
    """Predictions of several models, of the same rows; split -> `(models, rows, outputs)` float32."""

    folder: Path
    names: tuple[str, ...]
    task: str
    outputs: tuple[str, ...]
    targets: Mapping[Split, Targets] = field(repr=False)
    predictions: Mapping[Split, Predictions] = field(repr=False)


@dataclass(frozen=True, eq=False)
class GivenResult:
    """An ensemble of given predictions; `validation` and `test` map metric -> value.

    The predictions of member i are tempered by its temperature, `softmax(log(p) / temperature)`, and then joined as
    `combiner` says: of most methods by their mean, weighted by `weight`.
    """

    name: str
    folder: Path
    method: str
    members: Sequence[Mapping[str, Any]]
    """Name, weight and temperature of each member."""
    combiner: Mapping[str, Any]
    validation: Mapping[str, float]
    test: Mapping[str, float]
    best_single: str
    best_single_test: Mapping[str, float]
    compared: Mapping[str, float]
    gain: Mapping[str, Any]
    note: str
    interval: Mapping[str, Any] | None
    """The interval around values of regression: its level, and how far it reaches to either side of each target."""
    report: Path

    def __repr__(self) -> str:
        scores = ", ".join(f"{name} {value:.4g}" for name, value in self.test.items())
        return (
            f"<GivenResult '{self.name}' in '{self.folder}': {self.method}, {len(self.members)} members, test {scores}>"
        )

    def to_json(self) -> dict[str, Any]:
        """The document that `hpo ensemble --predictions FOLDER --format json` prints."""
        return {**asdict(self), "folder": str(self.folder), "report": str(self.report)}


def read(folder: Path) -> Given:
    """The predictions in a folder.

    Raises:
        DataError: something is missing, or is not what it should be; all that is wrong is told at once.
    """
    if not folder.is_dir():
        raise DataError(f"'{folder}' is no folder; it has a folder {TARGETS}, and one for each model")
    names = [name for name in files.folders(folder) if name not in (TARGETS, ENSEMBLES) and not name.startswith(".")]
    targets = {split: _array(folder, TARGETS, split) for split in _SPLITS}
    found = {(name, split): _array(folder, name, split) for name in names for split in _SPLITS}
    problems = [array for array in (*targets.values(), *found.values()) if isinstance(array, str)]
    if len(names) < 2:
        problems.append(f"it has predictions of {len(names)} models, and an ensemble needs two: a folder for each")
    _raise(folder, problems)
    task, true = _task(folder, {split: array for split, array in targets.items() if not isinstance(array, str)})
    width = _width(task, true, [array for array in found.values() if not isinstance(array, str)])
    arrays = {
        place: array[:, None] if task == "regression" and array.ndim == 1 else array
        for place, array in found.items()
        if not isinstance(array, str)
    }
    _raise(folder, _unfit(task, true, arrays, width))
    if task == "multilabel":
        true = {split: array.astype(np.uint8) for split, array in true.items()}
    made = {split: np.stack([arrays[name, split] for name in names]).astype(np.float32) for split in _SPLITS}
    return Given(folder, tuple(names), task, _outputs(folder, width), true, made)


def build(
    given: Given, method: str, top: int, select: str, name: str | None, say: Callable[[str], None]
) -> GivenResult:
    """Chooses members and weights on validation rows, and scores them on test rows, once.

    Args:
        given: the predictions.
        method: as `hpo ensemble` has it, of those that train nothing.
        top: members at most.
        select: by what the members are chosen of methods that do not choose theirs.
        name: of the ensemble; the next number that is free where None.
        say: is told what `auto` leaves out.

    Raises:
        InputError: the name is taken or is none, or there are too few rows.
        DataError: the folder cannot be written.
    """
    name = _free(given.folder, name)
    task, targets = given.task, given.targets
    temperatures = [fit_temperature(one, targets["validation"], task) for one in given.predictions["validation"]]
    calibrated = {
        split: np.stack([temper(*pair, task) for pair in zip(rows, temperatures, strict=True)])
        for split, rows in given.predictions.items()
    }
    best = int(np.argmin(costs(calibrated["validation"], targets["validation"], task)))
    choice = choose(
        method, calibrated["validation"], targets["validation"], top, task=task, best=best, select=select, say=say
    )
    places = list(choice.combiner.members)
    combined = {split: choice.combiner.combine(rows[places]) for split, rows in calibrated.items()}
    pairs = list(zip(places, choice.combiner.weights, strict=True))
    folder = Folder(given.folder) / ENSEMBLES / name
    result = GivenResult(
        name=name,
        folder=folder.path,
        method=choice.method,
        members=[{"name": given.names[p], "weight": w, "temperature": temperatures[p]} for p, w in pairs],
        combiner=choice.combiner.to_json(),
        validation=_measure(task, combined["validation"], targets["validation"]),
        test=_measure(task, combined["test"], targets["test"]),
        best_single=given.names[best],
        best_single_test=_measure(task, calibrated["test"][best], targets["test"]),
        compared=dict(choice.costs),
        gain=asdict(choice.gain),
        note=choice.note,
        interval=None if choice.interval is None else choice.interval.to_json(),
        report=folder.path / report.FOLDER / PAGE,
    )
    _write(given, result, choice, calibrated, temperatures[best], best)
    return result


def _write(
    given: Given,
    result: GivenResult,
    choice: Choice,
    calibrated: Mapping[Split, Predictions],
    temperature: float,
    best: int,
) -> None:
    """Writes result and report; the ensemble's folder appears whole or not at all."""
    places = list(choice.combiner.members)
    told = report.Reported(
        title=f"Ensemble {result.name} of '{given.folder}'",
        task=given.task,
        method=result.method,
        members=[{**member, "config": {}} for member in result.members],
        combiner=choice.combiner,
        diversity=diversity(calibrated["validation"][places], given.targets["validation"], given.task),
        compared=result.compared,
        interval=choice.interval,
        validation=calibrated["validation"],
        targets=given.targets,
        outputs=given.outputs,
        best=best,
        temperature=temperature,
    )
    test = {
        f"best single ({result.best_single})": calibrated["test"][best],
        report.ensemble_name(result.method): choice.combiner.combine(calibrated["test"][places]),
    }
    draft = Folder(given.folder) / ENSEMBLES / f".{result.name}.{uuid.uuid4().hex}"
    try:
        report.write(draft, told, test, (result.best_single_test, result.test))
        draft.write(RESULT, json.dumps(result.to_json(), indent=1).encode())
        draft.move_to(result.name)
    except OSError as error:
        raise DataError(f"'{result.folder}' cannot be written: {error.strerror or error}") from error
    finally:
        with suppress(OSError):
            draft.clear()


def _measure(task: str, predictions: Predictions, targets: Targets) -> dict[str, float]:
    return kind(task).measure(torch.from_numpy(predictions), torch.from_numpy(targets))


def _free(folder: Path, wanted: str | None) -> str:
    taken = files.folders(folder, ENSEMBLES)
    if wanted is None:
        return next(name for number in range(1, len(taken) + 2) if (name := str(number)) not in taken)
    if not is_study_name(wanted):
        raise InputError(f"--name must be letters, digits, '.', '_' and '-', got {wanted!r:.200}")
    if wanted in taken:
        raise InputError(f"there is an ensemble '{wanted}' in '{folder / ENSEMBLES}' already; choose another --name")
    return wanted


def _array(folder: Path, name: str, split: Split) -> NDArray[Any] | str:
    """An array, or what is wrong with its file."""
    file = f"{name}/{split}.npy"
    try:
        array = load_array(files.read(folder, file))
    except FileNotFoundError:
        return f"{file}: is missing"
    except (OSError, ValueError, EOFError) as error:
        return f"{file}: cannot be read: {error}"
    if array.dtype.kind not in "fiub":
        return f"{file}: must be numbers, got {array.dtype}"
    if array.ndim not in (1, 2) or not array.size:
        return f"{file}: must be (rows,) or (rows, outputs), got {array.shape}"
    if not np.isfinite(array).all():
        return f"{file}: has values that are not finite"
    return array


def _task(folder: Path, targets: Mapping[Split, NDArray[Any]]) -> tuple[str, dict[Split, Targets]]:
    """The task that the targets are of, and these as that has them."""
    kinds = {(array.dtype.kind == "f", array.ndim) for array in targets.values()}
    if len(kinds) > 1:
        shown = " and ".join(f"{array.shape} {array.dtype}" for array in targets.values())
        raise DataError(f"'{folder}': targets of validation and test rows must be of one kind, got {shown}")
    ((floats, dimensions),) = kinds
    if floats:
        return "regression", {
            split: array.reshape(len(array), -1).astype(np.float32) for split, array in targets.items()
        }
    whole = {split: array.astype(np.int64) for split, array in targets.items()}
    return "classification" if dimensions == 1 else "multilabel", whole


def _width(task: str, targets: Mapping[Split, Targets], predictions: Sequence[NDArray[Any]]) -> int:
    """The number of outputs: of the targets, or of classes what the first predictions have."""
    if task != "classification":
        return int(targets["validation"].shape[1])
    return int(predictions[0].shape[-1]) if predictions[0].ndim == 2 else 0


def _unfit(
    task: str, targets: Mapping[Split, Targets], arrays: Mapping[tuple[str, Split], NDArray[Any]], width: int
) -> Iterator[str]:
    """What is wrong with targets and predictions, a line each."""
    most = {"classification": width - 1, "multilabel": 1}.get(task)
    for split, true in targets.items():
        if most is not None and (true.min() < 0 or true.max() > most):
            yield f"{TARGETS}/{split}.npy: must be 0 to {most}, got {true.min()} to {true.max()}"
    for (name, split), array in arrays.items():
        file, wanted = f"{name}/{split}.npy", (len(targets[split]), width)
        if array.shape != wanted:
            yield f"{file}: must be {wanted}, (rows, outputs), got {array.shape}"
        elif task != "regression" and (array.min() < 0 or array.max() > 1):
            yield f"{file}: must be probabilities from 0 to 1, got {array.min():.3g} to {array.max():.3g}"
        elif task == "classification" and (off := np.abs(array.sum(axis=1) - 1).max()) > _SUM:
            yield f"{file}: the probabilities of a row must sum to one; one is {off:.3g} off"


def _outputs(folder: Path, width: int) -> tuple[str, ...]:
    try:
        names = files.read(folder, OUTPUTS, _MOST_TEXT).decode().splitlines()
    except FileNotFoundError:
        return tuple(map(str, range(width)))
    except (OSError, ValueError) as error:
        raise DataError(f"'{folder}': {OUTPUTS} cannot be read: {error}") from None
    if len(names) != width:
        raise DataError(f"'{folder}': {OUTPUTS} must have a line for each of {width} outputs, got {len(names)}")
    return tuple(names)


def _raise(folder: Path, problems: "Iterator[str] | Sequence[str]") -> None:
    told = list(problems)
    if told:
        raise DataError("\n".join(f"'{folder}': {problem}" for problem in told))
