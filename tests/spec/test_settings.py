import shlex
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpo import spec
from hpo.errors import InputError, SpecError
from hpo.spec.settings import as_options, as_yaml

NAMES = st.from_regex(r"[a-z][a-z_0-9]{0,8}(\.[a-z][a-z_0-9]{0,8})?", fullmatch=True)
SCALARS = st.one_of(
    st.booleans(),
    st.integers(-(2**53), 2**53),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=20),
    st.lists(st.integers(0, 9), max_size=3),
)
MODEL = {"study": "s", "data": {"name": "digits"}, "model": {"name": "mlp"}}


@given(st.dictionaries(NAMES, SCALARS, min_size=1, max_size=4))
def test_options_are_read_back_by_set(config: dict[str, Any]) -> None:
    words = shlex.split(as_options(spec.load(MODEL), config))
    assert words[::2] == ["--set"] * len(config)
    assert dict(spec.parse_override(word) for word in words[1::2]) == config


@given(st.dictionaries(st.from_regex(r"[a-z]{1,4}\.[a-z]{1,6}", fullmatch=True), SCALARS, min_size=1, max_size=4))
def test_yaml_is_read_back_as_sections(config: dict[str, Any]) -> None:
    document = spec.parse_plain(as_yaml(config).replace("$${", "${"))
    assert {f"{section}.{key}": value for section, keys in document.items() for key, value in keys.items()} == config


def test_what_looks_like_a_variable_stays_as_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME_OF_KEYS", "hidden")
    text = "parameters: {x: {values: [0, 1]}}\nstudy: s\ntrain: json:loads\nobjective: {metric: loss, goal: minimize}\n"
    file = tmp_path / "space.yaml"
    file.write_text(text + as_yaml({"training.device": "${HOME_OF_KEYS}"}))
    with pytest.raises(SpecError, match=r"got '\$\{HOME_OF_KEYS\}'"):
        spec.load_search(file)


def test_yaml_reads_like_a_search_file() -> None:
    assert as_yaml({"model.width": 64, "optimizer.lr": 1e-05, "model.layers": 2}) == (
        "model:\n  width: 64\n  layers: 2\noptimizer:\n  lr: 1e-05\n"
    )


@pytest.mark.parametrize(
    ("value", "written"), [(0.5, "0.5"), ("a b", "'--x=a b'"), (True, "true"), (3, "3"), ("true", "true")]
)
def test_parameters_of_ones_own_are_options_of_ones_own(value: Any, written: str) -> None:
    own = spec.load_search(
        {"study": "s", "parameters": {"x": {"min": 0, "max": 1}}, "objective": {"metric": "loss", "goal": "minimize"}}
    )
    assert as_options(own, {"x": value}) == (written if written.startswith("'") else f"--x={written}")


@pytest.mark.parametrize("name", ["command", "train", "command.run", "predict", "extends", "extends.x"])
def test_a_parameter_of_the_name_of_another_key_is_no_setting(name: str) -> None:
    with pytest.raises(InputError, match=f"parameter '{name}' has the name of a key of search files"):
        as_yaml({name: "touch here"})
