"""Imports run one way, floor by floor, and rooms on one floor do not import each other."""

import ast
import re
import subprocess
import sys
from fnmatch import fnmatch
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

import hpo
from tests.conftest import ROOT

PACKAGE = Path(hpo.__file__).parent
FLOORS = (
    {"__main__"},
    {"cli"},
    {"api"},
    {"searching"},
    {"ensemble.build"},
    {"ensemble.retrain"},
    {"engine"},
    {"controller"},
    {"adapters", "options"},
    {"training", "ensemble", "tracking", "display"},
    {"samplers"},
    {"history", "schedulers"},
    {"study"},
    {"models", "datasets"},
    {"tasks"},
    {"spec"},
    {"files", "kernels", "plugins", "reporting", "signals", "terminal"},
    {"errors"},
)
PARTED = {"ensemble.build", "ensemble.retrain"}
"""Folders that are rooms of their own: they train members by the engine, which what combines predictions knows not."""
HEAVY = {"torch", "ray", "matplotlib", "mlflow", "optuna", "sklearn", "torchvision", "pandas", "rich", "pydantic"}


def room(path: Path) -> str:
    return room_of(".".join(path.relative_to(PACKAGE).with_suffix("").parts))


def room_of(module: str) -> str:
    """The room of a module, whose name begins below `hpo`."""
    parts = module.split(".")
    return parted if (parted := ".".join(parts[:2])) in PARTED else parts[0]


def floor(name: str) -> int:
    return next(index for index, rooms in enumerate(FLOORS) if name in rooms)


def imported_rooms(path: Path) -> set[str]:
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "hpo":
            rooms |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("hpo."):
            module = node.module.removeprefix("hpo.")
            rooms |= {room_of(f"{module}.{alias.name}") for alias in node.names}
        elif isinstance(node, ast.Import):
            rooms |= {room_of(alias.name.removeprefix("hpo.")) for alias in node.names if alias.name.startswith("hpo.")}
    return rooms - {"__version__"}


MOST_METHODS = 25
LARGE = {"CachedStorage": 30}
"""Classes that have more: a storage of Optuna's has so many."""
LISTS = {"glob", "iterdir", "listdir", "rglob", "scandir", "walk"}
MAKES = {"copy2", "copyfile", "copytree", "hardlink_to", "makedirs", "mkdir", "symlink_to", "touch"}
WRITES = {"rename", "renames", "rmdir", "rmtree", "unlink", "write_bytes", "write_text"}
BY_PATH = LISTS | MAKES | WRITES
"""What lists, makes, writes or removes files by their paths, and so follows links."""
ELSEWHERE = {
    "ensemble/build/folders.py": "the studies of a storage folder",
    "datasets": "the user's data",
    "engine/ray/joining.py": "Ray's note of its address",
    "study/secret.py": "the user's own folder",
    "files/torch_cache.py": "the user's own folder",
    "engine/ray/startup.py": "the folder for temporary files",
    "ensemble/onnx.py": "a file that the user names",
    "study/storage/lock.py": "a file that is published, in the storage folder or the user's own",
    "ensemble/predictions.py": "a file that the user names",
    "training/programs": "a folder of a program's own, for temporary files",
    "study/folder.py": "the storage folder",
    "tracking/store.py": "MLflow's database, in the storage folder",
    "kernels": "the cache",
}
"""Where that is done, to what is in no study's folder."""
MODULES = [path for path in sorted(PACKAGE.rglob("*.py")) if path != PACKAGE / "__init__.py"]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_room_imports_only_from_floors_below(path: Path) -> None:
    own = room(path)
    for other in imported_rooms(path) - {own}:
        assert floor(own) < floor(other), f"{path}: {own} must not import {other}"


OUTSIDE = sorted(path for folder in ("scripts", "examples") for path in (ROOT / folder).rglob("*.py"))


