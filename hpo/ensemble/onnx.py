"""An ensemble, or one of its members, as one ONNX file: preprocessing, networks, temperatures and combiner inside.

The input `inputs` is `(n, h, w, c)` uint8 or `(n, features)` float32, or float64 where the ensemble needs it, with any
n, the output `predictions` is `(n, outputs)` float32. Of a table whose columns have a meaning, the features are the
numbers of its columns, a category's its code; the metadata have the columns and their categories as `encoding`. It
needs the extra `hpo[onnx]`.
"""

import json
import re
import uuid
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from hpo.datasets.conversion import Wanted
from hpo.datasets.dataset import Inputs
from hpo.ensemble.combiner import (
    LEAST,
    SURE,
    TIE,
    Average,
    Calibrated,
    Combiner,
    Median,
    Stack,
    Votes,
)
from hpo.ensemble.model import Ensemble, Member
from hpo.errors import HpoError, InputError, first_line
from hpo.files.torch_cache import keep_compiled_apart
from hpo.models.standardize import Standardize
from hpo.study.artifacts import Folder
from hpo.tasks import SMALLEST_PROBABILITY
from hpo.tasks.features import Tokens
from hpo.tasks.kinds import floats, kind

_LONGEST, _LONGEST_CLIP = 64, 20_000
"""Tokens of a text and samples of a clip with which a file is compared."""
_ROWS = (1, 2, 7, 64)
"""Batches by which an export is checked."""
_LARGEST = 1536 * 2**20
"""Bytes of weights from which on torch writes a second file, whatever it is told."""
_NETWORK = re.compile(r"^(copies\.\d+\.)?network\.")
"""The beginning of the names of a network's own modules."""
_TOLERANCE = 1e-4
"""How far an export may be off, as a share of the largest prediction."""


def export_onnx(
    folder: str | Path | Folder, target: str | Path, member: int | None = None, *, trust: bool = False
) -> float:
    """Writes an ensemble as an ONNX file and runs it beside PyTorch on random inputs.

    The file appears whole or not at all; its metadata hold the task and the names of the outputs.

    Args:
        folder: of the ensemble.
        target: the file.
        member: the place of the one member to write; all of them and what combines them where None.
        trust: models of the user's own that the folder names may be imported.

    Returns:
        The largest difference between the predictions of ONNX Runtime and of PyTorch, both on the CPU.

    Raises:
        DataError: the folder holds no ensemble.
        InputError: `hpo[onnx]` is not installed, there is no such member, the combiner cannot be exported, a network
            draws random numbers when it predicts, a function of the user's own predicts, or the target cannot be
            written.
        HpoError: PyTorch cannot export a network, or the exported file predicts something else.
    """
    target = Path(target)
    if target.is_dir() or not target.absolute().parent.is_dir():
        raise InputError(f"{target}: is a folder, or its folder does not exist; name a file")
    ensemble = Ensemble(folder, torch.device("cpu"), trust=trust)
    if ensemble.wanted is None:
        raise InputError("a function of your own predicts for this ensemble, and ONNX has models alone: export yours")
    if member is not None:
        ensemble = ensemble.single(member)
    _check_draws(ensemble)
    program = _program(ensemble)
    _check_size(program, ensemble)
    draft = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
    try:
        program.save(draft, external_data=False)
        difference = _largest_difference(ensemble, draft)
        draft.replace(target)
    except OSError as error:
        raise InputError(f"{target}: cannot be written: {error.strerror or error}") from error
    finally:
        with suppress(OSError):  # of what could not be written there is nothing left
            draft.unlink(missing_ok=True)
    return difference


class Exportable(nn.Module):
    """All that an ensemble does to inputs `(n, h, w, c)` uint8 or `(n, features)` of floats, in torch."""

    def __init__(self, ensemble: Ensemble) -> None:
        super().__init__()
        self.networks = nn.ModuleList(ensemble.networks)
        self._temperatures = [member.temperature for member in ensemble.members]
        self._task, self._activate = ensemble.task, ensemble.activate
        self._combine = in_torch(ensemble.combiner)

    def forward(self, inputs: Tensor) -> Tensor:
        """Combined predictions `(n, outputs)`."""
        values = floats(inputs)
        if values.ndim == 4:
            values = values.permute(0, 3, 1, 2)
        activate = self._activate
        members = [
            _temper(activate(network(values)), temperature, self._task)
            for network, temperature in zip(self.networks, self._temperatures, strict=True)
        ]
        return self._combine(torch.stack(members))


def _check_size(program: torch.onnx.ONNXProgram, ensemble: Ensemble) -> None:
    """Refuses what torch would write as two files, and ONNX Runtime would not read as one."""
    weights = (value.const_value for value in program.model.graph.initializers.values())
    size = sum(weight.nbytes for weight in weights if weight is not None)
    if size > _LARGEST:
        way = "" if len(ensemble.members) == 1 else "; export its members one by one, by --member"
        raise InputError(
            f"these networks have {size / 2**30:.2f} GiB of weights, and one ONNX file takes {_LARGEST / 2**30:g} GiB"
            f" at most{way}"
        )


