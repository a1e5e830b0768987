"""Trains random configs of a search space once and stores all that a search could ever ask of them.

Per config and epoch: every metric on validation rows, the seconds, and the probabilities of validation and test rows.
From these, searches with any sampler, scheduler and ensemble are replayed in simulated time: see `pool.py`.

    python train_pool.py --images mnist.npz --space mnist_mlp.yaml --configs 400 --output OUT/mnist
    python train_pool.py --images cifar10.npz --space cifar10_convnet.yaml --halve --configs 340 --output OUT/cifar10

The objective is the product's own, called as it is: a generator, one report an epoch. Config i is what Optuna's
RandomSampler with seed i draws from the space, trained with seed i. One process, one thread.

    OUT/mnist/
        images.npz          the rows that are used, drawn with seed 0, class shares kept
        spec.json           the search; another run with another one is refused
        configs/00012.npz   one config, written whole; what is there is not trained again
        pool.npz            all of them in one file: `Pool.load`; made at the end, or at any time with --pack

Arrays of pool.npz, for n configs: `spec` and `configs` as JSON; `seeds`, `epochs` (n,); `metric_<name>`, `seconds`,
`wall_seconds` (n, epochs) float64; `validation`, `test` (n, epochs, rows, classes) float16; `validation_labels`,
`test_labels` (rows,). What a config whose loss was not finite did not report is NaN.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import torch
from numpy.typing import NDArray
from pool import Pool

from hpo import api, datasets
from hpo.spec import Config, StudySpec
from hpo.spec.space import Space
from hpo.training import Context, train

SPLITS = ("validation", "test")


def main() -> None:
    """Reads the command line, trains what is missing, packs."""
    parser = argparse.ArgumentParser(description="Trains a pool of random configs.")
    parser.add_argument("--images", type=Path, required=True, help="an .npz with x_train, y_train, x_test, y_test")
    parser.add_argument("--space", type=Path, required=True, help="the YAML of the search")
    parser.add_argument("--output", type=Path, required=True, help="a folder; a later run goes on where this one ends")
    parser.add_argument("--configs", type=int, default=300)
    parser.add_argument("--train", type=int, default=2000, help="training rows")
    parser.add_argument("--validation", type=int, default=1000, help="validation rows, from the training rows too")
    parser.add_argument("--test", type=int, default=2000, help="test rows")
    parser.add_argument("--halve", action="store_true", help="average 2x2 pixels: a convolution costs a quarter")
    parser.add_argument("--pack", action="store_true", help="train nothing, pack what is there")
    arguments = parser.parse_args()

    torch.set_num_threads(1)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    folder: Path = arguments.output
    (folder / "configs").mkdir(parents=True, exist_ok=True)
    rows = {"train": arguments.train, "validation": arguments.validation, "test": arguments.test}
    prepare_images(arguments.images, folder / "images.npz", rows, arguments.halve)
    spec = prepare_spec(arguments.space, folder, rows)
    dataset = datasets.load(spec.data, Path("data"), spec.seed)
    sizes = {"train": len(dataset.train), "validation": len(dataset.validation), "test": len(dataset.test)}
    if sizes != rows:
        raise SystemExit(f"{folder} has rows {sizes}, not {rows}: give it the numbers it was made with")
    if not arguments.pack:
        train_missing(spec, dataset, folder, arguments.configs)
    pack(spec, dataset, folder)
    print(Pool.load(folder / "pool.npz").describe())


def prepare_images(source: Path, target: Path, rows: dict[str, int], halve: bool) -> None:
    """Writes the .npz of the rows that are used, unless it is there."""
    from sklearn.model_selection import train_test_split

    if target.exists():
        return
    with np.load(source, allow_pickle=False) as file:
        arrays = dict(file)
    kept = {key: arrays[key] for key in ("class_names",) if key in arrays}
    for split, count in (("train", rows["train"] + rows["validation"]), ("test", rows["test"])):
        images, labels = arrays[f"x_{split}"], arrays[f"y_{split}"]
        chosen = np.arange(len(labels))
        if count < len(labels):
            chosen, _ = train_test_split(chosen, train_size=count, stratify=labels, random_state=0)
        chosen = np.sort(chosen)
        kept[f"x_{split}"] = half(images[chosen]) if halve else images[chosen]
        kept[f"y_{split}"] = labels[chosen]
    save(target, kept)


def half(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Images `(n, h, w, ...)` with each 2x2 pixels averaged; sides are even."""
    n, height, width = images.shape[:3]
    blocks = images.reshape(n, height // 2, 2, width // 2, 2, *images.shape[3:])
    averaged: NDArray[np.uint8] = blocks.mean(axis=(2, 4)).round().astype(np.uint8)
    return averaged


def prepare_spec(space: Path, folder: Path, rows: dict[str, int]) -> StudySpec:
    """The validated search over the folder's own images; the folder remembers it."""
    share = rows["validation"] / (rows["train"] + rows["validation"])
    spec = api.validate(space, {"data.path": str(folder / "images.npz"), "data.validation": share})
    document = as_json(spec)
    path = folder / "spec.json"
    if not path.exists():
        path.write_text(document, encoding="utf-8")
    elif path.read_text(encoding="utf-8") != document:
        raise SystemExit(f"{folder} was begun with another search: see {path}; give a new --output")
    return spec


def as_json(spec: StudySpec) -> str:
    """The search as JSON, without the path of its images: a folder may be moved."""
    document = spec.model_dump(mode="json", exclude_unset=True)
    document["data"].pop("path")
    return json.dumps(document, indent=1)


def draw(spec: StudySpec, seed: int) -> Config:
    """One config from the space, at random."""
    sampler = optuna.samplers.RandomSampler(seed=seed)
    return Space.of(spec).suggest(optuna.create_study(sampler=sampler).ask())


def train_missing(spec: StudySpec, dataset: datasets.Dataset, folder: Path, count: int) -> None:
    """Trains the first `count` configs, without those whose file is there."""
    missing = [seed for seed in range(count) if not config_file(folder, seed).exists()]
    if missing:
        next(train(draw(spec, 0), Context(spec, dataset, 0)))  # imports and first calls are no config's cost
    started = time.perf_counter()
    for done, seed in enumerate(missing, 1):
        config = draw(spec, seed)
        stored = train_one(spec, dataset, config, seed)
        save(config_file(folder, seed), stored)
        left = (time.perf_counter() - started) / done * (len(missing) - done)
        print(
            f"{spec.study} {seed}: accuracy {stored['metric_accuracy'][-1]:.3f}, {stored['seconds'].sum():.1f} s CPU,"
            f" {stored['wall_seconds'].sum():.1f} s; {done}/{len(missing)}, {left / 60:.0f} min left",
            flush=True,
        )


def train_one(spec: StudySpec, dataset: datasets.Dataset, config: Config, seed: int) -> dict[str, NDArray[Any]]:
    """One config to its end: name -> array, a row an epoch."""
    reports, seconds, wall_seconds = [], [], []
    probabilities: dict[str, list[NDArray[np.float16]]] = {split: [] for split in SPLITS}
    cpu, wall = time.process_time(), time.perf_counter()
    for report in train(config, Context(spec, dataset, seed)):
        seconds.append(time.process_time() - cpu)
        wall_seconds.append(time.perf_counter() - wall)
        reports.append(report.metrics)
        for split, array in report.snapshot().all_predictions().items():
            probabilities[split].append(array.astype(np.float16))
        cpu, wall = time.process_time(), time.perf_counter()  # the snapshot is not the search's cost
    return {
        "config": np.array(json.dumps(config)),
        "seconds": np.array(seconds),
        "wall_seconds": np.array(wall_seconds),
        **{f"metric_{name}": np.array([report[name] for report in reports]) for name in reports[0]},
        **{split: np.stack(arrays) for split, arrays in probabilities.items()},
    }


def pack(spec: StudySpec, dataset: datasets.Dataset, folder: Path) -> None:
    """Writes pool.npz from the files of all configs that are there."""
    files = sorted((folder / "configs").glob("*.npz"))
    if not files:
        raise SystemExit(f"{folder} holds no trained config yet")
    first = load(files[0])
    series = [key for key in first if key != "config"]
    shapes = {key: (len(files), spec.training.epochs, *first[key].shape[1:]) for key in series}
    packed = {key: np.full(shapes[key], np.nan, first[key].dtype) for key in series}
    configs, epochs = [], []
    for index, file in enumerate(files):
        stored = load(file)
        configs.append(json.loads(str(stored["config"])))
        epochs.append(len(stored["seconds"]))
        for key in series:
            packed[key][index, : epochs[-1]] = stored[key]
    save(
        folder / "pool.npz",
        {
            "spec": np.array(as_json(spec)),
            "configs": np.array(json.dumps(configs)),
            "seeds": np.array([int(file.stem) for file in files]),
            "epochs": np.array(epochs),
            "validation_labels": dataset.validation.targets,
            "test_labels": dataset.test.targets,
            **packed,
        },
    )


def config_file(folder: Path, seed: int) -> Path:
    """Where one config is stored."""
    return folder / "configs" / f"{seed:05d}.npz"


def load(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of an .npz file."""
    with np.load(path, allow_pickle=False) as file:
        return dict(file)


def save(path: Path, arrays: dict[str, NDArray[Any]]) -> None:
    """Writes an .npz file, whole or not at all."""
    draft = path.with_suffix(".draft")
    with draft.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)
    draft.replace(path)


if __name__ == "__main__":
    main()