@pytest.mark.parametrize("path", OUTSIDE, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_stands_outside_imports_what_is_there(path: Path) -> None:
    """Benchmarks are not run by the tests, so a module that was renamed would be missed only there."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "hpo":
            for alias in node.names:
                own = hasattr(import_module(node.module), alias.name)
                assert own or find_spec(f"{node.module}.{alias.name}"), f"{node.module} has no {alias.name}"


def test_every_room_is_on_a_floor() -> None:
    assert {room(path) for path in MODULES} == set().union(*FLOORS)


@pytest.mark.parametrize("name", ["__init__.py", "cli", "errors.py", "plugins.py"])
def test_help_needs_nothing_heavy(name: str) -> None:
    place = PACKAGE / name
    for path in place.glob("*.py") if place.is_dir() else [place]:
        for node in ast.parse(path.read_text()).body:  # only what runs when the module is imported
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            assert not HEAVY & {imported.split(".")[0] for imported in names}


def test_a_search_that_is_refused_has_not_imported_what_trains_and_draws() -> None:
    """What takes seconds to import comes while Ray starts, after the spec was checked; simulations never have torch."""
    late = "{'torch', 'ray', 'mlflow', 'matplotlib', 'sklearn', 'pandas', 'deap'}"
    code = f"import sys, hpo.api; print(*sorted({late} & sys.modules.keys()))"
    run = partial(subprocess.run, capture_output=True, text=True, cwd=PACKAGE.parent)
    assert run([sys.executable, "-c", code]).stdout == "\n"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_files_of_a_study_are_reached_by_descriptors_alone(path: Path) -> None:
    """`hpo.files` and `hpo.study.artifacts.Folder`, which stands on it, follow no links."""
    own = path.relative_to(PACKAGE)
    if str(own) == "files/descriptors.py" or {str(own), *map(str, own.parents)} & ELSEWHERE.keys():
        return
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Call):
            continue
        called = node.func
        if isinstance(called, ast.Attribute):
            owner = called.value.id if isinstance(called.value, ast.Name) else ""
            by_path = called.attr in BY_PATH and owner not in ("api", "ast", "files")
        else:
            by_path = isinstance(called, ast.Name) and called.id in ("open", "rmtree", "copytree")
        assert not by_path, f"{own}:{node.lineno}: {ast.unparse(node)}"


def test_what_is_elsewhere_is_there() -> None:
    assert all((PACKAGE / name).exists() for name in ELSEWHERE)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_class_has_too_many_methods(path: Path) -> None:
    """What has more is two things."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ClassDef):
            methods = [part.name for part in node.body if isinstance(part, ast.FunctionDef)]
            most = LARGE.get(node.name, MOST_METHODS)
            assert len(methods) <= most, f"{path}: {node.name} has {len(methods)} methods"


def test_no_merge_is_half_done() -> None:
    """A page that was committed with both sides of a conflict is read by people as it stands."""
    root = PACKAGE.parent
    pages = [
        path for folder in ("docs", "examples", "scripts", "search_spaces") for path in (root / folder).rglob("*.*")
    ]
    for path in [*pages, *root.glob("*.md"), *root.glob("*.toml"), *MODULES]:
        if path.suffix in (".md", ".py", ".toml", ".yaml"):
            lines = path.read_text().splitlines()
            assert not any(line.startswith(("<" * 7, ">" * 7)) or line == "=" * 7 for line in lines), path


def test_links_of_pages_lead_somewhere() -> None:
    root = PACKAGE.parent
    for page in [*root.glob("*.md"), *(root / "docs").glob("*.md")]:
        for link in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
            assert link.startswith("http") or (page.parent / link).exists(), f"{page.name}: {link}"


def test_pytest_passes_over_no_folder_of_tests(pytestconfig: pytest.Config) -> None:
    passed_over = pytestconfig.getini("norecursedirs")
    folders = {path.parent.name for path in (ROOT / "tests").rglob("test_*.py")}
    assert "build" in folders
    assert not {name for name in folders for pattern in passed_over if fnmatch(name, pattern)}


MOST_LINES = 60


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_function_is_too_long(path: Path) -> None:
    """Beside its arguments and its docstring."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef):
            body = node.body[1:] if ast.get_docstring(node) is not None else node.body
            lines = 0 if not body else (body[-1].end_lineno or 0) - body[0].lineno + 1
            assert lines <= MOST_LINES, f"{node.name} has {lines} lines"


def deprecations(source: str) -> list[str]:
    """What a source says of all that is deprecated in it: texts of `deprecated(...)` and of `deprecated=...`."""
    found: list[ast.expr] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            found += node.args[:1] if name == "deprecated" else ()
            found += [keyword.value for keyword in node.keywords if keyword.arg == "deprecated"]
    return [str(ast.literal_eval(text)) for text in found]


def overdue(text: str, version: str) -> bool:
    """Whether what is deprecated by this text should be gone by this version; also where it does not say when."""
    gone = re.search(r"; gone in (\d+)\.(\d+)$", text)
    return gone is None or tuple(map(int, version.split(".")[:2])) >= tuple(map(int, gone.groups()))


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_what_is_deprecated_says_when_it_goes_and_goes_then(path: Path) -> None:
    assert [text for text in deprecations(path.read_text()) if overdue(text, hpo.__version__)] == []


def test_a_deprecation_is_found_and_read() -> None:
    source = """
@typing_extensions.deprecated("use new; gone in 0.4", category=FutureWarning)
def old(): ...
click.option("--old", deprecated="use --new; gone in 0.12")
pydantic.Field(deprecated="some day")
"""
    function, option, key = deprecations(source)
    assert [overdue(function, version) for version in ("0.2.0", "0.3.9", "0.4.0", "0.10.0", "1.0")] == [False] * 2 + [
        True
    ] * 3
    assert [overdue(option, version) for version in ("0.4.0", "0.12.0")] == [False, True]
    assert overdue(key, "0.0.1")
