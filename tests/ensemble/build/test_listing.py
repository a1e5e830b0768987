from pathlib import Path

import pytest

from hpo import api
from hpo.errors import StudyError
from hpo.study.study import Study
from tests.conftest import Run


def test_ensembles_are_listed_the_newest_last(study: Study, hpo: Run) -> None:
    assert api.ensembles() == []
    built = [api.build_ensemble(method=method, top=2) for method in ("voting", "single")]
    found = api.ensembles()
    assert [one.name for one in found] == [one.name for one in built]
    for one, result in zip(found, built, strict=True):
        assert (one.study, one.method, one.test, one.validation) == (
            "squares",
            result.method,
            result.test,
            result.validation,
        )
        assert list(one.members) == [member["name"] for member in result.members]
    code, out, _ = hpo("ensembles", "--study", "squares")
    assert code == 0 and all(one.name in out for one in built) and "UTC" in out
    with pytest.raises(StudyError, match="no study 'circles'"):
        api.ensembles("circles")


def test_a_damaged_result_is_left_out_by_name(study: Study, hpo: Run) -> None:
    built = api.build_ensemble(method="voting", top=2)
    (built.folder / "result.json").write_text('{"method": 3}')
    code, out, err = hpo("ensembles", "--format", "json")
    assert (code, out) == (0, "[]\n") and f"left out: ensemble '{built.name}' of study 'squares'" in err
    Path(built.folder / "result.json").unlink()
    code, out, err = hpo("ensembles")
    assert code == 0 and "There are no ensembles" in out and "cannot be read" in err
