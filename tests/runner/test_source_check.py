"""What runs is what the key was made from: a plugin, or a helper of it, that changed after the plan is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from clsuite.errors import UserError
from clsuite.plugin.loading import import_file
from clsuite.runner.execute import _check_sources
from clsuite.runner.options import RunOptions
from clsuite.runner.plan import RunPlan, make_plan
from clsuite.runner.spec import BenchmarkSpec

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
    import py_compile

    path = tmp_path / "mine.py"
    path.write_text("WHICH = 'other'\n")
    py_compile.compile(str(path), invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
    assert Path(importlib.util.cache_from_source(str(path))).is_file()
    path.write_text("WHICH = 'hashed'\n")
    assert import_file(str(path)).WHICH == "hashed"
