"""Names as MLflow takes them: it refuses a whole batch for one metric such as `hit@10`."""

import posixpath
import re
from collections import Counter
from collections.abc import Iterable
from hashlib import blake2b

_LONGEST = 250
_OTHER = re.compile(r"[^\w./: -]")


def keys(names: Iterable[str]) -> dict[str, str]:
    """The key in MLflow of each metric or parameter of a trial.

    Letters, digits and `_ - . : /` and spaces stay; every other character becomes `_`, so `hit@10` is `hit_10`. So does
    each slash of what is no relative path, such as `a//b`. A name that would be another one's key, or is longer than
    250 characters, ends in a hash of itself.
    """
    made = {name: _key(name) for name in names}
    taken = Counter(made.values())
    return {
        name: _hashed(key, name) if len(key) > _LONGEST or (taken[key] > 1 and key != name) else key
        for name, key in made.items()
    }


def _key(name: str) -> str:
    key = _OTHER.sub("_", name)
    if posixpath.normpath(key) != key or key.startswith(("/", "..")):
        key = key.replace("/", "_")
    return f"_{key}" if key in ("", ".") or key.startswith("..") else key


def _hashed(key: str, name: str) -> str:
    digest = blake2b(name.encode("utf-8", "surrogatepass"), digest_size=4).hexdigest()
    return f"{key[: _LONGEST - len(digest) - 1]}-{digest}"
