"""What a study says of itself while it is searched, and afterwards."""

import json
import socket
import time
from pathlib import Path
from typing import Any

import pytest

import hpo as product
from hpo import spec
from hpo.errors import StudyError
from hpo.searching.status import Status, status
from hpo.spec import Budget, Config
from hpo.study.hold import Search
from hpo.study.storage.lock import LOCK
from hpo.study.study import Study
from hpo.study.trial import Metrics, State, TrialRecord
from tests.conftest import Run


def document(**changes: Any) -> dict[str, Any]:
    return {
        "study": "seen",
        "training": {"epochs": 4},
        "parameters": {"x": {"min": 0, "max": 1}},
        "objective": {"metric": "loss", "goal": "minimize"},
        "sampler": "random",
        "scheduler": "none",
        "budget": {"trials": 6},
        **changes,
    }


def curve(config: Config, epoch: int) -> tuple[Metrics, float]:
    return {"loss": config["x"] + 1 / epoch}, 1.0


class Looking(product.Callback):
    """Looks at the study as another process does, at a report of a trial."""

    def __init__(self, number: int, epoch: int) -> None:
        self.at, self.seen = (number, epoch), list[Status]()

    def on_report(self, study: Study, trial: TrialRecord, epoch: int, metrics: Metrics) -> None:
        if (trial.number, epoch) == self.at:
            self.seen.append(product.status("seen"))


def test_a_search_that_runs_is_seen_from_outside() -> None:
    looking = Looking(3, 2)
    product.simulate(document(), curve, workers=2, storage="studies", trials=8, callbacks=[looking])
    (seen,) = looking.seen
    assert seen.is_running and not seen.is_finished
    assert seen.searcher is not None and seen.searcher.endswith(f" on {socket.gethostname()}")
    assert seen.since is not None and 0 <= seen.since < 100
    assert seen.budget.trials == 8  # of the search, not of the study
    assert seen.spent.trials == 2 and seen.left == {"trials": 6}
    assert [(trial.number, trial.epoch, trial.epochs) for trial in seen.running] == [(2, 2, 4), (3, 2, 4)]
    assert seen.best is not None and seen.counts[State.COMPLETE] == 2
    read = json.loads(json.dumps(seen.to_json(), allow_nan=False))
    assert read["searching"] is True and read["spent"]["epochs"] == 12 and read["best"]["loss"] == seen.best.value


def test_a_study_that_is_done_says_so() -> None:
    product.simulate(document(), curve, storage="studies")
    seen = product.status()
    assert seen.is_finished and not seen.running and seen.searcher is None and seen.since is None
    assert seen.left == {"trials": 0} and seen.counts[State.COMPLETE] == 6


def test_an_empty_and_an_interrupted_one_are_told_apart() -> None:
    study = Study.create(Path("studies"), spec.load_search(document()))
    assert status(study).is_finished and status(study).best is None
    with study.hold.searching():
        from hpo import samplers

        study.writer.use(samplers.build(study.spec, 0))
        study.writer.ask()
    seen = status(study)
    assert not seen.is_finished and not seen.is_running and [trial.number for trial in seen.running] == [0]


def test_who_trains_is_recorded_once_and_again_where_it_changes() -> None:
    study = Study.in_memory(spec.load_search(document()))
    from hpo import samplers

    study.writer.use(samplers.build(study.spec, 0))
    study.writer.ask()
    for epoch, machine in enumerate(["process 1 on a", "process 1 on a", "process 9 on b"], start=1):
        study.writer.report(0, epoch, {"loss": 1.0}, machine)
        assert study.trial(0).machine == machine == study.trial(0).to_json()["machine"]
    study.writer.report(0, 4, {"loss": 1.0})
    assert study.trial(0).machine == "process 9 on b"


def test_a_loop_of_ones_own_is_the_machine() -> None:
    with product.ask_and_tell(document(), storage=None) as search:
        trial = search.ask()
        assert trial is not None
        search.report(trial, 1, {"loss": 1.0})
        assert search.study.trial(0).machine == search.study.hold.this_process


# ---- what a search notes in its lock ---------------------------------------------------------------------------------


