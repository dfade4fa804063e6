"""What runs is what the key was made from: a plugin, or a helper of it, that changed after the plan is refused."""

from __future__ import annotations

import py_compile
import sys
import types
from collections.abc import Callable, Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from clsuite.errors import UserError
from clsuite.plugin.catalog import find_plugin, load_class
from clsuite.plugin.compatibility import check_method
from clsuite.plugin.loading import import_file
from clsuite.plugin.source_loader import FINDER
from clsuite.runner import streams
from clsuite.runner.execute import _check_sources
from clsuite.runner.options import RunOptions
from clsuite.runner.plan import RunPlan, make_plan
from clsuite.runner.spec import BenchmarkSpec
from clsuite.scenarios.spec import FromAvalanche

PLUGIN = """
from clsuite.plugin import Plugin
from helper_of_test import WEIGHT


class Mine(Plugin):
    weight = WEIGHT
"""


def plan_of(folder: Path) -> RunPlan:
    spec = BenchmarkSpec.model_validate(
        {"name": "tiny", "dataset": {"name": "digits"}, "scenario": {"tasks": 5}, "methods": {"mine": "./mine.py"}}
    )
    return make_plan(spec, folder, RunOptions(out=folder / "out", seeds=[0]))[0]


def test_a_helper_with_another_constant_is_another_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(PLUGIN)
    paths = []
    for weight in ("1", "100", "100  # as in the paper"):
        (tmp_path / "helper_of_test.py").write_text(f"WEIGHT = {weight}\n")
        paths.append(plan_of(tmp_path).record_path.name)
    assert paths[0] != paths[1] == paths[2]


def test_a_helper_that_changed_after_the_plan_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(PLUGIN)
    (tmp_path / "helper_of_test.py").write_text("WEIGHT = 1\n")
    plan = plan_of(tmp_path)
    _check_sources(plan)
    (tmp_path / "helper_of_test.py").write_text("WEIGHT = 2\n")
    with pytest.raises(UserError, match=r"plugin 'mine.py' changed while the benchmark was running: run it again"):
        _check_sources(plan)


def test_the_text_runs_and_no_compiled_file_beside_it(tmp_path: Path) -> None:
    import importlib.util

    path = tmp_path / "mine.py"
    path.write_text("WHICH = 'other'\n")
    py_compile.compile(str(path), invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
    assert Path(importlib.util.cache_from_source(str(path))).is_file()
    path.write_text("WHICH = 'hashed'\n")
    assert import_file(str(path)).WHICH == "hashed"


FILE = "import sys\nsys.path.insert(0, __file__.rpartition('/')[0])\n" + PLUGIN


def loaded(folder: Path, before: Callable[[], object] = lambda: None) -> int:
    """What the helper gave to the plugin that was hashed, where something happens before it is imported."""
    info, source = find_plugin(str(folder / "mine.py"))
    assert source.sha256
    before()
    weight: int = load_class(info).weight  # type: ignore[attr-defined]
    return weight


@pytest.fixture
def beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "mine.py").write_text(FILE)
    (tmp_path / "helper_of_test.py").write_text("WEIGHT = 1\n")
    yield tmp_path
    sys.modules.pop("helper_of_test", None)
    FINDER.hashed.pop("helper_of_test", None)


def test_a_helper_that_changes_between_hash_and_import_runs_as_it_was_hashed(beside: Path) -> None:
    assert loaded(beside, lambda: (beside / "helper_of_test.py").write_text("WEIGHT = 2\n")) == 1
    assert loaded(beside) == 2


def test_a_helper_that_goes_between_hash_and_import_runs_as_it_was_hashed(beside: Path) -> None:
    assert loaded(beside, (beside / "helper_of_test.py").unlink) == 1


def test_no_compiled_file_beside_a_helper_runs(beside: Path) -> None:
    helper = beside / "helper_of_test.py"
    helper.write_text("WEIGHT = 3\n")
    py_compile.compile(str(helper), invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
    helper.write_text("WEIGHT = 1\n")
    assert loaded(beside) == 1


def test_another_module_of_the_name_that_was_imported_before_is_not_taken(
    beside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = types.ModuleType("helper_of_test")
    other.__spec__ = ModuleSpec("helper_of_test", None)
    other.WEIGHT = 5  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "helper_of_test", other)
    assert loaded(beside) == 1


def test_two_folders_with_a_helper_of_one_name_run_their_own(beside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert loaded(beside) == 1
    for name, weight in (("one", 7), ("two", 8)):
        folder = beside / name
        folder.mkdir()
        (folder / "mine.py").write_text(FILE)
        (folder / "helper_of_test.py").write_text(f"WEIGHT = {weight}\n")
        monkeypatch.syspath_prepend(folder)
        assert loaded(folder) == weight


def test_two_files_of_one_method_with_a_helper_of_one_name_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{name}.py").write_text(PLUGIN.replace("from helper", "if True: from helper"))
        (tmp_path / name / "helper_of_test.py").write_text(f"WEIGHT = '{name}'\n")
        named.append((f"{name}.py", find_plugin(str(tmp_path / name / f"{name}.py"))[1]))
    with pytest.raises(UserError, match=r"'one.py' and 'two.py' cannot be combined: both import 'helper_of_test'"):
        check_method(named, "class_incremental")


def test_the_helper_of_a_stream_file_runs_as_it_was_hashed(beside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (beside / "stream.py").write_text("from helper_of_test import WEIGHT\n\n\ndef make(seed):\n    return WEIGHT\n")
    spec = FromAvalanche(kind="avalanche", path=str(beside / "stream.py"), function="make")
    real = streams.run_text

    def change(name: str, path: str, text: str) -> types.ModuleType:
        (beside / "helper_of_test.py").write_text("WEIGHT = 2\n")
        return real(name, path, text)

    monkeypatch.setattr(streams, "run_text", change)
    assert streams._function(spec)(0) == 1
