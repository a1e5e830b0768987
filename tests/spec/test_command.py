"""`command` in a search file: its words, their names, and what is refused."""

import shlex
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpo import plugins, spec
from hpo.errors import SpecError
from hpo.spec.command import Command, names, variable, written


def document(command: Any = "python train.py --lr {lr}", **changes: Any) -> dict[str, Any]:
    parameters = {"lr": {"min": 0.0, "max": 1.0}, "model.depth": {"type": "int", "min": 1, "max": 3}}
    goal = {"metric": "loss", "goal": "minimize"}
    return {"study": "own", "command": command, "objective": goal, "parameters": parameters} | changes


def read(command: Any = "python train.py --lr {lr}", **changes: Any) -> spec.SearchSpec:
    return spec.read(document(command, **changes)).checked()


def test_a_text_is_split_as_a_shell_does_and_a_list_is_not() -> None:
    for command in ("train 'a b' --lr {lr} 3", ["train", "a b", "--lr", "{lr}", 3], {"run": "train 'a b' --lr {lr} 3"}):
        assert read(command).command == Command(run=("train", "a b", "--lr", "{lr}", "3"))


def test_it_is_written_and_read_again() -> None:
    whole = {"run": "sh -c 'echo {{}}' {lr}", "metrics": r"loss=(?P<loss>\d)", "environment": {"A": 1}, "grace": "2m"}
    one = read({**whole, "folder": "there", "resumes": True})
    assert one.command is not None and one.command.grace == 120
    import io

    from ruamel.yaml import YAML

    again = spec.read(YAML(typ="safe").load(io.StringIO(spec.dump(one)))).checked()
    assert again.command == one.command and again == one


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("python 'train.py", r"command.run: its quotes are not balanced \(No closing quotation\)"),
        ("", "command.run: names no program"),
        ([], "command.run: names no program"),
        ([""], "command.run: names no program"),
        (3, "command: must be a mapping"),
        ([True], "command.run: takes texts and numbers, got True; write it in quotes"),
        ([["a"]], "command.run: takes texts and numbers, got "),
        ({"run": 3}, "command.run: must be the words of a program"),
        ({"run": "a", "runs": "a"}, "command.runs: unknown key. Did you mean 'run'?"),
        ({"metrics": "(?P<loss>x)"}, "command.run: is required"),
        ("train {lrr}", "command.run: there is no parameter 'lrr' for {lrr}; a brace itself is {{. Did you mean 'lr'?"),
        ("train {}", "command.run: there is no parameter '' for {}"),
        ("train {lr", "command.run: has a brace alone in '{lr'; write {{ or }} for a brace"),
        ("awk '{print $1}'", "command.run: there is no parameter 'print $1'"),
        (["a", "b\0"], "command.run: has a character 0"),
        (
            "train {checkpoint}",
            "command.run: {checkpoint} is a folder of programs that go on from it: add resumes: true",
        ),
        ({"run": "a", "metrics": "(?P<loss>"}, r"command.metrics: is no regular expression \("),
        ({"run": "a", "metrics": r"loss=(\d+)"}, "command.metrics: has no named group: name the metric in it, such as"),
        ({"run": "a", "metrics": r"(?P<epoch>\d+)"}, "command.metrics: has no named group"),
        ({"run": "a", "metrics": r"(?P<lss>\d+)"}, "command.metrics: has no group 'loss', which is searched for"),
        (
            {"run": "a", "environment": {"A B": "x"}},
            "command.environment: a variable's name is letters",
        ),
        ({"run": "a", "environment": {"HPO_X": "x"}}, "command.environment: 'HPO_X' is taken"),
        ({"run": "a", "environment": {"A": "{nope}"}}, "command.run: there is no parameter 'nope'"),
        ({"run": "a", "environment": 3}, "command.environment: must be a mapping"),
        ({"run": "a", "folder": "~nobody-of-this-name/x"}, "command.folder: is not a path: "),
        ({"run": "a", "folder": "a\0"}, "command.folder: has a character 0"),
        ({"run": "a", "grace": 0}, "command.grace: must be greater than 0"),
        ({"run": "a", "grace": "soon"}, "command.grace: must be a duration such as 90s"),
        ({"run": "a", "resumes": "perhaps"}, "command.resumes: must be"),
    ],
)
def test_what_is_wrong_is_one_sentence(command: Any, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        read(command)
    assert message.replace("\\", "") in str(caught.value).replace("\\", "")
    assert len(caught.value.lines) == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train": "m:f"}, "`command` runs a program, which has its own code, data and model: leave train out"),
        ({"data": "digits", "model": "mlp"}, "leave data, model out, or `command`"),
        ({"predict": "m:f"}, "leave predict out, or `command`"),
        (
            {"parameters": {"a.b": {"values": [1]}, "a_b": {"values": [1]}}, "command": "x"},
            "would have the variable HPO_PARAM_A_B",
        ),
    ],
)
def test_what_does_not_go_with_it_is_told(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        spec.read(document() | changes).checked()


def filled(words: list[str], **values: str | None) -> list[str]:
    return list(Command(run=tuple(words)).filled(values).run)


def test_names_have_values_and_double_braces_are_braces() -> None:
    assert filled(["a", "--x={x}", '{{"y": {x}}}', "{x}{x}"], x="1") == ["a", "--x=1", '{"y": 1}', "11"]


def test_a_parameter_that_is_not_there_takes_its_option_along() -> None:
    words = ["a", "--x", "{x}", "-q", "pre{x}", "--y={x}", "b", "{x}", "--z", "{z}"]
    assert filled(words, x=None, z="1") == ["a", "-q", "b", "--z", "1"]
    command = Command(run=("a",), environment={"A": "{x}", "B": "{z}"})
    assert command.filled({"x": None, "z": "1"}).environment == {"B": "1"}


@given(st.lists(st.text(st.characters(exclude_characters="\0{}", exclude_categories=["Cs"]), min_size=1), min_size=1))
def test_words_without_names_stay_as_they_are(words: list[str]) -> None:
    command = Command.model_validate(shlex.join(words))
    assert list(command.run) == words == list(command.filled({}).run) and not command.named


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1))
def test_any_text_is_a_word_with_its_braces_doubled(word: str) -> None:
    doubled = word.replace("{", "{{").replace("}", "}}")
    assert filled(["a", doubled]) == ["a", word] and list(names(doubled)) == []


