"""The final model: members and a combiner in one folder; `hpo predict` and MLflow load it without the study.

ensemble.json               task, outputs, members with their models, combiner, perhaps an interval
member-00.safetensors       the weights of a member
member-00.pt                what a member has kept that a training function of the user's own has trained
"""

import copy
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load

from hpo import models, plugins
from hpo.datasets.columns import is_whole
from hpo.datasets.conversion import Wanted
from hpo.datasets.dataset import Encoding, Inputs
from hpo.datasets.ragged import Ragged
from hpo.datasets.table_files import of_frame
from hpo.ensemble.calibration import Interval, temper
from hpo.ensemble.combiner import Average, Combiner, from_json
from hpo.ensemble.document import Document, IntervalPart, MemberPart, parse
from hpo.ensemble.networks import Networks
from hpo.ensemble.own_members import OwnMember, OwnMembers, path_of
from hpo.ensemble.score import Predictions
from hpo.errors import DataError, HpoError, InputError, on_one_line
from hpo.models import placement
from hpo.models.devices import predicting
from hpo.models.weights import set_weights
from hpo.spec import Config, Named, SearchSpec
from hpo.study.artifacts import Folder, Stored, unpacked
from hpo.study.data_summary import DataSummary
from hpo.study.truth import Truth
from hpo.tasks.kinds import activates, floats, kind

LOADER_MODULE = __name__
"""What MLflow calls to load the folder: see `_load_pyfunc`."""
DOCUMENT = "ensemble.json"
_MOST_BYTES = 256 * 2**20
"""The largest `ensemble.json`: the coefficients of a stack of 1,000 classes are in it."""
_BATCH = 512
_LIKELY = 0.5
"""A label is predicted from this probability on."""


@dataclass(frozen=True)
class Member:
    """One network of an ensemble; `trial` is the one whose config it has, None where it has one of its own."""

    name: str
    trial: int | None
    weight: float
    temperature: float
    model: Named | None
    """None where a training function of the user's own has trained it."""
    file: str
    """The member's checkpoint in the ensemble's folder."""
    config: Config = field(default_factory=dict)
    module: torch.nn.Module | None = field(default=None, repr=False, compare=False)
    """The network in eval mode, a plain module: floats `(n, channels, height, width)` of pixels from 0 to 255, or
    `(n, features)` of a table in its own units, in which NaN is missing, to `(n, outputs)`. Standardization is its
    first layer. The outputs are logits of classes or labels, or values of regression in the targets' units; the
    `temperature`, by which the ensemble divides logits, is not in it. None where `model` is."""
    copies: int = 1
    """How many trainings of its config it is the mean of."""

    @property
    def architecture(self) -> str:
        """The same for members that differ in their weights alone."""
        assert self.model is not None, "members of a training function of the user's own are run one by one"
        return json.dumps([self.model.name, self.model.settings, self.copies], sort_keys=True)


@dataclass(frozen=True)
class Part:
    """What goes into an ensemble: a trial, or a member trained anew with a trial's config.

    `temperature` is the one that its predictions were calibrated with; 1 leaves them as they are.
    """

    name: str
    """The member's name in messages, such as `trial 12`."""
    trial: int | None
    config: Config
    model: Named | None
    """None where a training function of the user's own has trained it."""
    temperature: float
    stored: Stored
    study: str | None = None
    """The study of the trial, where that is not the ensemble's own."""
    copies: int = 1
    """How many trainings of the config it is the mean of."""


