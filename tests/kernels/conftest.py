"""What the tests of compiled code need."""

import shutil

import pytest

from hpo.kernels.cpu import capabilities

needed = pytest.mark.skipif(
    shutil.which("g++") is None or not capabilities().get("avx2", False),
    reason="needs g++ and a CPU with AVX2",
)
