"""Every search space that is shipped is valid."""

from pathlib import Path
from typing import Any

import pytest

from hpo import api
from tests.conftest import ROOT

SPACES = sorted((ROOT / "search_spaces").glob("*.yaml"))
_ROWS = range(60)
DATA: dict[str, tuple[str, list[tuple[Any, ...]]]] = {
    "ft_transformer_table": ("size,colour,target", [(row % 7, "abc"[row % 3], "yn"[row % 2]) for row in _ROWS]),
    "ncf_ratings": (
        "userId,movieId,rating,timestamp",
        [(row % 8, 100 + row % 11, 1 + row % 5, 10**9 + row) for row in _ROWS],
    ),
}
"""The header and the rows of the table that a space with no data of its own is tried with."""


@pytest.mark.parametrize("space", SPACES, ids=lambda path: path.name)
@pytest.mark.filterwarnings("ignore:column:UserWarning")
def test_it_is_valid_and_has_a_default_config(space: Path, tmp_path: Path) -> None:
    from hpo.spec.space import Space

    given = {}
    if space.stem in DATA:
        header, rows = DATA[space.stem]
        lines = [header, *(",".join(map(str, row)) for row in rows)]
        (tmp_path / "t.csv").write_text("\n".join(lines) + "\n")
        given = {"data.path": str(tmp_path / "t.csv")}
    read = api.validate(space, given)
    default = Space.of(read).default(read)
    assert all(read.parameters[name].contains(value) for name, value in default.items())
    assert "optimizer.lr" in default and any(name.startswith("model.") for name in default)
