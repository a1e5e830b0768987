from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from hpo.kernels import convolution, library, normalization, own_kernels, pooling
from hpo.kernels.cpu import capabilities
from tests.kernels.conftest import needed
from tests.training.test_supervised import measured, reports

CPU = torch.device("cpu")


@needed
@pytest.mark.parametrize(("precision", "near"), [("float32", 0.02), ("bfloat16", 0.1)])
def test_a_model_trains_as_with_torchs_functions(
    precision: str, near: float, document: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    document["model"] = {"name": "convnet", "stages": 2, "width": 16}
    runs = []
    monkeypatch.setattr(normalization, "_VALUES", 0)
    for wanted in (False, True):
        document["training"] |= {"epochs": 4, "device": "cpu", "precision": precision, "kernels": wanted}
        runs.append([metrics["train_loss"] for metrics in measured(reports(document, {"model.width": 16}))])
    assert runs[0] == pytest.approx(runs[1], rel=near) and runs[0] != runs[1]


@needed
@pytest.mark.parametrize(("wide", "convolves"), [(True, False), (False, True)])
def test_where_torch_has_avx512_its_convolutions_are_as_fast(
    wide: bool, convolves: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True, "avx512_f": wide}, raising=False)
    layers = nn.Sequential(nn.Conv2d(16, 16, 3, padding=1), nn.BatchNorm2d(16)).to(memory_format=torch.channels_last)
    images = torch.randn(8, 16, 32, 32).contiguous(memory_format=torch.channels_last)
    for wanted, expected in (("auto", convolves), (True, True)):
        with own_kernels(layers, wanted, CPU):  # type: ignore[arg-type]
            features = layers[0](images)
            outputs = layers[1](features)
        made = [type(it.grad_fn).__name__ for it in (features, outputs)]
        assert made == ["AddBackward0" if expected else "ConvolutionBackward0", "_NormalizationBackward"]


def test_without_a_compiler_it_is_torchs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    if not capabilities().get("avx2", False):
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


@needed
def test_what_is_computed_again_for_the_gradients_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(normalization, "_VALUES", 0)
    monkeypatch.setattr(pooling, "_VALUES", 0)
    block = nn.Sequential(
        nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.AvgPool2d(2), nn.Conv2d(8, 8, 3, padding=1)
    )
    block = block.to(memory_format=torch.channels_last)
    images = torch.randn(4, 8, 8, 8).contiguous(memory_format=torch.channels_last).requires_grad_()
    gradients: list[torch.Tensor | None] = []
    for again in (False, True):
        images.grad = None
        with own_kernels(block, True, CPU):
            outputs = checkpoint(block, images, use_reentrant=False) if again else block(images)
        (outputs * images.detach()[..., :4, :4]).sum().backward()
        gradients.append(images.grad)
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-4, atol=1e-4)


def test_sizes_that_do_not_fit_are_left_to_torch() -> None:
    images = torch.zeros(1, 8, 8, 8).contiguous(memory_format=torch.channels_last)
    fitting = torch.zeros(8, 8, 3, 3), None, 1, 1
    assert convolution.suits(images, *fitting)
    assert not convolution.suits(images, torch.zeros(8, 9, 3, 3), None, 1, 1)
    assert not convolution.suits(images, torch.zeros(8, 8, 3, 3), torch.zeros(1), 1, 1)


@needed
def test_the_build_is_named() -> None:
    told = library.build()
    assert "-O3" in told and "-mavx2" in told and ("g++" in told or "gcc" in told.lower())


def test_no_build_has_a_reason(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True}, raising=False)
    monkeypatch.setenv("CXX", str(tmp_path / "no-compiler"))
    assert library.build() == "none: there is no C++ compiler"
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict, raising=False)
    assert library.build() == "none: the CPU has no AVX2"
