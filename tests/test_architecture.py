"""Imports run one way, floor by floor, and rooms on one floor do not import each other."""

import ast
from pathlib import Path

import pytest

import hpo

PACKAGE = Path(hpo.__file__).parent
FLOORS = (
    {"__main__"},
    {"cli"},
    {"api"},
    {"assembly", "searching"},
    {"forecast", "reproduction", "retraining"},
    {"results"},
    {"engine"},
    {"training", "ensemble", "tracking", "report", "disk", "gpu"},
    {"study", "samplers"},
    {"code", "environment", "facts", "places", "space"},
    {"artifacts", "record"},
    {"ledger"},
    {"schedulers", "models", "datasets", "trial", "budget"},
    {"fitness"},
    {"tasks"},
    {"spec"},
    {"arrays"},
    {"files", "numbers", "registry", "signals", "terminal"},
    {"errors"},
)
HEAVY = {"torch", "ray", "matplotlib", "mlflow", "optuna", "sklearn", "torchvision", "pandas", "rich", "pydantic"}


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def floor(name: str) -> int:
    return next(index for index, rooms in enumerate(FLOORS) if name in rooms)


def imported_rooms(path: Path) -> set[str]:
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "hpo":
            rooms |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("hpo."):
            rooms.add(node.module.split(".")[1])
        elif isinstance(node, ast.Import):
            rooms |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("hpo.")}
    return rooms - {"__version__"}


MODULES = [path for path in sorted(PACKAGE.rglob("*.py")) if path != PACKAGE / "__init__.py"]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_room_imports_only_from_floors_below(path: Path) -> None:
    own = room(path)
    for other in imported_rooms(path) - {own}:
        assert floor(own) < floor(other), f"{path}: {own} must not import {other}"


def test_every_room_is_on_a_floor() -> None:
    assert {room(path) for path in MODULES} == set().union(*FLOORS)


@pytest.mark.parametrize("name", ["__init__.py", "cli.py", "errors.py", "registry.py"])
def test_help_needs_nothing_heavy(name: str) -> None:
    tree = ast.parse((PACKAGE / name).read_text())
    for node in tree.body:  # only what runs when the module is imported
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        assert not HEAVY & {imported.split(".")[0] for imported in names}
