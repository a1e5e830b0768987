"""What adapters need that `hpo` does not install by itself."""

from collections.abc import Iterator
from contextlib import contextmanager

from hpo.errors import InputError


@contextmanager
def extra(name: str) -> Iterator[None]:
    """Imports of an adapter's library stand within this.

    Args:
        name: of the extra that installs the library, and of the adapter.

    Raises:
        InputError: a module is missing; the message has the command that installs it.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise InputError(
            f"hpo.adapters.{name} needs '{error.name}', which is not installed: pip install 'hpo[{name}]'"
        ) from error
