"""A search file to start from, made by a look at a table."""

from pathlib import Path

from hpo import datasets
from hpo.datasets import Dataset
from hpo.datasets.columns import is_number, text
from hpo.datasets.notes import Notes
from hpo.datasets.ragged import Ragged
from hpo.datasets.table_files import TableFormat, read
from hpo.errors import DataError, InputError
from hpo.plugins import did_you_mean
from hpo.spec import COLUMN_KINDS, TABLES, DataSettings, is_study_name
from hpo.spec.settings import written
from hpo.tasks.features import Tokens, sequence

_MOST_CLASSES = 20
"""Whole numbers that are classes, where nobody says; of more different ones a target is a quantity."""
_SMALL, _LARGE = 2_000, 50_000
"""Rows by which the sizes of batches are chosen."""

_FILE = """\
# A search over a network for {file}: {rows:,} training rows. `hpo validate -f {name}` checks it, `hpo search -f {name}`
# runs it, `hpo ensemble` combines the best trials. Every key: `hpo schema`, and the page on search files.
study: {study}
task: {task}
data:
  path: {path}
  target: {target}{header}
  test: 0.2                # the share of rows on which an ensemble is scored, once; or a file
  validation: 0.15         # the share of the other rows on which trials are compared; or a file{reading}
  # groups: {example}      # no value of this column on both sides: a patient, a user
  # time: {example}        # the past trains, what follows validates
  # missing: ['?', NA]     # texts that mean a missing value, beside an empty cell
  # What the columns were taken for; state it where it is wrong: {kinds} or ignore.
  columns:
{columns}
{network}objective: {{metric: {metric}}}
budget: {{trials: 32}}
"""


_TABLE = """\
model: {{name: mlp, layers: 2, width: 128}}
training: {{epochs: 30, batch_size: {batch}}}
optimizer: {{name: adamw, lr: 0.003, weight_decay: 1.0e-4, schedule: cosine}}
parameters:
  model.layers:            {{type: int, min: 1, max: 4}}
  model.width:             {{type: int, min: 16, max: 512, log: true}}
  model.dropout:           {{min: 0.0, max: 0.5}}
  optimizer.lr:            {{min: 1.0e-4, max: 0.05, log: true}}
  optimizer.weight_decay:  {{min: 1.0e-6, max: 0.1, log: true}}
"""
_TEXT = """\
model: {{name: lstm, embedding: 64, width: 64, pooling: max, dropout: 0.4}}   # or gru, conv1d, transformer, bag
training: {{epochs: 8, batch_size: {batch}}}
optimizer: {{name: adamw, lr: 0.003, weight_decay: 1.0e-2, schedule: cosine}}
parameters:
  model.embedding:         {{type: int, min: 32, max: 256, log: true}}
  model.width:             {{type: int, min: 32, max: 256, log: true}}
  model.pooling:           {{values: [last, mean, max, attention], default: max}}
  model.dropout:           {{min: 0.1, max: 0.6}}
  data.token_dropout:      {{min: 0.0, max: 0.4}}
  optimizer.lr:            {{min: 5.0e-4, max: 0.01, log: true}}
  optimizer.weight_decay:  {{min: 1.0e-4, max: 0.1, log: true}}
"""
_SOUND = """\
model: {{name: conv1d, layers: 4, width: 64, dilation: 2, pooling: max, dropout: 0.1}}   # or lstm, gru, transformer
training: {{epochs: 20, batch_size: 32}}
optimizer: {{name: adamw, lr: 0.003, weight_decay: 1.0e-2, schedule: cosine}}
parameters:
  model.layers:            {{type: int, min: 2, max: 6}}
  model.width:             {{type: int, min: 32, max: 192, log: true}}
  model.kernel:            {{values: [3, 5, 7, 9], default: 5}}
  model.pooling:           {{values: [mean, max, attention], default: max}}
  model.dropout:           {{min: 0.0, max: 0.4}}
  data.time_mask:          {{min: 0.0, max: 0.4}}
  data.band_mask:          {{min: 0.0, max: 0.4}}
  optimizer.lr:            {{min: 5.0e-4, max: 0.02, log: true}}
"""
_PICTURES = """\
model: {{name: resnet, depth: 8, width: 16}}
training: {{epochs: 15, batch_size: {batch}}}
optimizer: {{name: adamw, lr: 0.003, weight_decay: 1.0e-2, schedule: cosine}}
parameters:
  model.width:             {{type: int, min: 8, max: 64, log: true}}
  optimizer.lr:            {{min: 5.0e-4, max: 0.02, log: true}}
  optimizer.weight_decay:  {{min: 1.0e-4, max: 0.1, log: true}}
"""
_READING_TEXT = """
  length: {length}               # words of a text that are kept; the longest here has {longest}
  vocabulary: 20000        # the most frequent words; all others are one unknown word
  augment: [token_dropout] # in training, some words become the unknown one
  token_dropout: 0.2"""
