"""A Keras network on PyTorch, searched; what is added for that is marked by `# hpo`.

Run it from anywhere: `python examples/keras_digits.py`. It needs `pip install 'hpo[keras]'`. What it makes is in a
temporary folder, removed at the end.
"""

import os
import tempfile
from pathlib import Path
from typing import Any

from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import hpo
from hpo.adapters.keras import ReportCallback  # hpo: before keras, which is then on PyTorch

import keras  # isort: skip

IMAGES, DIGITS = load_digits(return_X_y=True)
X, X_VAL, Y, Y_VAL = train_test_split(IMAGES / 16, DIGITS, test_size=0.2, random_state=0)


def train(config: dict[str, Any]) -> None:
    """Trains one config."""
    model = keras.Sequential(
        [
            keras.layers.Dense(config["width"], activation="relu"),
            keras.layers.Dropout(0.2),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile(keras.optimizers.Adam(config["lr"]), "sparse_categorical_crossentropy", metrics=["accuracy"])
    report = ReportCallback(predictions=(X_VAL, Y_VAL))  # hpo
    model.fit(
        X,
        Y,
        validation_data=(X_VAL, Y_VAL),
        batch_size=64,
        epochs=SPACE["training"]["epochs"],
        initial_epoch=report.initial_epoch,  # hpo
        callbacks=[report],  # hpo
        verbose=0,
    )


SPACE: dict[str, Any] = {
    "study": "keras-digits",
    "train": "keras_digits:train",
    "training": {"epochs": 4},
    "parameters": {
        "lr": {"min": 1e-4, "max": 1e-1, "log": True},
        "width": {"type": "int", "min": 8, "max": 64, "log": True},
    },
    "objective": {"metric": "val_accuracy", "goal": "maximize"},
    "budget": {"trials": 6},
}

if __name__ == "__main__":
    os.chdir(Path(__file__).parent)  # `keras_digits:` is looked for where one stands
    with tempfile.TemporaryDirectory() as storage:
        best = hpo.search(SPACE, storage=storage).study.best()
        assert best is not None
        print(f"best: trial {best.number}, {best.config}, validation accuracy {best.value:.3f}")