NO_NOTES = [
    *("", "7", "[]", "{}", '{"since": 1}', '{"since": "a", "budget": {}}', "[" * 9999, "\x1b[2J"),
    *(
        '{"since": 1, "budget": {"trials": -1}}',
        '{"since": 1e999, "budget": 7}',
        '{"since": null, "budget": {"os": 1}}',
    ),
]


@pytest.mark.parametrize("line", NO_NOTES)
def test_what_is_no_note_is_none(line: str) -> None:
    assert Search.read(line) is None


def test_a_note_is_read_as_it_was_written() -> None:
    noted = Search(time.time(), Budget(trials=3, target=0.5))
    assert Search.read(noted.written()) == noted


def test_a_lock_of_an_earlier_release_tells_no_more_than_who() -> None:
    study = Study.create(Path("studies"), spec.load_search(document()))
    with study.hold.held("an invitation"):
        lock = study.folder / LOCK
        lock.write_text("process 7 on elsewhere\nan invitation\n")
        seen = status(study)
        assert (seen.searcher, seen.since, seen.budget) == ("process 7 on elsewhere", None, study.spec.budget)
        assert study.hold.searcher == ("process 7 on elsewhere", "an invitation")
        lock.write_text("")
        assert status(study).searcher == "another process"


# ---- the command -----------------------------------------------------------------------------------------------------


def test_the_command_says_what_runs(hpo: Run) -> None:
    told: list[str] = []

    class Asking(Looking):
        def on_report(self, study: Study, trial: TrialRecord, epoch: int, metrics: Metrics) -> None:
            if (trial.number, epoch) == self.at:
                told.append(hpo("status")[1])

    budget = {"trials": 6, "target": 0.01, "time_limit": 7200}
    asking = Asking(3, 2)
    product.simulate(document(budget=budget), curve, workers=2, storage="studies", callbacks=[asking])
    assert (
        f"Study 'seen' is being searched by process {__import__('os').getpid()} on {socket.gethostname()}, for 0s: "
        in told[0]
    )
    assert "2 of 6 trials, 12 epochs, " in told[0] and "s of 2h00m a search, until loss 0.01." in told[0]
    assert "Running now" in told[0] and "2/4" in told[0] and "Best: loss " in told[0]
    code, out, _ = hpo("status", "--study", "seen")
    assert code == 0 and "Study 'seen' is not being searched, and all its trials have ended: 6 complete." in out
    code, out, _ = hpo("status", "--format", "json")
    assert json.loads(out)["finished"] is True
    code, _, told_ = hpo("status", "--study", "sen")
    assert code == 2 and "no study 'sen' in 'studies'. Did you mean 'seen'?" in told_


def test_the_command_offers_to_go_on(hpo: Run) -> None:
    study = Study.create(Path("studies"), spec.load_search(document()))
    from hpo import samplers

    study.writer.use(samplers.build(study.spec, 0))
    study.writer.ask()
    _, out, _ = hpo("status")
    assert "is not being searched: 1 running. `hpo resume --study seen` goes on with it." in out


def test_it_can_be_stopped_only_where_it_runs(hpo: Run) -> None:
    Study.create(Path("studies"), spec.load_search(document()))
    code, _, told = hpo("stop")
    assert code == 2 and "nobody searches study 'seen' now, so there is nothing to stop" in told
    with pytest.raises(StudyError):
        product.stop("seen")


def test_a_config_is_enqueued_by_the_command(hpo: Run) -> None:
    Study.create(Path("studies"), spec.load_search(document()))
    code, out, _ = hpo("enqueue", "x=0.5")
    assert (code, out) == (0, "Enqueued: x=0.5; the next search tries it.\n")
    _, out, _ = hpo("status")
    assert "Waiting: 1 wish (`hpo enqueue`, `hpo stop`)." in out
    wrongs = {"x=2": "x: must be in [0, 1], got 2", "x": "write it as name=value", "x=[": "not YAML"}
    for wrong, message in wrongs.items():
        code, _, told = hpo("enqueue", wrong)
        assert code == 2 and message in told
    _, out, told = hpo("enqueue")
    assert "Usage" in out + told  # click 8.1 takes help for a success
    found = product.simulate(document(), curve, workers=1, storage="studies").study
    assert found.trial(0).config["x"] == 0.5 and found.wishes.waiting() == {}