_READING_SOUND = """
  length: {length}              # seconds of a clip that are kept; the longest here has {longest}
  mels: 40                 # bands of frequencies of the spectrogram
  augment: [time_mask, band_mask]   # in training, a span of time and of bands is blanked
  time_mask: 0.2
  band_mask: 0.2"""


def first_file(data: str, target: str, name: str, header: bool = True) -> str:
    """A search file for a table, with comments: what its columns are, and a search that suits its size.

    Args:
        data: the path of the table.
        target: the column that is to be predicted.
        name: of the file that is made, for its comments.
        header: whether the first line of a CSV or TSV file names the columns.

    Raises:
        DataError: the table cannot be read, or has no such column.
        InputError: the file is no table by its name.
    """
    path = Path(data)
    if path.suffix.lower() not in TABLES:
        raise InputError(f"--data {data}: is no table by its name, which must end in {', '.join(TABLES)}")
    rows = read(path, TableFormat(header), Notes())
    if target not in rows.columns:
        raise DataError(f"{data}: has no column {target!r}.{did_you_mean(target, rows.columns)}")
    labels = {text(cell) for cell in rows.columns[target] if cell is not None}
    whole = all(is_number(label) and float(label).is_integer() for label in labels)
    quantity = all(map(is_number, labels)) and not (whole and len(labels) <= _MOST_CLASSES)
    task = "regression" if quantity else "classification"
    settings = DataSettings.model_validate({"path": data, "target": target, "header": header})
    dataset = datasets.load(settings, Path("data"), 0, None, task)
    known = {column.name: column for column in dataset.encoding.columns}
    reading, network = _suited(dataset)
    lines = []
    for column in rows.columns:
        if column != target:
            kind, told = (known[column].kind, known[column].told()) if column in known else ("ignore", "left out")
            lines.append(f"    {written(column)}: {kind}  # {_remark(told)}")
    count = len(dataset.train) + len(dataset.validation)
    study = "".join(letter if letter.isalnum() or letter in "-_" else "-" for letter in path.stem)
    return _FILE.format(
        file=_remark(path.name),
        name=_remark(name),
        rows=count,
        study=study if is_study_name(study) else "table",
        task=task,
        path=_plain(data),
        target=_plain(target),
        header="" if header else "\n  header: false",
        example=_plain(next((column for column in rows.columns if column != target), target)),
        columns="\n".join(lines),
        kinds=", ".join(COLUMN_KINDS),
        reading=reading,
        network=network.format(batch=32 if count < _SMALL else 128 if count < _LARGE else 512),
        metric="rmse" if quantity else "accuracy",
    )


def _suited(dataset: Dataset) -> tuple[str, str]:
    """How the inputs of a data set are read, beside what holds for all, and a network for them with its ranges."""
    if len(dataset.input_shape) == 3:
        return "", _PICTURES
    feature, inputs = sequence(dataset.encoding.layout), dataset.train.inputs
    if feature is None or not isinstance(inputs, Ragged):
        return "", _TABLE
    longest = int(inputs.lengths.max())
    if isinstance(feature, Tokens):
        return _READING_TEXT.format(length=inputs.limit, longest=longest), _TEXT
    seconds = longest / feature.rate
    return _READING_SOUND.format(length=inputs.limit / feature.rate, longest=f"{seconds:.3g}"), _SOUND


def _remark(told: str) -> str:
    """A text in a comment of a search file, which no line break or control character of it may end."""
    return "".join(letter if letter.isprintable() else "?" for letter in told)


def _plain(value: str) -> str:
    """A text as a value of a search file, on one line: there `${` would be a variable of the environment."""
    return written(value).replace("${", "$${")
