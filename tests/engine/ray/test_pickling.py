"""An objective that cannot be sent to workers is refused by name, before anything is made."""

import pickle
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

import hpo
from hpo.engine.ray.pickling import Sent
from hpo.errors import InputError, TrainingError
from hpo.spec import Config
from hpo.training import Context, Report

LOCK = threading.Lock()


def module_wide(config: Config, context: Context) -> Iterator[Report]:
    """Is sent by its name, whatever its module holds."""
    with LOCK:
        yield from ()


def over_a_lock() -> Callable[..., Any]:
    guard = threading.Lock()
    return lambda config, context: guard


def over_rows() -> Callable[..., Any]:
    class Objective:
        def __init__(self) -> None:
            self.rows = (row for row in range(9))

        def __call__(self, config: Config, context: Context) -> Iterator[Report]:
            yield from ()

    return Objective()


class Refusing:
    """Has a method of its own for it."""

    def __reduce__(self) -> Any:
        raise RuntimeError("not\nme")

    def __call__(self, config: Config) -> float:
        return 0.0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (over_a_lock, "'over_a_lock.<locals>.<lambda>' cannot be sent to workers: 'guard' cannot be pickled (cannot"),
        (over_rows, "'over_rows.<locals>.Objective' cannot be sent to workers: 'rows' cannot be pickled (cannot"),
        (Refusing, "'Refusing' cannot be sent to workers: it cannot be pickled (not me); make that inside"),
    ],
)
def test_what_cannot_be_pickled_is_named_and_nothing_is_made(
    document: dict[str, Any], tmp_path: Path, make: Callable[[], Any], message: str
) -> None:
    with pytest.raises(InputError) as caught:
        hpo.search(document, train=make(), storage=tmp_path / "studies")
    assert message in str(caught.value) and "\n" not in str(caught.value) and len(str(caught.value)) < 500
    assert not (tmp_path / "studies").exists()


def test_what_can_be_sent_may_be_anything(document: dict[str, Any]) -> None:
    given: Any = None
    for objective in (module_wide, lambda config, context: iter(())):
        assert list(pickle.loads(pickle.dumps(Sent(objective))).loaded()({}, given)) == []


@pytest.mark.parametrize(
    ("later", "message"),
    [
        ("import sys; sys.exit('no GPU')", "SystemExit: no GPU"),
        ("import argparse; argparse.ArgumentParser().parse_args(['--node-ip'])", "SystemExit: 2"),
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("", "AttributeError: Can't get attribute 'objective' on"),
    ],
)
def test_a_module_that_a_worker_cannot_import_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, later: str, message: str
) -> None:
    file = tmp_path / "trained_by.py"
    file.write_text("def objective(config, context):\n    yield from ()\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    sent = pickle.dumps(Sent(import_module("trained_by").objective))
    monkeypatch.delitem(sys.modules, "trained_by")
    shutil.rmtree(tmp_path / "__pycache__", ignore_errors=True)
    file.write_text(later)
    with pytest.raises(TrainingError) as caught:  # as in a worker, where it is another machine or command line
        pickle.loads(sent).loaded()
    assert "the training function 'objective' cannot be loaded in a worker, which imports its modules" in str(
        caught.value
    )
    assert message in str(caught.value)
