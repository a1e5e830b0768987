import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from hpo.training.compilation import forward_pass
from tests.training.test_supervised import reports


@pytest.fixture(autouse=True)
def nothing_compiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "inductor"))


def test_auto_compiles_where_it_pays() -> None:
    model, cpu = nn.Linear(2, 2), torch.device("cpu")
    assert forward_pass(model, "auto", cpu, 10**9) is model
    assert forward_pass(model, False, cpu, 10**9) is model
    assert forward_pass(model, "auto", torch.device("cuda"), 100) is model


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")
def test_a_compiled_model_learns_the_same(document: dict[str, Any]) -> None:
    document["training"]["precision"] = "float32"  # bfloat16 is rounded elsewhere in compiled code
    plain = reports(document)
    torch._dynamo.reset()
    document["training"]["compile"] = True
    for seen, expected in zip(reports(document), plain, strict=True):
        assert seen.metrics["train_loss"] == pytest.approx(expected.metrics["train_loss"], rel=1e-3)
        assert seen.snapshot().weights.keys() == expected.snapshot().weights.keys()


def test_without_a_compiler_it_trains_uncompiled(document: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    import torch._inductor.config as inductor

    torch._dynamo.reset()
    monkeypatch.setattr(inductor.cpp, "cxx", ("no-such-compiler",))
    document["training"] |= {"compile": True, "epochs": 1, "device": "cpu"}
    with pytest.warns(UserWarning, match="trained without, since torch.compile failed"):
        (report,) = reports(document)
    assert report.metrics["train_loss"] > 0
