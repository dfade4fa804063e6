"""The CSV and the plots: the same records give the same bytes, in any order and in any process."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import random
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.figure import Figure

from clsuite.metrics import COLUMNS, METRICS
from clsuite.records import ProbeEntry, RunRecord, write_record
from clsuite.report import plots
from clsuite.report.export import csv_table, latex_table, markdown_table
from clsuite.report.files import write_csv, write_report
from clsuite.report.plot_style import PERCENT, MethodStyles
from clsuite.report.plots import plot_curves, plot_matrix, plot_probes
from clsuite.report.summary import columns_of, summarize
from clsuite.report.table import probes_table

SVG = "{http://www.w3.org/2000/svg}"


def texts(path: Path) -> list[str]:
    return [element.text or "" for element in ElementTree.parse(path).iter(f"{SVG}text")]


def test_the_csv_holds_every_figure(records: list[RunRecord], tmp_path: Path) -> None:
    write_csv(records, tmp_path / "s.csv")
    with (tmp_path / "s.csv").open(newline="", encoding="utf-8") as opened:
        lines = list(csv.DictReader(opened))
    assert [line["method"] for line in lines] == ["joint", "replay", "finetune"]
    assert [line["seeds"] for line in lines] == ["0 1 2"] * 3
    for line, row in zip(lines, summarize(records).rows, strict=True):
        assert len(line) == 2 + 2 * len(COLUMNS)
        for name in METRICS:
            figure = row.figures[name]
            if name == "forward_transfer":  # nothing is answered before it is learned
                assert (line[name], line[f"{name}_interval"]) == ("", "")
                continue
            assert float(line[name]) == pytest.approx(figure.mean, rel=1e-5, abs=1e-9)
            assert float(line[f"{name}_interval"]) == pytest.approx(figure.half, rel=1e-5, abs=1e-9)


def dashed(records: list[RunRecord]) -> list[RunRecord]:
    """Probes with dashes: joint was read at the ends alone, replay's head never, finetune's not before the stream."""
    values = {
        "joint": ([0.6, None, None, 0.4], [0.2, None, None, 0.1]),
        "replay": ([None] * 4, [0.2, 0.3, 0.3, 0.4]),
        "finetune": ([None, 0.5, 0.4, 0.2], [0.1, 0.2, 0.3, 0.4]),
    }
    out = []
    for record in records:
        head, error = values[record.method]
        correct = [None if value is None else round(10 * value) for value in head] if any(head) else None
        probes = [
            ProbeEntry(name="head", higher_is_better=True, values=head, correct=correct, n=10 if correct else None),
            ProbeEntry(name="calibration", higher_is_better=False, values=error),
        ]
        out.append(record.model_copy(update={"probes": probes}))
    return out


def test_dashes_of_probes_in_rows_tables_and_csv(records: list[RunRecord], tmp_path: Path) -> None:
    given = dashed(records)
    results = summarize(given)
    ends = {
        row.method: [row.figures[f"probe_head{end}"].shortened.mean for end in ("", "_change")] for row in results.rows
    }
    assert ends == {"joint": [0.4, -0.2], "replay": [None, None], "finetune": [0.2, None]}
    assert [results.columns[name].unit for name in ("probe_head", "probe_calibration")] == ["share", "number"]
    table = probes_table(results)
    assert table is not None
    shown = {str(column.header).rstrip(" ↑↓"): [str(cell) for cell in column.cells] for column in table.columns}
    assert shown["probe head"] == ["40.0 ± 0.0", "-", "20.0 ± 0.0"]
    assert shown["change of head"] == ["-20.0 ± 0.0", "-", "-"]
    write_csv(given, tmp_path / "s.csv")
    with (tmp_path / "s.csv").open(newline="", encoding="utf-8") as opened:
        lines = {line["method"]: line for line in csv.DictReader(opened)}
    assert [lines[name]["probe_head_change"] for name in ("joint", "replay", "finetune")] == ["-0.2", "", ""]
    assert csv_table(given, ["probe_head"]).splitlines()[2] == "tiny,replay,0 1 2,,"
    for text in (markdown_table(given, ["probe_head"]), latex_table(given, ["probe_head"])):
        assert "replay" in text
        assert "nan" not in text.lower()


def test_one_seed_with_a_dash_is_left_out_of_the_mean(records: list[RunRecord]) -> None:
    given = dashed(records)
    silent = ProbeEntry(name="head", higher_is_better=True, values=[None] * 4)
    joint = next(record for record in given if record.method == "joint")
    mixed = [one.model_copy(update={"probes": [silent, one.probes[1]]}) if one is joint else one for one in given]
    rows = {row.method: row for row in summarize(mixed).rows}
    assert rows["joint"].figures["probe_head"].mean == pytest.approx(0.4)
    assert [columns_of(some)["probe_head"].unit for some in (mixed, mixed[::-1])] == ["share", "share"]


@pytest.mark.parametrize("many", [False, True])
def test_plots_of_probes_with_dashes(many: bool, records: list[RunRecord], tmp_path: Path) -> None:
    given = dashed(records)
    if many:  # more methods than colors: those left over are lines without points
        given += [one.model_copy(update={"method": f"m{number}"}) for number in range(12) for one in given[:3]]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plot_probes(given, tmp_path / "p.svg", "Tiny")
    text = (tmp_path / "p.svg").read_text()
    assert "nan" not in text
    drawn: list[Any] = []
    axes = Figure().subplots()
    drawn.append(
        MethodStyles(["a"]).draw(axes, "a", [[0.6, np.nan, np.nan, 0.4], [0.4, np.nan, np.nan, np.nan]], PERCENT, 0)
    )
    assert drawn[0].get_xdata().tolist() == [0, 3]
    assert drawn[0].get_ydata().tolist() == [0.5, 0.4]


def test_domains_that_come_again_are_shown_before_they_are_learned(
    records: list[RunRecord], domain_record: RunRecord, tmp_path: Path
) -> None:
    def numbers(config: dict[str, Any]) -> int:
        scenario = domain_record.scenario.model_copy(update={"kind": "power_law"})
        record = domain_record.model_copy(update={"scenario": scenario, "config": config})
        plot_matrix(record, tmp_path / "m.svg")
        return sum(text.isdecimal() for text in texts(tmp_path / "m.svg"))

    assert numbers({"scenario": {"over": "domains"}}) == numbers({"scenario": {"over": "classes"}}) + 3


def test_the_csv_holds_counts_exactly(records: list[RunRecord], tmp_path: Path) -> None:
    cost = records[0].cost
    assert cost is not None
    large = records[0].model_copy(update={"cost": cost.model_copy(update={"trainable_parameters": 5_518_561})})
    write_csv([large], tmp_path / "s.csv")
    with (tmp_path / "s.csv").open(newline="", encoding="utf-8") as opened:
        assert next(csv.DictReader(opened))["trainable_parameters"] == "5518561"


def test_the_csv_does_not_depend_on_the_order_of_records(records: list[RunRecord], tmp_path: Path) -> None:
    write_csv(records, tmp_path / "a.csv")
    write_csv(random.Random(1).sample(records, len(records)), tmp_path / "b.csv")
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()
    assert b"\r" not in (tmp_path / "a.csv").read_bytes()


def test_the_curves_do_not_depend_on_the_order_of_records(records: list[RunRecord], tmp_path: Path) -> None:
    plot_curves(records, tmp_path / "a.svg", "Tiny")
    plot_curves(random.Random(0).sample(records, len(records)), tmp_path / "b.svg", "Tiny")
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_methods_that_are_level_are_drawn_in_one_order(records: list[RunRecord], tmp_path: Path) -> None:
    twins = [record.model_copy(update={"method": name}) for name in ("zeta", "alpha") for record in records[:1]]
    plot_curves(twins, tmp_path / "a.svg", "Tiny")
    plot_curves(twins[::-1], tmp_path / "b.svg", "Tiny")
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


ELSEWHERE = """
import sys
from pathlib import Path
from clsuite.records import read_record
from clsuite.report.files import write_csv
from clsuite.report.plots import plot_curves, plot_matrix

