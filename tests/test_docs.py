"""The documentation site builds without a warning, and its references have everything that there is."""

import html
import inspect
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import click
import pytest
from pydantic import BaseModel

import hpo
from hpo import cli
from hpo.models import MODELS
from hpo.spec import StudySpec
from tests.conftest import PATIENCE

CONFIG = Path(__file__).parents[1] / "docs" / "mkdocs" / "mkdocs.yml"
GROUP = next(value for value in vars(sys.modules[cli.main.__module__]).values() if isinstance(value, click.Group))

pytestmark = pytest.mark.xdist_group("docs")  # one process builds the site, once


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the site, built as `scripts/docs` does it."""
    folder = tmp_path_factory.mktemp("site")
    command = [
        sys.executable,
        "-m",
        "mkdocs",
        "build",
        "--strict",
        "--config-file",
        str(CONFIG),
        "--site-dir",
        str(folder),
    ]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stderr
    return folder


def text(page: Path) -> str:
    """A page's text, without its tags."""
    return html.unescape(re.sub(r"<[^>]+>", "", page.read_text()))


def commands(group: click.Group, path: str) -> Iterator[tuple[str, click.Command]]:
    """A group and all commands below it, each with the words by which it is called."""
    yield path, group
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, f"{path} {name}")
        else:
            yield f"{path} {name}", command


@pytest.mark.parametrize(("path", "command"), [pytest.param(*pair, id=pair[0]) for pair in commands(GROUP, "hpo")])
def test_a_command_is_there_with_all_options(site: Path, path: str, command: click.Command) -> None:
    sections = re.split(r"(?=<h2 id=)", (site / "reference" / "cli.html").read_text())
    named = [section for section in sections if section.startswith(f'<h2 id="{path.replace(" ", "-")}">')]
    assert len(named) == 1
    for parameter in command.params:
        shown = [*parameter.opts, *parameter.secondary_opts]
        if isinstance(parameter, click.Argument):
            shown = [parameter.make_metavar(click.Context(command))]
        assert all(re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", named[0]) for name in shown), parameter.name


def keys(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """The dotted names of a model's keys, and of those of its sections."""
    for name, field in model.model_fields.items():
        yield f"{prefix}{name}"
        between = {"parameters": "NAME.", "constraints": "N.", "callbacks": "N.", "metrics": "N."}.get(name, "")
        for section in sections(field.annotation) if model is StudySpec else []:
            yield from keys(section, f"{name}.{between}")


def sections(annotation: Any) -> list[type[BaseModel]]:
    """The models in a type such as `dict[str, Parameter]`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in sections(part)]


def test_every_key_of_the_search_file_is_there(site: Path) -> None:
    found = set(re.findall(r"<td><code>([\w.]+)</code></td>", (site / "reference" / "yaml.html").read_text()))
    assert set(keys(StudySpec)) - found == set()


def test_a_key_has_its_type_default_and_rule(site: Path) -> None:
    rows = re.findall(r"<tr>.*?</tr>", (site / "reference" / "yaml.html").read_text(), re.DOTALL)
    cells = [[html.unescape(re.sub(r"<[^>]+>", "", cell)) for cell in re.findall(r"<td>.*?</td>", row)] for row in rows]
    found = [row[:4] for row in cells]
    assert ["training.label_smoothing", "number", "0.0", "at least 0, below 1"] in found
    assert ["training.precision", "auto, float32 or bfloat16", "auto", ""] in found
    assert ["budget.time_limit", "seconds, or a text such as 90s, 30m, 2h", "none", "above 0"] in found
    assert ["budget.trials", "whole number", "none; 32 without the section", "at least 1"] in found
    assert ["sampler", "section", "{name: curves}", ""] in found
    assert ["data", "section", "required", "", "What is learned from."] in cells
    assert [row for row in cells if len(row) == 5 and not row[4]] == []


def test_every_family_of_models_is_there_with_its_settings(site: Path) -> None:
    parts = re.split(r'(?=<h3 id=")', (site / "models.html").read_text())
    for name in MODELS.names:
        (part,) = [part for part in parts if part.startswith(f'<h3 id="{name}">')]
        settings = list(inspect.signature(MODELS.load(name)).parameters)[2:]
        assert re.findall(r"<td><code>(\w+)</code></td>\s*<td><code>", part) == settings


def test_every_public_name_is_there(site: Path) -> None:
    found = set(re.findall(r'id="hpo\.(\w+)"', (site / "reference" / "python.html").read_text()))
    assert set(hpo.__all__) - found == set()


def test_pages_of_the_top_level_are_there_and_link_to_others(site: Path) -> None:
    home = (site / "index.html").read_text()
    assert 'href="ensembles.html"' in home and 'href="security.html"' in home
    assert 'href="examples.html#examples/own_model.py"' in home
    assert hpo.__version__ in text(site / "changelog.html")
    assert "input_shape" in text(site / "examples.html")


def test_nothing_comes_from_another_server(site: Path) -> None:
    for page in site.rglob("*.html"):
        loaded = re.findall(
            r'<(?:script|img|iframe|link)\b[^>]*?\b(?:src|href)="?((?:https?:)?//[^">]+)', page.read_text()
        )
        assert loaded == [] and 'class="mermaid"' not in page.read_text(), page
    for sheet in site.rglob("*.css"):
        assert not re.search(r"url\([\"']?(?:https?:)?//|@import", sheet.read_text()), sheet
