from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from hpo.training.kernels import library, own_kernels
from tests.training.kernels.conftest import needed
from tests.training.test_supervised import measured, reports

CPU = torch.device("cpu")


@needed
def test_a_model_trains_as_with_torchs_functions(document: dict[str, Any]) -> None:
    document["model"] = {"name": "convnet", "stages": 2, "width": 16}
    runs = []
    for wanted in (False, True):
        document["training"] |= {"epochs": 4, "device": "cpu", "precision": "float32", "kernels": wanted}
        runs.append([metrics["train_loss"] for metrics in measured(reports(document, {"model.width": 16}))])
    assert runs[0] == pytest.approx(runs[1], rel=0.02) and runs[0] != runs[1]


def test_without_a_compiler_it_is_torchs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    if not torch.cpu.get_capabilities().get("avx2", False):
        pytest.skip("needs a CPU with AVX2")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (tmp_path / "broken").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "broken").chmod(0o755)
    layer = nn.Conv2d(16, 16, 3, padding=1)
    for compiler in ("no-such-compiler", str(tmp_path / "broken")):
        monkeypatch.setenv("CXX", compiler)
        library._library.cache_clear()
        try:
            assert isinstance(own_kernels(layer, "auto", CPU), nullcontext)
            with pytest.warns(UserWarning, match="training.kernels: torch's own are used"):
                own_kernels(layer, True, CPU)
        finally:
            library._library.cache_clear()


def test_what_has_nothing_to_gain_needs_no_compiler() -> None:
    assert isinstance(own_kernels(nn.Linear(2, 2), True, CPU), nullcontext)
    assert isinstance(own_kernels(nn.Conv2d(16, 16, 3), False, CPU), nullcontext)
