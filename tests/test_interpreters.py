"""What clsuite starts takes no module from the current folder, where foreign files may lie."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import clsuite
from clsuite.interpreters import SAFE, safe_path

SHADOWS = (
    "json",
    "socket",
    "struct",
    "selectors",
    "multiprocessing",
    "queue",
    "random",
    "copy",
    "PIL",
    "numpy",
    "torch",
)
DECODING = """
from pathlib import Path
from clsuite.data.decoding.pool import _Worker
class Job:
    folder = Path("nowhere")
with _Worker(Job()) as worker:
    pass
print(worker._process.returncode)
"""
RUNS = """
from clsuite.runner.processes import ForkServer
worker = ForkServer().start(print, "work")
worker.process.join()
print(worker.process.exitcode)
"""
VERIFYING = """
from clsuite.plugin import import_check
from clsuite.plugin.catalog import catalog
print(import_check._import_some([catalog()["finetune"]]))
"""


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """A folder of files that are named as modules are, each of which leaves a mark when it runs."""
    for name in SHADOWS:
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'RAN')!r}, 'a').write('{name} ')\n")
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("what", [DECODING, RUNS, VERIFYING], ids=["decoding", "runs", "verifying"])
def test_no_process_takes_a_module_from_the_current_folder(what: str, foreign: Path) -> None:
    done = subprocess.run([sys.executable, "-P", "-c", what], cwd=foreign, capture_output=True, text=True, check=False)
    assert not (foreign / "RAN").exists(), (foreign / "RAN").read_text()
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_every_interpreter_is_started_so() -> None:
    for path in Path(clsuite.__file__).parent.rglob("*.py"):
        names = [ast.unparse(node) for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)]
        assert "sys.executable" not in names or path.name == "interpreters.py", path


def test_the_environment_is_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(SAFE, raising=False)
    with safe_path():
        assert os.environ[SAFE] == "1"
    assert SAFE not in os.environ
    monkeypatch.setenv(SAFE, "yes")
    with safe_path():
        assert os.environ[SAFE] == "1"
    assert os.environ[SAFE] == "yes"
