"""Stage curves of the suite beside those of plain loops written from the papers."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

from references.common import digits
from references.pairs import PAIRS, REFERENCES

HERE = Path(__file__).parent
LONGEST = 100
ALLOWED = ("clsuite", "clsuite.data", "clsuite.scenarios")
CONFIDENCE = 0.99
"""Of the interval of a difference: of some fifty differences two or three would leave one of 95 % by chance."""
FLOOR = 2.0
"""Points that mean curves may differ by where all seeds agree: some seven of the 324 test images of three tasks."""


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.mark.nightly
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("family", PAIRS)
def test_the_whole_stream_gives_the_mean_curve_of_a_plain_loop(family: str) -> None:
    """Three seeds, class order and first values: means within the interval of their difference, or the floor."""
    pair, scenarios = PAIRS[family], [digits(seed) for seed in range(3)]
    plain = np.array([pair.plain(scenario, seed) for seed, scenario in enumerate(scenarios)])
    suite = np.array([pair.suite(scenario, seed) for seed, scenario in enumerate(scenarios)])
    apart = np.abs(plain.mean(axis=0) - suite.mean(axis=0))
    spread = np.sqrt((plain.var(axis=0, ddof=1) + suite.var(axis=0, ddof=1)) / 3)
    allowed = np.maximum(FLOOR, stats.t.ppf(0.5 + CONFIDENCE / 2, df=4) * spread)
    assert (apart <= allowed).all(), f"{family}: plain {plain.round(1)}, suite {suite.round(1)}, {allowed.round(1)}"


@pytest.mark.parametrize("name", REFERENCES)
def test_a_plain_loop_is_short_and_knows_nothing_of_the_suites_methods(name: str) -> None:
    text = (HERE / f"{name}.py").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= LONGEST
    assert all(not found.startswith("clsuite") for found in imported(text))


def test_what_plain_loops_share_are_rows_and_labels_alone() -> None:
    suites = {found for found in imported((HERE / "common.py").read_text(encoding="utf-8")) if "clsuite" in found}
    assert {".".join(found.split(".")[:2]) for found in suites} == {*ALLOWED}


def imported(text: str) -> list[str]:
    """Names of the modules that a text imports."""
    nodes = list(ast.walk(ast.parse(text)))
    plain = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    return plain + [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)]