def _scale(outputs: torch.Tensor) -> float:
    """The largest output that is a number; 0 where none is."""
    return float(outputs.abs().nan_to_num(0.0).max())


def _model_name(member: Member) -> str:
    return "" if member.model is None else member.model.name


def _check_draws(ensemble: Ensemble) -> None:
    """Refuses a network that predicts otherwise each time, as one whose dropout is left on."""
    inputs = _random_inputs(ensemble, 64)
    for member, network in zip(ensemble.members, ensemble.networks, strict=True):
        once, again = (_outputs(network, inputs) for _ in range(2))
        if torch.allclose(once, again, rtol=_TOLERANCE, atol=_TOLERANCE * _scale(once), equal_nan=True):
            continue
        on = [_NETWORK.sub("", name) for name, module in network.named_modules() if module.training]
        where = f"'{on[0]}' stays in training mode" if on else "as dropout does that is left on"
        raise InputError(
            f"{member.name} (model '{_model_name(member)}') cannot be exported to ONNX: it predicts the same rows"
            f" otherwise each time, since it draws random numbers in eval mode too ({where}); use nn.Dropout, or"
            " functional.dropout(..., training=self.training)"
        )


@torch.no_grad()
def _outputs(network: nn.Module, inputs: Inputs) -> Tensor:
    values = torch.from_numpy(inputs).float()
    outputs: Tensor = network(values.permute(0, 3, 1, 2) if values.ndim == 4 else values)
    return outputs


def _program(ensemble: Ensemble) -> torch.onnx.ONNXProgram:
    _installed()
    keep_compiled_apart()  # the exporter loads torch's compiler
    module = Exportable(ensemble).eval()
    example = torch.from_numpy(_random_inputs(ensemble, 2))
    free = {0: torch.export.Dim("rows")}
    if ensemble.wanted is not None and ensemble.wanted.sequence is not None:
        free[1] = torch.export.Dim("length")
    with _told(ensemble), warnings.catch_warnings():  # the exporter's news about itself
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            module,
            (example,),
            dynamo=True,
            input_names=["inputs"],
            output_names=["predictions"],
            dynamic_shapes={"inputs": free},
            verbose=False,
        )
        if program is None:
            raise RuntimeError("PyTorch made no program")
        program.model.metadata_props.update(task=ensemble.task, outputs=json.dumps(ensemble.outputs))
        if ensemble.wanted is not None and ensemble.wanted.encoding.named:
            encoding = ensemble.wanted.encoding  # by which rows become the numbers that the file takes
            program.model.metadata_props.update(encoding=json.dumps(encoding.to_json()))
        return program


@contextmanager
def _told(ensemble: Ensemble) -> Iterator[None]:
    """What the exporter or ONNX Runtime raises, as a sentence: a user's network may do what ONNX cannot say."""
    try:
        yield
    except Exception as error:
        names = ", ".join(sorted({_model_name(member) for member in ensemble.members}))
        used = ", ".join(f"{package} {version(package)}" for package in ("torch", "onnxscript"))
        raise HpoError(
            f"PyTorch cannot export these networks ({names}) to ONNX: {first_line(error):.300} ({used})"
        ) from error


def _installed() -> None:
    try:
        import onnx  # noqa: F401
        import onnxruntime  # type: ignore[import-untyped]  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise InputError(f"export to ONNX needs '{error.name}'; install it with `pip install 'hpo[onnx]'`") from error


def _largest_difference(ensemble: Ensemble, file: Path) -> float:
    import onnxruntime

    content = file.read_bytes()
    with _told(ensemble):
        session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    largest, scale = 0.0, 0.0
    for rows in _ROWS:
        inputs = _random_inputs(ensemble, rows)
        expected = ensemble.combined_predictions(inputs)
        with _told(ensemble):  # older exporters take what holds for the example to hold for all rows
            (found,) = session.run(["predictions"], {"inputs": inputs})
        if found.shape != expected.shape:
            raise HpoError(f"the exported file gives {found.shape} for {rows} rows instead of {expected.shape}")
        largest = max(largest, float(np.abs(found - expected).max()))
        scale = max(scale, float(np.abs(expected).max()))
    if not largest <= _TOLERANCE * scale:
        raise HpoError(
            f"the exported file is off by {largest:.2g} from PyTorch, more than {_TOLERANCE:g} of the largest"
            " prediction; nothing was written"
        )
    return largest


