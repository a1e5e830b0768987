from pathlib import Path
from typing import Any

import pytest

from hpo import searching
from hpo.errors import InputError
from hpo.study import Study


def more(study: Study, **limits: Any) -> dict[str, Any]:
    overrides = {f"budget.{name}": value for name, value in limits.items()}
    return searching.in_all(study.spec, overrides, study.folder.parent, None)


def test_a_plus_is_so_many_more_than_the_study_has(study: Study) -> None:
    assert study.spent().trials == 5 and study.spent().epochs == 10
    assert more(study, trials="+20", epochs="+3") == {"budget.trials": 25, "budget.epochs": 13}
    assert more(study, trials=20, time_limit=5.0) == {"budget.trials": 20, "budget.time_limit": 5.0}
    assert more(study, gpu_hours="+2.5") == {"budget.gpu_hours": 2.5}


def test_of_a_new_study_it_is_all(document: dict[str, Any], tmp_path: Path) -> None:
    found = searching.in_all(document, {"budget.trials": "+20"}, tmp_path / "none", None)
    assert found == {"budget.trials": 20}


@pytest.mark.parametrize("text", ["20", "+", "++2", "+2.5", "+0", "+1_0", "more"])
def test_other_texts_are_refused(study: Study, text: str) -> None:
    with pytest.raises(InputError, match=r"budget.trials must be a number, or a text such as '\+20' for so many more"):
        more(study, trials=text)
