"""What Ray is given of a search."""

from pathlib import Path
from typing import Any

import pytest
from ray import cloudpickle

from hpo import samplers, spec
from hpo.controller import Controller
from hpo.engine.ray.driver import Driver, TuneScheduler, TuneSearcher, TuneStopper
from hpo.study.budget import Left
from hpo.study.study import Study
from tests.conftest import data_summary

SCHEDULERS = ["freeze_thaw", "asha", "hyperband", "asha_stop", "median", "pbt", "none"]


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_what_ray_pickles_holds_no_study(document: dict[str, Any], scheduler: str) -> None:
    """Tuner pickles all that it is given; a connection to a database cannot be, and a copy of a study would be old."""
    document |= {"sampler": "curves", "scheduler": scheduler}
    study = Study.create(Path("studies"), spec.load(document), data_summary())
    with study.hold.searching():
        study.writer.use(samplers.build(study.spec, 0))
        study.writer.ask()
        controller = Controller(study, Left(4, by_trials=True), lambda: 2)
        driver = Driver(controller)
        for one in (
            TuneScheduler(driver, "accuracy"),
            TuneSearcher(driver),
            TuneStopper(driver),
        ):
            pickled = cloudpickle.dumps(one)
            assert b"optuna" not in pickled and b"Study" not in pickled
