import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hpo import api, datasets, spec
from hpo.engine.ray.best_epoch import BestEpoch
from hpo.errors import StudyError
from hpo.searching import reproduce
from hpo.spec import Config
from hpo.study.data_summary import DataSummary
from hpo.study.study import Study
from hpo.study.trial import Outcome, State
from hpo.training import Context, Report, train
from tests.conftest import Run


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """As workers have it, of a trial with one CPU."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def trained(document: dict[str, Any]) -> Study:
    """A trial that was trained for two of three epochs, as a worker does it."""
    document["training"] |= {"device": "cpu", "precision": "float32"}
    wanted = spec.load(document)
    dataset = datasets.load(wanted.data, Path("data"), wanted.seed)
    targets = {"validation": dataset.validation.targets, "test": dataset.test.targets}
    data_summary = DataSummary(dataset.outputs, targets, dataset.validation.inputs[:1], dataset.fingerprint)  # type: ignore[arg-type]
    study = Study.create(Path("studies"), wanted, data_summary)
    trial = study.writer.ask()
    best = BestEpoch(wanted, study.artifacts, trial.number)
    for report in train(trial.config, Context(wanted, dataset, wanted.trial_seed(trial.number))):
        best.see(report)
        study.writer.report(trial.number, report.epoch, report.metrics)
        if report.epoch == 2:
            break
    best.store()
    study.writer.end(trial.number, Outcome(State.PRUNED, "stopped by asha"))
    return study


def test_a_trial_is_the_same_again_to_the_bit(trained: Study, hpo: Run) -> None:
    again = api.reproduce(0)
    assert again.reproduced and again.exact and again.device == "cpu"
    assert (again.largest, again.weights, again.predictions, again.changed) == (0.0, 0.0, 0.0, ())
    assert set(again.reports) == {1, 2} and "epoch_seconds" not in again.reports[1]
    code, out, _ = hpo("reproduce", "0")
    assert code == 0 and "Trial 0 is reproduced on cpu: to the bit." in out


def test_epochs_that_had_more_threads_have_them_again(trained: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    had: list[int] = []

    def counting(config: Config, context: Context) -> Iterator[Report]:
        for report in train(config, context):
            had.append(torch.get_num_threads())
            yield report

    trial = trained.trial(0)
    reports = {**trial.reports, 2: {**trial.reports[2], "torch_threads": 3.0}}
    monkeypatch.setattr(Study, "trial", lambda study, number: replace(trial, reports=reports))
    again = reproduce.reproduce(trained, 0, Path("data"), counting)
    assert had == [1, 3] and "torch_threads" not in again.reports[2]


def other(config: Config, context: Context) -> Iterator[Report]:
    """Another training, by its seed."""
    yield from train(config, Context(context.spec, context.dataset, context.seed + 1))


def test_another_training_is_not_taken_for_it(trained: Study, hpo: Run) -> None:
    again = api.reproduce(0, train=other)
    assert not again.reproduced and again.largest > 0
    assert again.weights is not None and again.weights > 0
    document = json.loads(json.dumps(again.to_json()))
    assert document["reproduced"] is False and document["tolerance"] == 0.0


def test_damaged_weights_are_seen(trained: Study, hpo: Run) -> None:
    stored = trained.artifacts.read(0)
    assert stored is not None
    weights = {name: np.asarray(array * 2) for name, array in stored.weights().items()}
    trained.artifacts.write(0, stored.epoch, weights, {"validation": stored.predictions("validation")})
    code, out, _ = hpo("reproduce", "0", "--format", "json")
    assert code == 1 and json.loads(out)["weights_difference"] > 0


def test_what_cannot_be_reproduced_is_said(trained: Study, hpo: Run) -> None:
    trained.writer.ask()
    with pytest.raises(StudyError, match="trial 1 of study 'squares' has no report"):
        api.reproduce(1)
    code, _, told = hpo("reproduce", "7")
    assert code == 2 and "has no trial 7" in told


def shorter(config: Config, context: Context) -> Iterator[Report]:
    """Ends after its first epoch."""
    yield next(train(config, context))


def test_what_is_not_there_any_more_is_far_away(trained: Study) -> None:
    again = api.reproduce(0, train=shorter)
    assert not again.reproduced and set(again.reports) == {1, 2}
    assert again.to_json()["largest_difference"] is None


def test_what_is_damaged_is_told(trained: Study, hpo: Run) -> None:
    for file in trained.artifacts.folder.glob("00000/epoch-*/validation.npy"):
        file.write_bytes(b"Z" * 200)
    code, _, told = hpo("reproduce", "0")
    assert code == 2 and "what trial 0 of study 'squares' has stored is damaged: " in told


def test_predictions_that_are_far_too_large_are_not_read(trained: Study, hpo: Run) -> None:
    for file in trained.artifacts.folder.glob("00000/epoch-*/validation.npy"):
        with file.open("ab") as sparse:
            sparse.truncate(2**30)
    code, _, told = hpo("reproduce", "0")
    assert code == 2 and "has stored is damaged: it has 1,073,741,824 bytes" in told


def test_a_state_that_repeats_itself_is_refused_in_time() -> None:
    part: object = []
    for _ in range(60):
        part = [part, part]
    with pytest.raises(ValueError, match="nested without an end"):
        list(reproduce._arrays(part))
