import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hpo import plugins
from hpo.errors import InputError
from hpo.plugins import Registry, did_you_mean, import_paths, note_stored, trust
from tests.conftest import PATIENCE, ROOT

REGISTRY = Registry("gadget", {"path": "pathlib:Path"})


@pytest.fixture(autouse=True)
def named(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the user has named so far."""
    monkeypatch.setattr(plugins, "_trusted", {"pathlib:Path", "pathlib:Paht", "no_such_module:x"})


def test_names_and_paths_are_loaded() -> None:
    assert REGISTRY.load("path") is Path
    assert REGISTRY.load("pathlib:Path") is Path


@pytest.mark.parametrize(
    "path", ["a:b;touch x", "a:$(id)", "a b:c", "a:b c", ":b", "a:", "a:b:c", "-a:b", "a:b.c", "../a:b"]
)
def test_what_is_no_import_path_is_never_offered_to_type(path: str) -> None:
    with pytest.raises(InputError, match="is no import path: write 'module:attribute'") as error:
        REGISTRY.load(path)
    assert "HPO_TRUST" not in str(error.value)


def test_a_module_is_imported_again_only_where_it_was_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    trust(["changing:value"])
    (tmp_path / "changing.py").write_text("value = 1")
    assert REGISTRY.load("changing:value") == 1
    (tmp_path / "changing.py").write_text("value = 22")
    assert REGISTRY.load("changing:value") == 1
    monkeypatch.delitem(sys.modules, "changing")
    assert REGISTRY.load("changing:value") == 22


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("paht", "unknown gadget 'paht'. Did you mean 'path'"),
        ("no_such_module:x", "module 'no_such_module' cannot be imported"),
        ("pathlib:Paht", "module 'pathlib' has no 'Paht'. Did you mean 'Path'"),
    ],
)
def test_what_cannot_be_loaded_is_named(name: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        REGISTRY.load(name)
    assert message in str(caught.value)


def test_what_nobody_has_named_is_not_imported() -> None:
    note_stored(["os:mkdir"], Path("studies/x/spec.yaml"))
    with pytest.raises(InputError, match="gadget 'os:mkdir' is code that 'studies/x/spec.yaml' names, .* add --trust "):
        REGISTRY.load("os:mkdir")
    trust(["os:mkdir"])
    assert REGISTRY.load("os:mkdir").__name__ == "mkdir"


def test_import_paths_are_found_wherever_they_are_written() -> None:
    document = {"model": {"name": "own:net"}, "data": "a.b:c", "others": ["x", 3, {"k": ["d-e:f"]}]}
    assert import_paths(document) == {"own:net", "a.b:c", "d-e:f"}


@pytest.mark.parametrize(
    ("word", "known", "hint"),
    [
        ("include", ["failures", "data", "budget"], " Known: budget, data, failures."),
        ("nope", ["auto", "soup", "voting"], " Known: auto, soup, voting."),
        ("magic", ["bagging", "single"], " Known: bagging, single."),
        ("sdg", ["adam", "sgd"], " Did you mean 'sgd'?"),
        ("rl", ["lr", "name"], " Did you mean 'lr'?"),
        ("ACCURACY", ["accuracy", "nll"], " Did you mean 'accuracy'?"),
        ("acc", ["accuracy", "nll"], " Did you mean 'accuracy'?"),
        ("maximum", ["max", "min"], " Did you mean 'max'?"),
        ("logging", ["log", "lo", "lognormal"], " Did you mean 'log'?"),
        ("", ["a"], " Known: a."),
        ("x", [], ""),
    ],
)
def test_only_what_is_near_is_suggested(word: str, known: list[str], hint: str) -> None:
    assert did_you_mean(word, known) == hint


PARSES = """
from argparse import ArgumentParser
parser = ArgumentParser("net")
parser.add_argument("--data", required=True)
options = parser.parse_args([])
"""


def load(path: str) -> Any:
    """What the user names."""
    trust([path])
    return REGISTRY.load(path)


def write(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(text)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import sys; sys.exit()", "; keep that under"),
        ("import sys; sys.exit('no GPU')", "and says: no GPU; keep that under"),
        (
            PARSES,
            "and says: net: error: the following arguments are required: --data; keep that under `if __name__",
        ),
        ("1 / 0", "cannot be imported: division by zero"),
        ("raise ValueError('one\\ntwo')", "cannot be imported: one two"),
    ],
)
def test_a_module_that_ends_the_program_is_named(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], code: str, message: str
) -> None:
    name = f"ending_{abs(hash(code))}"
    write(tmp_path, f"{name}.py", code)
    with pytest.raises(InputError) as caught:
        load(f"{name}:x")
    assert f"gadget '{name}:x': module '{name}' " in str(caught.value)
    assert message in str(caught.value) and ("cannot be" in message) != ("ends the program" in str(caught.value))
    assert capfd.readouterr() == ("", "")


def test_what_a_module_prints_goes_to_stderr_and_its_logger_goes_on(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    code = "import sys\nprint('hello')\nprint('there', file=sys.stderr)\nhere = sys.stderr\nx = 1\n"
    write(tmp_path, "chatty.py", code)
    assert load("chatty:x") == 1
    load("chatty:here").write("later\n")
    assert capfd.readouterr() == ("", "hello\nthere\nlater\n")


def test_main_is_another_program_in_a_worker() -> None:
    with pytest.raises(InputError, match=r"gadget '__main__:net': '__main__' is another program in each worker; keep"):
        load("__main__:net")


@pytest.mark.parametrize("name", ["test", "queue", "time", "pytest", "xml.dom"])
def test_a_file_that_is_named_like_another_module_is_told(tmp_path: Path, name: str) -> None:
    file = tmp_path.joinpath(*name.split(".")).with_suffix(".py")
    file.parent.mkdir(exist_ok=True)
    file.write_text("def net(): ...")
    with pytest.raises(InputError) as caught:
        load(f"{name}:net")
    assert f"module '{name}' is " in str(caught.value) and "also" in str(caught.value)
    assert f"{file.relative_to(tmp_path)} in the current folder" in str(caught.value)
    assert "rename yours, for example to my_" in str(caught.value)


def test_a_file_whose_name_is_taken_is_told_however_the_process_was_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A script's folder comes first, a command's last: the same spec must mean the same in both, and in workers."""
    write(tmp_path, "shlex.py", "def net(): ...")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "shlex", raising=False)
    with pytest.raises(InputError, match="module 'shlex' is Python's own and also shlex.py in the current folder"):
        load("shlex:net")


