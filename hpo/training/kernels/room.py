"""Room for what the kernels compute, which the next step takes again.

torch asks for aligned memory. glibc's search for that passes over a free piece of just the size: it wants one in which
any alignment fits. So of the features of a network, which are of few sizes, hardly a piece is used twice, and a process
grew by 160 MB over what a ResNet-20 needs. Asked for without an alignment, as NumPy does, all are.
"""

import numpy as np
import torch
from torch import Tensor


def images(n: int, channels: int, height: int, width: int, *, kind: torch.dtype = torch.float32) -> Tensor:
    """`(n, channels, height, width)` of a type, channels_last, of any values."""
    memory = torch.from_numpy(np.empty(n * channels * height * width * kind.itemsize, np.uint8)).untyped_storage()
    strides = (channels * height * width, 1, channels * width, channels)
    found = torch.empty(0, dtype=kind, device="cpu")
    return found.set_(memory, 0, (n, channels, height, width), strides)  # no view: layers may write to it


def like(values: Tensor) -> Tensor:
    """Of the shape and type of these images, or rows `(n, channels)`."""
    return images(*values.shape, kind=values.dtype) if values.ndim == 4 else torch.empty_like(values)