def _random_inputs(ensemble: Ensemble, rows: int) -> Inputs:
    """Noise of the type that the ensemble takes; of a table around the training rows, with missing values."""
    generator = np.random.default_rng(rows)
    if len(ensemble.input_shape) == 3:
        channels, height, width = ensemble.input_shape
        return generator.integers(0, 256, (rows, height, width, channels), dtype=np.uint8)
    if ensemble.wanted is not None and ensemble.wanted.sequence is not None:
        return _random_sequences(ensemble.wanted, rows, generator)
    layer = next(module for module in ensemble.networks[0].modules() if isinstance(module, Standardize))
    mean, std = layer.mean.numpy(), layer.std.numpy()
    numbers = np.dtype(np.float32 if ensemble.wanted is None else ensemble.wanted.numbers)
    table = generator.normal(mean, std, (rows, *ensemble.input_shape)).astype(numbers)
    table[generator.random(table.shape) < 0.05] = np.nan
    for place, feature in enumerate(() if ensemble.wanted is None else ensemble.wanted.encoding.layout):
        if feature.categories:
            table[:, place] = generator.integers(0, feature.categories + 1, rows)
    return table


def _random_sequences(wanted: Wanted, rows: int, generator: np.random.Generator) -> Inputs:
    """Texts or clips of random codes or samples, and of random lengths, padded to the longest."""
    feature, (length,) = wanted.sequence, wanted.shape
    most = min(length, _LONGEST if isinstance(feature, Tokens) else _LONGEST_CLIP)
    if isinstance(feature, Tokens):
        values = generator.integers(Tokens.UNKNOWN, feature.vocabulary, (rows, most))
    else:
        values = generator.integers(-3000, 3001, (rows, most))
    ends = generator.integers(1, most + 1, rows)
    ends[0] = most
    padded = np.where(np.arange(most) < ends[:, None], values, feature.PADDING if feature else 0)
    return padded.astype(np.dtype(wanted.numbers))


def in_torch(combiner: Combiner) -> Callable[[Tensor], Tensor]:
    """A combiner as a function of tensors: predictions `(members, n, outputs)` -> `(n, outputs)`.

    Raises:
        InputError: ONNX cannot be trusted with it.
    """
    match combiner:
        case Average():
            return _average(combiner)
        case Votes():
            return _votes(combiner)
        case Median():
            return _median
        case Stack():
            return _stack(combiner)
        case Calibrated():
            inner = in_torch(combiner.combiner)
            return lambda predictions: _temper(inner(predictions), combiner.temperature, combiner.task)
    raise InputError(
        f"an ensemble that is combined by '{combiner.to_json()['kind']}' cannot be exported to ONNX, whose rounding may"
        " send a row down another branch; export a member, or build the ensemble with another --method"
    )


def _average(combiner: Average) -> Callable[[Tensor], Tensor]:
    weights = torch.tensor(combiner.weights)[:, None, None]

    def combine(predictions: Tensor) -> Tensor:
        mean = (weights * predictions).sum(dim=0)
        return _normalized(mean) if combiner.task == "classification" else mean

    return combine


def _votes(combiner: Votes) -> Callable[[Tensor], Tensor]:
    def combine(predictions: Tensor) -> Tensor:
        mean = predictions.mean(dim=0)
        if combiner.task == "classification":
            votes = functional.one_hot(predictions.argmax(dim=2), predictions.shape[2]).float().sum(dim=0)
            return _normalized(votes + TIE * mean)
        return ((predictions >= 0.5).float().sum(dim=0) + TIE * mean) / (len(predictions) + TIE)

    return combine


def _median(predictions: Tensor) -> Tensor:
    ordered, members = predictions.sort(dim=0).values, len(predictions)
    return (ordered[(members - 1) // 2] + ordered[members // 2]) / 2


def _stack(combiner: Stack) -> Callable[[Tensor], Tensor]:
    coefficients = torch.from_numpy(combiner.coefficients.T.astype(np.float32))
    intercept = torch.from_numpy(combiner.intercept.astype(np.float32))
    task = combiner.task

    def combine(predictions: Tensor) -> Tensor:
        if combiner.features == "logits":
            return kind(task).activate(_features(predictions, task) @ coefficients + intercept)
        values = _side_by_side(predictions) @ coefficients + intercept
        if task == "regression":
            return values
        cut = values.clamp(SURE, 1 - SURE)
        return _normalized(cut) if task == "classification" else cut

    return combine


def _features(predictions: Tensor, task: str) -> Tensor:
    """Computes what `hpo.ensemble.combiner.stack_features` does."""
    beside = _side_by_side(predictions)
    if task == "regression":
        return beside
    if task == "classification":
        return beside.clamp(LEAST, 1.0).log()
    holds, fails = (part.clamp(LEAST, 1 - LEAST) for part in (beside, 1 - beside))  # float32 is finer near 0
    return holds.log() - fails.log()


def _side_by_side(predictions: Tensor) -> Tensor:
    return predictions.transpose(0, 1).flatten(1)


def _temper(predictions: Tensor, temperature: float, task: str) -> Tensor:
    """Computes what `hpo.ensemble.calibration.temper` does."""
    if task == "regression":
        return predictions
    logits = predictions.clamp_min(SMALLEST_PROBABILITY).log()
    if task == "classification":
        return (logits / temperature).softmax(dim=-1)
    return ((logits - (1 - predictions).clamp_min(SMALLEST_PROBABILITY).log()) / temperature).sigmoid()


def _normalized(probabilities: Tensor) -> Tensor:
    return probabilities / probabilities.sum(dim=1, keepdim=True)
