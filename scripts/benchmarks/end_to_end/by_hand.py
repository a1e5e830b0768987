"""What a good engineer writes by hand: Ray Tune, OptunaSearch, ASHA, the MLflow callback, a PyTorch training loop.

It searches the space of search.yaml and prints a line of JSON. Started by the benchmark; runs alone too:
`python by_hand.py --data FILE.npz --trials 16 --epochs 9 --seed 0 --folder EMPTY_FOLDER`
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import ray
import torch
from PIL import Image
from ray import tune
from ray.air.integrations.mlflow import MLflowLoggerCallback
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search.optuna import OptunaSearch
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from hpo.datasets.split import stratified  # the same rows
from hpo.models.resnet import resnet  # and the same network; nothing else is shared

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
VALIDATION = 0.2
SPACE = {
    "width": tune.lograndint(6, 17),
    "batch_size": tune.choice([32, 64, 128]),
    "label_smoothing": tune.uniform(0.0, 0.2),
    "lr": tune.loguniform(1e-3, 0.5),
    "weight_decay": tune.loguniform(1e-5, 1e-2),
}
DEFAULT = {"width": 12, "batch_size": 64, "label_smoothing": 0.0, "lr": 0.1, "weight_decay": 5e-4}


class Images(Dataset[tuple[torch.Tensor, int]]):
    """Images `(h, w, c)` uint8 and labels; each image goes through the transform when it is asked for."""

    def __init__(self, images: np.ndarray, labels: np.ndarray, transform: transforms.Compose) -> None:
        self.images, self.labels, self.transform = images, labels, transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.transform(Image.fromarray(self.images[index])), int(self.labels[index])


def train(config: dict[str, Any], data: dict[str, np.ndarray], epochs: int, seed: int) -> None:
    """One trial: reports validation accuracy and a checkpoint each epoch."""
    torch.manual_seed(seed)
    plain = [transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
    augmented = transforms.Compose([transforms.RandomCrop(32, padding=4), transforms.RandomHorizontalFlip(), *plain])
    training = Images(data["x_train"], data["y_train"], augmented)
    validation = Images(data["x_validation"], data["y_validation"], transforms.Compose(plain))
    # no loader processes: with one CPU a trial they cost more than they bring
    loader = DataLoader(training, batch_size=config["batch_size"], shuffle=True, drop_last=True)
    validation_loader = DataLoader(validation, batch_size=256)

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = resnet((3, 32, 32), 10, depth=8, width=config["width"]).to(device)
    optimizer = torch.optim.SGD(
        model.parameters(), lr=config["lr"], momentum=0.9, nesterov=True, weight_decay=config["weight_decay"]
    )
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=epochs * len(loader))
    criterion = nn.CrossEntropyLoss(label_smoothing=config["label_smoothing"])

    for epoch in range(1, epochs + 1):
        model.train()
        total = 0.0
        for images, labels in loader:
            loss = criterion(model(images.to(device)), labels.to(device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()
            total += loss.item()
        metrics = {"accuracy": evaluate(model, validation_loader, device), "train_loss": total / len(loader)}
        with tempfile.TemporaryDirectory() as folder:
            state = {"epoch": epoch, "model": model.state_dict(), "optimizer": optimizer.state_dict()}
            torch.save(state, Path(folder) / "checkpoint.pt")
            tune.report(metrics, checkpoint=tune.Checkpoint.from_directory(folder))


@torch.no_grad()
def evaluate(model: nn.Module, loader: DataLoader[tuple[torch.Tensor, int]], device: torch.device) -> float:
    """Accuracy on the loader's images."""
    model.eval()
    correct = total = 0
    for images, labels in loader:
        predicted = model(images.to(device)).argmax(dim=1)
        correct += int((predicted == labels.to(device)).sum())
        total += len(labels)
    return correct / total


def split(path: Path, seed: int) -> dict[str, np.ndarray]:
    """The training rows of the file, a part of them for validation, each class with its share."""
    with np.load(path, allow_pickle=False) as arrays:
        images, labels = arrays["x_train"], arrays["y_train"]
    training, validation = stratified(labels, VALIDATION, seed)
    parts = {"train": training, "validation": validation}
    return {
        f"{name}_{part}": array[rows] for part, rows in parts.items() for name, array in (("x", images), ("y", labels))
    }


def main() -> None:
    """Searches, and says where the best checkpoint lies."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--trials", type=int, required=True)
    parser.add_argument("--epochs", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    options = parser.parse_args()
    ray.init(num_cpus=2)
    data = split(options.data, options.seed)
    trainable = tune.with_parameters(train, data=data, epochs=options.epochs, seed=options.seed)
    tuner = tune.Tuner(
        tune.with_resources(trainable, {"cpu": 1}),
        param_space=SPACE,
        tune_config=tune.TuneConfig(
            metric="accuracy",
            mode="max",
            num_samples=options.trials,
            max_concurrent_trials=2,
            search_alg=OptunaSearch(points_to_evaluate=[DEFAULT], seed=options.seed),
            scheduler=ASHAScheduler(max_t=options.epochs, grace_period=1, reduction_factor=3),
        ),
        run_config=tune.RunConfig(
            name="by_hand",
            storage_path=str(options.folder.resolve()),
            callbacks=[
                MLflowLoggerCallback(
                    tracking_uri=f"sqlite:///{options.folder.resolve() / 'mlflow.db'}", experiment_name="by_hand"
                )
            ],
        ),
    )
    results = tuner.fit()
    best = results.get_best_result(metric="accuracy", mode="max", scope="all")
    metrics = best.metrics_dataframe["accuracy"]
    checkpoint = best.get_best_checkpoint("accuracy", "max")
    told = {
        "checkpoint": str(Path(checkpoint.path) / "checkpoint.pt"),
        "validation": float(metrics.max()),
        "width": best.config["width"],
        "epochs": sum(int(result.metrics["training_iteration"]) for result in results),
        "trials": len(results),
        "errors": results.num_errors,
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main()