class Ensemble:
    """Predicts for inputs as they are, of which standardization is a part, or by a function of the user's own.

    Members of one architecture run as one stacked call where that is faster (see `hpo.ensemble.networks`).

    Args:
        folder: written by `write`.
        device: where members run; where None, the accelerator that torch has here, but for Apple's, else the CPU.
        trust: models of the user's own that the folder names may be imported.

    Raises:
        DataError: the folder holds no ensemble or a damaged one, or a checkpoint does not fit.
        InputError: a model is of the user's own, and is not trusted.
    """

    def __init__(self, folder: str | Path | Folder, device: torch.device | None = None, *, trust: bool = False) -> None:
        folder = folder if isinstance(folder, Folder) else Folder(Path(folder))
        try:
            content = folder.read(DOCUMENT, _MOST_BYTES)
        except (OSError, ValueError) as error:
            raise DataError(f"{folder}: holds no ensemble: {error}") from error
        with _damage_told(folder):
            document = parse(content)
            code = own_code(document)
            plugins.note_stored(code, folder.path / DOCUMENT)
            if trust:
                plugins.trust(code)
            self.name = folder.path.name
            """The name of its folder."""
            self.task: str = document.task
            """The base of the study's task: what predictions are."""
            self.activate = kind(document.activate or document.task).activate
            """Outputs of networks -> predictions."""
            self.outputs: tuple[str, ...] = document.outputs
            self.input_shape: tuple[int, ...] = document.input_shape or ()
            """The shape of one input as a network takes it; () where a function of yours predicts."""
            self.wanted = None if document.own else _wanted(document)
            """How files and arrays become inputs; None where a function of the user's takes what it likes."""
            parts = [(part, _model(part)) for part in document.members]
            self.combiner: Combiner = _combiner(document.combiner, len(parts), len(self.outputs))
            self.interval: Interval | None = _interval(document.interval, len(self.outputs))
            if self.interval is not None and self.interval.relative and not self._forecasts:
                raise ValueError("the interval is in units of spreads, which series alone have")
        self.device = device or predicting()
        self.members: tuple[Member, ...] = tuple(self._member(folder, part, model) for part, model in parts)
        self._own: OwnMembers | None = None
        if document.own:
            own = (_own_member(folder, member) for member in self.members)  # read once the function is trusted
            self._own = OwnMembers(document.predict, own, len(self.outputs), binary=self.task == "classification")
            return
        self._stacked = Networks(self.networks, [member.architecture for member in self.members])

    def __repr__(self) -> str:
        members = f"{len(self.members)} member{'' if len(self.members) == 1 else 's'}"
        shape = "x".join(map(str, self.input_shape)) or "anything"
        return f"<Ensemble '{self.name}', {self.task}: {members}, {shape} -> {len(self.outputs)}, on {self.device}>"

    @property
    def _forecasts(self) -> bool:
        return self.wanted is not None and self.wanted.encoding.series is not None

    @property
    def networks(self) -> tuple[torch.nn.Module, ...]:
        """The members' modules; none where a training function of the user's own has trained them."""
        return tuple(member.module for member in self.members if member.module is not None)

    def predict(self, inputs: Inputs) -> list[str] | list[tuple[str, ...]] | Predictions:
        """What the ensemble says of each input.

        Args:
            inputs: images `(n, h, w, c)` uint8, or rows of a table `(n, features)`, in which NaN is a missing value; of
                a table whose columns have a meaning a DataFrame, or a mapping of names to lists; where a function of
                the user's predicts, what that takes.

        Returns:
            Of classification the name of each one's most probable class; of multilabel the names of its labels, those
            with a probability of one half or more; of regression values `(n, targets)` float32.

        Raises:
            DataError: the inputs have another shape or type than those that the members were trained on.
        """
        combined = self.combined_predictions(inputs)
        if self.task == "classification":
            return [self.outputs[place] for place in combined.argmax(axis=1)]
        if self.task == "multilabel":
            return [tuple(self.outputs[place] for place in np.flatnonzero(row >= _LIKELY)) for row in combined]
        return combined

    def predict_proba(self, inputs: Inputs) -> Predictions:
        """Probabilities `(n, outputs)` float32 of classes, where rows sum to one, or of labels.

        Raises:
            DataError: the inputs have another shape or type than those that the members were trained on.
            InputError: the task is regression.
        """
        if self.task == "regression":
            raise InputError("an ensemble for regression has no probabilities; call predict or predict_interval")
        return self.combined_predictions(inputs)

    def predict_interval(self, inputs: Inputs) -> tuple[Predictions, Predictions]:
        """The lower and the upper ends `(n, targets)` between which a share `interval.level` of the truth lies.

        Raises:
            DataError: the inputs have another shape or type than those that the members were trained on.
            InputError: the ensemble was made without an interval, as all but those for regression are.
        """
        if self.interval is None:
            raise InputError(f"this ensemble ({self.task}) has no interval; those for regression have one")
        if not isinstance(inputs, np.ndarray | Ragged) and self.wanted is not None and self.wanted.encoding.named:
            inputs = self.wanted.encode(of_frame(inputs, self.wanted.table_format, "inputs"))
        values, half_widths = self.combined_predictions(inputs), self.half_widths(inputs)
        return values - half_widths, values + half_widths

    def half_widths(self, inputs: Inputs) -> NDArray[np.float32]:
        """How far the interval reaches to either side `(targets,)`, of forecasts `(n, targets)`; `(0,)` without one.

        Args:
            inputs: arrays, as `predict` takes them.
        """
        if self.interval is None:
            return np.zeros(0, np.float32)
        widths = np.asarray(self.interval.half_widths, np.float32)
        if not self.interval.relative:
            return widths
        assert self.wanted is not None and self.wanted.encoding.series is not None, "checked as it was read"
        return widths * self.wanted.encoding.series.spread(inputs).astype(np.float32)[:, None]

    def combined_predictions(self, inputs: Inputs) -> Predictions:
        """The members' predictions as one `(n, outputs)`: probabilities of classes or labels, or regression values.

        Raises:
            DataError: the inputs have another shape or type than those that the members were trained on.
        """
        return self.combiner.combine(self.member_predictions(inputs))

    def member_predictions(self, inputs: Inputs) -> Predictions:
        """Each member's calibrated predictions `(members, n, outputs)`, in the order of `members`.

        Raises:
            DataError: the inputs have another shape or type than those that the members were trained on.
        """
        if self._own is not None:
            batches = self._own(inputs)
        else:
            tensor = self._tensors(inputs)
            batches = np.concatenate([self._activated(batch) for batch in tensor], axis=1)
        return np.stack(
            [
                temper(predictions, member.temperature, self.task)
                for predictions, member in zip(batches, self.members, strict=True)
            ]
        )

    def single(self, place: int) -> Self:
        """One member alone, calibrated, in place of all.

        Args:
            place: in `members`.

        Raises:
            InputError: there is no such member.
        """
        if not 0 <= place < len(self.members):
            raise InputError(f"member must be 0 to {len(self.members) - 1}, its place in the ensemble, got {place}")
        alone = copy.copy(self)
        alone.members = (replace(self.members[place], weight=1.0),)
        alone.combiner = Average((0,), (1.0,), self.task)
        alone.interval = None
        if self._own is not None:
            alone._own = self._own.single(place)
            return alone
        alone._stacked = Networks(alone.networks, ["alone"])
        return alone

    @torch.inference_mode()
    def _activated(self, inputs: torch.Tensor) -> Predictions:
        values = floats(inputs.to(self.device))
        if values.ndim == 4:
            values = values.contiguous(memory_format=torch.channels_last)
        outputs = self._stacked(values).float()
        predictions: Predictions = self.activate(outputs.flatten(0, 1)).view_as(outputs).cpu().numpy()
        return predictions

    def _tensors(self, inputs: Inputs) -> Iterator[torch.Tensor]:
        """Batches of inputs as a network takes them, apart from their type; one without rows where there are none."""
        assert self.wanted is not None, "models know what they take"
        if self.wanted.encoding.named and not isinstance(inputs, np.ndarray | Ragged):
            inputs = self.wanted.encode(of_frame(inputs, self.wanted.table_format, "inputs"))
        self.wanted.check(inputs.shape, inputs.dtype, "inputs")
        for first in range(0, max(len(inputs), 1), _BATCH):
            part = inputs[first : first + _BATCH]
            rows = part.padded() if isinstance(part, Ragged) else self.wanted.convert(np.asarray(part), first, "inputs")
            array = torch.from_numpy(np.require(rows, requirements=["C", "W"]))
            yield array.permute(0, 3, 1, 2) if array.ndim == 4 else array

    def _member(self, folder: Folder, part: MemberPart, model: Named | None) -> Member:
        network = None if model is None else self._network(folder, part, model)
        config = part.config or {}
        return Member(
            part.name, part.trial, part.weight, part.temperature, model, part.file, config, network, part.copies
        )

    def _network(self, folder: Folder, member: MemberPart, model: Named) -> torch.nn.Module:
        with _damage_told(folder):
            models.MODELS.load(model.name)
            for problem in models.unknown_settings(model):
                raise ValueError(f"{member.name}: {'.'.join(problem.key)}: {problem.message}")
        try:
            weights = load(folder.read(member.file))
            copies = {f"copies.{place}.standardize.mean" for place in range(member.copies)}
            if member.copies > 1 and not copies <= weights.keys():
                raise ValueError(f"it has not the weights of {member.copies} trainings")  # they would all be built
            with _damage_told(folder):
                layout = () if self.wanted is None else self.wanted.encoding.layout
                shape, outputs = self.input_shape, len(self.outputs)
                network = models.build_copies(model, shape, outputs, self.task, member.copies, layout)
            set_weights(network, weights)
        except DataError:
            raise
        except (KeyError, OSError, RuntimeError, TypeError, ValueError, SafetensorError, UnpicklingError) as error:
            raise DataError(f"{member.name}: its checkpoint does not fit its model: {error}") from error
        return placement.place(network.eval(), self.device)


