from pathlib import Path

import pytest

from hpo import registry
from hpo.errors import InputError
from hpo.registry import Registry, did_you_mean, import_paths, note_stored, trust

REGISTRY = Registry("gadget", {"path": "pathlib:Path", "missing": "pathlib:Paht"})


@pytest.fixture(autouse=True)
def named(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the user has named so far."""
    monkeypatch.setattr(registry, "_trusted", {"pathlib:Path", "pathlib:Paht", "no_such_module:x"})


def test_names_and_paths_are_loaded() -> None:
    assert REGISTRY.load("path") is Path
    assert REGISTRY.load("pathlib:Path") is Path


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("paht", "unknown gadget 'paht'. Did you mean 'path'"),
        ("no_such_module:x", "module 'no_such_module' cannot be imported"),
        ("pathlib:Paht", "module 'pathlib' has no 'Paht'. Did you mean 'Path'"),
    ],
)
def test_what_cannot_be_loaded_is_named(name: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        REGISTRY.load(name)
    assert message in str(caught.value)


def test_what_nobody_has_named_is_not_imported() -> None:
    note_stored(["os:mkdir"], Path("studies/x/spec.yaml"))
    with pytest.raises(InputError, match="gadget 'os:mkdir' is code that 'studies/x/spec.yaml' names, .* add --trust "):
        REGISTRY.load("os:mkdir")
    trust(["os:mkdir"])
    assert REGISTRY.load("os:mkdir").__name__ == "mkdir"


def test_import_paths_are_found_wherever_they_are_written() -> None:
    document = {"model": {"name": "own:net"}, "data": "a.b:c", "others": ["x", 3, {"k": ["d-e:f"]}]}
    assert import_paths(document) == {"own:net", "a.b:c", "d-e:f"}


@pytest.mark.parametrize(
    ("word", "known", "hint"),
    [
        ("include", ["failures", "data", "budget"], " Known: budget, data, failures."),
        ("nope", ["auto", "soup", "voting"], " Known: auto, soup, voting."),
        ("magic", ["bagging", "single"], " Known: bagging, single."),
        ("sdg", ["adam", "sgd"], " Did you mean 'sgd'?"),
        ("rl", ["lr", "name"], " Did you mean 'lr'?"),
        ("ACCURACY", ["accuracy", "nll"], " Did you mean 'accuracy'?"),
        ("acc", ["accuracy", "nll"], " Did you mean 'accuracy'?"),
        ("", ["a"], " Known: a."),
        ("x", [], ""),
    ],
)
def test_only_what_is_near_is_suggested(word: str, known: list[str], hint: str) -> None:
    assert did_you_mean(word, known) == hint
