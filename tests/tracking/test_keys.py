from hypothesis import given
from hypothesis import strategies as st
from mlflow.utils.validation import MAX_ENTITY_KEY_LENGTH, _validate_metric_name

from hpo.tracking.keys import keys


def test_names_that_mlflow_takes_stay_and_others_are_readable() -> None:
    assert keys(["val loss", "accuracy", "a/b.c:d-e", "größe"]) == {
        name: name for name in ("val loss", "accuracy", "a/b.c:d-e", "größe")
    }
    assert keys(["hit@10", "f1(macro)", "/loss", ".."]) == {
        "hit@10": "hit_10",
        "f1(macro)": "f1_macro_",
        "/loss": "_loss",
        "..": "_..",
    }


def test_no_two_names_are_one() -> None:
    made = keys(["hit@10", "hit_10", "hit#10"])
    assert made["hit_10"] == "hit_10" and len(set(made.values())) == 3
    assert all(key.startswith("hit_10-") for name, key in made.items() if name != "hit_10")


@given(st.lists(st.text(max_size=300), unique=True, max_size=8))
def test_mlflow_takes_every_key(names: list[str]) -> None:
    made = keys(names)
    assert list(made) == names and len(set(made.values())) == len(names)
    for key in made.values():
        _validate_metric_name(key)
        assert len(key) <= MAX_ENTITY_KEY_LENGTH
