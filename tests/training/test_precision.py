import ast
from pathlib import Path

import pytest
import torch

import hpo
from hpo.training.precision import deterministic, free_memory, prediction_batch, random_state, set_random_state

PACKAGE = Path(hpo.__file__).parent
KNOW_DEVICES = {
    "training/precision.py": "the place for it",
    "training/compilation.py": "steps from which compiling pays, by kind of device",
    "spec/section.py": "the word in the YAML",
    "spec/study_spec.py": "the word in the YAML",
    "ensemble/model.py": "where a loaded ensemble predicts, if nobody says",
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


def test_a_device_has_room(device: str) -> None:
    assert free_memory(torch.device(device)) > 0 and prediction_batch(torch.device(device)) >= 1
