"""Wishes of other processes, as files in a study's folder."""

import json
import logging
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hpo import spec
from hpo.errors import StudyError
from hpo.study.study import Study
from hpo.study.wishes import FOLDER, RetryTrial, StopSearch, StopTrial, TryConfig, Wish

SPACE = {
    "study": "wished",
    "parameters": {"x": {"min": 0, "max": 1}},
    "objective": {"metric": "loss", "goal": "minimize"},
    "sampler": "random",
    "scheduler": "none",
}
ALL: list[Wish] = [StopSearch("process 1 on here"), StopTrial(3), TryConfig({"x": 0.5}), RetryTrial(0)]


@pytest.fixture
def own() -> Study:
    return Study.create(Path("studies"), spec.load_search(SPACE))


@pytest.mark.parametrize("in_memory", [True, False])
def test_they_are_read_by_another_process_in_the_order_of_time(own: Study, in_memory: bool) -> None:
    study = Study.in_memory(own.spec) if in_memory else own
    for wish in ALL:
        study.wishes.leave(wish)
    other = study if in_memory else Study.open(Path("studies"), "wished")
    assert list(other.wishes.waiting().values()) == ALL
    for name in list(other.wishes.waiting())[:2]:
        other.wishes.remove(name)
        other.wishes.remove(name)  # it may be gone already
    assert list(study.wishes.waiting().values()) == ALL[2:]


def test_a_study_without_any_has_no_folder_of_them(own: Study) -> None:
    assert own.wishes.waiting() == {}
    assert not (own.folder / FOLDER).exists()


def left(study: Study, content: bytes, name: str = "00000000000000000001-a") -> Path:
    (study.folder / FOLDER).mkdir(exist_ok=True)
    file = study.folder / FOLDER / name
    file.write_bytes(content)
    return file


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "Expecting value"),
        (b"[]", "it is no mapping"),
        (b'{"wish": "try"}', "'config'"),
        (b'{"wish": "try", "config": {"x": 2}}', "x: must be in [0, 1], got 2"),
        (b'{"wish": "try", "config": {"x": "0.5"}}', "x: must be in [0, 1], got '0.5'"),
        (b'{"wish": "try", "config": {"os": "system"}}', "os: is not searched by this study"),
        (b'{"wish": "try", "config": 7}', "its config is no mapping"),
        (b'{"wish": "retry", "trial": true}', "it names no trial"),
        (b'{"wish": "retry", "trial": -1}', "it names no trial"),
        (b'{"wish": "stop trial", "trial": 99999999999}', "it names no trial"),
        (b'{"wish": "stop"}', "'searcher'"),
        (b'{"wish": "stop", "searcher": 7}', "it names no process"),
        (b'{"wish": "\\u001b[2J"}', "nothing is known of a wish"),
        (b"[" * 100_000, "bytes"),
        (b"[" * 60_000, ""),
        (b"\xff\xfe", ""),
    ],
)
def test_what_is_no_wish_is_told_once_and_left_alone(
    own: Study, content: bytes, message: str, caplog: pytest.LogCaptureFixture
) -> None:
    file = left(own, content)
    own.wishes.leave(TryConfig({"x": 0.25}))
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert list(own.wishes.waiting().values()) == [TryConfig({"x": 0.25})]
    (record,) = caplog.records
    assert f"'{file}' is no wish that can be fulfilled, and is left alone: " in record.getMessage()
    assert message in record.getMessage() and len(record.getMessage()) < 2000
    assert file.read_bytes() == content


DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(
    st.fixed_dictionaries({"wish": st.sampled_from(["stop", "try", "retry", "stop trial"]) | DOCUMENTS}),
    st.dictionaries(st.sampled_from(["config", "trial", "searcher", "x"]), DOCUMENTS),
)
def test_whatever_lies_there_breaks_nothing(own: Study, wish: dict[str, Any], more: dict[str, Any]) -> None:
    file = left(own, json.dumps({**wish, **more}).encode(), "00000000000000000002-b")
    study = Study.open(Path("studies"), "wished")
    found = study.wishes.waiting()
    assert all(isinstance(one, StopSearch | StopTrial | TryConfig | RetryTrial) for one in found.values())
    file.unlink()


def test_drafts_are_no_wishes(own: Study) -> None:
    left(own, b'{"wish": "retry", "trial": 0}', ".draft")
    assert own.wishes.waiting() == {}


def test_more_than_are_read_wait(own: Study) -> None:
    for number in range(1003):
        left(own, b'{"wish": "retry", "trial": %d}' % number, f"{number:020d}-a")
    found = own.wishes.waiting()
    assert len(found) == 1000
    own.wishes.remove(next(iter(found)))
    assert [wish for wish in own.wishes.waiting().values() if wish == RetryTrial(1000)]


def test_no_link_is_followed(own: Study, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "00000000000000000001-a").write_text('{"wish": "retry", "trial": 0}')
    (own.folder / FOLDER).symlink_to(elsewhere)
    assert own.wishes.waiting() == own.wishes.waiting() == {}
    (record,) = caplog.records
    assert record.getMessage().startswith("the wishes of study 'wished' are left alone: ")
    with pytest.raises(OSError, match="link"):
        own.wishes.leave(RetryTrial(0))
    with pytest.raises(StudyError, match=r"'.*wishes' is a link .*never reached through a link"):
        Study.open(Path("studies"), "wished")
    (own.folder / FOLDER).unlink()
    (own.folder / FOLDER).mkdir()
    (own.folder / FOLDER / "00000000000000000001-a").symlink_to(elsewhere / "00000000000000000001-a")
    os.mkfifo(own.folder / FOLDER / "00000000000000000002-b")
    assert own.wishes.waiting() == {}
    assert (elsewhere / "00000000000000000001-a").exists()
