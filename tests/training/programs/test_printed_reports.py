"""Reports among what is printed, however it comes in pieces."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from hpo.training.programs.printed_reports import PrintedReports, Told
from tests.training.programs.conftest import searched

NUMBERS = st.floats(allow_nan=False) | st.integers(-(2**53), 2**53)


def found(content: bytes, cuts: list[int], **command: Any) -> list[Told]:
    parser = PrintedReports(searched(["true"], **command))
    told: list[Told] = []
    last = 0
    for cut in sorted(min(cut, len(content)) for cut in cuts):
        told += parser.feed(content[last:cut])
        last = cut
    told += parser.feed(content[last:])
    return told + list(parser.end())


@given(
    st.lists(st.tuples(st.integers(1, 99), NUMBERS)),
    st.lists(st.integers(0, 500)),
    st.sampled_from(["\n", "\r", "\r\n"]),
)
def test_pieces_make_no_difference(reports: list[tuple[int, float]], cuts: list[int], end: str) -> None:
    content = "".join(json.dumps({"epoch": epoch, "loss": loss}) + end for epoch, loss in reports).encode()
    assert found(content, cuts) == [Told({"loss": loss}, epoch) for epoch, loss in reports]


@given(st.binary(), st.lists(st.integers(0, 100)))
def test_whatever_is_printed_is_no_error(content: bytes, cuts: list[int]) -> None:
    found(content, cuts)


@given(st.text(), st.lists(st.integers(0, 100)))
def test_nor_for_a_pattern(text: str, cuts: list[int]) -> None:
    found(text.encode(errors="replace"), cuts, metrics=r"loss[= ](?P<loss>\d+)")


def test_a_line_that_is_far_too_long_is_none() -> None:
    long = json.dumps({"loss": 1, "more": "x" * 2**21}).encode()
    assert found(long + b"\n" + b'{"loss": 2}\n', [2**20 + 5]) == [Told({"loss": 2})]
    assert found(long + b"\n" + b'{"loss": 2}\n', []) == [Told({"loss": 2})]


def test_numbers_beside_the_metric_are_metrics_and_texts_are_not() -> None:
    line = b'{"loss": 1, "acc": 0.5, "when": "now", "ok": true, "list": [1], "none": null}\n'
    assert found(line, []) == [Told({"loss": 1, "acc": 0.5})]
