"""The environment in which a study was begun: versions, the commit of the user's code, the machine."""

import json
import os
import platform
import subprocess
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from hpo import files
from hpo.errors import on_one_line

FILE = "environment.json"
_PACKAGES = ("hpo", "torch", "numpy", "ray", "optuna", "mlflow", "deap", "scikit-learn")
_GIT_SECONDS = 5.0
_NO_PROGRAMS = ("--no-optional-locks", "-c", "core.fsmonitor=false", "-c", f"core.hooksPath={os.devnull}")
_MOST_BYTES = 2**20

Environment = Mapping[str, Any]


def here() -> dict[str, Any]:
    """This process's: Python, packages, the commit of its folder, processor, cores, how the CPU kernels are built."""
    from hpo.kernels import library  # imports torch, which whoever only reads a study does without

    found: dict[str, Any] = {"python": platform.python_version(), "system": platform.platform()}
    found |= {"processor": processor(), "cores": os.cpu_count(), "kernels": library.build(), "commit": _commit()}
    return found | {"packages": {name: _version(name) for name in _PACKAGES}}


def write(folder: Path) -> None:
    """Keeps this process's in a study's folder."""
    files.write(folder, FILE, f"{json.dumps(here(), indent=1)}\n".encode())


def read(folder: Path) -> Environment | None:
    """What a study's folder keeps; None where it keeps none that could be compared."""
    try:
        kept = json.loads(files.read(folder, FILE, _MOST_BYTES))
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(kept, dict) or not isinstance(packages := kept.get("packages", {}), dict):
        return None
    told = [value for name, value in (*kept.items(), *packages.items()) if name != "packages"]
    return kept if all(isinstance(value, str | int | float | None) for value in told) else None


def differences(then: Environment, now: Environment) -> tuple[str, ...]:
    """What is not as it was, each a line `name: then -> now`; what was not kept then is left out."""
    flat = [{**one, **one.get("packages", {})} for one in (then, now)]
    names = [name for name in flat[1] if name != "packages" and name in flat[0]]
    return tuple(
        on_one_line(f"{name}: {flat[0].get(name)} -> {flat[1][name]}")
        for name in names
        if flat[0].get(name) != flat[1][name]
    )


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def processor() -> str:
    """The name of this machine's, as Linux has it, or as Python does."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor())


def _commit() -> str | None:
    """The commit of the user's code, with `+` where it is changed; None outside of a repository.

    With `?` where only a program that the repository itself names could tell: none of them is started.
    """
    try:
        head = _git("rev-parse", "HEAD")
        own, others = _filters()
        if own:
            return f"{head}?"
        without = [
            word for name in others for word in ("-c", f"{name}={'false' if name.endswith('.required') else ''}")
        ]
        changed = _git(*without, "status", "--porcelain", "--untracked-files=no", "--ignore-submodules=dirty")
        if changed and others:  # it may only look so, since the user's filters were not asked
            return f"{head}?"
    except (OSError, subprocess.SubprocessError):
        return None
    return f"{head}+" if changed else head


def _filters() -> tuple[list[str], list[str]]:
    """Settings that name programs through which files would go: the repository's own, and those of the user.

    Which files go through them is said by a `.gitattributes`, which may be a stranger's in a study's folder.
    """
    settings = [line.partition("\t") for line in _git("config", "--list", "--show-scope", "--name-only").splitlines()]
    filters = [(scope, name) for scope, _, name in settings if name.startswith("filter.")]
    own = [name for scope, name in filters if scope in ("local", "worktree")]
    return own, sorted({name for scope, name in filters if scope not in ("local", "worktree")})


def _git(*words: str) -> str:
    """What git says, without the programs that a repository may have it start."""
    command, alone = ["git", *_NO_PROGRAMS, *words], {**os.environ, "GIT_ALLOW_PROTOCOL": "none"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=_GIT_SECONDS, check=True, env=alone)
    return done.stdout.strip()
