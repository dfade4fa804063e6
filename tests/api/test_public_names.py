"""``import clsuite`` and ``from clsuite.plugin import ...``: all names are there, and cheap until they are used."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

import clsuite
import clsuite.plugin
from clsuite.api.surface import PUBLIC

ASKED = {
    "__version__", "run", "bench", "compare", "tune", "load_dataset", "load_model", "read_record", "METRICS",
    "BenchmarkSpec", "MethodSpec", "RunResult", "TrainedModel", "UserError", "Plugin",
}  # fmt: skip


@pytest.mark.parametrize("module", [clsuite, clsuite.plugin], ids=lambda one: one.__name__)
def test_every_name_is_there_for_people_and_for_type_checkers(module: object) -> None:
    names = set(module.__all__)  # type: ignore[attr-defined]
    assert names <= set(dir(module))
    for name in names:
        assert getattr(module, name) is not None
    tree = ast.parse(Path(inspect.getfile(module)).read_text())  # type: ignore[arg-type]
    declared = {alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names}
    declared |= {node.target.id for node in ast.walk(tree) if isinstance(node, ast.AnnAssign)}  # type: ignore[union-attr]
    assert names <= declared, "an editor sees each"
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        module.nothing  # type: ignore[attr-defined]  # noqa: B018


def test_what_is_asked_for_is_public() -> None:
    assert set(clsuite.__all__) >= ASKED
    published = {name for names in PUBLIC.values() for name in names} | {"__version__"}
    assert {*clsuite.__all__, *clsuite.plugin.__all__} <= published
    assert clsuite.__version__ == version("clsuite")


def test_names_stay_functions_whatever_is_imported() -> None:
    """No package has the name of a public function: importing it would take the function's place."""
    inside = {path.stem for path in Path(clsuite.__file__).parent.iterdir()}
    assert not inside & (set(clsuite.__all__))


@pytest.mark.slow
def test_importing_is_cheap_and_brings_no_torch() -> None:
    script = (
        "import sys, time\n"
        "before = time.process_time()\n"
        "import clsuite\n"
        "spent = time.process_time() - before\n"
        "heavy = {'torch', 'numpy', 'pydantic', 'lightning', 'rich'} & set(sys.modules)\n"
        "from clsuite.plugin import Traits, UserError, check_range\n"
        "clsuite.run, clsuite.bench, clsuite.tune, clsuite.compare, clsuite.load_dataset, clsuite.read_record\n"
        "clsuite.METRICS, clsuite.BenchmarkSpec, clsuite.MethodSpec, clsuite.RunResult\n"
        "heavy |= {'torch', 'lightning', 'matplotlib.pyplot'} & set(sys.modules)\n"
        "sys.exit(f'{spent} s, {heavy}' if heavy or spent > 0.1 else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_record_is_read_by_its_path_as_a_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = next((Path(__file__).parents[2] / "leaderboard" / "records" / "quickstart" / "ncm").rglob("*.json"))
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / record.name).write_bytes(record.read_bytes())
    read = clsuite.read_record(record)
    assert clsuite.read_record(str(record)) == clsuite.read_record(f"~/{record.name}") == read
    with pytest.raises(clsuite.UserError, match="cannot read the record 'nowhere'"):
        clsuite.read_record("nowhere")