assert "torch" not in sys.modules
folder = Path(sys.argv[1])
records = [read_record(path) for path in sorted(folder.glob("*.json"))]
write_csv(records, folder / "there.csv")
plot_curves(records, folder / "there-curves.svg", "Tiny")
plot_matrix(records[0], folder / "there-matrix.svg")
assert "torch" not in sys.modules
"""


@pytest.mark.slow
def test_another_process_writes_the_same_bytes(records: list[RunRecord], tmp_path: Path) -> None:
    """From the records on disk, with other hash seeds and another locale and time zone, and without torch."""
    for record in records:
        write_record(record, tmp_path / f"{record.method}{record.seed}.json")
    environment = {**os.environ, "PYTHONHASHSEED": "99", "TZ": "Asia/Tokyo", "LC_ALL": "C"}
    subprocess.run([sys.executable, "-c", ELSEWHERE, str(tmp_path)], env=environment, check=True)
    ordered = sorted(records, key=lambda record: f"{record.method}{record.seed}")
    write_csv(ordered, tmp_path / "here.csv")
    plot_curves(ordered, tmp_path / "here-curves.svg", "Tiny")
    plot_matrix(ordered[0], tmp_path / "here-matrix.svg")
    for name in (".csv", "-curves.svg", "-matrix.svg"):
        assert (tmp_path / f"here{name}").read_bytes() == (tmp_path / f"there{name}").read_bytes()


def test_the_style_of_the_user_has_no_part_in_it(records: list[RunRecord], tmp_path: Path) -> None:
    import matplotlib as mpl

    plot_matrix(records[0], tmp_path / "a.svg")
    with mpl.rc_context({"font.size": 30, "lines.linewidth": 9, "image.cmap": "gray", "axes.facecolor": "red"}):
        plot_matrix(records[0], tmp_path / "b.svg")
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_other_records_give_another_plot(records: list[RunRecord], tmp_path: Path) -> None:
    hashes = set()
    for record in records[:3]:
        plot_matrix(record, tmp_path / "a.svg")
        hashes.add(hashlib.sha256((tmp_path / "a.svg").read_bytes()).hexdigest())
    assert len(hashes) == 3


def test_a_heat_map_says_what_it_shows(records: list[RunRecord], tmp_path: Path) -> None:
    record = records[1]
    assert record.counts is not None
    plot_matrix(record, tmp_path / "m.svg")
    matrix = 100 * record.counts.of("class_incremental").accuracy
    shown = texts(tmp_path / "m.svg")
    assert "replay, seed 0" in shown
    assert {"test part of task", "after learning task", "accuracy in %"} <= set(shown)
    for i in range(3):
        for j in range(i + 1):
            assert f"{matrix[i, j]:.0f}" in shown


def numbers_in_cells(record: RunRecord, path: Path) -> int:
    """Cell texts: those that are neither a tick nor a heading (both come once per task and axis, and per tick)."""
    plot_matrix(record, path)
    assert record.counts is not None
    wanted = {f"{value:.0f}" for value in 100 * record.counts.of("class_incremental").accuracy.flatten() if value}
    return sum(text in wanted for text in texts(path))


def test_what_was_never_learned_stays_blank(records: list[RunRecord], domain_record: RunRecord, tmp_path: Path) -> None:
    assert numbers_in_cells(records[1], tmp_path / "m.svg") == 6
    assert numbers_in_cells(domain_record, tmp_path / "m.svg") == 9


def test_curves_name_methods_best_first(records: list[RunRecord], tmp_path: Path) -> None:
    plot_curves(records, tmp_path / "c.svg", "A title & more")
    shown = texts(tmp_path / "c.svg")
    legend = [text for text in shown if text in ("finetune", "replay", "joint")]
    assert legend == ["joint", "replay", "finetune"]
    assert "A title & more" in shown


def test_a_band_needs_two_seeds(records: list[RunRecord], tmp_path: Path) -> None:
    def bands(chosen: list[RunRecord]) -> int:
        plot_curves(chosen, tmp_path / "c.svg", "Tiny")
        groups = ElementTree.parse(tmp_path / "c.svg").iter(f"{SVG}g")
        return sum(str(group.get("id")).startswith(("FillBetween", "PolyCollection")) for group in groups)

    assert bands(records[:3]) == 0
    assert bands(records) == 3


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """Figures that would have been written."""
    taken: list[Figure] = []
    monkeypatch.setattr(plots, "write_figure", lambda figure, path: taken.append(figure))
    return taken


def methods(records: list[RunRecord], number: int) -> list[RunRecord]:
    """So many methods with the same seeds, the later the name the worse."""
    made = []
    for index in range(number):
        for record in records[:6]:  # two seeds
            assert record.counts is not None
            right = [[max(0, right - index // 8) for right in line] for line in record.counts.class_incremental]
            counts = record.counts.model_copy(update={"class_incremental": right})
            if record.method == "replay":
                made.append(record.model_copy(update={"method": f"m{index:02}", "counts": counts}))
    return made


@pytest.mark.parametrize(
    ("number", "bands", "named", "said"),
    [
        (8, 8, 8, ""),
        (9, 0, 9, "9 methods, without intervals"),
        (10, 0, 10, "10 methods, without intervals"),
        (40, 0, 10, "in color the best 10 of 40 methods, without intervals"),
    ],
)
def test_of_many_methods_the_best_have_a_color_and_a_name_and_none_a_band(
    records: list[RunRecord], drawn: list[Figure], tmp_path: Path, number: int, bands: int, named: int, said: str
) -> None:
    plot_curves(methods(records, number), tmp_path / "c", "Tiny")
    axes, (legend,) = drawn[0].axes[0], drawn[0].legends
    assert len(axes.lines) == number
    assert len({line.get_color() for line in axes.lines}) == named + (number > named)
    assert len(axes.collections) == bands
    assert axes.get_title() == f"Tiny\n{said}".strip()
    names = [text.get_text() for text in legend.get_texts()]
    assert names == [f"m{index:02}" for index in range(named)] + [f"{number - named} others"] * (number > named)
    drawn[0].draw_without_rendering()
    assert legend.get_window_extent().height <= drawn[0].bbox.height


def test_bands_stay_within_what_is_possible(records: list[RunRecord], drawn: list[Figure], tmp_path: Path) -> None:
    far = [record.model_copy(update={"probes": [
        ProbeEntry(name="kl", higher_is_better=False, values=[0.0, 0.0, 3.0 * record.seed, 0.1]),
        ProbeEntry(name="knn", higher_is_better=True, values=[1.0, 1.0, record.seed / 2, 1.0],
                   correct=[2, 2, record.seed, 2], n=2),
    ]}) for record in records]  # fmt: skip
    plot_probes(far, tmp_path / "p", "Tiny")
    kl, knn = (np.concatenate([path.vertices[:, 1] for band in axes.collections for path in band.get_paths()])
               for axes in drawn[0].axes)  # fmt: skip
    assert kl.min() == 0
    assert kl.max() > 6
    assert (knn.min(), knn.max()) == (0, 100)


@pytest.mark.parametrize("name", ["_hidden", "a$\\frac$", "$x$"])
def test_a_method_of_any_name_is_in_the_plots(records: list[RunRecord], tmp_path: Path, name: str) -> None:
    odd = [records[0].model_copy(update={"method": name, "benchmark": name}), records[1]]
    plot_curves(odd, tmp_path / "c.svg", name)
    assert name in [text.strip() for text in texts(tmp_path / "c.svg")]
    plot_matrix(odd[0], tmp_path / "m.svg")
    assert f"{name}, seed 0" in texts(tmp_path / "m.svg")


def test_a_report_is_a_csv_curves_and_a_heat_map_per_record(records: list[RunRecord], tmp_path: Path) -> None:
    paths = {tmp_path / record.method / f"seed{record.seed}.json": record for record in records[:2]}
    for path, record in paths.items():
        write_record(record, path)
    assert write_report(tmp_path, "Tiny", paths) == ([tmp_path / "summary.csv", tmp_path / "accuracy.svg"], [])
    assert (tmp_path / "summary.csv").is_file()
    assert "Tiny" in texts(tmp_path / "accuracy.svg")
    assert sorted(tmp_path.rglob("seed*.svg")) == sorted(path.with_suffix(".svg") for path in paths)


@pytest.mark.slow
def test_a_heat_map_is_drawn_again_only_for_a_newer_record(records: list[RunRecord], tmp_path: Path) -> None:
    path = tmp_path / "replay" / "seed0.json"
    write_record(records[1], path)
    write_report(tmp_path, "Tiny", {path: records[1]})
    drawn = path.with_suffix(".svg")
    drawn.write_text("kept")
    write_report(tmp_path, "Tiny", {path: records[1]})
    assert drawn.read_text() == "kept"
    later = time.time() + 10
    os.utime(path, (later, later))
    write_report(tmp_path, "Tiny", {path: records[1]})
    assert drawn.read_text() != "kept"


def test_the_report_follows_from_the_files_alone(records: list[RunRecord], tmp_path: Path) -> None:
    """A record that was read back gives the same plot as the one that was written."""
    write_record(records[1], tmp_path / "r.json")
    again = RunRecord.model_validate(json.loads((tmp_path / "r.json").read_text()))
    plot_matrix(records[1], tmp_path / "a.svg")
    plot_matrix(again, tmp_path / "b.svg")
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


@pytest.mark.parametrize("taken", ["summary.csv", "accuracy.svg", "seed0.svg"])
def test_what_cannot_be_written_is_told_and_the_rest_is_there(
    taken: str, records: list[RunRecord], tmp_path: Path
) -> None:
    paths = {tmp_path / f"seed{number}.json": record for number, record in enumerate(records[:2])}
    for path, record in paths.items():
        write_record(record, path)
    (tmp_path / taken).mkdir()
    files, complaints = write_report(tmp_path, "Tiny", paths)
    assert complaints == [f"cannot write '{tmp_path / taken}': Is a directory"]
    wanted = {"summary.csv", "accuracy.svg"} - {taken}
    assert {path.name for path in files} == wanted
    assert {path.name for path in tmp_path.iterdir() if path.is_file()} == {
        "seed0.json", "seed1.json", "summary.csv", "accuracy.svg", "seed0.svg", "seed1.svg"
    } - {taken}  # fmt: skip
