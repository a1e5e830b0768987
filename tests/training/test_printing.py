"""What training functions print is kept with their trial."""

import sys
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import hpo
from hpo import spec
from hpo.spec import Config
from hpo.study.artifacts import Folder, printed
from hpo.training import Context, TrialContext, train
from hpo.training.reports import reports_of


def given(place: Path, resume: Any = None, **training: Any) -> Context:
    document = {
        "study": "own",
        "train": "loop:train",
        "training": {"epochs": 3, **training},
        "objective": {"metric": "loss", "goal": "minimize"},
        "parameters": {"lr": {"min": 0.0, "max": 1.0}},
    }
    return Context(spec.load_search(document), None, 7, resume, place=Folder(place))


def talks(config: Config, context: TrialContext) -> Iterator[dict[str, float]]:
    print("begins at", context.start)
    for epoch in range(context.start, context.epochs + 1):
        print("epoch", epoch, "\x1b[1m\udcff")
        print("careful", file=sys.stderr)
        context.save({"epoch": epoch})
        yield {"loss": epoch}


def test_both_streams_are_kept_and_nothing_reaches_the_workers_own(tmp_path: Path, capsys: Any) -> None:
    list(reports_of(talks, {}, given(tmp_path)))
    kept = printed(Folder(tmp_path))
    assert kept["stdout.txt"].decode().splitlines() == ["begins at 1", *(f"epoch {n} \x1b[1m?" for n in (1, 2, 3))]
    assert kept["stderr.txt"] == b"careful\n" * 3
    assert capsys.readouterr() == ("", "")
    print("after")
    assert capsys.readouterr().out == "after\n"


def test_a_trial_that_goes_on_adds_to_what_was_kept(tmp_path: Path) -> None:
    reports = reports_of(talks, {}, given(tmp_path))
    state = next(reports).state
    assert state is not None
    kept = state()
    reports.close()  # type: ignore[attr-defined]
    list(reports_of(talks, {}, given(tmp_path, kept)))
    lines = printed(Folder(tmp_path))["stdout.txt"].decode().splitlines()
    assert [line.split()[:2] for line in lines] == [
        ["begins", "at"],
        ["epoch", "1"],
        ["begins", "at"],
        ["epoch", "2"],
        ["epoch", "3"],
    ]


def test_what_is_printed_before_an_error_and_while_it_ends_is_kept(tmp_path: Path) -> None:
    def breaks(config: Config) -> None:
        try:
            print("so far")
            hpo.report(loss=1)
            raise ZeroDivisionError
        finally:
            print("closed")

    with pytest.raises(ZeroDivisionError):
        list(reports_of(breaks, {}, given(tmp_path)))
    assert printed(Folder(tmp_path))["stdout.txt"] == b"so far\nclosed\n"


def test_warnings_and_all_copies_are_kept(tmp_path: Path) -> None:
    def warns(config: Config, context: TrialContext) -> float:
        warnings.warn("mind the gap", UserWarning, stacklevel=1)
        print("seed", context.seed)
        return 1.0

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = lambda message, *_: print(message, file=sys.stderr)
        list(reports_of(warns, {}, given(tmp_path, seeds=2)))
    kept = printed(Folder(tmp_path))
    assert kept["stderr.txt"] == b"mind the gap\n" * 2 and kept["stdout.txt"].startswith(b"seed 7\nseed ")


def test_who_prints_nothing_leaves_nothing(tmp_path: Path, document: dict[str, Any]) -> None:
    def quiet(config: Config) -> float:
        return 1.0

    list(reports_of(quiet, {}, given(tmp_path)))
    assert not printed(Folder(tmp_path))
    context = given(tmp_path)
    assert reports_of(train, {}, context).__name__ == "_reports", "the built-in loop is not listened to"  # type: ignore[attr-defined]
    assert reports_of(quiet, {}, replace(context, place=None)).__name__ == "_reports"  # type: ignore[attr-defined]
