"""A class that is rare, with class weights and without: `python scripts/benchmarks/blood_cells --help`."""

import argparse
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1]))

import benchmark
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from hpo import datasets, spec
from hpo.training import Context, train

_PACKAGES = ("torch", "scikit-learn", "numpy")
_SPACE = Path(__file__).parents[3] / "search_spaces" / "medical_imbalanced.yaml"
_SIDE, _RARE = 24, "Platelets"
_KINDS = ("without", "weights", "logistic", "logistic_weights")
_EPILOG = """
BCCD has 364 pictures of blood, with a box around each cell in VOC's XML. Each box is cut out and scaled to 24 x 24
pixels; platelets are told from red and white cells. Pictures of its train and val lists are trained on and validated,
those of its test list are scored once, at the epoch with the best AUPRC on validation rows. The default config of
search_spaces/medical_imbalanced.yaml is trained, with training.class_weights none and auto, on the same rows with the
same seeds; logistic regression has the standardized pixels of the training and validation rows.

  python scripts/benchmarks/blood_cells --data bccd --seeds 5
"""


@dataclass(frozen=True)
class Run:
    """AUPRC of platelets on the test rows of one seed, and the share of platelets with a probability above 0.5."""

    seed: int
    without: float
    weights: float
    logistic: float
    logistic_weights: float
    recall_without: float
    recall_weights: float
    recall_logistic: float
    recall_logistic_weights: float


def main() -> None:
    """Trains both ways once a seed, prints the table, writes the JSON."""
    options = _options()
    if options.write is not None:
        print(_write(options.data, options.write, options.pictures))
        return
    runs = []
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "cells.npz"
        print(_write(options.data, file, options.pictures), flush=True)
        for seed in range(options.seeds):
            runs.append(_run(file, options.epochs, seed))
            print(f"seed {seed}: {runs[-1]}", file=sys.stderr, flush=True)
    print(f"test AUPRC of {_RARE}, mean ± standard deviation of {len(runs)} seeds")
    for name in _KINDS:
        values, recalls = (np.array([getattr(run, kind) for run in runs]) for kind in (name, f"recall_{name}"))
        spread, apart = (each.std(ddof=len(runs) > 1) for each in (values, recalls))
        print(f"{name:>16} {values.mean():.4f} ± {spread:.4f}, recall at 0.5 {recalls.mean():.4f} ± {apart:.4f}")
    better = sum(run.weights > run.without for run in runs)
    print(f"with weights above without in {better} of {len(runs)} seeds")
    if options.json is not None:
        benchmark.write(options.json, "blood_cells", _PACKAGES, runs)


def _run(file: Path, epochs: int, seed: int) -> Run:
    """Both ways and logistic regression, on the same split."""
    read = spec.load(_SPACE, {"data.path": str(file), "data.positive": _RARE, "training.epochs": epochs, "seed": seed})
    dataset = datasets.of(read, Path("data"))
    rare = dataset.outputs.index(_RARE)
    found: list[NDArray[np.floating[Any]]] = []
    for weights in ("none", "auto"):
        context = Context(read.apply({"training.class_weights": weights}), dataset, read.trial_seed(0))
        best = -1.0
        scored: NDArray[np.floating[Any]] = np.zeros(len(dataset.test))
        for report in train({}, context):
            if report.metrics["auprc"] > best:
                best = report.metrics["auprc"]
                scored = report.snapshot().all_predictions()["test"][:, rare]
        found.append(scored)
    rows = dataset.train.joined(dataset.validation)
    for weighting in (None, "balanced"):
        fitted = make_pipeline(StandardScaler(), LogisticRegression(max_iter=300, C=0.01, class_weight=weighting))
        fitted.fit(np.asarray(rows.inputs).reshape(len(rows), -1), rows.targets == rare)
        found.append(fitted.predict_proba(np.asarray(dataset.test.inputs).reshape(len(dataset.test), -1))[:, 1])
    true = dataset.test.targets == rare
    precisions = [float(average_precision_score(true, scores)) for scores in found]
    return Run(seed, *precisions, *(float((scores[true] > 0.5).mean()) for scores in found))


def _write(folder: Path, file: Path, pictures: int | None) -> str:
    """Writes the crops as an .npz file for `data.path`; what is in it, in words."""
    lists = {split: (folder / "ImageSets" / "Main" / f"{split}.txt").read_text().split() for split in _SPLITS}
    names = [*lists["train"], *lists["val"]][:pictures]
    arrays: dict[str, NDArray[np.generic]] = {"class_names": np.array(["Others", _RARE])}
    told = []
    for split, chosen in (("train", names), ("test", lists["test"])):
        cells = [cell for name in chosen for cell in _cells(folder, name)]
        arrays[f"x_{split}"] = np.stack([pixels for pixels, _ in cells])
        arrays[f"y_{split}"] = np.array([kind == _RARE for _, kind in cells], np.int64)
        told.append(f"{split}: {len(cells)} cells of {len(chosen)} pictures, {arrays[f'y_{split}'].sum()} {_RARE}")
    np.savez(file, **arrays)  # type: ignore[arg-type]
    return "; ".join(told)


_SPLITS = ("train", "val", "test")


def _cells(folder: Path, name: str) -> Iterator[tuple[NDArray[np.uint8], str]]:
    """Each box of a picture as pixels, and what it is; boxes without an area are left out."""
    with Image.open(folder / "JPEGImages" / f"{name}.jpg") as opened:
        picture = opened.convert("RGB")
    for cell in ElementTree.parse(folder / "Annotations" / f"{name}.xml").iter("object"):
        box = [int(cell.findtext(f"bndbox/{side}", "0")) for side in ("xmin", "ymin", "xmax", "ymax")]
        if box[0] < box[2] and box[1] < box[3]:
            crop = picture.crop((box[0], box[1], box[2], box[3])).resize((_SIDE, _SIDE), Image.Resampling.BILINEAR)
            yield np.asarray(crop, np.uint8), cell.findtext("name", "")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="blood_cells", description=__doc__, epilog=_EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, metavar="FOLDER", help="BCCD, as VOC has it")
    parser.add_argument("--write", type=Path, metavar="FILE", help="the crops alone, as an .npz file for data.path")
    parser.add_argument("--pictures", type=int, metavar="N", help="the first so many to train on (all)")
    parser.add_argument("--epochs", type=int, default=8, help="of a training (8)")
    parser.add_argument("--seeds", type=int, default=5, help="trainings of each kind (5)")
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="where figures are written to, with how they were made"
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
