"""A distribution of somebody else's is built, installed, listed and run; what is broken in it does no harm."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from clsuite.records import read_record

SOURCE = Path(__file__).parent / "distribution"
INSTALL = ("install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the distribution is installed into."""
    place = tmp_path_factory.mktemp("foreign")
    shutil.copytree(SOURCE, place / "source")
    command = [sys.executable, "-m", "pip", *INSTALL, "--no-compile", "--target", str(place / "site"), "./source"]
    done = subprocess.run(command, cwd=place, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert (place / "site" / "foreign_methods-1.2.3.dist-info" / "entry_points.txt").is_file()
    return place / "site"


def clsuite(site: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(site), "CLSUITE_CACHE": str(site.parent / "cache")}
    return subprocess.run(
        [sys.executable, "-m", "clsuite.cli.main", *arguments],
        cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


BROKEN = {
    "no_colon": "broken: SyntaxError in line 6: expected ':'",
    "needs_absent": "broken: line 3: no module named 'a_package_that_is_nowhere'",
    "needs_absent_late": "broken: fails to import: ModuleNotFoundError: No module",
    "not_a_plugin": "broken: names foreign_methods.not_a_plugin:NotAPlugin, which is not a sub",
    "no_class": "broken: there is no class 'Shirnk' in it",
    "no_module": "broken: ImportError: no module named 'foreign_methods.nowhere'",
    "too_new": "broken: it is written for version 99 of the plugin API",
    "ends": "broken: importing it ends the interpreter (status 3)",
    "replay (foreign-methods 1.2.3)": "broken: the name 'replay' is taken by clsuite 0.1.0",
}


@pytest.mark.slow
def test_it_is_listed_and_what_is_broken_says_why(site: Path, tmp_path: Path) -> None:
    done = clsuite(site, tmp_path, "list", "plugins")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    for name, summary in (("shrink", "Adds the size of the logits"), ("grow", "Takes the size of the logits")):
        line = next(line for line in lines if line.startswith(f"{name} "))
        assert summary in line
        assert line.rstrip().endswith("foreign-methods 1.2.3")
    for name, reason in BROKEN.items():
        assert any(line.startswith(f"{name} ") and reason in line for line in lines), (name, reason, done.stdout)
    for name in ("replay", "lwf", "ncm"):
        line = next(line for line in lines if line.startswith(f"{name} "))
        assert "broken" not in line


@pytest.mark.slow
def test_it_runs_and_its_record_says_whose_it_is(site: Path, tmp_path: Path) -> None:
    given = ["bench", "quickstart", "--limit-tasks", "1", "--seeds", "0", "--device", "cpu", "--jobs", "1"]
    done = clsuite(site, tmp_path, *given, "--methods", "shrink(alpha=0.3)+lwf")
    assert done.returncode == 0, done.stderr
    (path,) = tmp_path.rglob("seed0-*.json")
    record = read_record(path)
    assert record.status == "done"
    assert [plugin.distribution for plugin in record.plugins] == ["foreign-methods 1.2.3", "clsuite 0.1.0"]
    assert record.plugins[0].args == {"alpha": 0.3}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["no_colon", "needs_absent", "too_new"])
def test_what_is_broken_is_refused_before_any_run(site: Path, tmp_path: Path, name: str) -> None:
    done = clsuite(site, tmp_path, "bench", "quickstart", "--methods", name)
    assert done.returncode == 2
    assert done.stderr.startswith(f"clsuite bench: plugin '{name}' of foreign-methods 1.2.3 is broken: ")
    assert len(done.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


PARTS = {"datasets": "stripes", "scenarios": "halves", "probes": "width", "optimizers": "plain", "schedules": "halving"}
BENCHMARK = """
name: brought
dataset: {name: stripes, number: 8}
scenario: halves
probes: [{kind: width}]
training: {epochs: 2, optimizer: {name: plain, lr: 0.01}, schedule: halving}
seeds: [0]
methods: {finetune: finetune}
"""


@pytest.mark.parametrize("what", sorted(PARTS))
def test_what_entry_points_bring_is_listed(what: str, site: Path, tmp_path: Path) -> None:
    done = clsuite(site, tmp_path, "list", what)
    assert (done.returncode, done.stderr) == (0, "")
    line = next(line for line in done.stdout.splitlines() if line.startswith(PARTS[what]))
    assert "foreign_methods.parts:" in line
    assert "from foreign-methods 1.2.3" in line
    if what == "datasets":
        assert "broken: the name 'digits' is taken by clsuite" in done.stdout


@pytest.mark.slow
def test_a_benchmark_of_parts_that_entry_points_bring(site: Path, tmp_path: Path) -> None:
    (tmp_path / "brought.yaml").write_text(BENCHMARK)
    done = clsuite(site, tmp_path, "bench", "brought.yaml", "--device", "cpu", "--jobs", "1")
    assert done.returncode == 0, done.stderr
    (path,) = tmp_path.rglob("seed0-*.json")
    record = read_record(path)
    assert record.config["dataset"]["class"] == "stripes"
    assert record.config["training"]["optimizer"]["class"] == "plain"
    assert record.config["training"]["schedule"]["class"] == "halving"
    assert all(record.config[part]["source"] for part in ("dataset", "scenario"))
    assert record.scenario.task_names == ["first", "second"]
    assert [(probe.name, probe.values[0]) for probe in record.probes] == [("width", 192.0)]