class Served:
    """An ensemble as MLflow calls it."""

    def __init__(self, ensemble: Ensemble) -> None:
        self.ensemble = ensemble

    def predict(self, model_input: Inputs, params: Mapping[str, str] | None = None) -> Predictions:
        """Probabilities of classes or labels, or regression values, `(n, outputs)`."""
        return self.ensemble.combined_predictions(model_input)


def own_code(document: Document) -> list[str]:
    """The import paths of the user's own code that an ensemble runs."""
    names = [member.model.name for member in document.members if member.model is not None and ":" in member.model.name]
    names += [kind for kind in _kinds(document) if ":" in kind]
    names += [path for path in (document.activate, document.predict) if path]
    return list(dict.fromkeys(names))


def _kinds(document: Document) -> list[str]:
    """The kinds of the columns that an ensemble reads."""
    columns = (document.encoding or {}).get("columns", ())
    return [str(entry["kind"]) for entry in columns if isinstance(entry, dict) and "kind" in entry]


def write(
    folder: Folder,
    spec: SearchSpec,
    truth: Truth,
    parts: Sequence[Part],
    combiner: Combiner,
    interval: Interval | None = None,
) -> None:
    """Writes the folder of an ensemble.

    Args:
        folder: is made; nothing is in it yet.
        spec: of the study.
        truth: of its rows; a `DataSummary` where its spec has data.
        parts: the members, in the combiner's order; several may be of one trial.
        combiner: joins them.
        interval: of regression values.

    Raises:
        DataError: a member's checkpoint is not there.
    """
    entries = []
    for place, (part, weight) in enumerate(zip(parts, combiner.weights, strict=True)):
        file = f"member-{place:02d}.{'pt' if part.stored.own else 'safetensors'}"
        try:
            part.stored.copy_checkpoint(folder, file)
        except FileNotFoundError as error:
            raise DataError(f"{part.name} has no stored checkpoint: {error}") from error
        entries.append(
            {
                "name": part.name,
                "trial": part.trial,
                "file": file,
                "weight": weight,
                "temperature": part.temperature,
                "epoch": part.stored.epoch,
                "model": None if part.model is None else {"name": part.model.name, "settings": part.model.settings},
                "config": part.config,
                **({} if part.study is None else {"study": part.study}),
                **({} if part.copies == 1 else {"copies": part.copies}),
            }
        )
    document: dict[str, Any] = {
        "study": spec.study,
        "task": spec.base,
        "outputs": list(truth.outputs),
        "members": entries,
        "combiner": combiner.to_json(),
    }
    if any(part.model is not None for part in parts) and activates(spec.task):
        document["activate"] = spec.task
    if isinstance(truth, DataSummary):
        document["input_shape"] = list(truth.input_shape)
        document["input_type"] = truth.example.dtype.name
        document["encoding"] = truth.encoding.to_json()
    if all(part.stored.own for part in parts):
        document["predict"] = path_of(spec.train, spec.predict)
    if interval is not None:
        document["interval"] = interval.to_json()
    folder.write(DOCUMENT, json.dumps(document, indent=1).encode())


