"""Ray Tune as people write it: OptunaSearch, ASHA and the MLflow callback. Started by the benchmark."""

import argparse
import json
from pathlib import Path
from typing import Any

import curve
import ray
from peer import finish
from ray import tune
from ray.air.integrations.mlflow import MLflowLoggerCallback
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search.optuna import OptunaSearch


def train(config: dict[str, Any]) -> None:
    """A function trainable."""
    curve.trial()
    for epoch in range(1, curve.EPOCHS + 1):
        tune.report({"accuracy": curve.report(config, epoch)})


def train_with_torch(config: dict[str, Any]) -> None:
    """The same, where the objective needs torch, as the trials of PyTorch models do and the product's workers do."""
    import torch  # noqa: F401

    train(config)


class Trainable(tune.Trainable):
    """A class trainable whose actor may be used again."""

    def setup(self, config: dict[str, Any]) -> None:
        """Begins a trial."""
        curve.trial()
        self._config = config

    def step(self) -> dict[str, Any]:
        """An epoch."""
        epoch = self.iteration + 1
        return {"accuracy": curve.report(self._config, epoch), "done": epoch >= curve.EPOCHS}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Ray saves every trial at its end; one that cannot is an error, and its actor is thrown away."""
        Path(checkpoint_dir, "config.json").write_text(json.dumps(self._config))

    def load_checkpoint(self, checkpoint: str) -> None:
        """There is nothing to go on from."""

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Begins the next trial in the same actor."""
        self.setup(new_config)
        return True


TRAINABLES = {"function": train, "torch": train_with_torch, "reuse": Trainable}


def main() -> None:
    """Searches."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--trials", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--trainable", choices=TRAINABLES, required=True)
    options = parser.parse_args()
    ray.init(num_cpus=2)
    tuner = tune.Tuner(
        TRAINABLES[options.trainable],
        param_space={name: tune.loguniform(low, high) for name, (low, high) in curve.RANGES.items()},
        tune_config=tune.TuneConfig(
            metric="accuracy",
            mode="max",
            num_samples=options.trials,
            search_alg=OptunaSearch(seed=options.seed),
            scheduler=ASHAScheduler(max_t=curve.EPOCHS, grace_period=1, reduction_factor=3),
            reuse_actors=options.trainable == "reuse",
        ),
        run_config=tune.RunConfig(
            name="overhead",
            storage_path=str(options.folder.resolve()),
            callbacks=[
                MLflowLoggerCallback(
                    tracking_uri=f"sqlite:///{options.folder.resolve() / 'mlflow.db'}", experiment_name="overhead"
                )
            ],
        ),
    )
    finish(trials=len(tuner.fit()))


if __name__ == "__main__":
    main()
