"""What mkdocs calls while it builds the site: it adds the pages that are made from the code and the leaderboard."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from clsuite_docs import (
    commands,
    comparisons,
    fields,
    included,
    interface,
    method_index,
    methods,
    metrics,
    notebooks,
    reading_list,
    results,
)

ROOT = Path(__file__).parents[2]


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Take the addresses from pyproject.toml, and put the methods into the navigation."""
    urls = project_urls()
    config.repo_url, config.site_url = urls["Repository"], urls["Documentation"]
    config.repo_name = urls["Repository"].removeprefix("https://github.com/")
    pages = [{name: f"reference/methods/{name}.md"} for name in methods.names()]
    _section(config.nav, "Methods").extend(pages)
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages; called once the files of the folder are known."""
    for uri, content in [*generated(), *of_notebooks(Path(config.docs_dir))]:
        files.append(File.generated(config, uri, content=content))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Write the repository's address where a page names it, or a file outside the site; called for each page."""
    repository = project_urls()["Repository"]
    if not page.file.generated_by:
        markdown = included.out_of_the_site(markdown, f"docs/{page.file.src_uri}", repository)
    return markdown.replace("REPOSITORY", repository)


def project_urls() -> dict[str, str]:
    """The project's addresses, which are in pyproject.toml only."""
    content = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return dict(content["project"]["urls"])


def generated() -> Iterator[tuple[str, str]]:
    """Address and text of every page that follows from the code or the leaderboard."""
    repository = project_urls()["Repository"]
    yield "reference/benchmark-file.md", fields.page()
    yield "reference/command-line.md", commands.page()
    yield "reference/metrics.md", metrics.page()
    yield "reference/python-api.md", interface.scripts()
    yield "reference/plugin-api.md", interface.authors()
    yield "reference/reading-list.md", reading_list.page()
    yield "results.md", results.page(repository)
    yield "comparisons.md", comparisons.page()
    yield "reference/methods/index.md", method_index.page()
    for name, text in methods.pages(repository).items():
        yield f"reference/methods/{name}.md", text
    for path, uri in included.PAGES.items():
        yield uri, included.page(ROOT, path, repository)


def of_notebooks(folder: Path) -> Iterator[tuple[str, str | bytes]]:
    """Every tutorial as a page, and its images."""
    for path in sorted((folder / "tutorials").glob("*.ipynb")):
        text, images = notebooks.page(path)
        yield f"tutorials/{path.stem}.md", text
        yield from ((f"tutorials/{name}", content) for name, content in images.items())


def _section(nav: Any, name: str) -> list[Any]:
    """The entries of a section of the navigation, wherever it stands.

    Raises:
        LookupError: If there is none.
    """
    for entry in nav:
        for title, inside in entry.items() if isinstance(entry, dict) else ():
            if title == name and isinstance(inside, list):
                return inside
            if isinstance(inside, list):
                try:
                    return _section(inside, name)
                except LookupError:
                    continue
    raise LookupError(f"mkdocs.yml has no section '{name}'")
