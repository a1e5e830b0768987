"""Hugging Face's Trainer on a small BERT, searched; what is added for that is marked by `# hpo`.

Sequences of eleven tokens; the class says whether most of them are even. The model is made from its config, so
that nothing is downloaded. Run it from anywhere: `python examples/transformers_tokens.py`. It needs
`pip install 'hpo[transformers]'`. What it makes is in temporary folders, removed at the end.
"""

import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments, set_seed

import hpo
from hpo.adapters.transformers import ReportCallback, probabilities  # hpo

LENGTH, TOKENS = 11, 10


def sequences(count: int, seed: int) -> list[dict[str, Any]]:
    """Draws rows of tokens and their labels."""
    rows = np.random.default_rng(seed).integers(0, TOKENS, (count, LENGTH))
    labels = (rows % 2 == 0).sum(1) > LENGTH // 2
    return [{"input_ids": row.tolist(), "labels": int(label)} for row, label in zip(rows, labels, strict=True)]


def accuracy(evaluated: Any) -> dict[str, float]:
    """Measures the share of rows whose largest logit is their label's."""
    return {"accuracy": float((evaluated.predictions.argmax(1) == evaluated.label_ids).mean())}


def train(config: dict[str, Any]) -> None:
    """Trains one config."""
    set_seed(0)
    model = BertForSequenceClassification(
        BertConfig(
            vocab_size=TOKENS,
            hidden_size=config["width"],
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=2 * config["width"],
            max_position_embeddings=LENGTH,
        )
    )
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            model,
            TrainingArguments(
                folder,
                num_train_epochs=SPACE["training"]["epochs"],
                learning_rate=config["lr"],
                per_device_train_batch_size=32,
                eval_strategy="epoch",
                save_strategy="no",
                report_to="none",
                disable_tqdm=True,
                use_cpu=True,
            ),
            train_dataset=sequences(600, seed=1),
            eval_dataset=sequences(300, seed=2),
            compute_metrics=accuracy,
        )
        report = ReportCallback(trainer, predictions=probabilities)  # hpo
        trainer.train(resume_from_checkpoint=report.checkpoint)  # hpo


SPACE: dict[str, Any] = {
    "study": "transformers-tokens",
    "train": "transformers_tokens:train",
    "training": {"epochs": 4},
    "parameters": {
        "lr": {"min": 1e-4, "max": 1e-2, "log": True},
        "width": {"values": [16, 32]},
    },
    "objective": {"metric": "eval_accuracy", "goal": "maximize"},
    "budget": {"trials": 4},
}

if __name__ == "__main__":
    os.chdir(Path(__file__).parent)  # `transformers_tokens:` is looked for where one stands
    with tempfile.TemporaryDirectory() as storage:
        best = hpo.search(SPACE, storage=storage).study.best()
        assert best is not None
        print(f"best: trial {best.number}, {best.config}, validation accuracy {best.value:.3f}")