@contextmanager
def _damage_told(folder: Folder) -> Iterator[None]:
    """Whatever goes wrong where `ensemble.json` is read, as one sentence."""
    try:
        yield
    except HpoError:
        raise
    except Exception as error:  # a document may be anything, and a user's model may raise anything
        reason = f"{error} is missing" if isinstance(error, KeyError) else on_one_line(error)
        raise DataError(f"{folder}: ensemble.json is damaged, or of another version: {reason:.300}") from error


def _model(part: MemberPart) -> Named | None:
    own = part.model
    return None if own is None else Named.model_validate({**own.settings, "name": own.name})


def _own_member(folder: Folder, member: Member) -> OwnMember:
    try:
        return OwnMember(member.name, member.config, unpacked(folder.read(member.file)), member.copies)
    except (OSError, RuntimeError, UnpicklingError) as error:
        raise DataError(f"{member.name}: its checkpoint cannot be read: {error}") from error


def _wanted(document: Document) -> Wanted:
    """What is read, and how; ensembles that were made before that was written have the defaults."""
    encoding = Encoding() if document.encoding is None else Encoding.from_json(document.encoding)
    shape = document.input_shape or ()
    whole = any(is_whole(column) for column in encoding.columns)
    if encoding.columns and not whole and shape != (len(encoding.layout),):
        raise ValueError(f"encoding.columns have {len(encoding.layout)} features, not {shape}")
    if encoding.features and shape != (len(encoding.features),):
        raise ValueError(f"encoding.features has {len(encoding.features)} names for {shape}")
    encoding.check_series(shape, document.outputs)
    return Wanted(shape, encoding, np.dtype(document.input_type or "float32").type)


def _combiner(entry: Mapping[str, Any], members: int, outputs: int) -> Combiner:
    combiner = from_json(entry, members, outputs)
    if len(combiner.weights) != members:
        raise ValueError(f"the combiner must have a weight for each of {members} members, got {len(combiner.weights)}")
    return combiner


def _interval(part: IntervalPart | None, outputs: int) -> Interval | None:
    if part is not None and len(part.half_widths) != outputs:
        raise ValueError(f"the interval must have a width for each of {outputs} outputs, got {len(part.half_widths)}")
    return None if part is None else Interval(part.level, part.half_widths, part.relative)


def _load_pyfunc(path: str) -> Served:
    """MLflow's entry: the object whose `predict` it calls. A model of the user's own must be named in HPO_TRUST."""
    return Served(Ensemble(path))
