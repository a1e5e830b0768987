import json
import subprocess
from pathlib import Path

from hpo import environment


def test_it_says_what_is_here(tmp_path: Path) -> None:
    found = environment.here()
    assert found["packages"]["torch"] and found["python"].startswith("3.") and found["cores"] >= 1
    assert found["commit"] is None  # an empty folder is no repository
    environment.write(tmp_path)
    assert environment.read(tmp_path) == json.loads(json.dumps(found))
    assert environment.differences(found, found) == ()


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


def test_what_has_changed_is_named(tmp_path: Path) -> None:
    then = {"python": "3.9", "packages": {"torch": "1.0", "ray": "2"}}
    now = {"python": "3.9", "cores": 4, "packages": {"torch": "2.0", "ray": "2"}}
    assert environment.differences(then, now) == ("cores: None -> 4", "torch: 1.0 -> 2.0")
    assert environment.read(tmp_path) is None
    (tmp_path / environment.FILE).write_text("[]")
    assert environment.read(tmp_path) is None
