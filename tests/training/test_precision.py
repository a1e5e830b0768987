import ast
import struct
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import hpo
from hpo.training.precision import (
    checked_generator,
    deterministic,
    free_memory,
    prediction_batch,
    random_state,
    set_random_state,
)

PACKAGE = Path(hpo.__file__).parent
KNOW_DEVICES = {
    "training/precision.py": "the place for it",
    "training/compilation.py": "steps from which compiling pays, by kind of device",
    "spec/section.py": "the word in the YAML",
    "models/devices.py": "which kinds there are, and which of them Ray counts",
    "searching/checks.py": "the words in the YAML, and what a trial holds",
    "models/placement.py": "whose random numbers a first pass must not use up",
    "models/weights.py": "copies to the host that are waited for",
    "training/rehearsal.py": "the precision that a trial will have",
}


def names_cuda(path: Path) -> bool:
    documentation = set()
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            documentation.add(node.value)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr == "cuda":
            return True
        if isinstance(node, ast.Constant) and node not in documentation and "cuda" in str(node.value):
            return True
    return False


def test_one_place_knows_kinds_of_devices() -> None:
    found = {str(path.relative_to(PACKAGE)) for path in PACKAGE.rglob("*.py") if names_cuda(path)}
    assert found <= KNOW_DEVICES.keys()


def test_deterministic_algorithms_are_for_a_while() -> None:
    assert not torch.are_deterministic_algorithms_enabled()
    with deterministic(True):
        assert torch.are_deterministic_algorithms_enabled()
    assert not torch.are_deterministic_algorithms_enabled()
    with pytest.raises(KeyError), deterministic(True):
        raise KeyError
    assert not torch.are_deterministic_algorithms_enabled()
    with deterministic(False):
        assert not torch.are_deterministic_algorithms_enabled()


def test_what_is_random_goes_on_from_a_state(device: str) -> None:
    place = torch.device(device)
    state = random_state(place)
    first = torch.rand(3), torch.rand(3, device=place)
    set_random_state(state, place)
    assert torch.equal(torch.rand(3), first[0]) and torch.equal(torch.rand(3, device=place), first[1])


@given(st.integers(1, 2000))
def test_every_state_of_torchs_generator_is_taken_up(draws: int) -> None:
    torch.manual_seed(1)
    torch.rand(draws)
    state = random_state(torch.device("cpu"))
    following = torch.rand(5)
    set_random_state(state, torch.device("cpu"))
    assert torch.equal(torch.rand(5), following)


def test_a_state_that_torch_would_read_past_is_refused() -> None:
    state = random_state(torch.device("cpu"))
    wrong = state["random"].clone()
    struct.pack_into("=i", memoryview(wrong.numpy()), 8, 624)
    struct.pack_into("=Q", memoryview(wrong.numpy()), 16, 624)
    for random, words in ((wrong, "has drawn 624 numbers"), (wrong[:-1], "is not one"), (wrong.int(), "is not one")):
        with pytest.raises(ValueError, match=words):
            set_random_state({"random": random}, torch.device("cpu"))
        with pytest.raises(ValueError, match=words):
            checked_generator(random)
    assert torch.equal(torch.get_rng_state(), state["random"])


def test_a_device_has_room(device: str) -> None:
    assert free_memory(torch.device(device)) > 0 and prediction_batch(torch.device(device)) >= 1
