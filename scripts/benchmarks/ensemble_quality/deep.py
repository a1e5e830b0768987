"""A deep ensemble (Lakshminarayanan et al. 2017) at the compute of the search: half of the epochs find its config.

The incumbent after half of the study's epochs, in the order of its journal, is trained again from fresh seeds, as often
as the other half pays for, 8 times at most. Its members are calibrated each, averaged, and calibrated again.
"""

import json
import time
from pathlib import Path

import numpy as np
import torch
from runs import Key, Run, scored

from hpo import datasets
from hpo.ensemble.calibration import fit_temperature, temper
from hpo.ensemble.score import Predictions
from hpo.study.ranking import measure
from hpo.study.study import Study
from hpo.training import Context, train

DEEP = "deep ensemble"
MOST = 8
_REPORT = 7
"""Optuna's code of a report in a journal."""
_SEEDS = 1000
"""Where the numbers of members begin, beyond those of trials."""
_THREADS = 1
"""As a trial of the search had."""


def run(data: str, seed: int, study: Study) -> Run:
    """Trains the members in this process and scores their ensemble."""
    started = time.perf_counter()
    config_of, count = plan(study)
    config = study.trial(config_of).config
    spec = study.study_spec
    dataset = datasets.load(spec.data, Path("data"), spec.seed)
    torch.set_num_threads(_THREADS)
    validation, test = [], []
    for number in range(count):
        member = trained(Context(spec, dataset, member_seed(spec.seed, number)), config)
        temperature = fit_temperature(member["validation"], dataset.validation.targets, spec.task)
        validation.append(temper(member["validation"], temperature, spec.task))
        test.append(temper(member["test"], temperature, spec.task))
    temperature = fit_temperature(np.mean(validation, axis=0), dataset.validation.targets, spec.task)
    predictions = temper(np.mean(test, axis=0), temperature, spec.task)
    seconds = round(time.perf_counter() - started, 1)
    note = f"trial {config_of}"
    return scored(Key(data, seed, DEEP), predictions, dataset.test.targets, spec.task, seconds, count, note)


def plan(study: Study) -> tuple[int, int]:
    """The trial that leads after half of the epochs, and how many members the other half pays for."""
    reports = order(study.folder / "journal.log")
    half = len(reports) // 2
    _, leader = min((cost, number) for number, cost in reports[:half])
    return leader, max(1, min(MOST, (len(reports) - half) // study.study_spec.training.epochs))


def order(journal: Path) -> list[tuple[int, float]]:
    """The finite reports of a study as they came: (trial, objective, which all spaces here minimize)."""
    rows = (json.loads(line) for line in journal.read_text(encoding="utf-8").splitlines())
    reports = [(row["trial_id"], row["intermediate_value"]) for row in rows if row["op_code"] == _REPORT]
    return [(number, float(value)) for number, value in reports if value is not None and np.isfinite(float(value))]


def trained(context: Context, config: dict[str, object]) -> dict[str, Predictions]:
    """A member's predictions of validation and test rows at its best epoch, as a trial keeps them."""
    best, kept = None, {}
    for report in train(config, context):
        worth = measure(context.spec, report.metrics)
        if worth.finite and (best is None or worth < best):
            best = worth
            kept = {split: np.float32(rows) for split, rows in report.snapshot().all_predictions().items()}
    return kept


def member_seed(seed: int, number: int) -> int:
    """Of one member; no trial of the study has it."""
    return int(np.random.SeedSequence([seed, _SEEDS + number]).generate_state(1)[0])
