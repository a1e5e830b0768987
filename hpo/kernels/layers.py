"""Batch normalization and what follows it, as one layer."""

from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import handle_torch_function, has_torch_function_unary


class BatchNormReLU(nn.BatchNorm2d):
    """Batch normalization and ReLU, between which a shortcut is added or the maxima of 2x2 pixels are taken.

    Each step alone is a pass through all features, forward and backward; a kernel does them in one. A convolution that
    follows, and alone sees the result, can be given too: then the result need not be kept for the backward pass.
    Parameters and buffers are those of `torch.nn.BatchNorm2d`.

    Args:
        features: channels.
        pool: whether maxima are taken. ReLU of maxima is the maximum of ReLU, and has less to do.
    """

    def __init__(self, features: int, *, pool: bool = False) -> None:
        super().__init__(features)
        self.pool = pool

    def forward(self, images: Tensor, shortcut: Tensor | None = None, then: nn.Conv2d | None = None) -> Tensor:
        """Features `(n, c, h, w)`, and a shortcut of that shape -> `(n, c, h, w)`; maxima halve height and width.

        With `then` it is what that convolution gives.
        """
        if has_torch_function_unary(images):
            outputs: Tensor = handle_torch_function(BatchNormReLU.forward, (images,), self, images, shortcut, then)
            return outputs
        return self.steps(images, shortcut, then)

    def steps(self, images: Tensor, shortcut: Tensor | None = None, then: nn.Conv2d | None = None) -> Tensor:
        """Computes `forward` by torch, one step after another."""
        normalized = super().forward(images)
        if shortcut is not None:
            normalized = normalized.add_(shortcut)
        if self.pool:
            normalized = functional.max_pool2d(normalized, 2)
        rectified = functional.relu(normalized, inplace=True)
        return rectified if then is None else then(rectified)
