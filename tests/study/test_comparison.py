from pathlib import Path
from typing import Any

import pytest

import hpo
from hpo import spec
from hpo.study.code import Code, TrainingCode
from hpo.study.comparison import compare
from hpo.study.study import Study
from tests.conftest import Run, data_summary, finish

PARAMETERS = {"x": {"min": -1, "max": 1}}
BOWL = {
    "parameters": PARAMETERS,
    "objective": {"metric": "loss", "goal": "minimize"},
    "sampler": "random",
    "scheduler": "none",
}


def bowl(name: str, trials: int, epochs: int, **more: Any) -> Study:
    space = {**BOWL, "study": name, "training": {"epochs": epochs}, "budget": {"trials": trials}, **more}
    return hpo.simulate(space, lambda config, epoch: ({"loss": abs(config["x"]) + 1 / epoch}, 1.0), workers=1).study


def test_studies_are_compared_at_the_same_price() -> None:
    one, other = bowl("one", 6, 2), bowl("other", 3, 8, seed=1)
    found = compare(one, other)
    assert (found.trials, found.epochs) == (3, 12)
    assert found.same_objective and found.same_data is None
    first, second = found.sides
    assert first.epochs == 12 and second.epochs == 24 and first.trials["complete"] == 6
    values = [abs(trial.config["x"]) for trial in one.trials]
    assert first.best == first.at_equal_epochs == pytest.approx(min(values) + 1 / 2)
    assert first.at_equal_trials == pytest.approx(min(values[:3]) + 1 / 2)
    theirs = [abs(trial.config["x"]) for trial in other.trials]
    assert second.best == second.at_equal_trials == pytest.approx(min(theirs) + 1 / 8)
    assert second.at_equal_epochs == pytest.approx(min(theirs[0] + 1 / 8, theirs[1] + 1 / 4))
    assert found.differences == {"training.epochs": (2, 8), "budget.trials": (6, 3), "seed": (0, 1)}


def test_code_and_parameters_differ_in_what_is_said_of_them(tmp_path: Path) -> None:
    code = TrainingCode(Code("loop:train", {"loop.py": "0"}), None)
    other_code = TrainingCode(Code("loop:train", {"loop.py": "1"}), None)
    names: dict[str, Any] = {"one": (code, {}), "other": (other_code, {"o": {"values": ["adam", "sgd"]}})}
    one, other = (
        Study.create(
            tmp_path / "studies", spec.load_search({**BOWL, "study": name, "parameters": PARAMETERS | more}), code=own
        )
        for name, (own, more) in names.items()
    )
    found = compare(one, other)
    assert found.code == ("training function 'loop:train' has changed, in loop.py",)
    assert found.differences == {"parameters.o.values": (None, ("adam", "sgd"))}


def test_what_breaks_a_constraint_is_not_best() -> None:
    kept = bowl("kept", 5, 2, constraints=["loss >= 100"])
    side = compare(kept, kept).sides[0]
    assert (side.best, side.at_equal_trials) == (None, None) and side.trials["complete"] == 5


def test_other_objectives_are_told(document: dict[str, Any], study: Study, tmp_path: Path, hpo: Run) -> None:
    other = {**document, "study": "other", "objective": {"metric": "nll"}}
    made = Study.create(tmp_path / "studies", spec.load(other), data_summary())
    finish(made, 1.0, epochs=3)
    found = compare(study, made)
    assert found.same_data and not found.same_objective
    assert found.sides[0].failures == {} and found.sides[0].trials["failed"] == 1
    code, out, _ = hpo("compare", "squares", "other")
    assert code == 0 and "the values cannot be compared" in out and "objective.0" in out
    assert "They have the same data and split." in out
    code, out, err = hpo("compare", "squares", "nothing")
    assert (code, out) == (2, "") and "no study 'nothing'" in err
    code, out, _ = hpo("compare", "squares", "other", "--format", "json")
    read = spec.parse_plain(out)
    assert read["same_data"] is True and read["differences"]["objective.0"] == [
        ["accuracy", "maximize"],
        ["nll", "minimize"],
    ]
