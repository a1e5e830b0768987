"""Linear regression, and with the loss of a classification logistic regression (Cox 1958)."""

import math

from torch import nn


def linear(input_shape: tuple[int, ...], outputs: int) -> nn.Module:
    """One linear layer over a row of a table, or over the pixels of an image: no settings.

    With `task: regression` it is linear regression; with `classification` multinomial logistic regression, with
    `multilabel` a logistic regression for each label. `optimizer.weight_decay` is its L2 penalty.

    Args:
        input_shape: (channels, height, width) or (features,).
        outputs: the number of classes, labels or targets.
    """
    return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(input_shape), outputs))
