"""Functions whose arguments are the fields of a dataclass (`hpo.options.arguments`), shown with each of them."""

import importlib
from collections.abc import Iterator
from typing import Any

import griffe

from hpo.options import declared


class Arguments(griffe.Extension):
    """Gives such a function the parameters of its dataclass, and the docstring that it has at run time."""

    def on_package(self, *, pkg: griffe.Module, loader: griffe.GriffeLoader, **_: Any) -> None:
        """Completes all such functions of a package."""
        for function, options in _decorated(pkg):
            found = loader.modules_collection.get_member(function.module.resolve(options))
            names = [field.name for field, _ in declared(_imported(found))]
            function.parameters = griffe.Parameters(*(found.parameters[name] for name in names))
            function.docstring = griffe.Docstring(_imported(function).__doc__, parent=function)


def _imported(found: griffe.Object) -> Any:
    return getattr(importlib.import_module(found.module.path), found.name)


def _decorated(module: griffe.Module) -> Iterator[tuple[griffe.Function, str]]:
    """The functions, each with the name of its dataclass as its decorator has it."""
    for member in module.members.values():
        if isinstance(member, griffe.Module):
            yield from _decorated(member)
        elif isinstance(member, griffe.Function):
            for decorator in member.decorators:
                if str(decorator.value).startswith("arguments("):
                    yield member, str(decorator.value)[len("arguments(") : -1]
