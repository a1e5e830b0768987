import json
import subprocess
from pathlib import Path

import pytest

from hpo.study import environment


def test_it_says_what_is_here(tmp_path: Path) -> None:
    found = environment.here()
    assert found["packages"]["torch"] and found["python"].startswith("3.") and found["cores"] >= 1
    assert found["commit"] is None  # an empty folder is no repository
    environment.write(tmp_path)
    assert environment.read(tmp_path) == json.loads(json.dumps(found))
    assert environment.differences(found, found) == ()


def test_what_an_older_study_has_not_kept_has_not_changed() -> None:
    found = environment.here()
    older = {name: value for name, value in found.items() if name != "kernels"}
    assert environment.differences(older, found) == ()
    assert environment.differences({**found, "kernels": "none"}, found) == (f"kernels: none -> {found['kernels']}",)


def test_the_commit_of_the_users_code_is_known(tmp_path: Path) -> None:
    for words in (
        ["init", "-q"],
        ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "--allow-empty", "-m", "x"],
    ):
        subprocess.run(["git", *words], check=True, cwd=tmp_path)
    commit = environment.here()["commit"]
    assert commit is not None and len(commit) == 40
    (tmp_path / "model.py").write_text("")
    subprocess.run(["git", "add", "model.py"], check=True, cwd=tmp_path)
    assert environment.here()["commit"] == f"{commit}+"


def test_a_repository_has_no_programs_started(tmp_path: Path) -> None:
    test_the_commit_of_the_users_code_is_known(tmp_path)
    commit = str(environment.here()["commit"])
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\ntouch {tmp_path}/started\ncat\n")
    program.chmod(0o755)
    (tmp_path / ".git" / "hooks" / "post-index-change").symlink_to(program)
    for name, value in (("core.fsmonitor", program), ("core.hooksPath", tmp_path / ".git" / "hooks")):
        subprocess.run(["git", "config", name, str(value)], check=True, cwd=tmp_path)
    (tmp_path / "model.py").write_text("x = 1\n")
    assert environment.here()["commit"] == commit
    subprocess.run(["git", "config", "filter.own.clean", str(program)], check=True, cwd=tmp_path)
    (tmp_path / ".gitattributes").write_text("*.py filter=own\n")
    assert environment.here()["commit"] == commit.replace("+", "?")
    assert not (tmp_path / "started").exists()


def test_the_users_own_filters_are_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "filter.sh"
    program.write_text(f"#!/bin/sh\ntouch {tmp_path / 'ran'}\ncat\n")
    program.chmod(0o755)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    repository = tmp_path / "repository"
    repository.mkdir()
    monkeypatch.chdir(repository)
    (repository / "net.py").write_text("x = 1\n")
    for words in (("init", "-q"), ("add", "."), ("-c", "user.name=a", "-c", "user.email=b", "commit", "-qm", "x")):
        subprocess.run(["git", *words], check=True, cwd=repository)
    for name, value in (("clean", program), ("process", program), ("required", "true")):
        subprocess.run(["git", "config", "--global", f"filter.own.{name}", str(value)], check=True)
    (repository / ".gitattributes").write_text("*.py filter=own\n")
    head = str(environment._commit())
    assert not head.endswith(("+", "?"))
    (repository / "net.py").write_text("x = 2\n")
    assert environment._commit() == f"{head}?" and not (tmp_path / "ran").exists()


def test_what_has_changed_is_named(tmp_path: Path) -> None:
    then = {"python": "3.9", "cores": 2, "packages": {"torch": "1.0", "ray": "2"}}
    now = {"python": "3.9", "cores": 4, "packages": {"torch": "2.0", "ray": "2"}}
    assert environment.differences(then, now) == ("cores: 2 -> 4", "torch: 1.0 -> 2.0")
    assert environment.read(tmp_path) is None
    (tmp_path / environment.FILE).write_text("[]")
    assert environment.read(tmp_path) is None


@pytest.mark.parametrize(
    "kept",
    [
        {"packages": 3},
        {"packages": [["torch", "1"]]},
        {"packages": {"torch": {"version": 1}}},
        {"python": ["3.12"], "packages": {}},
        {"cores": {"all": 4}},
        "text",
        None,
    ],
)
def test_what_could_not_be_compared_is_none(kept: object, tmp_path: Path) -> None:
    (tmp_path / environment.FILE).write_text(json.dumps(kept))
    assert environment.read(tmp_path) is None


def test_what_is_kept_without_packages_is_compared(tmp_path: Path) -> None:
    (tmp_path / environment.FILE).write_text(json.dumps({"python": "2.7", "commit": None}))
    then = environment.read(tmp_path)
    assert then is not None
    assert environment.differences(then, {"python": "3.9", "packages": {"torch": "2"}}) == ("python: 2.7 -> 3.9",)


def test_a_difference_is_one_line() -> None:
    assert environment.differences({"python": "3\nTo repair it, run: rm"}, {"python": "3.12"}) == (
        "python: 3 To repair it, run: rm -> 3.12",
    )
