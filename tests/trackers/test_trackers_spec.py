"""Which trackers a call asks for: option, environment, benchmark; a mistake is told before any run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from clsuite.cli.main import main
from clsuite.errors import UserError
from clsuite.runner.manifest import Restorer, make_manifest
from clsuite.runner.options import BenchOptions
from clsuite.runner.plan import make_plan
from clsuite.runner.recorded_inputs import Allowed
from clsuite.runner.spec import load_benchmark
from clsuite.trackers import spec
from clsuite.trackers.spec import chosen_trackers, read_trackers

TINY = {"name": "tiny", "dataset": {"name": "digits", "train_per_class": 12}, "methods": {"ncm": "ncm"}, "seeds": [0]}


def benchmark(folder: Path, **more: Any) -> Path:
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump({**TINY, **more}))
    return path


def test_names_are_read_from_texts_and_lists() -> None:
    assert read_trackers("csv, mlflow,csv") == read_trackers(["csv", "mlflow"]) == ("csv", "mlflow")
    assert read_trackers("none") == read_trackers("") == read_trackers([]) == ()
    with pytest.raises(UserError, match=r"unknown tracker 'tensorbord'. Did you mean 'tensorboard'\?"):
        read_trackers("csv,tensorbord")
    with pytest.raises(UserError, match="'none' stands for no tracker: remove it, or the other names"):
        read_trackers("none,csv")
    with pytest.raises(UserError, match=r"trackers are names such as csv,tensorboard, not \{'csv': 1\}"):
        read_trackers({"csv": 1})


def test_the_call_comes_before_the_environment_and_that_before_the_benchmark() -> None:
    there = {"CLSUITE_LOG": "csv"}
    assert chosen_trackers(("tensorboard",), ("wandb",), there) == ("tensorboard",)
    assert chosen_trackers((), ("wandb",), there) == ()
    assert chosen_trackers(None, ("wandb",), there) == ("csv",)
    assert chosen_trackers(None, ("csv",), {"CLSUITE_LOG": "none"}) == ()
    assert chosen_trackers(None, ("csv",), {}) == ("csv",)
    with pytest.raises(UserError, match=r"^CLSUITE_LOG: unknown tracker 'cvs'. Did you mean 'csv'"):
        chosen_trackers(None, (), {"CLSUITE_LOG": "cvs"})


def test_a_missing_package_is_told_with_its_extra_before_any_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(spec, "find_spec", lambda name: None)
    assert main(["bench", str(benchmark(tmp_path)), "--out", str(tmp_path / "out"), "--log", "csv,wandb"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("the tracker 'wandb' needs a package that is not installed: pip install \"clsuite[wandb]\"")
    with pytest.raises(UserError, match=r'pip install "clsuite\[mlflow,tensorboard\]"'):
        chosen_trackers(("tensorboard", "mlflow"), ())
    assert main(["bench", str(benchmark(tmp_path)), "--out", str(tmp_path / "out"), "--log", "cvs"]) == 2
    assert "unknown tracker 'cvs'. Did you mean 'csv'?" in capsys.readouterr().err
    assert main(["bench", str(benchmark(tmp_path, log=["csv", "tb"])), "--out", str(tmp_path / "out")]) == 2
    assert "tiny.yaml:" in (told := capsys.readouterr().err)
    assert "unknown tracker 'tb'" in told
    assert not (tmp_path / "out").exists()


def test_trackers_are_planned_for_workers_and_are_in_no_key(tmp_path: Path) -> None:
    path = benchmark(tmp_path, log="csv")
    loaded, _ = load_benchmark(str(path))
    (plan,) = make_plan(loaded, tmp_path, BenchOptions(out=tmp_path / "out"))
    (other,) = make_plan(loaded, tmp_path, BenchOptions(out=tmp_path / "out", log="csv,tensorboard"))  # type: ignore[arg-type]
    assert (plan.trackers, other.trackers) == (("csv",), ("csv", "tensorboard"))
    assert plan.pending == other.pending
    manifest = make_manifest([other])
    for log, expected in ((None, ("csv", "tensorboard")), (("csv",), ("csv",)), ((), ())):
        restored = Restorer(Allowed(), None, "cpu", log=log).plan(manifest, manifest.runs[0], tmp_path / "out" / "tiny")
        assert (restored.trackers, restored.pending) == (expected, other.pending)
