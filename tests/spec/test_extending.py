"""Search files that extend others, and take values from the environment."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpo import api, spec
from hpo.errors import SpecError
from hpo.spec.extending import _merged

BASE = """\
study: base
data: {name: digits, validation: 0.2}
model: {name: mlp, width: 32, layers: 2}
training: {epochs: 9, batch_size: 64}
optimizer: {name: sgd, lr: 0.1}
sampler: tpe
parameters:
  optimizer.lr: {min: 1e-4, max: 1.0, log: true}
  model.width: {type: int, min: 8, max: 64, log: true}
budget: {trials: 8}
"""


@pytest.fixture
def base(tmp_path: Path) -> Path:
    (tmp_path / "shared").mkdir()
    path = tmp_path / "shared" / "base.yaml"
    path.write_text(BASE)
    return path


def write(folder: Path, text: str, name: str = "own.yaml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def line(path: Path | dict[str, Any]) -> str:
    with pytest.raises(SpecError) as caught:
        spec.load(path)
    assert len(caught.value.lines) == 1, caught.value.lines
    return caught.value.lines[0]


def test_later_keys_win_and_mappings_are_merged(base: Path, tmp_path: Path) -> None:
    text = "extends: shared/base.yaml\nstudy: own\ntraining: {epochs: 3}\nsampler: {n_startup_trials: 3}\n"
    text += "parameters:\n  optimizer.lr: {max: 0.5, default: 0.2}\n  optimizer.momentum: {min: 0.5, max: 0.9}\n"
    own = spec.load(write(tmp_path, text))
    assert (own.study, own.training.epochs, own.training.batch_size) == ("own", 3, 64)
    assert own.sampler.name == "tpe" and own.sampler.settings == {"n_startup_trials": 3}
    rate = own.parameters["optimizer.lr"]
    assert (rate.min, rate.max, rate.log, rate.default) == (1e-4, 0.5, True, 0.2)
    assert own.parameters.keys() == {"optimizer.lr", "model.width", "optimizer.momentum"}


def test_what_is_another_thing_replaces_and_what_is_null_is_left_out(base: Path, tmp_path: Path) -> None:
    text = "extends: shared/base.yaml\nmodel: {name: convnet, width: 8}\nbudget: null\nparameters:\n"
    text += "  optimizer.lr: {values: [0.1, 0.2]}\n  model.width: null\n"
    own = spec.load(write(tmp_path, text))
    assert own.model.settings == {"width": 8} and own.budget.trials == 32
    assert own.parameters["optimizer.lr"].values == (0.1, 0.2) and "model.width" not in own.parameters
    back = "extends: own.yaml\nmodel: {layers: 1, name: mlp}\nparameters: {optimizer.lr: {min: 0.1, max: 1}}\n"
    again = spec.load(write(tmp_path, back, "again.yaml"))
    assert again.parameters["optimizer.lr"].max == 1 and again.model.settings == {"layers": 1}


def test_several_are_laid_over_each_other_and_may_extend_others(base: Path, tmp_path: Path) -> None:
    write(tmp_path, "extends: shared/base.yaml\nseed: 1\ntraining: {epochs: 2}\n", "one.yaml")
    write(tmp_path, "seed: 2\n", "two.yaml")
    own = spec.load(write(tmp_path, "extends: [one.yaml, two.yaml]\nstudy: own\n"))
    assert (own.study, own.seed, own.training.epochs) == ("own", 2, 2)


def test_a_dict_extends_from_where_one_stands(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert spec.load({"extends": "shared/base.yaml", "study": "own"}).training.epochs == 9
    assert spec.load({"extends": str(base), "study": "own"}, {"training.epochs": 4}).training.epochs == 4


def test_problems_name_the_file_that_has_them(base: Path, tmp_path: Path) -> None:
    own = write(tmp_path, "extends: shared/base.yaml\ntraining: {epoch: 3}\n")
    assert line(own) == f"{own}:2: training.epoch: unknown key. Did you mean 'epochs'?"
    base.write_text(BASE.replace("batch_size: 64", "batch_size: 0"))
    assert line(write(tmp_path, "extends: shared/base.yaml\n")).startswith(f"{base}:4: training.batch_size: must be")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("extends: none.yaml", "own.yaml:1: extends: there is no file '{tmp}/none.yaml'"),
        (
            "study: x\nextends: own.yaml",
            "own.yaml:2: extends: files extend each other in a circle: own.yaml -> own.yaml",
        ),
        ("extends: 3", "own.yaml:1: extends: must be a file, or a list of files, got 3"),
        ("extends: []", "must be a file, or a list of files"),
        ("extends: [broken.yaml]", "broken.yaml:2: not YAML"),
        ("extends: list.yaml", "list.yaml:1: a search is a mapping"),
        ("extends: many.yaml", "many.yaml:1: not YAML: has more than 20,000 values"),
        ("extends: deep.yaml", "deep.yaml:1: not YAML: is nested more than 40 deep"),
        ("extends: shared", "there is no file '{tmp}/shared'"),
        ("extends: twenty0.yaml", "a search is made of at most 20 files"),
    ],
)
def test_what_cannot_be_extended_is_one_sentence(text: str, said: str, base: Path, tmp_path: Path) -> None:
    write(tmp_path, "a: 1\nb: [", "broken.yaml")
    write(tmp_path, "[1, 2]", "list.yaml")
    write(tmp_path, f"a: [{'1, ' * 20_001}]", "many.yaml")
    write(tmp_path, f"a: {'[' * 50}{']' * 50}", "deep.yaml")
    for number in range(6):
        write(tmp_path, f"extends: [twenty{number + 1}.yaml, twenty{number + 1}.yaml]", f"twenty{number}.yaml")
    write(tmp_path, "seed: 1", "twenty6.yaml")
    assert said.replace("{tmp}", str(tmp_path)) in line(write(tmp_path, text + "\n"))


def test_what_a_study_has_stored_is_whole_and_extends_nothing(base: Path, tmp_path: Path) -> None:
    own = spec.load(write(tmp_path, "extends: shared/base.yaml\nstudy: own\n"))
    assert "extends" not in spec.dump(own)
    stored = write(tmp_path, spec.dump(own) + "extends: shared/base.yaml\n", "stored.yaml")
    with pytest.raises(SpecError, match="extends: unknown key"):
        spec.load_stored(stored)
    with pytest.raises(SpecError, match="extends: unknown key"):
        spec.load_stored({**spec.parse_plain(spec.dump(own)), "extends": str(base)})


# ---- variables -------------------------------------------------------------------------------------------------------


def test_values_come_from_the_environment(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLACE", str(tmp_path))
    monkeypatch.setenv("WIDE", "48")
    text = "extends: shared/base.yaml\ndata: {name: npz, path: '${PLACE}/${FILE:-a}.npz'}\nmodel: {width: '${WIDE}'}\n"
    text += "training: {compile: '${COMPILE:-false}', epochs: '${EPOCHS:-7}'}\nstudy: x$${y}\n"
    path = write(tmp_path, text.replace("study: x$${y}\n", "study: s-${WIDE}\n"))
    own = spec.load(path)
    assert own.data.path == f"{tmp_path}/a.npz" and own.model.settings["width"] == 48
    assert own.training.compile is False and own.training.epochs == 7 and own.study == "s-48"
    notes = spec.read(path).notes
    assert notes[0] == "data.path is taken from ${PLACE}; the study stores the value that it has now."
    assert len(notes) == 3 and "${" not in spec.dump(own)
    assert "study: must be letters" in line(write(tmp_path, text)) and "x${y}" in line(write(tmp_path, text))


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("${NOT_SET}", "own.yaml:2: data.path: ${NOT_SET} is not set, or empty; set it, or write a default"),
        ("${EMPTY}", "${EMPTY} is not set, or empty"),
        ("${", "a variable is written ${NAME}, or ${NAME:-default}"),
        ("${a b}", "a variable is written"),
        ("${A:-${B}}", "a variable is written"),
        ("${AWS_SECRET_ACCESS_KEY}", "looks like a secret, and what a search file says is stored"),
        ("${API_KEY:-x}", "looks like a secret"),
        ("${DB_PASSWORD}", "looks like a secret"),
        ("${URL}", "${URL} has a password in its URL"),
    ],
)
def test_a_wrong_variable_is_one_sentence(
    value: str, said: str, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("URL", "s3://me:it@host/x")
    monkeypatch.setenv("EMPTY", "")
    monkeypatch.setenv("DB_PASSWORD", "x")
    assert said in line(write(tmp_path, f"extends: shared/base.yaml\ndata: {{name: npz, path: '{value}'}}\n"))


def test_what_was_taken_and_is_not_used_is_not_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME", "0.3")
    write(tmp_path, BASE.replace("lr: 0.1", "lr: '${SOME}'").replace("epochs: 9", "epochs: '${SOME:-3}'"), "base.yaml")
    own = write(tmp_path, "extends: base.yaml\ntraining: {epochs: 4}\n")
    assert (
        spec.read(own).notes == ["optimizer.lr is taken from ${SOME}; the study stores the value that it has now."]
        and spec.read(own, {"optimizer.lr": 0.2}).notes == []
    )


def test_what_is_stored_is_never_expanded(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLACE", "/elsewhere")
    stored = write(
        tmp_path, BASE.replace("name: sgd", "name: sgd").replace("model: {name: mlp", "model: {name: '${PLACE}'")
    )
    read = spec.load_stored(stored)
    assert isinstance(read, spec.StudySpec) and read.model.name == "${PLACE}"
    assert spec.load({**spec.parse_plain(BASE), "model": "${PLACE}"}).model.name == "${PLACE}"


def test_validate_tells_what_was_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EPOCHS", "3")
    told: list[str] = []
    api.validate(write(tmp_path, BASE.replace("epochs: 9", "epochs: '${EPOCHS}'")), tell=told.append)
    assert told == ["training.epochs is taken from ${EPOCHS}; the study stores the value that it has now."]


TREES = st.recursive(
    st.none() | st.integers(0, 3) | st.text("ab", max_size=2) | st.lists(st.integers(0, 3), max_size=2),
    lambda inner: st.dictionaries(
        st.sampled_from(["a", "b", "model", "name", "parameters", "values"]), inner, max_size=3
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(["a", "model", "parameters"]), TREES, max_size=3), st.data())
def test_merging_with_nothing_changes_nothing_and_twice_is_once(tree: dict[str, Any], data: st.DataObject) -> None:
    other = data.draw(st.dictionaries(st.sampled_from(["a", "model", "parameters"]), TREES, max_size=3))
    assert _merged({}, tree, ()) == tree
    once = _merged(tree, other, ())
    assert once.keys() <= tree.keys() | other.keys()
    assert all(once[key] == value for key, value in tree.items() if not isinstance(value, dict | str | None))


def test_a_name_that_no_file_can_have_is_told(tmp_path: Path) -> None:
    (tmp_path / "space.yaml").write_text(f"extends: {'x' * 5000}\n")
    with pytest.raises(SpecError, match="space.yaml:1: extends: '.*x{20,}' is no path: "):
        spec.load_search(tmp_path / "space.yaml")
