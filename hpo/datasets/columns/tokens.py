"""Texts, as the codes of their words."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np

from hpo.datasets.columns import CellError, Cells, text
from hpo.datasets.ragged import Ragged
from hpo.spec import DataSettings
from hpo.tasks.features import Feature
from hpo.tasks.features import Tokens as TokenFeature

_WORD = re.compile(r"\w+(?:['\u2019]\w+)*|[^\w\s]")
"""A word, which may have an apostrophe in it, or a single sign."""
_RARE = 2
"""A token that fewer training rows have is not in the vocabulary: nothing can be learned of it."""
_MOST_LETTERS = 64
"""Letters of a token that are kept."""
_LENGTH = 256
"""The most tokens of a text that are kept, where nobody says."""
_MOST = 2**20
"""Limits of a stored vocabulary and of a length."""


@dataclass(frozen=True)
class Tokens:
    """A column of texts: a model is given the codes of their tokens, in order."""

    kind: ClassVar[str] = "tokens"
    whole: ClassVar[bool] = True
    name: str
    vocabulary: tuple[str, ...]
    """The tokens, the most frequent first, of which the codes are 2, 3, ...; 1 is any other one."""
    length: int
    """The most tokens of a text that are kept."""
    letters: bool = False
    """Whether each letter is a token, else each word and each sign is, in lower case."""

    @property
    def features(self) -> tuple[Feature, ...]:
        """The text as a whole."""
        return (TokenFeature(self.name, vocabulary=len(self.vocabulary) + 2),)

    def encode(self, cells: Cells) -> Ragged:
        """The codes of texts; one that has no token, or is missing, is one unknown token."""
        unknown, codes = TokenFeature.UNKNOWN, self._codes
        rows = [
            np.fromiter((codes.get(token, unknown) for token in self._tokens(cell) or ("",)), np.int32)
            for cell in cells
        ]
        return Ragged.of(rows, self.length, TokenFeature.PADDING, np.int32)

    def decode(self, numbers: Sequence[float]) -> str:
        """A text of these codes; tokens that are not known are left out."""
        known = [self.vocabulary[int(code) - 2] for code in numbers if 2 <= code < len(self.vocabulary) + 2]
        return ("" if self.letters else " ").join(known)

    def told(self) -> str:
        """What it is, with the most frequent tokens."""
        shown = " ".join(self.vocabulary[:5])
        what = "letters" if self.letters else "words"
        return f"text, {len(self.vocabulary):,} {what} ({shown:.60} ...), {self.length:,} of each at most"

    def to_json(self) -> dict[str, Any]:
        """The vocabulary, and how texts are cut."""
        return {"vocabulary": list(self.vocabulary), "length": self.length, "letters": self.letters}

    @classmethod
    def fit(cls, name: str, cells: Cells, settings: DataSettings) -> Self:
        """Takes the most frequent tokens of the training rows.

        Raises:
            CellError: no token is in two rows.
        """
        letters = settings.tokens == "letters"
        found = cls(name, (), min(int(settings.length or _LENGTH), _MOST), letters)
        counted: Counter[str] = Counter()
        for cell in cells:
            counted.update(set(found._tokens(cell)))
        frequent = sorted((token for token in counted if counted[token] >= _RARE), key=lambda t: (-counted[t], t))
        if not frequent:
            raise CellError(0, f"column {name!r} has no word that two rows share, of which a model could learn")
        return cls(name, tuple(frequent[: settings.vocabulary]), found.length, letters)

    @classmethod
    def from_json(cls, name: str, document: Mapping[str, Any]) -> Self:
        """Back from JSON.

        Raises:
            ValueError, TypeError, KeyError: it is damaged.
        """
        vocabulary, length, letters = tuple(document["vocabulary"]), document["length"], document["letters"]
        if not all(isinstance(token, str) for token in vocabulary) or type(length) is not int:
            raise TypeError("tokens are texts, and the length is a number")
        if not isinstance(letters, bool):
            raise TypeError("letters must be true or false")
        if not 0 < len(set(vocabulary)) == len(vocabulary) <= _MOST or not 0 < length <= _MOST:
            raise ValueError("there must be tokens, all different, and a length")
        return cls(name, vocabulary, length, letters)

    def _tokens(self, cell: Any) -> list[str]:
        """The tokens of a text that may be kept."""
        if cell is None:
            return []
        if self.letters:
            return list(text(cell)[: self.length])
        found = (match[0].lower()[:_MOST_LETTERS] for match in _WORD.finditer(text(cell)))
        return [token for token, _ in zip(found, range(self.length), strict=False)]

    @cached_property
    def _codes(self) -> Mapping[str, int]:
        return {token: code for code, token in enumerate(self.vocabulary, start=2)}
