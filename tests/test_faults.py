"""Drivers of real searches that are killed at random moments; `scripts/faults --rounds 100` does it for longer."""

import sys
from importlib import import_module
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[1] / "scripts" / "faults"


@pytest.mark.xdist_group("faults")
def test_killed_searches_go_on_to_whole_studies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    try:
        tally = import_module("rounds").run(tmp_path, rounds=10, trials=8, seed=1)
    finally:
        sys.modules.pop("rounds", None)
    assert tally.kills == 10
    assert tally.epochs <= tally.trained
