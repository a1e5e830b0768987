"""The examples run as they stand."""

import json
import os
import runpy
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

import hpo
from hpo.spec import Config
from tests.adapters.test_killed import KILLED
from tests.conftest import PATIENCE, ROOT, without_ray

SAYS = {"autoencoder": "val_mse 0.0", "gan": "distance "}
"""What an example prints that is not of an ensemble."""


SLOW = {*SAYS, *KILLED, "cifar_resnet", "notify", "own_model", "sklearn_pipeline"}
"""Examples of the slow lane: most are searched there again, and killed; what the others show has tests of its own."""
EXAMPLES = [
    pytest.param(path, marks=[pytest.mark.slow] if path.stem in SLOW else [], id=path.name)
    for path in sorted((ROOT / "examples").glob("*.py"))
]


@pytest.mark.parametrize("example", EXAMPLES)
def test_it_runs(example: Path) -> None:
    done = subprocess.run([sys.executable, str(example)], capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stderr
    assert SAYS.get(example.stem, "accuracy") in done.stdout


class _Webhook(BaseHTTPRequestHandler):
    """Keeps what is posted to it."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.posted.append((self.path, self.headers["Content-Type"], json.loads(body)))  # type: ignore[attr-defined]
        self.send_response(500 if self.path == "/broken" else 204)
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:
        """Keeps quiet."""


@pytest.fixture
def webhook() -> Iterator[Any]:
    """A server that takes posts."""
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), _Webhook)
    server.posted = []
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def simulated(url: str) -> None:
    """A search whose first trial fails, with the callback of the example."""
    own = runpy.run_path(str(ROOT / "examples" / "notify.py"))

    def curve(config: Config, epoch: int) -> tuple[dict[str, float], float]:
        if config["x"] == 0:
            raise ValueError("no zeros")
        return {"accuracy": 0.5}, 1.0

    space = {
        "study": "told",
        "training": {"epochs": 2},
        "parameters": {"x": {"min": 0, "max": 1, "default": 0}},
        "budget": {"trials": 2},
    }
    hpo.simulate(space, curve, workers=1, callbacks=[own["Notify"](url)])


def test_a_notification_is_posted_of_a_failure_and_of_the_end(webhook: Any) -> None:
    simulated(f"http://127.0.0.1:{webhook.server_port}/hook")
    assert [posted[:2] for posted in webhook.posted] == [("/hook", "application/json")] * 2
    failed, ended = (posted[2]["text"] for posted in webhook.posted)
    assert failed.startswith("told: trial 0 has failed: ValueError: no zeros (test_examples.py:")
    assert ended == "told: the budget of 2 trials is spent; best: trial 1, accuracy 0.5000"


def test_a_webhook_that_is_down_or_broken_ends_no_search(webhook: Any, caplog: pytest.LogCaptureFixture) -> None:
    simulated(f"http://127.0.0.1:{webhook.server_port}/broken")
    assert len(webhook.posted) == 2
    assert "callback 'Notify' has raised in on_trial_end: HTTPError: HTTP Error 500" in caplog.records[0].getMessage()
    caplog.clear()
    simulated("http://127.0.0.1:9/")
    assert "callback 'Notify' has raised in on_trial_end: URLError" in caplog.records[0].getMessage()


def test_the_example_posts_to_the_webhook_of_the_environment(webhook: Any) -> None:
    url = f"http://127.0.0.1:{webhook.server_port}/hook"
    command = [sys.executable, str(ROOT / "examples" / "notify.py")]
    environment = {**os.environ, "HPO_WEBHOOK": url}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stderr
    assert [posted[2]["text"].split(";")[0] for posted in webhook.posted] == [
        "notified: the budget of 4 trials is spent"
    ]


@pytest.mark.parametrize("space", ["shell.yaml", "python.yaml"])
def test_any_program_is_searched(space: str, tmp_path: Path) -> None:
    folder = tmp_path / "any_program"
    shutil.copytree(ROOT / "examples" / "any_program", folder)
    command = [sys.executable, "-m", "hpo", "search", "--space", space, "--trials", "6", "--format", "json"]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**without_ray(), "PYTHONPATH": str(ROOT), "PATH": path}
    run = partial(subprocess.run, capture_output=True, text=True, timeout=PATIENCE, check=False, cwd=folder)
    done = run(command, env=environment)
    assert done.returncode == 0, done.stderr
    trials = json.loads(done.stdout)["trials"]
    assert trials["failed"] == 0 and trials["complete"] >= 1 and sum(trials.values()) >= 6
    kept = list((folder / "studies").glob("*/artifacts/*/stdout.txt"))
    assert len(kept) == 6 and all("epoch 1: loss" in file.read_text() for file in kept)
