"""Unaligned output buffers, which glibc can reuse.

torch allocates aligned memory. For an aligned request glibc skips a free block of exactly the right size, since it
looks for one in which any alignment fits. A network has features of few sizes, so hardly a block was used twice, and a
process grew by 160 MB over what a ResNet-20 needs. NumPy allocates without an alignment, and all blocks are reused.
"""

import numpy as np
import torch
from torch import Tensor


def images(n: int, channels: int, height: int, width: int, *, kind: torch.dtype = torch.float32) -> Tensor:
    """Makes an uninitialized tensor `(n, channels, height, width)`, channels_last."""
    memory = torch.from_numpy(np.empty(n * channels * height * width * kind.itemsize, np.uint8)).untyped_storage()
    strides = (channels * height * width, 1, channels * width, channels)
    found = torch.empty(0, dtype=kind, device="cpu")
    return found.set_(memory, 0, (n, channels, height, width), strides)  # no view: layers may write to it


def like(values: Tensor) -> Tensor:
    """Makes an uninitialized tensor of the shape and type of images `(n, c, h, w)` or rows `(n, c)`."""
    return images(*values.shape, kind=values.dtype) if values.ndim == 4 else torch.empty_like(values)
