import pytest

from hpo.errors import InputError
from hpo.registry import Registry

REGISTRY = Registry("gadget", {"path": "pathlib:Path", "missing": "pathlib:Paht"})


def test_names_and_paths_are_loaded() -> None:
    from pathlib import Path

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
