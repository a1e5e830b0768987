from pathlib import Path
from typing import Any

import pytest

import hpo as package
from hpo import samplers, spec
from hpo.controller import Controller, Lost, Start
from hpo.controller.gpu import GpuBudget
from hpo.study.budget import SPENT_GPU, Left
from hpo.study.study import Study
from tests.conftest import Run, data_summary


@pytest.fixture
def empty(document: dict[str, Any], tmp_path: Path) -> Study:
    made = Study.create(tmp_path / "studies", spec.load(document), data_summary())
    made.writer.clock = lambda: 0.0
    return made


def test_a_trial_counts_while_it_holds_its_gpus(empty: Study) -> None:
    budget = GpuBudget(empty, 1.0, gpus=0.5)
    first, second = empty.writer.ask(), empty.writer.ask()
    budget.begin(first.number)
    empty.writer.clock = lambda: 1000.0
    budget.begin(second.number)
    assert budget.seconds == 500
    empty.writer.clock = lambda: 2000.0
    budget.rest(first.number)
    empty.writer.clock = lambda: 3000.0
    assert budget.seconds == 0.5 * (2000 + 2000) and not budget.spent
    budget.begin(first.number)
    empty.writer.clock = lambda: 4600.0
    assert budget.seconds == 0.5 * (3600 + 3600) and budget.spent
    assert empty.spent().gpu_hours == 1.0
    empty.writer.clock = lambda: 5600.0
    budget.rest(second.number)
    assert empty.spent().gpu_hours == pytest.approx((3600 + 1000) / 3600)


def test_what_earlier_searches_used_counts(empty: Study) -> None:
    empty.writer.note_gpu_seconds(1800.0)
    assert empty.spent().left(empty.spec.budget).gpu_hours is None
    limited = empty.spec.budget.model_copy(update={"gpu_hours": 0.75})
    assert empty.spent().left(limited).gpu_hours == 0.25
    budget = GpuBudget(empty, 0.25, gpus=1)
    budget.begin(empty.writer.ask().number)
    empty.writer.clock = lambda: 899.0
    assert not budget.spent
    empty.writer.clock = lambda: 900.0
    assert budget.spent and budget.seconds == 2700


def test_a_trial_that_waits_for_a_slot_holds_nothing(empty: Study) -> None:
    with empty.hold.searching():
        empty.writer.use(samplers.build(empty.spec, 0))
        controller = Controller(empty, Left(gpu_hours=1.0), lambda: 1)
        assert isinstance(controller.next(), Start)
        empty.writer.clock = lambda: 100.0
        controller.ended(0, Lost())
        empty.writer.clock = lambda: 90_000.0
        assert controller.limits.spent is None and empty.spent().gpu_hours * 3600 == 100
        assert controller.next() == Start(empty.trial(0))
        empty.writer.clock = lambda: 91_000.0
        controller.close(None)  # Ctrl-C
        assert empty.spent().gpu_hours * 3600 == 1100
        left = empty.spent().left(empty.spec.budget.model_copy(update={"gpu_hours": 1.0}))
        again = Controller(empty, left, lambda: 1)
        empty.writer.clock = lambda: 99_000.0
        assert again.limits.spent is None
        assert again.next() == Start(empty.trial(0))
        empty.writer.clock = lambda: 99_000.0 + 2500
        assert again.limits.spent == SPENT_GPU


@pytest.mark.parametrize("scheduler", ["none", "asha"])
def test_a_search_ends_when_its_gpu_hours_are_spent(scheduler: str) -> None:
    search = {
        "study": "hours",
        "training": {"epochs": 9},
        "parameters": {"x": {"min": 0, "max": 1}},
        "objective": {"metric": "loss", "goal": "minimize"},
        "sampler": "random",
        "scheduler": scheduler,
        "budget": {"gpu_hours": 10},
    }
    curve = lambda config, epoch: ({"loss": config["x"] + 1 / epoch}, 60.0)  # noqa: E731
    result = package.simulate(search, curve, workers=4, storage="studies")
    trials, spent = result.study.trials(), result.study.spent()
    assert 597 <= spent.epochs <= 600  # of a minute each; three may end in the same moment
    assert spent.gpu_hours == pytest.approx(10.0)
    assert "stopped by the budget of GPU hours" in {trial.reason for trial in trials} or scheduler == "asha"
    more = package.simulate(search, curve, workers=4, storage="studies", gpu_hours=12)
    assert more.study.spent().gpu_hours == pytest.approx(12.0)
    assert package.simulate(search, curve, workers=4, storage="studies").study.spent() == more.study.spent()


def test_gpu_hours_without_a_gpu_are_refused(hpo: Run, space: Path) -> None:
    code, out, err = hpo("search", "--space", str(space), "--gpu-hours", "1", "--set", "resources.gpu=0")
    assert (code, out) == (2, "")
    assert "budget.gpu_hours (--gpu-hours) limits nothing, since trials get no GPU here; use budget.time_limit" in err
    assert not Path("studies").exists()
    assert hpo("search", "--space", str(space), "--gpu-hours", "0")[0] == 2
