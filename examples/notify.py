"""A callback that sends a message when a trial fails and when the search ends, to a webhook of a chat or a pager.

    HPO_WEBHOOK=https://hooks.example.com/T0/B0 python examples/notify.py

It posts JSON with the key `text`, which Slack, Mattermost, Rocket.Chat and many others show. Beside a search file, in
the folder where you stand, it needs no Python: `callbacks: notify:Notify`. What goes wrong here never ends a search.
"""

import json
import os
import tempfile
import urllib.request

import hpo
from hpo.study.study import Study
from hpo.study.trial import State, TrialRecord

SPACE = {
    "study": "notified",
    "data": {"name": "digits", "validation": 0.2},
    "model": {"name": "mlp", "layers": 1},
    "training": {"epochs": 3, "batch_size": 64},
    "optimizer": {"name": "adamw"},
    "parameters": {"optimizer.lr": {"min": 1e-3, "max": 1e-2, "log": True}},
    "budget": {"trials": 4},
}


class Notify(hpo.Callback):
    """Posts a line to a webhook.

    Args:
        url: of the webhook; what the environment variable HPO_WEBHOOK has where it is left out. A URL is a secret:
            keep it out of the search file, which the study stores.
        seconds: that the server may take to answer. The search waits for it.
    """

    def __init__(self, url: str | None = None, seconds: float = 5.0) -> None:
        self.url, self.seconds = url or os.environ.get("HPO_WEBHOOK"), seconds

    def on_trial_end(self, study: Study, trial: TrialRecord) -> None:
        """Tells of a trial that has failed."""
        if trial.state is State.FAILED:
            self.send(f"{study.name}: trial {trial.number} has failed: {trial.cause}")

    def on_search_end(self, study: Study, reason: str) -> None:
        """Tells what was found."""
        best = study.best()
        found = "nothing" if best is None else f"trial {best.number}, {best.metric} {best.value:.4f}"
        self.send(f"{study.name}: {reason}; best: {found}")

    def send(self, text: str) -> None:
        """Posts a line, where there is a webhook."""
        if self.url is None:
            return
        body, headers = json.dumps({"text": text}).encode(), {"Content-Type": "application/json"}
        with urllib.request.urlopen(urllib.request.Request(self.url, body, headers), timeout=self.seconds):
            pass


if __name__ == "__main__":
    notify = Notify()
    print("posting to the webhook" if notify.url else "HPO_WEBHOOK is not set, so nothing is sent")
    with tempfile.TemporaryDirectory() as storage:
        result = hpo.search(SPACE, storage=storage, callbacks=[notify])
        ensemble = hpo.build_ensemble(result.study.name, top=2, storage=storage)
        print(f"test accuracy {ensemble.test['accuracy']:.3f}")
