"""Imports foreign plugins once, in another process, to see whether they work; successes are remembered."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryFile

from clsuite.interpreters import PYTHON
from clsuite.plugin.catalog import PluginInfo
from clsuite.records.canonical import sha256_of
from clsuite.records.store import atomic_path
from clsuite.sessions import end_all, end_left, members

SCRIPT = """
import json, sys
from clsuite.errors import UserError
from clsuite.interpreters import PYTHON
from clsuite.plugin.catalog import PluginInfo, load_class
for name, target in json.loads(sys.argv[1]):
    try:
        load_class(PluginInfo(name, target, "", None))
        answer = ""
    except UserError as error:
        answer = str(error)
    print("\\nclsuite answers " + json.dumps(answer), flush=True)
"""
ANSWER = "clsuite answers "
PATIENCE = 60
"""Seconds in which some plugins must be imported."""


def import_problems(plugins: Sequence[PluginInfo], cache: Path) -> dict[str, str]:
    """Why plugins that look well fail to import.

    Args:
        plugins: Foreign plugins whose source could be read.
        cache: Folder in which is kept which plugins have been imported well.

    Returns:
        The problem of each plugin that has one, by name.
    """
    files = {plugin.name: cache / "plugins" / f"{_key(plugin)}.txt" for plugin in plugins}
    unknown = [plugin for plugin in plugins if not files[plugin.name].is_file()]
    if not unknown:
        return {}
    problems = {plugin.name: problem for plugin, problem in zip(unknown, _import_all(unknown), strict=True)}
    for name, problem in problems.items():
        if not problem:
            with atomic_path(files[name]) as temporary:
                temporary.write_text("imports\n", encoding="utf-8")
    return {name: problem for name, problem in problems.items() if problem}


def _key(plugin: PluginInfo) -> str:
    source = plugin.source.sha256 if plugin.source else ""
    return sha256_of([plugin.target, plugin.distribution, source, sys.version])[:32]


def _import_all(plugins: Sequence[PluginInfo]) -> list[str]:
    """The problem of each plugin; one that ends or holds up the process takes no other with it."""
    answers: list[str] = []
    while len(answers) < len(plugins):
        found, how_it_ended = _import_some(plugins[len(answers) :])
        answers += found
        if len(answers) < len(plugins):
            answers.append(how_it_ended)
    return answers


def _import_some(plugins: Sequence[PluginInfo]) -> tuple[list[str], str]:
    """The problems of the first plugins, as many as there came answers, and how the process ended."""
    targets = json.dumps([(plugin.name, plugin.target) for plugin in plugins])
    command = [*PYTHON, "-c", SCRIPT, targets]
    with TemporaryFile("w+", encoding="utf-8", errors="replace") as said:  # a pipe might be held open by a child
        running = subprocess.Popen(command, stdout=said, stderr=subprocess.DEVNULL, start_new_session=True)
        try:
            ended = f"importing it ends the interpreter (status {running.wait(PATIENCE)})"
        except subprocess.TimeoutExpired:
            ended = f"importing it takes more than {PATIENCE} s"
        finally:
            others = members(running.pid) if running.poll() is None else set()
            running.kill()
            running.wait()
            end_all(others)
            end_left(running.pid)
        said.seek(0)
        output = said.read()
    lines = [line.removeprefix(ANSWER) for line in output.splitlines() if line.startswith(ANSWER)]
    return [json.loads(line) for line in lines], ended
