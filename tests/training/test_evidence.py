"""Predictions and truth of a training function of the user's own, held to their task."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from hpo.errors import TrainingError
from hpo.training.evidence import checked_evidence


@given(arrays.arrays(np.float64, st.tuples(st.integers(1, 6), st.integers(2, 5)), elements=st.floats(0.01, 1)))
def test_probabilities_of_any_library_are_kept(raw: Any) -> None:
    probabilities = raw / raw.sum(axis=1, keepdims=True)
    labels = probabilities.argmax(axis=1)
    for values, truth in (
        (probabilities, labels),
        (torch.from_numpy(probabilities).bfloat16(), torch.from_numpy(labels)),
        (probabilities.tolist(), labels[:, None].tolist()),
        (torch.from_numpy(probabilities).requires_grad_(), labels.astype(np.float32)),
    ):
        kept, targets = checked_evidence("classification", values, truth, "validation")
        assert kept.dtype == np.float16 and targets.dtype == np.int64
        np.testing.assert_allclose(kept, probabilities, atol=5e-3)
        np.testing.assert_array_equal(targets, labels)


def test_one_probability_a_row_is_of_the_second_of_two_classes() -> None:
    kept, targets = checked_evidence("classification", [0.25, 1.0], [0, 1], "test")
    assert kept.tolist() == [[0.75, 0.25], [0.0, 1.0]] and targets.tolist() == [0, 1]


def test_labels_and_values_are_kept() -> None:
    kept, targets = checked_evidence("multilabel", [[0.25, 1.0]], [[True, False]], "validation")
    assert (kept.tolist(), targets.tolist(), str(targets.dtype)) == ([[0.25, 1.0]], [[1, 0]], "uint8")
    kept, targets = checked_evidence("regression", torch.tensor([1.5, 2.0]), [1, 2], "validation")
    assert (kept.tolist(), targets.tolist(), str(kept.dtype)) == ([[1.5], [2.0]], [[1.0], [2.0]], "float32")


@pytest.mark.parametrize(
    ("task", "predictions", "targets", "message"),
    [
        (
            "classification",
            [[2.0, -1.0]],
            [0],
            r"probabilities are 0 to 1, got \(1, 2\) from -1 to 2: give",
        ),
        ("classification", [[0.4, 0.4]], [0], "must sum to 1, got a row that is 0.2 away"),
        ("classification", [[0.5, 0.5]], [2], "of 2 classes the targets must be whole numbers .* from 0 to 1, got"),
        ("classification", [[0.5, 0.5]], [0.5], "for values write `task: regression`"),
        ("classification", [[0.5, 0.5]], [0, 1], "1 predictions and 2 targets: they are of the same rows"),
        ("classification", [[0.5, 0.5]], [[1, 0]], "the targets must be whole numbers"),
        ("classification", [[np.nan, 0.5]], [0], "the predictions must be finite"),
        ("classification", [], [], "the predictions must be numbers"),
        ("classification", [["a", "b"]], [0], "the predictions must be numbers"),
        ("classification", [[0.5], [0.5, 0.5]], [0, 1], "the predictions are no array"),
        ("classification", np.ones((1, 1, 1)), [0], "the predictions must be numbers"),
        ("multilabel", [0.5], [1], "both must be .rows, labels."),
        ("multilabel", [[0.5, 0.5]], [[2, 0]], "the targets zeros and ones"),
        ("multilabel", [[0.5, 1.5]], [[1, 0]], "probabilities are 0 to 1"),
        ("regression", [[0.5, 1.5]], [1.0], r"predictions are \(1, 2\), and targets \(1, 1\)"),
    ],
)
def test_what_cannot_be_is_told(task: str, predictions: Any, targets: Any, message: str) -> None:
    with pytest.raises(TrainingError, match=message) as caught:
        checked_evidence(task, predictions, targets, "validation")
    assert "\n" not in str(caught.value)


def test_a_split_of_another_name_is_told() -> None:
    with pytest.raises(TrainingError, match="split must be 'validation' or 'test', got 'train'"):
        checked_evidence("regression", [1.0], [1.0], "train")
