"""The record of a study in a PostgreSQL database."""

import contextlib
import os
import threading
import time
import weakref
from collections.abc import Callable, Container, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import unquote

from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from optuna.storages._cached_storage import _CachedStorage
from optuna.trial import FrozenTrial, TrialState

from hpo.errors import HpoError, InputError, StudyError
from hpo.study.storage import quiet
from hpo.study.storage.lock import held_by, this_process

if TYPE_CHECKING:
    import sqlalchemy

VARIABLE = "HPO_DATABASE"
"""The environment variable with the URL of a database, for its password."""
_FORM = "postgresql://USER@HOST:PORT/NAME"
_SECRETS = ("password", "sslpassword")
_OPTIONS = frozenset(
    {
        "application_name",
        "channel_binding",
        "client_encoding",
        "connect_timeout",
        "gssencmode",
        "host",
        "hostaddr",
        "keepalives",
        "keepalives_count",
        "keepalives_idle",
        "keepalives_interval",
        "krbsrvname",
        "load_balance_hosts",
        "options",
        "port",
        "require_auth",
        "requirepeer",
        "ssl_max_protocol_version",
        "ssl_min_protocol_version",
        "sslcert",
        "sslcertmode",
        "sslcrl",
        "sslcrldir",
        "sslkey",
        "sslmode",
        "sslnegotiation",
        "sslrootcert",
        "sslsni",
        "target_session_attrs",
        "tcp_user_timeout",
    }
)
"""What a URL may ask of libpq. By `sslkeylogfile` it would write a file, and by the key of an engine load a library."""
_PATIENCE_SECONDS, _AGAIN_SECONDS = 60.0, 0.5
"""A server that was there is waited for: a restart takes seconds."""
_MAKING_TABLES = 7_236_001
"""The advisory lock of who makes Optuna's tables; two at once would be in each other's way."""


