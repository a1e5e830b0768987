"""Texts as codes of tokens."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpo.datasets.columns import CellError
from hpo.datasets.columns.tokens import Tokens
from hpo.spec import DataSettings

TEXTS = ["A good film, good!", "a bad film", "Don't see it", "don't", None]


def settings(**changes: object) -> DataSettings:
    return DataSettings.model_validate({"name": "table", **changes})


def test_words_and_signs_are_tokens_the_most_frequent_first() -> None:
    fitted = Tokens.fit("text", TEXTS, settings())
    assert fitted.vocabulary == ("a", "don't", "film")
    assert fitted.encode(["a FILM", "unseen don\u2019t don't", None, " "]).padded().tolist() == [
        [2, 4, 0],
        [1, 1, 3],
        [1, 0, 0],
        [1, 0, 0],
    ]
    assert fitted.decode([2, 4, 0, 0]) == "a film"
    assert fitted.told() == "text, 3 words (a don't film ...), 256 of each at most"


def test_letters_may_be_tokens() -> None:
    fitted = Tokens.fit("name", ["Anna", "Hanna", "Bob"], settings(tokens="letters", length=4))
    assert set(fitted.vocabulary) == {"a", "n"} and fitted.length == 4
    assert fitted.decode(fitted.encode(["nanan"]).padded()[0].tolist()) == "nana"


@given(texts=st.lists(st.text(max_size=20), min_size=2, max_size=10), length=st.integers(1, 8))
def test_what_was_learned_comes_back_and_tells_the_same(texts: list[str], length: int) -> None:
    try:
        fitted = Tokens.fit("c", texts, settings(length=length, vocabulary=5))
    except CellError:
        return
    again = Tokens.from_json("c", json.loads(json.dumps(fitted.to_json())))
    codes = again.encode(texts)
    assert again == fitted and len(fitted.vocabulary) <= 5
    np.testing.assert_array_equal(codes.padded(), fitted.encode(texts).padded())
    assert codes.lengths.min() >= 1 and codes.lengths.max() <= length
    assert set(codes.values.tolist()) <= set(range(1, len(fitted.vocabulary) + 2))


def test_texts_that_share_no_word_are_refused() -> None:
    with pytest.raises(CellError, match="column 'c' has no word that two rows share"):
        Tokens.fit("c", ["one", "two"], settings())


@pytest.mark.parametrize(
    "damage",
    [
        {"vocabulary": []},
        {"vocabulary": ["a", "a"]},
        {"vocabulary": [1]},
        {"length": 0},
        {"length": 2**21},
        {"letters": 1},
    ],
)
def test_a_damaged_vocabulary_is_refused(damage: dict[str, object]) -> None:
    document = {**Tokens("c", ("a", "b"), 9).to_json(), **damage}
    with pytest.raises((TypeError, ValueError)):
        Tokens.from_json("c", document)
