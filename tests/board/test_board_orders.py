"""Rows of several class orders: taken in beside each other, ranked over orders, shown with minimum and maximum."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from statistics import mean

import pytest
from published_records import make_record, write_run

from clsuite.board.build import build_board
from clsuite.board.files import build, check
from clsuite.board.layout import Leaderboard
from clsuite.board.publish import add_records
from clsuite.board.site.columns import WORST, with_worst_order
from clsuite.board.site.files import site_files
from clsuite.metrics import PRIMARY
from clsuite.records.order import seed_name

RIGHT = {"steady": (0.7, 0.72, 0.74), "risky": (0.95, 0.9, 0.5)}


def write_orders(runs: Path) -> None:
    """Three drawn orders of two methods, one seed."""
    for method, shares in RIGHT.items():
        for order, right in enumerate(shares):
            made = make_record(method, 0, shares[0])
            stream = {"kind": "class_incremental", "order": "seed", "order_seed": order}
            scenario = made.scenario.model_copy(update={"fingerprint": f"order {order}"})
            write_run(runs, method, 0, right, config={**made.config, "scenario": stream}, scenario=scenario)


def test_a_leaderboard_holds_several_orders_of_one_seed(tmp_path: Path) -> None:
    write_orders(tmp_path / "runs")
    place = Leaderboard(tmp_path / "board")
    outcomes = add_records([tmp_path / "runs"], place, False, False, lambda record, arrays: "")
    assert {(one.verdict, one.reason) for one in outcomes} == {("added", "")}
    assert sorted(one.name for one in outcomes)[0] == "tiny/risky/0 order 0"
    again = add_records([tmp_path / "runs"], place, False, False, lambda record, arrays: "")
    assert {one.verdict for one in again} == {"known"}
    build(place)
    assert check(place) == []
    rows = {row.method: row for row in build_board(place.records, place.reported).benchmarks[0].rows}
    for row in rows.values():
        assert (row.seeds, row.orders) == ((0, 0, 0), ("0", "1", "2"))
        assert [run.name for run in row.runs] == ["0 order 0", "0 order 1", "0 order 2"]
        figure = row.figures[PRIMARY]
        values = [value for value in figure.values if value is not None]
        assert figure.spread is not None
        assert (figure.spread.minimum, figure.spread.maximum) == pytest.approx((min(values), max(values)))
        assert figure.mean == pytest.approx(mean(values))
        assert row.rank is not None
        assert row.rank.low is not None  # by a bootstrap over orders
    lines = {line["method"]: line for line in csv.DictReader((place.folder / "data/tiny.csv").read_text().splitlines())}
    assert float(lines["risky"][f"{PRIMARY}_min"]) < float(lines["steady"][f"{PRIMARY}_min"])
    each = list(csv.DictReader((place.folder / "data/tiny.seeds.csv").read_text().splitlines()))
    assert sorted({line["order"] for line in each}) == ["0", "1", "2"]
    assert " · " in (place.folder / "README.md").read_text()
    details = (place.folder / "site/details/tiny/risky.js").read_text()
    assert all(f'"name":"0 order {order}"' in details for order in range(3))


def test_the_page_of_a_board_sorts_by_the_worst_order(tmp_path: Path) -> None:
    write_orders(tmp_path / "runs")
    place = Leaderboard(tmp_path / "board")
    add_records([tmp_path / "runs"], place, False, False, lambda record, arrays: "")
    board = build_board(place.records, place.reported)
    (benchmark,) = board.benchmarks
    spreads = {row.method: spread for row in benchmark.rows if (spread := row.figures[benchmark.headline].spread)}
    files = site_files(board)
    (found,) = re.findall(rb'"keys":(\{.*?\})', files["boards/tiny.js"])
    keys = json.loads(found)
    assert dict(zip(keys["method"], keys[WORST], strict=True)) == {
        name.casefold(): spread.minimum for name, spread in spreads.items()
    }
    page = files["boards/tiny.html"].decode()
    headings = re.findall(r'class="sort" data-key="([^"]+)" data-first="([^"]+)"', page)
    assert headings[2:4] == [(benchmark.headline, "down"), (WORST, "down")]
    worst = {name: f"{100 * spread.minimum:.1f}" for name, spread in spreads.items()}
    assert f"<strong>{worst['steady']}</strong>" in page  # the best worst order, although not the best mean
    assert f"<strong>{worst['risky']}</strong>" not in page
    alone = benchmark.model_copy(update={"rows": [row.model_copy(update={"figures": {
        name: figure.model_copy(update={"spread": None}) for name, figure in row.figures.items()
    }}) for row in benchmark.rows]})  # fmt: skip
    assert with_worst_order(alone) is alone


def test_rows_of_one_order_keep_their_names() -> None:
    assert seed_name(make_record("good", 3)) == "3"