@dataclass(frozen=True)
class Database:
    """A PostgreSQL database, which may hold many studies, of several folders.

    The password is never in `url`, which may be written and shown. It comes from the URL that the user gave, or from
    HPO_DATABASE where that is of the same database; else libpq looks for it itself (PGPASSWORD, ~/.pgpass).
    """

    url: str
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(cls, url: str) -> Self:
        """The database of a URL.

        Raises:
            InputError: it is not of the form `postgresql://USER:PASSWORD@HOST:PORT/NAME`, or has an option by which
                libpq could do more than connect.
        """
        import sqlalchemy

        try:
            parsed = sqlalchemy.make_url(url)
        except Exception:  # its message may have the password, or a part of it
            parsed = None
        if parsed is None or "@" in (parsed.host or ""):
            raise InputError(f"the database's URL must be {_FORM}; write special characters of a password as %XX")
        shown = (parsed.username, parsed.host, parsed.database, *map(str, parsed.query.values()))
        if not all(unquote(part).isprintable() for part in shown if part):  # libpq would send a line break as it is
            raise InputError("the database's URL has a control character, such as a line break, in a name or an option")
        query = parsed.difference_update_query(_SECRETS).query
        where = parsed.username, None, parsed.host, parsed.port, parsed.database, query
        if parsed.get_backend_name() not in ("postgresql", "postgres") or not parsed.database:
            got = sqlalchemy.URL.create(parsed.drivername, *where).render_as_string()
            raise InputError(f"the database's URL must be {_FORM}, got '{got}'")
        for name, value in query.items():
            if not isinstance(value, str):
                raise InputError(f"the database's URL has its option '{name}' more than once; write it once")
            if name not in _OPTIONS or (name == "sslkey" and ":" in value):
                raise InputError(
                    f"the database's URL has an option '{name}' that is not passed on, since libpq could write a file"
                    " or load a library by such options; leave it out, and name a key by its file"
                )
        given = {
            "password": parsed.password,
            **{name: parsed.query.get(name) for name in _SECRETS if name in parsed.query},
        }
        secrets = {name: str(value) for name, value in given.items() if value}
        return cls(sqlalchemy.URL.create("postgresql", *where).render_as_string(), secrets)

    @classmethod
    def known(cls, url: str, given: str | None = None) -> tuple[Self, bool]:
        """The database that a study has written down, with the password of this process.

        Args:
            url: as written, without a password.
            given: by the user; HPO_DATABASE where None, as far as it is of the same database.

        Returns:
            The database, and whether the user has named it.

        Raises:
            InputError: what was given is no URL of a database.
            StudyError: it is another database.
        """
        own, named = cls.of(url), given or os.environ.get(VARIABLE)
        other = cls.of(named) if named else None
        if other == own:
            return other, True
        if given is not None and other is not None:
            raise StudyError(f"the study's record is in database '{own.url}', not in '{other.url}'")
        return own, False

    def storage(self, new: bool = False) -> "DatabaseStorage":
        """Optuna's storage.

        Args:
            new: Optuna's tables are made where there are none yet.

        Raises:
            InputError: the driver is not installed.
            StudyError: the database cannot be reached, or its tables are of another version of Optuna.
        """
        with self._telling(), quiet():
            with self._alone_making() if new else contextlib.nullcontext():
                backend = _Backend(self._url(), self._options(), skip_table_creation=not new)
            return DatabaseStorage(backend)

    @contextmanager
    def hold(self, study: str) -> Iterator["sqlalchemy.Connection"]:
        """Holds a study for one process of all machines, by an advisory lock of a connection; it goes with that.

        What is written by this connection is written by who holds the study: where it was lost, it is made anew only if
        nobody else has the lock by then.

        Raises:
            StudyError: another process holds it, or the database cannot be reached.
        """
        key = int.from_bytes(blake2b(f"hpo search {study}".encode(), digest_size=8).digest(), "big", signed=True)

        def lock(connection: Any, record: object) -> None:
            with connection.cursor() as cursor:
                free = cursor.execute("SELECT pg_try_advisory_lock(%s)", (key,)).fetchone()[0]
                holder = None if free else cursor.execute(_HOLDER, (key,)).fetchone()
            connection.commit()
            if not free:
                raise held_by(study, holder[0] if holder else "")

        with self._connected(lock) as connection:
            _be_patient(connection.engine)
            yield connection

    def give_name(self, old: str, new: str) -> None:
        """Gives a study another name, of which there is none yet.

        Raises:
            StudyError: there is one, or the database cannot be reached.
        """
        from sqlalchemy import text

        with self._telling(), self._connected() as connection:
            connection.execute(
                text("UPDATE studies SET study_name = :new WHERE study_name = :old"), {"new": new, "old": old}
            )
            connection.commit()

    @contextmanager
    def _alone_making(self) -> Iterator[None]:
        from sqlalchemy import text

        with self._connected() as connection:
            connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": _MAKING_TABLES})
            yield

    @contextmanager
    def _connected(self, begin: Callable[[Any, object], None] | None = None) -> Iterator["sqlalchemy.Connection"]:
        """One connection of its own, which names its process to the others.

        Args:
            begin: is called with the driver's connection, once it is there, and with each that takes its place.
        """
        import sqlalchemy
        from sqlalchemy.pool import NullPool

        with self._telling():
            options = self._options(application_name=this_process()[:63])
            options.pop("pool_pre_ping")
            engine = sqlalchemy.create_engine(self._url(), poolclass=NullPool, **options)
            if begin is not None:
                sqlalchemy.event.listen(engine, "connect", begin)
            connection = engine.connect()
        try:
            yield connection
        finally:
            connection.close()

    def _url(self) -> str:
        url = self.url.replace("postgresql:", "postgresql+psycopg:", 1)
        return url.replace("{", "{{").replace("}", "}}")  # Optuna fills in what is in braces

    def _options(self, **arguments: str) -> dict[str, Any]:
        waiting = {"connect_timeout": "10", "keepalives_idle": "60"}
        return {"pool_pre_ping": True, "connect_args": {**waiting, **arguments, **self.secrets}}

    @contextmanager
    def _telling(self) -> Iterator[None]:
        """What goes wrong, as one sentence without a password."""
        from sqlalchemy.exc import SQLAlchemyError

        try:
            yield
        except ImportError:
            raise InputError("a database needs the driver psycopg: pip install 'hpo[postgres]'") from None
        except RuntimeError as error:
            raise StudyError(f"database '{self.url}': {self._scrubbed(error)}") from None
        except (SQLAlchemyError, StorageInternalError) as error:
            raise StudyError(f"database '{self.url}' cannot be used: {self._scrubbed(error)}") from None

    def _scrubbed(self, error: BaseException) -> str:
        line = _reason(error)
        for secret in self.secrets.values():
            line = line.replace(secret, "***")
        return line


_HOLDER = """
SELECT application_name FROM pg_locks JOIN pg_stat_activity USING (pid)
WHERE locktype = 'advisory' AND granted AND (classid::bigint << 32) | objid::bigint = %s
"""


