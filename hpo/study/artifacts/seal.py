"""Proof that a trial's state was stored by a search of the user's own, and not by whoever can write to the folder."""

import hmac
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Self

from hpo.spec import Config
from hpo.study.secret import proof

_HEAD = b"hpo state "
_DIGITS = 64
EMPTY = _HEAD + b"0" * _DIGITS + b"\n"
"""The beginning of a file whose proof is still to be written."""


@dataclass(frozen=True)
class Seal:
    """The key of a study's states, an HMAC (RFC 2104, SHA-256) by the user's secret; a search sends it to its workers.

    A search has one where more goes on from a state than the built-in training function with a built-in model, which
    takes only numbers from it: other libraries and models take paths, flags and whole models from theirs. What the
    built-in one has stored is not proven: it may go on from a state that nobody has proven.
    """

    key: bytes = field(repr=False)

    @classmethod
    def of(cls, study: str, depends: str = "") -> Self:
        """The seal of a study.

        Where there is no secret and none can be made, the key is drawn: states are of use for this search alone.

        Args:
            study: its id.
            depends: all else that its states depend on: settings, data, and the code that goes on from them.
        """
        try:
            said = proof(f"hpo states of study {study} {sha256(depends.encode()).hexdigest()}", make=True)
        except PermissionError:  # told where an invitation or a place is to be proven
            said = None
        return cls((said or secrets.token_hex()).encode())

    def prove(self, content: memoryview, of: str) -> None:
        """Writes the proof of a claim into the content of a file that begins with `EMPTY`, or has another's proof."""
        content[len(_HEAD) : len(_HEAD) + _DIGITS] = self._proof(content[len(EMPTY) :], of)

    def proves(self, content: memoryview, of: str) -> bool:
        """Whether the content of a file has the proof of this key and this claim."""
        said = bytes(content[len(_HEAD) : len(_HEAD) + _DIGITS])
        return has_head(content) and hmac.compare_digest(said, self._proof(content[len(EMPTY) :], of))

    def _proof(self, body: memoryview, of: str) -> bytes:
        made = hmac.new(self.key, sha256(of.encode()).digest(), "sha256")
        made.update(body)
        return made.hexdigest().encode()


def claim(number: int, config: Config) -> str:
    """What a state is of, as it is proven with it: the number of the trial, and its config."""
    return canonical([number, config])


def canonical(value: Any) -> str:
    """A text that only equal values have: nested mappings and lists of texts, numbers and switches."""
    return json.dumps(_plain(value))


def _plain(value: Any) -> object:
    if isinstance(value, Mapping):
        return {"of": sorted([repr(key), _plain(part)] for key, part in value.items())}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return repr(value)


def has_head(content: memoryview) -> bool:
    """Whether a file begins with a proof, of whatever key."""
    return bytes(content[: len(_HEAD)]) == _HEAD


def body(content: memoryview) -> memoryview:
    """A file's content without the proof that it may begin with."""
    return content[len(EMPTY) :] if has_head(content) else content
