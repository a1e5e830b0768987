"""What the site has beside the files of docs/: the top level's pages, the examples, and the generated references."""

import posixpath
import re
from collections.abc import Callable
from pathlib import Path

import references
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
TOP_LEVEL = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
}
"""File of the repository -> page of the site."""
EXAMPLES = "examples.md"
_LANGUAGES = {".py": "python", ".yaml": "yaml", ".sh": "sh"}
GENERATED: dict[str, Callable[[], str]] = {
    "commands": references.commands,
    "search file": references.search_file,
    "models": references.families,
    "python": references.python,
}
"""What takes the place of a line that ends in `<!-- generated: NAME -->`; on a Git host people read that line."""
_LINK = re.compile(r"(?<=\]\()([^()\s#]+)((?:#[^()\s]*)?)(?=\))")
_MARK = re.compile(r"^.*<!-- generated: ([a-z ]+) -->$", re.MULTILINE)


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Adds the pages that are not in docs/."""
    for path, uri in TOP_LEVEL.items():
        files.append(File.generated(config, uri, content=(ROOT / path).read_text()))
    files.append(File.generated(config, EXAMPLES, content=_examples()))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Writes the references, and turns links between files of the repository into links between pages."""
    uri = page.file.src_uri
    if uri == EXAMPLES:
        return markdown
    markdown = _MARK.sub(lambda mark: GENERATED[mark[1]](), markdown)
    return _LINK.sub(lambda link: _page_link(uri, link[1]) + link[2], markdown)


def _page_link(uri: str, link: str) -> str:
    """A link of the page `uri`, as the site needs it; what leads nowhere is left for MkDocs to complain about."""
    source = next((path for path, page in TOP_LEVEL.items() if page == uri), f"docs/{uri}")
    target = posixpath.normpath(posixpath.join(posixpath.dirname(source), link))
    if not (ROOT / target).is_file():
        return link
    if target in TOP_LEVEL:
        page, anchor = TOP_LEVEL[target], ""
    elif target in _shown():
        page, anchor = EXAMPLES, f"#{target}"
    else:
        page, anchor = posixpath.relpath(target, "docs"), ""
    return posixpath.relpath(page, posixpath.dirname(uri) or ".") + anchor


def _shown() -> list[str]:
    """The files of the page of examples."""
    own = [file for file in ROOT.glob("examples/**/*") if file.suffix in _LANGUAGES and file.is_file()]
    files = [*sorted(own, key=lambda file: (len(file.parts), file)), *sorted(ROOT.glob("search_spaces/*.yaml"))]
    return [file.relative_to(ROOT).as_posix() for file in files]


def _examples() -> str:
    parts = ["# Examples\n\nFiles of the repository, as they are."]
    for name in _shown():
        language = _LANGUAGES[posixpath.splitext(name)[1]]
        parts.append(f"## {name} {{ #{name} }}\n\n````{language}\n{(ROOT / name).read_text().rstrip()}\n````")
    return "\n\n".join(parts)
