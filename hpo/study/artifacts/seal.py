"""Proof that a trial's state was stored by a search of the user's own, and not by whoever can write to the folder."""

import hmac
import json
import secrets
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Self

from hpo.spec import Config, SearchSpec
from hpo.study.secret import proof

_HEAD = b"hpo state "
_DIGITS = 64
EMPTY = _HEAD + b"0" * _DIGITS + b"\n"
"""The beginning of a file whose proof is still to be written."""


@dataclass(frozen=True)
class Seal:
    """The key of a study's states, an HMAC (RFC 2104, SHA-256) by the user's secret; a search sends it to its workers.

    A state is proven together with its `claim`: the trial, the config and the code that it is of.

    `needed` says that more goes on from a state than the built-in training function with a built-in model, which takes
    only numbers from it: other libraries and models take paths, flags and whole models from theirs.
    """

    key: bytes = field(repr=False)
    needed: bool

    @classmethod
    def of(cls, study: str, needed: bool, settings: str = "") -> Self:
        """The seal of a study.

        Where there is no secret and none can be made, the key is drawn: states are of use for this search alone.

        Args:
            study: its id.
            needed: whether a state without a proof is left.
            settings: what else its states depend on, and what never differs while it goes on.
        """
        try:
            said = proof(f"hpo states of study {study} {sha256(settings.encode()).hexdigest()}", make=True)
        except PermissionError:  # told where an invitation or a place is to be proven
            said = None
        return cls((said or secrets.token_hex()).encode(), needed)

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


def claim(spec: SearchSpec, number: int, config: Config) -> str:
    """What a state is of, as it is proven with it: the trial, its config, and the names of its code.

    Args:
        spec: of the study.
        number: of the trial.
        config: of the trial.
    """
    command = None if spec.command is None else spec.command.key
    code = [spec.train, command, spec.setting("model.name")]
    return json.dumps([number, sorted(config.items()), code], default=repr)


def has_head(content: memoryview) -> bool:
    """Whether a file begins with a proof, of whatever key."""
    return bytes(content[: len(_HEAD)]) == _HEAD


def body(content: memoryview) -> memoryview:
    """A file's content without the proof that it may begin with."""
    return content[len(EMPTY) :] if has_head(content) else content