def test_one_module_by_two_ways_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "link").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "twice").mkdir()
    write(tmp_path, "twice/__init__.py", "x = 1")
    write(tmp_path, "once.py", "x = 2")
    monkeypatch.syspath_prepend(str(tmp_path / "link"))
    assert (load("twice:x"), load("once:x")) == (1, 2)


def test_a_folder_without_python_is_no_module(tmp_path: Path) -> None:
    (tmp_path / "json").mkdir()
    assert load("json:loads")("1") == 1


def test_an_own_file_that_hides_pythons_module_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    trust(["mine:net"])
    for name in ("sched", "mine"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    Path("sched.py").write_text("VALUE = 1\n")
    Path("mine.py").write_text("from sched import scheduler\n")
    try:
        with pytest.raises(InputError) as caught:
            REGISTRY.load("mine:net")
    finally:
        sys.modules.pop("sched")
    assert f"; '{tmp_path / 'sched.py'}' is taken for another module of that name: rename it" in str(caught.value)
    Path("mine.py").write_text("import no_such_module\n")
    with pytest.raises(InputError) as caught:
        REGISTRY.load("mine:net")
    assert "rename" not in str(caught.value)


@pytest.mark.parametrize("name", ["random", "torch"])
def test_files_named_like_modules_are_no_matter_to_the_command(name: str, space: Path) -> None:
    Path(f"{name}.py").write_text("VALUE = 1\n")
    command = [sys.executable, "-m", "hpo", "validate", "--space", str(space)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ran = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, env=environment)
    assert ran.returncode == 0 and "is valid" in ran.stdout, ran.stderr
