"""A search from a notebook: an event loop runs there, and progress is shown without asking for it."""

import asyncio
import builtins
import io
import warnings
from typing import Any

import pytest
from rich.console import Console

import hpo
from hpo.searching.options import SearchOptions
from hpo.searching.results import SearchResult


@pytest.fixture
def notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    """This process looks like the kernel of a notebook, whose shell rich knows by the name of its class."""

    class ZMQInteractiveShell:
        pass

    monkeypatch.setattr(builtins, "get_ipython", ZMQInteractiveShell, raising=False)


@pytest.mark.usefixtures("ray_cluster")
def test_a_search_within_an_event_loop(document: dict[str, Any]) -> None:
    """Cells of a notebook run within a loop; Ray and Tune are called from it as from anywhere."""

    async def cell() -> tuple[SearchResult, int]:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                ticks += 1
                await asyncio.sleep(0.01)

        other = asyncio.create_task(tick())
        await asyncio.sleep(0)
        within = hpo.search(document, trials=2, study="within")
        before = ticks
        await asyncio.to_thread(hpo.search, document, trials=2, study="beside")
        other.cancel()
        return within, ticks - before

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result, ticks = asyncio.run(cell())
    assert len(result.trials) == 2 and len(hpo.open_study("beside").trials) == 2
    assert result.best_value == result.study.best_value
    assert ticks > 10, "what else runs in the loop goes on beside a search in a thread"


@pytest.mark.usefixtures("notebook", "ray_cluster")
def test_a_notebook_shows_progress_by_default(document: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    hpo.search(document, trials=2)
    shown = capsys.readouterr().out
    assert shown.count(" ended (") >= 2 and ", best " in shown and "\x1b" not in shown
    quiet = Console(quiet=True, file=io.StringIO())
    hpo.search(document, trials=3, console=quiet)
    assert " ended (" not in capsys.readouterr().out


def test_elsewhere_it_is_silent(document: dict[str, Any], notebook: None, monkeypatch: pytest.MonkeyPatch) -> None:
    options = SearchOptions(document)
    assert not options.told.quiet and not options.told.is_terminal
    monkeypatch.delattr(builtins, "get_ipython")
    assert options.told.quiet
