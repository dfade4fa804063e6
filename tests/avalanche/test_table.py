"""The table of both libraries: paired differences, bold where the interval excludes 0, written between the marks."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

from clsuite.errors import UserError

FOLDER = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def script() -> ModuleType:
    place = FOLDER / "benchmarks" / "compare" / "avalanche_table.py"
    spec = importlib.util.spec_from_file_location("avalanche_table", place)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_differences_are_paired_by_seed(script: ModuleType) -> None:
    ours = script.Figures({0: 50.0, 1: 60.0, 2: 70.0}, 1000.0, 0)
    better = script.Figures({0: 52.0, 1: 62.0, 2: 72.0}, 2500.0, 52_000)
    alike = script.Figures({0: 49.0, 1: 61.0, 3: 90.0}, 2500.0, 3_000_000)
    assert script.difference(ours, better) == "**+2.0 ± 0.0**"
    assert script.difference(ours, alike) == "+0.0 ± 12.7"  # the t quantile for two seeds, 12.706, times 1
    assert script.difference(ours, script.Figures({1: 59.0}, 0.0, 0)) == "-1.0"
    table = script.tables({"finetune": ours, "Naive (Avalanche)": better, "MAS (Avalanche)": alike}, "a stream")
    assert "on a stream, mean" in table
    row = "| finetune | 60.0 ± 24.8 | Naive | 62.0 ± 24.8 | **+2.0 ± 0.0** | 1,000 / 2,500 | - / 52 kB |"
    assert row in table.splitlines()
    assert table.splitlines()[-1].startswith("| MAS | 66.7 ±")
    assert table.splitlines()[-1].endswith("| 2,500 | 3.0 MB |")


def test_the_table_is_written_between_the_marks_of_the_page(script: ModuleType) -> None:
    begin, end = script.marks("avalanche")
    page = f"before\n{begin}\nold\n{end}\nafter\n"
    assert script.replaced(page, "new", "avalanche") == f"before\n{begin}\nnew\n{end}\nafter\n"
    with pytest.raises(UserError, match="the page has no lines"):
        script.replaced(page, "new", "avalanche_domains")


@pytest.mark.parametrize(("benchmark", "pairs"), [("avalanche", 10), ("avalanche_domains", 11)])
def test_the_page_has_all_pairs(script: ModuleType, benchmark: str, pairs: int) -> None:
    begin, end = script.marks(benchmark)
    published = (FOLDER / "docs" / "how-to" / "avalanche.md").read_text("utf-8")
    table = published.partition(begin)[2].partition(end)[0]
    assert script.STREAMS[benchmark] in table
    assert (
        sum(bool(re.search(rf"\| {re.escape(ours)} \|.*\| {theirs} \|", table)) for ours, theirs in script.PAIRS)
        == pairs
    )
