"""Imports foreign plugins once, in another process, and caches the declarations of their classes.

This shows whether they work, and what their source alone does not determine. The cache has an entry for each hash of
a source.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryFile

from clsuite.interpreters import PYTHON, own_path
from clsuite.plugin.imported import from_text
from clsuite.plugin.introspection import PluginInfo, PluginSource
from clsuite.plugin.traits import API_VERSION
from clsuite.records.atomic import atomic_path
from clsuite.records.canonical import sha256_of
from clsuite.sessions import end_all, end_left, members

SCRIPT = """
import json, sys
from clsuite.errors import UserError
from clsuite.plugin.catalog import load_class
from clsuite.plugin.imported import describe, to_text
from clsuite.plugin.introspection import PluginInfo
for name, target in json.loads(sys.argv[1]):
    try:
        answer = ["", to_text(describe(load_class(PluginInfo(name, target, "", None))))]
    except (UserError, ValueError) as error:
        answer = [str(error), ""]
    print("\\nclsuite answers " + json.dumps(answer), flush=True)
"""
ANSWER = "clsuite answers "
PATIENCE = 120
"""Seconds in which at least one plugin must be imported; one that takes longer is considered broken."""


def as_imported(plugins: Sequence[PluginInfo], cache: Path) -> list[PluginInfo]:
    """Complete plugins by the declarations of their imported classes.

    Args:
        plugins: Foreign plugins whose source could be read.
        cache: Folder of the declarations of successfully imported classes.

    Returns:
        The same plugins with the declarations of their classes, or without a source and with the problem of the import.
    """
    found = {plugin.target: _cached(plugin, _file(plugin, cache)) for plugin in plugins}
    unknown = [plugin for plugin in plugins if found[plugin.target] is None]
    for plugin, (problem, described) in zip(unknown, _import_all(unknown), strict=True):
        if problem:
            problem = problem.removeprefix(f"plugin '{plugin.name}' ")
            found[plugin.target] = replace(plugin, source=None, problem=problem)
            continue
        found[plugin.target] = replace(plugin, source=_source(plugin, described))
        with atomic_path(_file(plugin, cache)) as temporary:
            temporary.write_text(described, encoding="utf-8")
    return [found[plugin.target] or plugin for plugin in plugins]


def _file(plugin: PluginInfo, cache: Path) -> Path:
    source = plugin.source.sha256 if plugin.source else ""
    key = sha256_of([plugin.target, plugin.distribution, source, sys.version, API_VERSION])[:32]
    return cache / "plugins" / f"{key}.txt"


def _cached(plugin: PluginInfo, file: Path) -> PluginInfo | None:
    try:
        return replace(plugin, source=_source(plugin, file.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return None


def _source(plugin: PluginInfo, described: str) -> PluginSource:
    assert plugin.source is not None
    return from_text(described, plugin.source.text, plugin.source.home)


def _import_all(plugins: Sequence[PluginInfo]) -> list[tuple[str, str]]:
    """Problem and description of each plugin; one that ends or blocks the process does not affect the others."""
    answers: list[tuple[str, str]] = []
    while len(answers) < len(plugins):
        found, how_it_ended = _import_some(plugins[len(answers) :])
        answers += found
        if len(answers) < len(plugins):
            answers.append((how_it_ended, ""))
    return answers


def _import_some(plugins: Sequence[PluginInfo]) -> tuple[list[tuple[str, str]], str]:
    """The answers for the first plugins until the process ended, and how it ended."""
    targets = json.dumps([(plugin.name, plugin.target) for plugin in plugins])
    command = [*PYTHON, "-c", SCRIPT, targets]
    environment = {**os.environ, "PYTHONPATH": own_path()}
    with TemporaryFile() as log:  # a child process might keep a pipe open
        running = subprocess.Popen(
            command, stdout=log, stderr=subprocess.DEVNULL, start_new_session=True, env=environment
        )
        try:
            ended = _end_of(running, log.fileno())
        finally:
            others = members(running.pid) if running.poll() is None else set()
            running.kill()
            running.wait()
            end_all(others)
            end_left(running.pid)
        lines = _answers(log.fileno())
    return [(problem, described) for problem, described in map(json.loads, lines)], ended


def _end_of(running: subprocess.Popen[bytes], log: int) -> str:
    """Wait until a process ends, or a plugin takes too long; returns how it ended."""
    while True:
        before = len(_answers(log))
        try:
            return f"importing it ends the interpreter (status {running.wait(PATIENCE)})"
        except subprocess.TimeoutExpired:
            if len(_answers(log)) == before:
                return f"importing it takes more than {PATIENCE} s"


def _answers(log: int) -> list[str]:
    """The complete answers in a file, whose position is not changed: the process writes there."""
    output = os.pread(log, os.fstat(log).st_size, 0).decode(errors="replace")
    lines = [line.removeprefix(ANSWER) for line in output.splitlines(keepends=True) if line.startswith(ANSWER)]
    return [line for line in lines if line.endswith("\n")]
