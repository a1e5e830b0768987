"""What a shell completes: names of studies and ensembles, numbers of trials, methods, plug-ins, files.

It is asked for at every press of the tabulator key, so nothing is imported but `hpo.files`, and no study is opened.
"""

import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path

import click
from click.shell_completion import CompletionItem, get_completion_class

from hpo import files
from hpo.errors import InputError

Complete = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]

METHODS = (
    *("auto", "single", "voting", "median", "bagged_greedy", "greedy", "weighted", "stacking", "stacking_ridge"),
    *("stacking_boosting", "hard_voting", "soup", "bagging", "boosting", "deep"),
)
"""Methods of ensembles, written out since scipy would be imported with them; a test compares."""
PLUGINS = {
    "sampler": ("curves", "tpe", "gp", "cmaes", "random", "qmc", "nsga2", "evolution", "grid", "portfolio"),
    "scheduler": ("freeze_thaw", "asha", "asha_stop", "hyperband", "median", "none", "pbt"),
    "model": (
        *(
            "linear",
            "linear_forecast",
            "mlp",
            "convnet",
            "lenet",
            "alexnet",
            "vgg",
            "googlenet",
            "resnet",
            "resnet18",
            "dcn",
            "vit",
        ),
        *("bag", "lstm", "gru", "conv1d", "transformer"),
        *("tabular_mlp", "ft_transformer", "matrix_factorization", "neumf"),
    ),
}
"""Section of a search -> the names of its plug-ins, likewise."""
SHELLS = ("bash", "zsh", "fish")
_STORAGE = "studies"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
"""Names that studies and ensembles have; a shell would run what else a folder may be called."""
_SPEC, _ENSEMBLES, _DOCUMENT, _ARTIFACTS = "spec.yaml", "ensembles", "ensemble.json", "artifacts"


def studies(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of studies in the storage folder."""
    return _items(_studies(_storage(context)), incomplete)


def ensembles(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of ensembles of all studies there."""
    storage = _storage(context)
    names = (
        name
        for study in _studies(storage)
        for name in files.folders(storage / study, _ENSEMBLES)
        if _NAME.fullmatch(name) and files.has(storage / study, f"{_ENSEMBLES}/{name}/{_DOCUMENT}")
    )
    return _items(names, incomplete)


def trials(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Numbers of trials that have stored something in the study's folder, of the study that is named or of all."""
    storage, named = _storage(context), context.params.get("study")
    numbers = {
        int(name)
        for study in ([str(named)] if named else _studies(storage))
        for name in files.folders(storage / study, _ARTIFACTS)
        if name.isdecimal()
    }
    return _items(["best", *map(str, sorted(numbers))], incomplete)


def methods(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Methods of ensembles."""
    return _items(METHODS, incomplete)


def settings(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Plug-ins behind `--set sampler=`, `scheduler=` and `model=`."""
    return _items((f"{section}={name}" for section, names in PLUGINS.items() for name in names), incomplete)


def paths(kind: str) -> Complete:
    """Completes what the shell itself finds: `file` or `dir`."""
    return lambda context, parameter, incomplete: [CompletionItem(incomplete, type=kind)]


_BY_NAME: dict[str, Complete] = {
    "study": studies,
    "warm_start": studies,
    "trial": trials,
    "method": methods,
    "overrides": settings,
}
_BY_VALUE: dict[str, Complete] = {"FILE": paths("file"), "PATH": paths("file"), "DIR": paths("dir")}


def of(name: str, metavar: str) -> Complete | None:
    """The completion of an option that is declared once; None where there is none.

    Args:
        name: of its field.
        metavar: what stands for its value.
    """
    return _BY_NAME.get(name) or _BY_VALUE.get(metavar)


def _items(names: Iterable[str], incomplete: str) -> list[CompletionItem]:
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


def _storage(context: click.Context) -> Path:
    return Path(context.params.get("storage") or _STORAGE)


def _studies(storage: Path) -> list[str]:
    return [name for name in files.folders(storage) if _NAME.fullmatch(name) and files.has(storage, f"{name}/{_SPEC}")]


# ---- its installation --------------------------------------------------------------------------------------------


def script(group: click.Command, shell: str) -> str:
    """What a shell reads to complete `hpo`.

    Raises:
        InputError: the bash of this machine is older than 4.4.
    """
    made = get_completion_class(shell)
    assert made is not None, shell
    try:
        return made(group, {}, "hpo", "_HPO_COMPLETE").source()
    except RuntimeError as error:
        raise InputError(f"{shell} cannot complete here: {error}") from None


def this_shell() -> str:
    """The user's shell, by `SHELL`.

    Raises:
        InputError: it is none for which there is a completion.
    """
    name = Path(os.environ.get("SHELL", "")).name
    if name not in SHELLS:
        raise InputError(f"the shell '{name}' (by SHELL) is none of {', '.join(SHELLS)}; name one with --shell")
    return name


def place(shell: str) -> Path:
    """The file in which a shell looks for the completion of `hpo`."""
    data = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    config = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return {
        "bash": data / "bash-completion" / "completions" / "hpo",
        "zsh": data / "zsh" / "site-functions" / "_hpo",
        "fish": config / "fish" / "completions" / "hpo.fish",
    }[shell]


def hint(shell: str, file: Path) -> str:
    """What is to be done beside, in a sentence."""
    if shell == "zsh":
        lines = f"fpath=({file.parent} $fpath); autoload -Uz compinit && compinit"
        return f"If zsh does not find it, write `{lines}` into ~/.zshrc."
    if shell == "bash":
        return f"It needs the package bash-completion; without it, write `source {file}` into ~/.bashrc."
    return "fish finds it by itself."


def install(group: click.Command, shell: str) -> Path:
    """Writes the completion to where a shell looks for it; what was there is replaced.

    Raises:
        InputError: the file cannot be written, or the shell is too old.
    """
    file, content = place(shell), script(group, shell)
    try:
        files.write(file.parent, file.name, f"{content.rstrip()}\n".encode())
    except OSError as error:
        raise InputError(f"'{file}' cannot be written: {error.strerror or error}") from None
    return file
