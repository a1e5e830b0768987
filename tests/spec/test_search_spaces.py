"""Every search space that is shipped is valid."""

from pathlib import Path

import pytest

from hpo import api
from tests.conftest import ROOT

SPACES = sorted((ROOT / "search_spaces").glob("*.yaml"))


@pytest.mark.parametrize("space", SPACES, ids=lambda path: path.name)
def test_it_is_valid_and_has_a_default_config(space: Path) -> None:
    from hpo.spec.space import Space

    read = api.validate(space)
    default = Space.of(read).default(read)
    assert all(read.parameters[name].contains(value) for name, value in default.items())
    assert "optimizer.lr" in default
