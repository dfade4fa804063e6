"""Imports foreign plugins once, in another process, to see whether they work; successes are remembered."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from clsuite.plugin.catalog import PluginInfo
from clsuite.records.canonical import sha256_of
from clsuite.records.store import atomic_path

SCRIPT = """
import json, sys
from clsuite.errors import UserError
from clsuite.plugin.catalog import PluginInfo, load_class
answers = []
for name, target in json.loads(sys.argv[1]):
    try:
        load_class(PluginInfo(name, target, "", None))
        answers.append("")
    except UserError as error:
        answers.append(str(error))
print("\\n" + json.dumps(answers))
"""


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
    targets = json.dumps([(plugin.name, plugin.target) for plugin in plugins])
    done = subprocess.run([sys.executable, "-c", SCRIPT, targets], capture_output=True, text=True, check=False)
    if done.returncode:
        return [f"importing it ends the interpreter (status {done.returncode})"] * len(plugins)
    answers: list[str] = json.loads(done.stdout.strip().splitlines()[-1])
    return answers
