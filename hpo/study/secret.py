"""What only the owner may read: the secret by which invitations and places are proven, and Ray's token."""

import hmac
import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path

from hpo.files import read_regular
from hpo.study.storage.lock import publish

VARIABLE = "HPO_SECRET"
"""The environment variable with the secret itself, where no home stays, as in a container."""
_BYTES = 32
_TOKENS = ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")
"""Environment variables by which a user may have given Ray a token."""


def secret_file() -> Path:
    """The file of the user's secret; copied to another machine, it lets that join searches of this one."""
    home = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(home) / "hpo" / "secret"


def proof(text: str, make: bool = False) -> str | None:
    """What only someone who can read the user's secret can say of a text; None where there is no secret.

    The secret is `HPO_SECRET` where that is set, else the file's.

    Args:
        text: that is proven.
        make: the secret is made where there is none.

    Raises:
        PermissionError: others can read the secret, it is another user's, or too short.
    """
    if given := os.environ.get(VARIABLE):
        return _said(given.encode(), text, VARIABLE)
    try:
        file = secret_file()
        if make:
            _make(file)
        key = read_regular(file, 4096, follow=True)
    except PermissionError:
        raise
    except (OSError, RuntimeError, ValueError):  # no home, or nothing can be written there
        return None
    _check_private(file)
    return _said(key, text, f"'{file}'")


def is_proof(text: str, said: object) -> bool:
    """Whether what is said of a text was said by someone who can read the user's secret.

    Raises:
        PermissionError: others can read the secret, or it is another user's.
    """
    known = proof(text)
    return known is not None and isinstance(said, str) and hmac.compare_digest(known.encode(), said.encode())


def keep_ray_token() -> None:
    """Makes Ray's token where Ray would, for its owner alone; one that is there becomes so. Others may read Ray's.

    Raises:
        OSError: it cannot be made.
    """
    if any(os.environ.get(name) for name in _TOKENS) or os.environ.get("RAY_AUTH_MODE", "token") != "token":
        return
    file = Path.home() / ".ray" / "auth_token"
    _make(file)
    if file.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        with suppress(PermissionError):  # another user's, who has lent it
            file.chmod(0o600)


def _said(key: bytes, text: str, where: str) -> str:
    if len(key.strip()) < _BYTES:
        raise PermissionError(
            f"{where} is too short to be a secret, which has {_BYTES} letters at least: remove it, and the next search"
            " makes another"
        )
    return hmac.new(key.strip(), text.encode(), "sha256").hexdigest()


def _make(file: Path) -> None:
    """A file with a random key, unless it is there; it is there whole, and never over another process's."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if file.exists():
        return
    draft = file.with_name(f".{file.name}.{secrets.token_hex(8)}")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as made:
            made.write(secrets.token_hex(_BYTES))
        publish(draft, file)
    finally:
        draft.unlink(missing_ok=True)


def _check_private(file: Path) -> None:
    kept = file.stat()
    if kept.st_uid != os.getuid() or kept.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise PermissionError(f"'{file}' can be read by others, or is another user's: chmod 600 it, or remove it")
