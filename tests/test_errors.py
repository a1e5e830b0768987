"""What an error says, in the messages that tell of it."""

import pytest

from hpo.errors import first_line, last_line, on_one_line


@pytest.mark.parametrize(
    ("error", "first", "last", "whole"),
    [
        (ValueError("one\n two\nthree\n"), "one", "three", "one two three"),
        (AssertionError(), "AssertionError", "AssertionError", "AssertionError"),
        (RuntimeError(" \n"), "RuntimeError", "RuntimeError", "RuntimeError"),
        ("a text", "a text", "a text", "a text"),
    ],
)
def test_an_error_says_something_always(error: object, first: str, last: str, whole: str) -> None:
    assert (first_line(error), last_line(error), on_one_line(error)) == (first, last, whole)
