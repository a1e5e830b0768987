"""Spoken digits from sound files, split by recording and by speaker: `python scripts/benchmarks/speech --help`."""

import argparse
import csv
import sys
import tempfile
import wave
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1]))

import benchmark
import numpy as np
import yaml
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import from_numpy

import hpo
from hpo import datasets
from hpo.datasets import Examples, Ragged
from hpo.models.log_mel import LogMel
from hpo.spec import DataSettings
from hpo.tasks.features import Sound

_PACKAGES = ("torch", "scikit-learn", "numpy")
_SPACE = Path(__file__).parents[3] / "search_spaces" / "cnn_speech.yaml"
_SPLITS = ("takes", "speakers")
_TEST_TAKES = 5
"""The first recordings of each speaker and digit are the test, as the data set's authors have it."""
_PARTS = 8
"""Equal parts of a clip, whose mean energies the baseline is given."""
_EPILOG = """
The clips are written as WAV files with a table, which is searched by search_spaces/cnn_speech.yaml. `takes` tests the
recordings 0 to 4 of each speaker and digit; `speakers` tests speakers of whom there is no clip in training, and
validates by another one. The baseline is logistic regression on the mean log-mel energies of 8 equal parts of a clip,
fitted to the training and the validation rows.

  python scripts/benchmarks/speech --data fsdd.npz --seeds 2
"""


@dataclass(frozen=True)
class Run:
    """Accuracies on the test rows, of one search."""

    seed: int
    split: str
    test_rows: int
    single: float
    ensemble: float
    baseline: float
    method: str


def main() -> None:
    """Searches once a split and a seed, prints the table, writes the JSON."""
    options = _options()
    runs: list[Run] = []
    with tempfile.TemporaryDirectory() as folder:
        table = write_clips(options.data, Path(folder))
        for seed in range(options.seeds):
            for split in options.splits:
                runs.append(_run(options, table, split, seed))
                print(runs[-1], file=sys.stderr, flush=True)
    print(f"{options.data.name}, test accuracy, mean ± standard deviation of {options.seeds} seeds")
    for split in options.splits:
        own = [run for run in runs if run.split == split]
        figures = (
            f"{key} {benchmark.spread([getattr(r, key) for r in own])}" for key in ("single", "ensemble", "baseline")
        )
        print(f"{split:>9} ({own[0].test_rows} rows)  {'  '.join(figures)}  {', '.join(run.method for run in own)}")
    if options.json is not None:
        benchmark.write(options.json, "speech", _PACKAGES, runs)


def write_clips(archive: Path, folder: Path) -> Path:
    """Writes each clip as a WAV file of 16 bits, and a table of them.

    Args:
        archive: with `audio` (int16, joined), `offsets`, `digit`, `speaker`, `take`, `speaker_names` and `sample_rate`.
        folder: where they are written.

    Returns:
        The table: path, label, speaker, and part, which is `test` or `train`.
    """
    arrays = dict(np.load(archive))
    rate, names = int(arrays["sample_rate"]), arrays["speaker_names"]
    table = folder / "clips.csv"
    with table.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["path", "label", "speaker", "part"])
        for row in range(len(arrays["digit"])):
            digit, speaker, take = (int(arrays[key][row]) for key in ("digit", "speaker", "take"))
            name = f"{digit}_{names[speaker]}_{take}.wav"
            samples = arrays["audio"][arrays["offsets"][row] : arrays["offsets"][row + 1]]
            with wave.open(str(folder / name), "wb") as clip:
                clip.setnchannels(1)
                clip.setsampwidth(2)
                clip.setframerate(rate)
                clip.writeframes(samples.astype("<i2").tobytes())
            rows.writerow([name, digit, names[speaker], "test" if take < _TEST_TAKES else "train"])
    return table


def _run(options: argparse.Namespace, table: Path, split: str, seed: int) -> Run:
    space: dict[str, Any] = yaml.safe_load(_SPACE.read_text())
    data = {**space["data"], "path": str(table)} | ({"split": "part"} if split == "takes" else {"groups": "speaker"})
    space |= {"study": "speech", "data": data, "budget": {"trials": options.trials}, "seed": seed}
    space["training"]["epochs"] = options.epochs
    with tempfile.TemporaryDirectory() as storage:
        hpo.search(space, storage=storage)
        made = hpo.build_ensemble("speech", storage=storage)
    dataset = datasets.load(DataSettings.model_validate(data), Path("data"), seed)
    baseline = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    train = dataset.train.joined(dataset.validation)
    baseline.fit(_energies(train, dataset.encoding.layout[0]), train.targets)
    plain = float(baseline.score(_energies(dataset.test, dataset.encoding.layout[0]), dataset.test.targets))
    single, ensemble = made.best_single_test["accuracy"], made.test["accuracy"]
    return Run(seed, split, len(dataset.test), single, ensemble, plain, made.method)


def _energies(clips: Examples, feature: Any) -> np.ndarray[Any, Any]:
    """The mean log-mel energies of equal parts of each clip, `(rows, parts * mels)`."""
    assert isinstance(clips.inputs, Ragged) and isinstance(feature, Sound)
    layer = LogMel((clips.inputs.limit,), feature)
    found = []
    for row in range(len(clips)):
        frames = layer.energies(from_numpy(clips.inputs[row : row + 1].padded()).float())[0].numpy()
        parts = np.array_split(frames, _PARTS) if len(frames) >= _PARTS else [frames] * _PARTS
        found.append(np.concatenate([part.mean(axis=0) for part in parts]))
    return np.stack(found)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="speech", description=__doc__, epilog=_EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, metavar="FILE", help="the clips, fsdd.npz")
    parser.add_argument(
        "--splits",
        type=benchmark.some_of(_SPLITS, "split"),
        default=list(_SPLITS),
        help="one of them, or takes;speakers",
    )
    parser.add_argument("--trials", type=int, default=6, help="of a search (6)")
    parser.add_argument("--epochs", type=int, default=15, help="of a trial (15)")
    parser.add_argument("--seeds", type=int, default=1, help="searches of each split (1)")
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="where figures are written to, with how they were made"
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
