"""The main job: the quickstart learns what it should."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from clsuite.cli.main import main
from clsuite.metrics import METRICS
from clsuite.records import read_record

QUICKSTART = Path(__file__).parents[1] / "benchmarks" / "quickstart.yaml"


def final_accuracies(benchmark: str, out: Path, *arguments: str) -> dict[tuple[str, int], dict[str, float]]:
    assert main(["bench", benchmark, "--out", str(out), *arguments]) == 0
    figures = {}
    for record in map(read_record, out.glob("*/*/*.json")):
        assert record.counts is not None
        counts = record.counts.of("class_incremental")
        figures[record.method, record.seed] = {name: metric.compute(counts) for name, metric in METRICS.items()}
    return figures


def check_order(figures: dict[tuple[str, int], dict[str, float]], seeds: tuple[int, ...]) -> None:
    for seed in seeds:
        joint, replay, finetune = (figures[method, seed] for method in ("joint", "replay", "finetune"))
        name = "final_accuracy_macro"
        assert joint[name] > replay[name] > finetune[name] + 0.3
        assert finetune["forgetting_max_before_last"] > 0.5
        assert finetune["learning_accuracy"] > 0.85


def test_quickstart_of_one_seed(tmp_path: Path) -> None:
    """As it is shipped, but that the bound has two epochs in place of ten, which take longer than all the rest."""
    spec = yaml.safe_load(QUICKSTART.read_text())
    assert spec["methods"]["joint"]["training"]["epochs"] > 2
    spec["methods"]["joint"]["training"]["epochs"] = 2
    (tmp_path / "quickstart.yaml").write_text(yaml.safe_dump(spec))
    given = ["--seeds", "0", "--methods", "finetune,replay,joint"]
    figures = final_accuracies(str(tmp_path / "quickstart.yaml"), tmp_path / "runs", *given)
    check_order(figures, (0,))


@pytest.mark.nightly
def test_whole_quickstart(tmp_path: Path) -> None:
    figures = final_accuracies("quickstart", tmp_path)
    assert len(figures) == 21
    check_order(figures, (0, 1, 2))
