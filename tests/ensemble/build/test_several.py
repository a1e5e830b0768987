"""An ensemble over several studies of the same data."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from hpo import api, spec
from hpo.ensemble.pool import Pool
from hpo.errors import InputError, StudyError
from hpo.study.data_summary import DataSummary
from hpo.study.study import Study
from tests.conftest import Run, data_summary, finish


def another(document: dict[str, Any], study: Study, summary: DataSummary | None = None, **changes: Any) -> Study:
    """A study `deep` beside the squares', of two layers."""
    wanted = {**document, "study": "deep", "model": {"name": "mlp", "layers": 2, "width": 16}, **changes}
    made = Study.create(study.folder.parent, spec.load(wanted), summary or data_summary())
    if made.study_spec.task == "classification":
        for skill in (2.2, 1.8):
            finish(made, skill, epochs=3)
    return made


def test_trials_of_all_studies_are_candidates(study: Study, document: dict[str, Any]) -> None:
    other = another(document, study)
    pool = Pool.of_studies([study, other], 50)
    assert len(pool.trials) == 6 and pool.others == (other,)
    assert {pool.name(place) for place in range(6)} == {f"trial {n}" for n in range(4)} | {
        f"deep: trial {n}" for n in range(2)
    }
    alone = Pool.load(other, 50)
    for place, trial in enumerate(pool.trials):
        if pool.owner(place) is other:
            own = alone.place(trial.number)
            np.testing.assert_array_equal(pool.validation[place], alone.validation[own])
            assert pool.temperatures[place] == alone.temperatures[own]
    kept = pool.only([0, 5])
    assert [kept.name(0), kept.name(1)] == [pool.name(0), pool.name(5)]
    assert len(Pool.of_studies([study, other], 3).trials) == 3


def test_an_ensemble_stands_in_the_first_study_and_names_the_others(
    study: Study, document: dict[str, Any], hpo: Run
) -> None:
    other = another(document, study)
    code, out, err = hpo("ensemble", "--study", "squares", "--study", "deep", "--method", "voting", "--top", "6")
    assert code == 0, err
    assert "deep: trial 0" in out and "best single (deep: trial 0)" in out
    (name,) = [one.name for one in api.ensembles("squares")]
    assert api.ensembles("deep") == [] and name == "squares-1"
    kept = json.loads((study.folder / "ensembles" / name / "ensemble.json").read_text())
    assert {member.get("study") for member in kept["members"]} == {None, "deep"} and kept["study"] == "squares"
    layers = {member["name"]: member["model"]["settings"]["layers"] for member in kept["members"]}
    assert {count for name, count in layers.items() if name.startswith("deep")} == {2}
    api.remove("deep")
    opened = api.open_ensemble(name)
    assert len(opened.members) == 6 and opened.predict_proba(study.data_summary.example).shape == (1, 3)
    assert other.name == "deep"


def other_targets(split: str) -> DataSummary:
    known = data_summary()
    return replace(known, targets={**known.targets, split: known.targets[split][::-1].copy()})  # type: ignore[dict-item,index]


@pytest.mark.parametrize(
    ("summary", "changes", "message"),
    [
        (replace(data_summary(), fingerprint="of others"), {}, "have other data: an ensemble is of trials"),
        (replace(data_summary(), fingerprint="of others"), {"seed": 3}, "have other splits"),
        (
            replace(data_summary(), outputs=("x", "y", "z")),
            {},
            r"have other outputs, \('a', 'b', 'c'\) and \('x', 'y', 'z'\)",
        ),
        (other_targets("validation"), {}, "have read their data otherwise"),
        (other_targets("test"), {}, "have read their data otherwise"),
    ],
)
def test_studies_of_other_rows_are_refused(
    study: Study, document: dict[str, Any], summary: DataSummary, changes: dict[str, Any], message: str
) -> None:
    another(document, study, summary, **changes)
    with pytest.raises(StudyError, match=f"studies 'squares' and 'deep' {message}"):
        api.build_ensemble("squares", other_studies=("deep",), method="voting")
    assert not (study.folder / "ensembles").exists()


def test_studies_of_other_tasks_are_refused(study: Study, document: dict[str, Any]) -> None:
    known = data_summary()
    values = {split: rows[:, None].astype(np.float32) for split, rows in known.targets.items()}
    summary = replace(known, targets=values, outputs=("y",))
    another(document, study, summary, task="regression", objective={"metric": "rmse"})
    with pytest.raises(StudyError, match="have other tasks, classification and regression"):
        api.build_ensemble("squares", other_studies=("deep",))


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"method": "bagging"}, "an ensemble over several studies is of stored trials; bagging is of one study"),
        ({"method": "single", "trial": 1}, "trial is of one study"),
        ({"distill": "1"}, "distill is of one study"),
        ({"other_studies": ("squares",)}, "study 'squares' is named twice"),
        ({"other_studies": ("nothing",)}, "no study 'nothing'"),
    ],
)
def test_what_is_of_one_study_is_refused(
    study: Study, document: dict[str, Any], asked: dict[str, Any], message: str
) -> None:
    another(document, study)
    with pytest.raises(InputError, match=message):
        api.build_ensemble("squares", **{"other_studies": ("deep",), **asked})


def test_a_study_without_trials_is_named(study: Study, document: dict[str, Any]) -> None:
    Study.create(study.folder.parent, spec.load({**document, "study": "empty"}), data_summary())
    with pytest.raises(StudyError, match="study 'empty' has 0 trials with stored predictions"):
        api.build_ensemble("squares", other_studies=("empty",))
