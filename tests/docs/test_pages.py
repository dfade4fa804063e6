"""Pages that people wrote: commands and files in them are right, and no figure in them is typed by hand."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
import yaml
from hook import ROOT, generated, of_notebooks

from clsuite.cli.parser import parse
from clsuite.plugin.base import Plugin
from clsuite.plugin.catalog import catalog, find_plugin
from clsuite.runner.methods import parse_method
from clsuite.runner.spec import BenchmarkSpec

DOCS = ROOT / "docs"
WRITTEN = [
    *sorted(path for path in DOCS.rglob("*.md") if "generator" not in path.parts),
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "AGENTS.md", "plugins/README.md")),
]
NOTEBOOKS = sorted((DOCS / "tutorials").glob("*.ipynb"))
GENERATED = ROOT / "docs/how-to/avalanche.md"  # its table is written by a script
MEASURED = ("parity.md", "first_values.md", "lora_rank.md", "order_search.md", "README.md")
"""Pages that tell of measurements; the README's are held to the board by a test of its own."""


def blocks(path: Path, language: str) -> list[str]:
    """The blocks of code of a page in one language."""
    text = path.read_text(encoding="utf-8")
    return re.findall(rf"^ *```{language}\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL)


def commands() -> Iterator[tuple[str, str]]:
    """Every call of clsuite in a page or a notebook."""
    for path in WRITTEN:
        lines = "\n".join(blocks(path, "sh")).replace("\\\n", " ").splitlines()
        yield from ((path.name, part.strip()) for line in lines for part in line.split("&&"))
    for path in NOTEBOOKS:
        cells = [cell.source.replace("\\\n", " ") for cell in nbformat.read(path, as_version=4).cells]
        yield from ((path.name, line.removeprefix("!")) for text in cells for line in text.splitlines())


CALLS = [(name, line) for name, line in commands() if re.match(r"(\.venv/bin/)?clsuite [a-z-]", line)]


def test_commands_are_found() -> None:
    assert len(CALLS) > 60


@pytest.mark.parametrize(("page", "line"), CALLS)
def test_a_command_is_one_that_there_is(page: str, line: str) -> None:
    words = shlex.split(line.partition(" > ")[0], comments=True)
    if words[1].startswith("--"):
        return
    assert parse(words[1:]).command == words[1]


def yaml_blocks() -> Iterator[Any]:
    for path in WRITTEN:
        yield from (pytest.param(text, id=path.name) for text in blocks(path, "yaml"))


@pytest.mark.parametrize("text", yaml_blocks())
def test_a_benchmark_in_a_page_is_one(text: str) -> None:
    content = yaml.safe_load(text)
    whole = {"name": "x", "dataset": {"name": "digits"}, "methods": {"ncm": "ncm"}, **content}
    BenchmarkSpec.model_validate(whole)


BY_HAND = [path for path in WRITTEN if path.name not in MEASURED and path != GENERATED]


@pytest.mark.parametrize("path", BY_HAND, ids=lambda path: path.name)
def test_no_result_is_typed_by_hand(path: Path) -> None:
    assert re.findall(r"\d ± \d|\d\d\.\d %", path.read_text(encoding="utf-8")) == []


@pytest.mark.slow
def test_every_page_of_the_navigation_is_there_and_every_page_is_in_it() -> None:
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    named = {*re.findall(r"[\w/-]+\.md$", text, re.MULTILINE)}
    made = {uri for uri, _ in [*generated(), *of_notebooks(DOCS)] if uri.endswith(".md")}
    there = made | {path.relative_to(DOCS).as_posix() for path in WRITTEN if DOCS in path.parents}
    methods = {uri for uri in there if uri.startswith("reference/methods/") and not uri.endswith("index.md")}
    assert named == there - methods


def test_parity_is_stated_for_each_method() -> None:
    text = (DOCS / "parity.md").read_text(encoding="utf-8")
    table = text[text.index("## All methods") : text.index("## Observed differences")]
    assert {*re.findall(r"^\| (\w+)", table, re.M)} - {"method"} == {*catalog()}


def test_hooks_that_the_pages_for_newcomers_name_exist() -> None:
    """Also those of Lightning, which a plugin has as a callback."""
    pages = [ROOT / "AGENTS.md", *(DOCS / "migration").glob("*.md")]
    named = {
        name for page in pages for name in re.findall(r"`(\w+)\((?:learner|trainer)", page.read_text(encoding="utf-8"))
    }
    assert {"loss", "predict", "on_task_end"} <= named
    assert [name for name in sorted(named) if not hasattr(Plugin, name)] == []


MIGRATION = sorted((DOCS / "migration").glob("*.md"))


@pytest.mark.parametrize("path", MIGRATION, ids=lambda path: path.stem)
def test_methods_that_a_page_for_newcomers_names_exist_with_their_arguments(path: Path) -> None:
    section = path.read_text(encoding="utf-8").split("\n## Methods\n")[1].split("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("| `")]
    named = [text for row in rows for text in re.findall(r"`([^`]+)`", row.rpartition(" | ")[2])]
    uses = [use for text in named for use in parse_method(text).plugins]
    assert len(uses) > 8
    known = {use.name: {one.name for one in find_plugin(use.name)[1].parameters} for use in uses}
    assert [f"{use.name}.{name}" for use in uses for name in use.args if name not in known[use.name]] == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_small_and_has_no_error(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert outputs
    assert [output for output in outputs if output.output_type == "error"] == []
    assert path.stat().st_size < 120_000
    assert not re.search(r"/(tmp|root|home|work)/", path.read_text(encoding="utf-8"))


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_from_a_clean_folder(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from execute import execute

    monkeypatch.setenv("CLSUITE_CACHE", str(tmp_path / "cache"))
    (tmp_path / "work").mkdir()
    execute(path, tmp_path / "work")
