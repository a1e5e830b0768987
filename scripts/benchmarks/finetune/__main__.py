"""Fine-tuning against training from scratch, and pretrained weights as they are: test accuracy on CIFAR-10.

    python scripts/benchmarks/finetune --data cifar10.npz --weights mobilenet_v2-b0353104.pth --seeds 2
    python scripts/benchmarks/finetune --data cifar10.npz --weights resnet20_cifar10.th --model examples/cifar_resnet.py

The first trains torchvision's MobileNetV2 in three ways on a few images a class, of other rows with each seed; the
second trains nothing: it lays the weights into the network of the example and scores them.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

import hpo
from hpo.datasets import of
from hpo.spec import StudySpec
from hpo.training import Context, train
from hpo.training.supervised import _built  # the network as a trial begins with it

MODEL = {"name": "torchvision/mobilenet_v2"}
WAYS: dict[str, dict[str, dict[str, Any]]] = {
    "from scratch": {"optimizer": {"lr": 0.003}},
    "body frozen": {"model": {"frozen": "body"}, "optimizer": {"lr": 0.003}},
    "fine-tuned": {"optimizer": {"lr": 0.003, "body_lr": 0.0005}},
}


def main() -> None:
    """Prints the test accuracy of each way and seed, and their means."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="CIFAR-10 as .npz: x_train, y_train, x_test, y_test")
    parser.add_argument("--weights", required=True, help="a file of weights of the model")
    parser.add_argument("--model", help="a file with a function `net`; its weights are scored and nothing is trained")
    parser.add_argument("--per-class", type=int, default=200)
    parser.add_argument("--image-size", type=int, default=48, help="pixels to which the images of 32 are scaled")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--ways", default=",".join(WAYS))
    given = parser.parse_args()
    if given.model is not None:
        scored(given)
        return
    found: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(given.seeds):
            path = few(given.data, given.per_class, seed, Path(folder))
            for way in given.ways.split(","):
                started = time.perf_counter()
                value = accuracy(spec(given, path, way, seed))
                found.setdefault(way, []).append(value)
                print(f"seed {seed}  {way:14} {value:.4f}  {time.perf_counter() - started:.0f} s", flush=True)
    for way, values in found.items():
        spread = f" ± {np.std(values, ddof=1):.4f}" if len(values) > 1 else ""
        print(f"{way:14} {np.mean(values):.4f}{spread}  (n = {len(values)})")


def few(data: str, count: int, seed: int, folder: Path) -> Path:
    """A file with so many training images of each class, drawn by a seed, and all test images."""
    with np.load(data) as whole:
        arrays = {name: whole[name] for name in ("x_train", "y_train", "x_test", "y_test")}
    random = np.random.default_rng(seed)
    labels = arrays["y_train"]
    rows = np.concatenate([random.permutation(np.flatnonzero(labels == label))[:count] for label in np.unique(labels)])
    path = folder / f"{seed}.npz"
    np.savez(path, **{**arrays, "x_train": arrays["x_train"][rows], "y_train": labels[rows]})
    return path


def spec(given: argparse.Namespace, path: Path, way: str, seed: int) -> StudySpec:
    """A search of one config: AdamW and a cosine schedule, flips and crops."""
    changes = WAYS[way]
    begins = {} if way == "from scratch" else {"weights": given.weights}
    document = {
        "study": "finetune",
        "seed": seed,
        "data": {"path": str(path), "augment": ["horizontal_flip", "random_crop"]},
        "model": {**MODEL, "image_size": given.image_size, **begins, **changes.get("model", {})},
        "training": {"epochs": given.epochs, "batch_size": 64},
        "optimizer": {"name": "adamw", "weight_decay": 0.01, **changes["optimizer"]},
    }
    found = hpo.validate(document, tell=lambda note: print(f"  {note}"))
    assert isinstance(found, StudySpec)
    return found


def accuracy(search: StudySpec) -> float:
    """The accuracy on the test rows after the last epoch."""
    dataset = of(search, Path("data"))
    for report in train({}, Context(search, dataset, search.trial_seed(0))):
        print(f"    epoch {report.epoch}: validation {report.metrics['accuracy']:.4f}", flush=True)
        last = report.snapshot
        if report.epoch == search.training.epochs:
            break
    predicted = last().all_predictions()["test"]
    return float(np.mean(predicted.argmax(axis=1) == dataset.test.targets))


def scored(given: argparse.Namespace) -> None:
    """Prints the test accuracy of weights as they are."""
    file = Path(given.model)
    sys.path.insert(0, str(file.parent.resolve()))
    document = {
        "study": "scored",
        "data": {"path": given.data},
        "model": {"name": f"{file.stem}:net", "weights": given.weights},
        "training": {"epochs": 1},
    }
    search = hpo.validate(document, tell=print)
    assert isinstance(search, StudySpec)
    dataset = of(search, Path("data"))
    model = _built(search, dataset, torch.device("cpu")).eval()
    images = torch.from_numpy(dataset.test.inputs).permute(0, 3, 1, 2).float()
    with torch.no_grad():
        predicted = torch.cat([model(rows).argmax(dim=1) for rows in images.split(500)])
    value = np.mean(predicted.numpy() == dataset.test.targets)
    print(f"{file.stem}: {value:.4f} of {len(dataset.test)} test rows")


if __name__ == "__main__":
    main()