def test_values_are_written_as_any_language_reads_them() -> None:
    values = [0.1, 1e-05, 3, True, False, None, "adam"]
    assert [written(value) for value in values] == ["0.1", "1e-05", "3", "true", "false", "null", "adam"]
    assert variable("optimizer.lr") == "HPO_PARAM_OPTIMIZER_LR"


def test_what_cannot_be_paused_is_stopped_unless_another_scheduler_is_named() -> None:
    epochs = {"training": {"epochs": 9}}
    assert read(**epochs).scheduler.name == "asha_stop"
    assert read(**epochs, scheduler={"eta": 4}).scheduler.settings == {"eta": 4}
    assert read(**epochs, scheduler="asha").scheduler.name == "asha"
    assert read().scheduler.name == read({"run": "a", "resumes": True}, **epochs).scheduler.name == "freeze_thaw"
    assert read().training.epochs == 1


def test_who_writes_a_command_trusts_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugins, "_trusted", set())
    one = read()
    assert one.command is not None and one.command.key in one.import_paths & plugins.trusted()
    monkeypatch.setattr(plugins, "_trusted", set())
    spec.read(one).checked()
    assert not plugins.trusted()


@pytest.mark.parametrize("name", ["command.metrics", "command.grace"])
def test_set_changes_a_part_of_a_short_form(name: str) -> None:
    value = {"command.metrics": "(?P<loss>.)", "command.grace": "5s"}[name]
    changed = spec.read(document(), {name: value}).checked().command
    assert changed is not None and changed.run == ("python", "train.py", "--lr", "{lr}")
    assert getattr(changed, name.partition(".")[2]) in (value, 5.0)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
KEYS = st.sampled_from(["run", "metrics", "environment", "folder", "resumes", "grace"])


@given(ANYTHING | st.dictionaries(KEYS, ANYTHING))
def test_whatever_is_written_is_a_command_or_told(command: Any) -> None:
    try:
        made = read(command)
    except SpecError as error:
        assert error.lines and all("\n" not in line for line in error.lines)
    else:
        assert made.command is None or made.command.run