class _Backend(RDBStorage):
    """Optuna's storage, which leaves no connection behind where it cannot be opened."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        try:
            super().__init__(*arguments, **named)
        except Exception:
            if hasattr(self, "engine"):
                self.engine.dispose()
            raise


class DatabaseStorage(_CachedStorage):
    """Optuna's cached storage, several of whose writes can be one transaction.

    A server that restarts, or that has no connection left, is waited for; a transaction that it has cut is an error.
    """

    def __init__(self, backend: RDBStorage) -> None:
        super().__init__(backend)
        self._joined = threading.local()
        self._writer: sqlalchemy.Connection | None = None
        self._writing = threading.RLock()
        _be_patient(backend.engine)
        weakref.finalize(self, backend.engine.dispose)

    @contextmanager
    def through(self, connection: "sqlalchemy.Connection") -> Iterator[None]:
        """What is written together is written by this connection, that of `Database.hold`."""
        self._writer = connection
        try:
            yield
        finally:
            self._writer = None

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        """A study's trials, all of one moment."""
        with self._snapshot():
            return super().get_all_trials(study_id, deepcopy, states)

    @contextmanager
    def _snapshot(self) -> Iterator[None]:
        """What this thread reads within is of one moment, where another process writes.

        Optuna reads trials, attributes and reports one after another. A search may report in between.
        """
        from sqlalchemy.orm import Session

        if self._writer is not None or getattr(self._joined, "now", False):
            yield
            return
        registry = self._backend.scoped_session.registry
        with self._backend.engine.connect() as connection:
            connection.execution_options(isolation_level="REPEATABLE READ")
            registry.set(Session(connection))
            try:
                yield
            finally:
                registry.clear()

    @contextmanager
    def _begun(self) -> Iterator["sqlalchemy.Connection"]:
        """A connection with a transaction."""
        if self._writer is None:
            with self._backend.engine.begin() as connection:
                yield connection
            return
        with self._writing:
            _wake(self._writer)
            with self._writer.begin():
                yield self._writer

    @contextmanager
    def together(self) -> Iterator[None]:
        """What this thread writes within is one commit at the end, or nothing where something is raised.

        Raises:
            HpoError: the database cannot be written.
        """
        from sqlalchemy.exc import SQLAlchemyError
        from sqlalchemy.orm import Session

        if getattr(self._joined, "now", False):  # within another one
            yield
            return
        registry = self._backend.scoped_session.registry
        try:
            with self._begun() as connection:
                registry.set(Session(connection, join_transaction_mode="rollback_only"))
                self._joined.now = True
                try:
                    yield
                finally:
                    self._joined.now = False
                    registry.clear()
        except (SQLAlchemyError, StorageInternalError) as error:
            if isinstance(error.__cause__, HpoError):  # it says what has happened
                raise error.__cause__ from None
            raise HpoError(f"the study's database cannot be written: {_reason(error)}") from None


def _be_patient(engine: "sqlalchemy.Engine") -> None:
    """Lets an engine that has been connected wait for its server where that is gone, and say so where it stays so."""
    from sqlalchemy import event

    def connect(dialect: Any, record: object, arguments: Any, options: Any) -> Any:
        until = time.monotonic() + _PATIENCE_SECONDS
        while True:
            try:
                return dialect.connect(*arguments, **options)
            except dialect.loaded_dbapi.OperationalError as error:
                if time.monotonic() > until:
                    raise HpoError(f"the study's database was lost: {_reason(error)}") from None
                time.sleep(_AGAIN_SECONDS)

    def tell(context: Any) -> None:
        interrupted = not isinstance(context.original_exception, Exception)  # Ctrl-C cuts a connection too
        if context.is_disconnect and not context.is_pre_ping and not interrupted:
            raise HpoError(f"the study's database was lost: {_reason(context.original_exception)}")

    event.listen(engine, "do_connect", connect)
    event.listen(engine, "handle_error", tell)


def _wake(connection: "sqlalchemy.Connection") -> None:
    """Makes a connection anew that was lost while nothing was written."""
    with contextlib.suppress(HpoError):
        connection.exec_driver_sql("SELECT 1")
    connection.rollback()
    if connection.invalidated:
        connection.exec_driver_sql("SELECT 1")
        connection.rollback()


def _reason(error: BaseException) -> str:
    """The first line of the driver's own message, which is what Optuna and SQLAlchemy wrap."""
    cause = error.__cause__ if isinstance(error, StorageInternalError) and error.__cause__ else error
    return next(iter(str(getattr(cause, "orig", None) or cause).strip().splitlines()), type(cause).__name__)
