"""What the tests of compiled code need."""

import shutil

import pytest
import torch

needed = pytest.mark.skipif(
    shutil.which("g++") is None or not torch.cpu.get_capabilities().get("avx2", False),
    reason="needs g++ and a CPU with AVX2",
)
