"""Hooks of MkDocs (``mkdocs.yml``): pages of the site that do not lie in ``docs``.

A page may link to any file of the repository, so that the links also work where the Markdown itself is read. A file
that lies outside ``docs`` becomes a page of the site when some page links to it or ``nav`` names it: Markdown as it is,
a folder as a list, anything else as a block of code. Executed notebooks (``docs/notebooks/*.ipynb``) become pages with
the outputs that are stored in them.
"""

from __future__ import annotations

import base64
import json
import os
import posixpath
import re
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

LINK = re.compile(r"(?<=\]\()(?!\w+:|#)([^)\s#]+)")
"""The path of a relative link or picture, without its anchor."""
FENCE = re.compile(r"^( *)(```+|~~~+).*?^\1\2 *$", re.MULTILINE | re.DOTALL)
"""A block of code, where nothing is a link."""
ESCAPE_SEQUENCE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
PICTURES = {"image/png": "png", "image/jpeg": "jpg"}
LANGUAGES = {".py": "python", ".toml": "toml", ".yaml": "yaml", ".yml": "yaml", ".json": "json"}
MARKDOWN, NOTEBOOK = ".md", ".ipynb"
LONGEST_PAGE = 500_000
"""Bytes; a longer file is not shown."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the notebooks' pages, and then the pages of all files that are linked to from any page."""
    repository = Path(config.config_file_path).parent
    for notebook in sorted(Path(config.docs_dir).rglob(f"*{NOTEBOOK}")):
        for made in _notebook_files(notebook, config):
            files.append(made)
    waiting = [*files.documentation_pages(), *_named_in_nav(config.nav, files, repository, config)]
    while waiting:
        page = waiting.pop()
        if files.get_file_from_path(page.src_uri) is None:
            files.append(page)
        for path in _linked(page, repository):
            if files.get_file_from_path(_page_of(path)) is None:
                made = _file(path, repository, config)
                files.append(made)
                waiting += [made] if made.is_documentation_page() else []
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Point links to files outside ``docs``, and to notebooks, to the pages made of them."""
    repository = Path(config.config_file_path).parent
    origin = _origin(page.file)

    def pointed(found: re.Match[str]) -> str:
        path = _resolved(origin, found[1], repository)
        if path is None:
            return found[1]
        return posixpath.relpath(_page_of(path), posixpath.dirname(page.file.src_uri) or ".")

    return _outside_fences(markdown, lambda text: LINK.sub(pointed, text))


def _outside_fences(markdown: str, change: Any) -> str:
    parts, end = [], 0
    for fence in FENCE.finditer(markdown):
        parts += [change(markdown[end : fence.start()]), fence[0]]
        end = fence.end()
    return "".join([*parts, change(markdown[end:])])


# ---- files of the repository ------------------------------------------------------------------------------------


def _named_in_nav(nav: Any, files: Files, repository: Path, config: MkDocsConfig) -> list[File]:
    """Pages that ``nav`` names and ``docs`` does not have, such as CHANGELOG.md."""
    if isinstance(nav, str):
        is_outside = files.get_file_from_path(nav) is None and (repository / nav).is_file()
        return [_file(nav, repository, config)] if is_outside else []
    entries = nav.values() if isinstance(nav, dict) else nav or ()
    return [file for entry in entries for file in _named_in_nav(entry, files, repository, config)]


def _origin(file: File) -> str:
    """The path in the repository of what a page is made from."""
    return getattr(file, "origin", f"docs/{file.src_uri}")


def _linked(page: File, repository: Path) -> Iterator[str]:
    for link in LINK.findall(FENCE.sub("", page.content_string)):
        if (path := _resolved(_origin(page), link, repository)) is not None:
            yield path


def _resolved(origin: str, link: str, repository: Path) -> str | None:
    """The path in the repository that a link leads to; None where there is no such file, which MkDocs reports."""
    path = posixpath.normpath(posixpath.join(posixpath.dirname(origin), link))
    if path.startswith("../"):
        return None
    if (repository / path / "README.md").is_file():
        return f"{path}/README.md"
    return path if (repository / path).exists() else None


def _page_of(path: str) -> str:
    """Where the site has a file of the repository."""
    if path.startswith("docs/"):
        return path.removeprefix("docs/").replace(NOTEBOOK, MARKDOWN)
    return path if path.endswith(MARKDOWN) or _is_picture(path) else f"{path}{MARKDOWN}"


def _file(path: str, repository: Path, config: MkDocsConfig) -> File:
    source = repository / path
    if _is_picture(path):
        return File.generated(config, path, abs_src_path=os.fspath(source))
    if source.is_dir():
        return _made(config, _page_of(path), path, _folder_page(path, source))
    text = source.read_text(encoding="utf-8")
    if not path.endswith(MARKDOWN):
        if len(text) > LONGEST_PAGE:
            raise ValueError(f"{path} is too long for a page")
        text = f"# {path}\n\n```` {LANGUAGES.get(source.suffix, 'text')}\n{text}\n````\n"
    return _made(config, _page_of(path), path, text)


def _is_picture(path: str) -> bool:
    return path.endswith((*PICTURES.values(), "svg"))


def _folder_page(path: str, folder: Path) -> str:
    files = (each.relative_to(folder) for each in folder.rglob("*.*") if each.is_file())
    inside = sorted(each.as_posix() for each in files if "__pycache__" not in each.parts)
    return f"# {path}\n\n" + "".join(f"- [{each}]({folder.name}/{each})\n" for each in inside)


def _made(config: MkDocsConfig, page: str, origin: str, text: str) -> File:
    made = File.generated(config, page, content=text, inclusion=InclusionLevel.NOT_IN_NAV)
    made.origin = origin  # type: ignore[attr-defined]
    return made


# ---- notebooks --------------------------------------------------------------------------------------------------


def _notebook_files(notebook: Path, config: MkDocsConfig) -> Iterator[File]:
    """The page of a notebook, and its pictures."""
    path = notebook.relative_to(config.docs_dir).as_posix()
    stem = path.removesuffix(NOTEBOOK)
    parts: list[str] = []
    pictures: list[File] = []
    for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
        source = _text(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
        elif cell["cell_type"] == "code":
            parts.append(f"```` python\n{source}\n````")
            for output in cell["outputs"]:
                shown, picture = _output(output, f"{stem}_files/{len(pictures)}", stem, config)
                parts.append(shown)
                pictures += [picture] if picture else []
    yield _made(config, f"{stem}{MARKDOWN}", f"docs/{path}", "\n\n".join(parts) + "\n")
    yield from pictures


def _output(output: dict[str, Any], name: str, stem: str, config: MkDocsConfig) -> tuple[str, File | None]:
    """What a page shows of one output, and the picture that it needs."""
    if output["output_type"] == "stream":
        return _printed(_text(output["text"])), None
    if output["output_type"] == "error":
        return _printed("\n".join(output["traceback"])), None
    data = output["data"]
    for kind, suffix in PICTURES.items():
        if kind in data:
            content = base64.b64decode(_text(data[kind]))
            link = posixpath.relpath(f"{name}.{suffix}", posixpath.dirname(stem))
            return f"![Output]({link})", File.generated(config, f"{name}.{suffix}", content=content)
    if "text/html" in data:
        return _shown(_text(data["text/html"])), None
    return (_text(data["text/markdown"]) if "text/markdown" in data else _printed(_text(data["text/plain"]))), None


def _printed(text: str) -> str:
    printed = escape(ESCAPE_SEQUENCE.sub("", text), quote=False).strip("\n")
    return _shown(f"<pre>{printed}</pre>") if printed.strip() else ""


def _shown(html: str) -> str:
    # Markdown would take the block to end at an empty line; a line of one blank looks the same.
    lines = "\n".join(line.rstrip() or " " for line in html.splitlines())
    return f'<div class="notebook-output">\n{lines}\n</div>'


def _text(lines: str | list[str]) -> str:
    return lines if isinstance(lines, str) else "".join(lines)
