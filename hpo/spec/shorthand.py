"""Parameters as one types them on a command line: `lr=log:1e-4..1`, `depth=int:1..4`, `opt=adam,sgd`."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ruamel.yaml.error import YAMLError

from hpo.errors import SpecError
from hpo.spec.document import parse_plain

GRAMMAR = "NAME=[int:][log:]MIN..MAX[/STEP] for a range, or NAME=VALUE,VALUE,... for a list"
_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_RANGE = re.compile(rf"((?:(?:int|log):)*)({_NUMBER})\.\.({_NUMBER})(?:/({_NUMBER}))?")


def parse_parameter(text: str) -> tuple[str, dict[str, Any]]:
    """A parameter's name, and what a search file would say of it.

    Args:
        text: as `GRAMMAR` has it.

    Raises:
        SpecError: the text is none of these.
    """
    name, equals, said = text.partition("=")
    name, said = name.strip(), said.strip()
    if not equals or not name or not said:
        raise _refused(text, f"write {GRAMMAR}")
    found = _RANGE.fullmatch(said)
    if found is not None:
        return name, _range(found)
    if ".." in said or said.startswith(("int:", "log:")):
        raise _refused(text, f"'{said}' is no range; write {GRAMMAR}, such as lr=log:1e-4..1")
    try:
        values = [parse_plain(one) for one in said.split(",")]
    except (YAMLError, ValueError):
        raise _refused(text, f"'{said}' is no list of values; write {GRAMMAR}, such as opt=adam,sgd") from None
    if len(values) == 1 and isinstance(values[0], str) and re.match(r"[-+.]?\d", values[0]):
        raise _refused(text, f"'{said}' is no number and no range; write {GRAMMAR}, such as lr=log:1e-4..1")
    if any(value is None and one.strip() != "null" for value, one in zip(values, said.split(","), strict=True)):
        raise _refused(text, "a value is empty; leave the comma out, or write null")
    return name, {"values": values}


def _range(found: re.Match[str]) -> dict[str, Any]:
    kinds, low, high, step = found.groups()
    whole = "int" in kinds
    bounds = {"min": low, "max": high, **({} if step is None else {"step": step})}
    made: dict[str, Any] = {name: _bound(one, whole) for name, one in bounds.items()}
    return {**({"type": "int"} if whole else {}), **made, **({"log": True} if "log" in kinds else {})}


def _bound(text: str, whole: bool) -> float | int:
    number = float(text)
    return int(number) if number.is_integer() and (whole or re.fullmatch(r"[-+]?\d+", text)) else number


def study_name(words: Iterable[str]) -> str:
    """A name for the study of a program: that of its script, or of the program itself."""
    program, *arguments = words
    script = next((word for word in arguments if Path(word).suffix in (".py", ".sh", ".R", ".jl", ".awk")), program)
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", Path(script).stem).strip("._-")
    return name or "program"


def _refused(text: str, why: str) -> SpecError:
    return SpecError([f"--param {text}: {why}"])
