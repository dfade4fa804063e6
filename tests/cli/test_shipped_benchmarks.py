"""Every shipped benchmark is complete: it can be listed on a machine that has none of its data."""

from __future__ import annotations

from pathlib import Path

import pytest

from clsuite.cli.main import main
from clsuite.plugin.catalog import find_plugin
from clsuite.runner.resolve import method_config
from clsuite.runner.spec import load_benchmark, shipped_benchmarks

SMALLEST = {"sgd": 0.005, "adam": 0.0004, "adamw": 0.001}
"""Rates that papers of added modules go down to (LAE: 0.005 x 24 / 256)."""
TIERS = ("quickstart", "compact", "standard")


@pytest.mark.parametrize("name", shipped_benchmarks())
def test_it_lists_its_runs(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    spec, _ = load_benchmark(name)
    assert main(["bench", name, "--dry-run", "--methods", "all", "--out", str(tmp_path / "runs")]) == 0
    assert f"{len(spec.named_methods) * len(spec.seeds)} runs" in capsys.readouterr().out
    assert spec.tier in TIERS
    assert spec.title


@pytest.mark.parametrize(
    "name", [name if name == "pacs" else pytest.param(name, marks=pytest.mark.slow) for name in shipped_benchmarks()]
)
def test_more_methods_run_where_they_are_asked_for(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    spec, _ = load_benchmark(name)
    assert main(["bench", name, "--dry-run", "--out", str(tmp_path / "runs")]) == 0
    assert f"{len(spec.methods) * len(spec.seeds)} runs" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "caltech101",
        "pacs",
        "digits_domains",
        "cifar100_compact",
        pytest.param("cifar100_scratch", marks=pytest.mark.slow),
    ],
)
def test_the_compact_tier_finds_its_data(
    name: str, real_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call = ["bench", name, "--dry-run", "--seeds", "0", "--methods", "ncm", "--limit-tasks", "2"]
    assert main([*call, "--data-root", str(real_data), "--out", str(tmp_path / "runs")]) == 0
    assert "1 run, 0 done, 1 to do" in capsys.readouterr().out


@pytest.mark.parametrize("name", [name for name in shipped_benchmarks() if load_benchmark(name)[0].tier == "standard"])
def test_added_modules_are_not_trained_at_the_rate_of_a_whole_backbone(name: str) -> None:
    """A LoRA at fine-tuning's 1e-4 of SGD learns nothing: its row is that of a linear probe."""
    spec, _ = load_benchmark(name)
    seen = 0
    for method in spec.named_methods:
        plugins, training = method_config(spec, method)
        found = [find_plugin(plugin)[1] for plugin, _ in plugins]
        if any("lr" in {one.name for one in source.parameters} for source in found):
            continue  # it trains its modules by itself, at a rate of its own
        if any({"modules", "blocks"} & {*source.traits.memory} for source in found):
            seen += 1
            optimizer = training["optimizer"]
            assert optimizer["lr"] >= SMALLEST[optimizer["name"]], f"{method}: {optimizer}"
    assert seen or spec.backbone.name.startswith("open_clip:")
