"""Real servers on loopback: PostgreSQL (Debian's package), MLflow, and one that speaks S3."""

import logging
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import PATIENCE

USER, PASSWORD = "searcher", "s3cret/{word}"
"""With characters that a URL or a template would take for something else."""
QUOTED = "s3cret%2F%7Bword%7D"


class PostgresServer:
    """A database cluster of its own in a folder, which wants a password; what it has been told survives a stop.

    Args:
        folder: an empty one.
        settings: of the server, such as `max_connections=10`.
    """

    def __init__(self, folder: Path, *settings: str) -> None:
        self._folder, self._port = folder, free_port()
        self._settings = ["fsync=off", *settings]
        self._whose: dict[str, Any] = {"cwd": folder}
        self._server: subprocess.Popen[bytes] | None = None
        self.url = f"postgresql://{USER}:{QUOTED}@127.0.0.1:{self._port}/postgres"
        secret = folder / "password"
        secret.write_text(PASSWORD)
        if os.geteuid() == 0:  # PostgreSQL refuses to run as root
            owner = _unprivileged()
            for path in (folder, secret):
                shutil.chown(path, owner)
            self._whose |= {"user": owner, "group": pwd.getpwnam(owner).pw_gid, "extra_groups": []}
        _initdb(folder, secret, self._whose)

    def start(self) -> None:
        """Returns when it answers."""
        log = self._folder / "log"
        command = [_program("postgres"), "-D", str(self._folder / "data"), "-k", str(self._folder), "-h", "127.0.0.1"]
        command += ["-p", str(self._port), *(part for setting in self._settings for part in ("-c", setting))]
        with log.open("wb") as output:
            self._server = subprocess.Popen(command, stdout=output, stderr=output, **self._whose)
        _wait(self._server, self._port, log)

    def stop(self) -> None:
        """Cuts off who is connected."""
        if self._server is not None:
            self._server.send_signal(signal.SIGINT)
            self._server.wait()
            self._server = None


@contextmanager
def postgres_server(*settings: str) -> Iterator[PostgresServer]:
    """One that runs. Skips where there is no PostgreSQL."""
    pytest.importorskip("psycopg", reason="psycopg is not installed: pip install 'hpo[postgres]'")
    folder = Path(tempfile.mkdtemp(prefix="hpo-postgres-"))
    try:
        server = PostgresServer(folder, *settings)
        try:
            server.start()
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder)


@contextmanager
def postgres() -> Iterator[str]:
    """The URL of a PostgreSQL server that runs."""
    with postgres_server() as server:
        yield server.url


class MlflowServer:
    """MLflow's server over a SQLite file in a folder; what it has been told survives when it is stopped."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._port = folder, free_port()
        self._server: subprocess.Popen[bytes] | None = None
        self.url = f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Returns when it answers."""
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self._port)]
        command += ["--workers", "1", "--backend-store-uri", f"sqlite:///{self._folder}/server.db"]
        command += ["--artifacts-destination", str(self._folder / "kept")]
        log = self._folder / "server.log"
        with log.open("ab") as output:
            self._server = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True)
        wait_for(f"{self.url}/health", self._server, log)

    def stop(self) -> None:
        """Returns when nobody listens any more."""
        if self._server is not None:
            os.killpg(self._server.pid, signal.SIGKILL)
            self._server.wait()
            self._server = None


@contextmanager
def mlflow_server(folder: Path) -> Iterator[MlflowServer]:
    """One that runs."""
    server = MlflowServer(folder)
    try:
        server.start()
        yield server
    finally:
        server.stop()


def wait_for(url: str, server: "subprocess.Popen[bytes]", log_file: Path) -> None:
    """Until a server answers."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        assert server.poll() is None, log_file.read_text()
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                assert answer.status == 200
                return
        except OSError:
            time.sleep(0.3)
    raise AssertionError(log_file.read_text())


@contextmanager
def s3(bucket: str = "bucket") -> Iterator[str]:
    """An object store with one bucket: yields the query that its URIs need. Set the credentials before."""
    from moto.server import ThreadedMotoServer
    from pyarrow.fs import FileSystem

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        query = f"endpoint_override={host}:{port}&scheme=http&region=us-east-1"
        FileSystem.from_uri(f"s3://{bucket}?{query}&allow_bucket_creation=true")[0].create_dir(bucket)
        yield query
    finally:
        server.stop()


def credentials(environment: pytest.MonkeyPatch) -> None:
    """Any will do, but without them pyarrow asks as nobody, in a way that the server does not understand."""
    environment.setenv("AWS_ACCESS_KEY_ID", "someone")
    environment.setenv("AWS_SECRET_ACCESS_KEY", "something")
    environment.setenv("AWS_EC2_METADATA_DISABLED", "true")


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _program(name: str) -> str:
    """Debian keeps the server's programs out of the path."""
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    program = shutil.which(name) or (str(found[-1]) if found else None)
    if program is None:
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    return program


def _unprivileged() -> str:
    return next(name for name in ("postgres", "nobody") if name in {user.pw_name for user in pwd.getpwall()})


def _initdb(folder: Path, secret: Path, whose: dict[str, Any]) -> None:
    command = [_program("initdb"), "-D", str(folder / "data"), "-U", USER, "-A", "scram-sha-256", f"--pwfile={secret}"]
    done = subprocess.run([*command, "--no-sync"], capture_output=True, text=True, **whose)
    assert done.returncode == 0, done.stderr


def _wait(started: "subprocess.Popen[Any]", port: int, log: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        assert started.poll() is None, log.read_text()
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0 and "ready to accept" in log.read_text():
                return
        time.sleep(0.1)
    raise AssertionError(log.read_text())
