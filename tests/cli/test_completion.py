"""Completion by the shell: what it offers, that it is quick, and where it is installed."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.shell_completion import ShellComplete

from hpo import models, samplers, schedulers
from hpo.cli import completion
from hpo.cli.program import commands
from hpo.ensemble.build.options import RETRAINING
from hpo.ensemble.methods import METHODS
from hpo.spec import study_spec
from hpo.study.study import Study
from tests.conftest import Run


def offered(*words: str) -> list[str]:
    """What is offered for the last of the words."""
    complete = ShellComplete(commands, {}, "hpo", "_HPO_COMPLETE")
    return [item.value for item in complete.get_completions(list(words[:-1]), words[-1])]


def test_names_of_what_is_there_are_offered(study: Study) -> None:
    (study.folder / "ensembles" / "first").mkdir(parents=True)
    (study.folder / "ensembles" / "first" / "ensemble.json").touch()
    (study.folder / "ensembles" / ".half").mkdir()
    (study.folder / "ensembles" / "x;touch${IFS}here").mkdir()  # a shell would run it
    (study.folder / "ensembles" / "x;touch${IFS}here" / "ensemble.json").touch()
    (study.folder.parent / "no-study").mkdir()
    for words in (("trials", "--study"), ("resume", "-s"), ("rm",), ("compare",), ("compare", "x"), ("rename",)):
        assert offered(*words, "") == ["squares"], words
    assert offered("train", "--from", "sq") == ["squares"] and offered("train", "--from", "x") == []
    for command in ("predict", "export"):
        assert offered(command, "--ensemble", "f") == ["first"]
    assert offered("predict", "--trial", "") == ["best", "0", "1", "2", "3"]
    assert offered("reproduce", "2") == ["2"]
    assert offered("ensemble", "--method", "ba") == ["bagged_greedy", "bagging"]
    assert offered("search", "--set", "sampler=t") == ["sampler=tpe"]
    assert offered("best", "--format", "") == ["table", "json", "yaml", "flags"]
    assert "ensembles" in offered("ens") and "--all-data" in offered("train", "--a")


def test_a_folder_of_no_study_s_name_is_not_offered(study: Study) -> None:
    other = study.folder.parent / "x;touch${IFS}here"
    other.mkdir()
    (other / "spec.yaml").touch()
    assert offered("trials", "--study", "") == ["squares"]


def test_another_storage_is_looked_at(study: Study) -> None:
    study.folder.parent.rename("elsewhere")
    assert offered("trials", "--storage", "elsewhere", "-s", "") == ["squares"] and offered("trials", "-s", "") == []


def test_what_is_written_out_is_what_there_is() -> None:
    assert set(completion.METHODS) == {"auto", "single", "soup", *METHODS, *RETRAINING}
    assert set(completion.PLUGINS["sampler"]) == set(samplers.SAMPLERS.names)
    assert set(completion.PLUGINS["scheduler"]) == set(schedulers.SCHEDULERS.names)
    assert set(completion.PLUGINS["model"]) == set(models.MODELS.names)
    assert completion._NAME.pattern == study_spec._NAME


def test_short_options_mean_one_thing() -> None:
    meant: dict[str, set[str]] = {}
    for command in commands.commands.values():
        for option in command.params:
            if isinstance(option, click.Option):
                longest = max(option.opts, key=len)
                for short in (name for name in option.opts if len(name) == 2):
                    meant.setdefault(short, set()).add(longest)
    wanted = {
        **{
            "-s": {"--study", "--from"},
            "-d": {"--storage"},
            "-n": {"--trials"},
            "-f": {"--space"},
            "-e": {"--ensemble"},
        },
        **{"-i": {"--input"}, "-o": {"--output"}, "-k": {"--max-members"}, "-m": {"--method"}, "-y": {"--yes"}},
        **{"-v": {"--verbose"}, "-q": {"--quiet"}},
    }
    assert {short: meant[short] for short in wanted} == wanted


def test_completing_imports_nothing_heavy_and_opens_nothing(study: Study) -> None:
    code = "import sys\nfrom hpo.cli import main\ntry:\n main()\nexcept SystemExit: pass\nprint(sorted(sys.modules))"
    words = "hpo search --log-file made.log --set optimizer.lr=1 --study s"
    environment = {**os.environ, "_HPO_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": "7"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    answer, loaded = done.stdout.splitlines()
    assert answer == "plain,squares"
    assert not {"torch", "ray", "optuna", "mlflow", "numpy", "pydantic", "scipy"} & set(
        json.loads(loaded.replace("'", '"'))
    )
    assert not Path("made.log").exists()


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_bash_completes(study: Study) -> None:
    Path("hpo").write_text(f'#!/bin/sh\nexec {sys.executable} -m hpo "$@"\n')
    Path("hpo").chmod(0o755)
    program = (
        'eval "$(hpo completion --shell bash)"; COMP_WORDS=(hpo trials --study ""); COMP_CWORD=3;'
        ' _hpo_completion hpo; echo "${COMPREPLY[@]}"'
    )
    environment = {**os.environ, "PATH": f"{Path.cwd()}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "squares", done.stderr


@pytest.mark.parametrize(
    ("shell", "file"),
    [
        ("bash", "data/bash-completion/completions/hpo"),
        ("zsh", "data/zsh/site-functions/_hpo"),
        ("fish", "config/fish/completions/hpo.fish"),
    ],
)
def test_it_is_installed_by_one_command(
    shell: str, file: str, hpo: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("SHELL", f"/usr/bin/{shell}")
    for _ in range(2):
        code, out, _ = hpo("completion", "--install")
        assert code == 0 and out.startswith(f"{tmp_path / file} is written.")
    assert "_HPO_COMPLETE" in (tmp_path / file).read_text()


def test_a_shell_that_is_not_known_is_named(hpo: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHELL", "/bin/tcsh")
    code, out, err = hpo("completion", "--install")
    assert (code, out) == (2, "") and "the shell 'tcsh' (by SHELL) is none of bash, zsh, fish" in err
