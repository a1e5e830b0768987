"""The device that trials train on. Here torch has a CPU alone, so which accelerator it sees is pretended."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import hpo
from hpo import spec
from hpo.errors import InputError, ResourceError, SpecError
from hpo.models import devices
from hpo.searching import checks
from hpo.searching import search as searching
from hpo.searching.options import SearchOptions
from hpo.spec import Resources
from hpo.training import train
from hpo.training.precision import choose_device, free_memory, random_state, set_random_state

KINDS = ["cuda", "mps", "xpu"]


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Lets torch see an accelerator of a kind, or none."""

    def see(kind: str | None) -> None:
        monkeypatch.setattr(torch.accelerator, "is_available", lambda: kind is not None)
        found = None if kind is None else torch.device(kind)
        monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda *_: found)

    return see


@pytest.mark.parametrize("kind", KINDS)
def test_auto_is_the_accelerator_that_torch_has(kind: str, seen: Any) -> None:
    seen(kind)
    assert choose_device("auto").type == choose_device(kind).type == kind  # type: ignore[arg-type]
    assert choose_device("cpu").type == "cpu"
    seen(None)
    assert choose_device("auto").type == "cpu"


@pytest.mark.parametrize("kind", KINDS)
def test_one_that_is_not_there_is_refused(kind: str, seen: Any) -> None:
    seen(None)
    with pytest.raises(ResourceError, match=f"training.device is {kind}, but torch sees no accelerator here; use auto"):
        choose_device(kind)  # type: ignore[arg-type]
    other = next(one for one in KINDS if one != kind)
    seen(other)
    with pytest.raises(ResourceError, match=f"training.device is {kind}, but torch sees {other} alone here"):
        choose_device(kind)  # type: ignore[arg-type]


def test_a_kind_for_which_nothing_is_prepared_is_none(seen: Any) -> None:
    seen("hpu")
    assert devices.accelerator() is None and choose_device("auto").type == "cpu"


def test_data_that_need_float64_are_not_trained_where_there_is_none(seen: Any) -> None:
    seen("mps")
    assert choose_device("auto", float64=True).type == "cpu"
    with pytest.raises(ResourceError, match="training.device is mps, which has no float64, and columns of these data"):
        choose_device("mps", float64=True)
    seen("cuda")
    assert choose_device("auto", float64=True).type == "cuda"


def test_what_is_measured_is_measured_in_float64() -> None:
    values = torch.zeros(3)
    assert devices.exact(values) is values
    assert [devices.has_float64(torch.device(kind)) for kind in KINDS] == [True, False, True]


def test_memory_of_its_own_is_asked_of_the_kind_of_device(monkeypatch: pytest.MonkeyPatch) -> None:
    module = SimpleNamespace(mem_get_info=lambda device: (7, 9))
    monkeypatch.setattr(torch, "get_device_module", lambda device: module)
    assert [free_memory(torch.device(kind)) for kind in ("cpu", "mps", "cuda", "xpu")] == [np.inf, np.inf, 7, 7]


@pytest.mark.parametrize("kind", KINDS)
def test_the_draws_of_a_device_go_on(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[Any] = []
    named = {
        "get_rng_state": lambda device: torch.arange(3, dtype=torch.uint8),
        "set_rng_state": lambda state, device: kept.append(state.tolist()),
    }
    apples = {
        "get_rng_state": lambda: torch.arange(3, dtype=torch.uint8),
        "set_rng_state": lambda state: kept.append(state.tolist()),
    }
    monkeypatch.setattr(torch, "get_device_module", lambda _: SimpleNamespace(**(apples if kind == "mps" else named)))
    state = random_state(torch.device(kind))
    set_random_state(state, torch.device(kind))
    assert kept == [[0, 1, 2]]
    for other in ("cpu", *(one for one in KINDS if one != kind)):  # of another kind: it draws on as it is
        set_random_state(state, torch.device(other))
    assert kept == [[0, 1, 2]]
    before = {name: value for name, value in state.items() if name != "device"}
    set_random_state(before, torch.device(kind))  # as an earlier release has stored it: of a GPU of NVIDIA
    assert len(kept) == (2 if kind == "cuda" else 1)


def test_memory_is_given_back_to_others(seen: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    monkeypatch.setattr(
        torch, "get_device_module", lambda device: SimpleNamespace(empty_cache=lambda: calls.append(device.type))
    )
    for kind in (None, *KINDS):
        seen(kind)
        devices.release_memory()
    assert calls == KINDS


# ---- resources -------------------------------------------------------------------------------------------------------


def read(document: dict[str, Any], device: str, **resources: Any) -> spec.StudySpec:
    own = {"resources": resources} if resources else {}
    return spec.load({**document, "training": {"device": device}, **own}, None, (checks.check_resources,))


def test_a_trial_on_apples_gpu_holds_none_of_rays(document: dict[str, Any]) -> None:
    assert read(document, "mps").resources.gpu == 0
    assert [read(document, kind).resources.gpu for kind in ("auto", "cuda", "xpu")] == ["auto"] * 3
    with pytest.raises(SpecError, match=r"gpu: must be 0 where training.device is mps, got 1: Ray counts none"):
        read(document, "mps", gpu=1)
    for kind in ("cuda", "xpu"):
        with pytest.raises(SpecError, match=f"resources.gpu: is 0, but training.device is {kind}"):
            read(document, kind, gpu=0)
        assert read(document, kind, gpu=0.5).resources.gpu == 0.5
    with pytest.raises(SpecError, match=r"training.device: must be 'auto', 'cpu', 'cuda', 'mps' or 'xpu', got 'tpu'"):
        read(document, "tpu")


@pytest.mark.parametrize(
    ("kind", "concurrency", "trials"),
    [("mps", None, 1), ("mps", 3, 3), ("cuda", None, None), ("xpu", 2, 2), (None, None, None)],
)
def test_trials_take_turns_on_a_device_that_ray_does_not_count(
    document: dict[str, Any], seen: Any, kind: str | None, concurrency: int | None, trials: int | None
) -> None:
    seen(kind)
    told: list[str] = []
    options = SearchOptions(document, concurrency=concurrency)
    dataset: Any = SimpleNamespace(train=SimpleNamespace(inputs=np.zeros(3, np.float32)))
    share = searching._share(
        searching._Work(train, read(document, "auto"), dataset), options, lambda line, style="": told.append(line)
    )
    assert (share.resources, share.trials) == (Resources(), trials)
    assert bool(told) == (kind == "mps" and concurrency is None)


def test_its_memory_is_not_measured(document: dict[str, Any], seen: Any) -> None:
    seen("mps")
    dataset: Any = SimpleNamespace(train=SimpleNamespace(inputs=np.zeros(3, np.float32)))
    options = SearchOptions(document, concurrency="auto")
    with pytest.raises(InputError, match="--concurrency auto: nobody can measure what a trial takes of Apple's GPU"):
        searching._share(searching._Work(train, read(document, "auto"), dataset), options, lambda line, style="": None)


def test_a_search_for_a_device_that_is_not_here_makes_nothing(document: dict[str, Any], ray_cluster: None) -> None:
    with pytest.raises(ResourceError, match="training.device is mps, but torch sees no accelerator here"):
        hpo.search({**document, "training": {"device": "mps", "epochs": 1}})
    assert not Path("studies").exists()
