"""What a board tells at first sight: names as papers write them, bounds, headline, and where a method stands."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from published_records import make_record
from site_board import METRICS, board, bound, row

from clsuite.board.build import build_board
from clsuite.board.headline import headline_of
from clsuite.board.layout import Leaderboard
from clsuite.board.model import Benchmark, Board, Rank, Row
from clsuite.board.publish import add_records
from clsuite.board.readme import readme
from clsuite.board.site import site_files
from clsuite.board.site.columns import first_columns
from clsuite.board.site.pareto import main_plot
from clsuite.board.site.standing import standings
from clsuite.board.tables import data_files
from clsuite.board.titles import title_of, told_apart
from clsuite.metrics import LAST, PRIMARY, Column
from clsuite.plugin.arguments import resolve_arguments
from clsuite.plugin.catalog import catalog, find_plugin
from clsuite.records import PluginEntry, rescore, write_predictions, write_record

TITLES = {
    "lae": "LAE", "lae (lora)": "LAE (LoRA)", "lae (no rest)": "LAE (no rest)", "der++": "DER++", "der": "DER",
    "der++ + fpf": "DER++ + FPF", "ranpac": "RanPAC", "slca": "SLCA", "replay + fpf": "Replay + FPF",
    "replay": "Replay", "icarl": "iCaRL", "coda_prompt": "CODA-Prompt", "first_session + ncm": "FSA + SimpleCIL",
    "kfpf + kd": "k-FPF + KD", "wise_ft (local)": "WiSE-FT (local)", "block_expansion": "Block expansion",
    "s-lora": "S-LoRA", "l2l": "L2L", "agem": "A-GEM", "finetune": "Finetune", "lora + alignment": "LoRA + Alignment",
}  # fmt: skip


@pytest.mark.parametrize("method", TITLES)
def test_methods_have_the_names_that_papers_use(method: str) -> None:
    plugins = {"der++": "der", "kd": "kfpf", "s-lora": "s_pet", "l2l": "l2p", "lora": "pet", "alignment": "pet"}
    names = [re.sub(r" \(.*", "", part) for part in method.split(" + ")]
    sources = {plugins.get(name, name): catalog()[plugins.get(name, name)].source for name in names}
    papers = {name: source.traits.paper.split("; ") for name, source in sources.items() if source}
    assert title_of(method, papers) == TITLES[method]


def test_a_method_of_others_has_the_name_of_its_paper_or_keeps_its_own() -> None:
    assert title_of("./mine.py(size=3) + fpf", {"./mine.py": ["Me, 2030 (MyNet)"]}) == "MyNet(size=3) + fpf"
    assert title_of("my_net (big)", {"my_net": ["Me, 2030 (MyNet)"]}) == "MyNet (big)"
    assert title_of("two", {"two": ["A, 2030 (One)", "B, 2031 (Other)"]}) == "two"
    assert title_of("a\nb", {}) == "a\nb"


def test_two_methods_that_stand_together_never_have_one_title() -> None:
    assert told_apart({"a": "Net", "b": "net", "c": "Other"}) == {"a": "Net (a)", "b": "net (b)", "c": "Other"}


def test_no_board_has_a_title_twice() -> None:
    for path in sorted((Path(__file__).parents[2] / "leaderboard" / "data").glob("*.csv")):
        with path.open(encoding="utf-8", newline="") as file:
            titles = [line["title"].casefold() for line in csv.DictReader(file) if "rank" in line]
        assert len(titles) == len({*titles}), path.name


def entry(name: str) -> PluginEntry:
    info, source = find_plugin(name)
    arguments = resolve_arguments(name, source, {})
    return PluginEntry(name=name, args=arguments, source=source.sha256, distribution=info.distribution)


STORED: dict[str, dict[str, int]] = {"ncm": {"prototypes": 24}, "joint": {"all data": 99}, "finetune": {}}


def predicted(rights: tuple[bool, bool]) -> dict[str, Any]:
    """Predictions on two tasks of two classes with 12 and 4 images, of which all or none are right at the end."""
    labels = np.array([0, 1] * 6 + [2, 3] * 2, dtype=np.int16)
    task = (labels // 2).astype(np.int16)
    right = np.where(task == 0, *rights) if rights[0] != rights[1] else np.full(len(task), rights[0])
    chosen = np.where(right, labels, labels ^ 1)
    rows = np.stack([np.full(len(labels), -1), np.where(task == 0, chosen, -1), chosen]).astype(np.int16)
    aware = np.stack([chosen] * 3).astype(np.int16)
    return {"class_incremental": rows, "task_aware": aware, "labels": labels, "task": task}


def published(folder: Path, rights: dict[str, tuple[bool, bool]], kind: str) -> Benchmark:
    """A board with methods that are right in the first or the second task."""
    for method, right in rights.items():
        arrays = predicted(right)
        draft = make_record("x", 0)
        assert draft.cost is not None
        plugin = method if method in STORED else "ncm"
        config = {**draft.config, "scenario": {"kind": kind}, "training": {"is": method}}
        cost = draft.cost.model_copy(update={"training_flops": 54, "stored_bytes": STORED[plugin]})
        made = make_record(
            method, 0, plugins=[entry(plugin)], counts=rescore(arrays), cost=cost, tasks=draft.tasks[:2],
            predictions=f"{method}.npz", config=config,
        )  # fmt: skip
        names = {"task_names": ["a", "b"], "task_fingerprints": ["1", "2"], "classes": [*"abcd"], "kind": kind}
        made = made.model_copy(update={"scenario": made.scenario.model_copy(update=names)})
        made = made.model_copy(update={"key": made.recomputed_key()})
        write_predictions(folder / f"runs/{method}.npz", arrays)
        write_record(made, folder / f"runs/{method}.json")
    outcomes = add_records([folder / "runs"], Leaderboard(folder / "board"), False, False, lambda record, arrays: "")
    assert {one.verdict for one in outcomes} == {"added"}, outcomes
    return build_board(folder / "board" / "records", folder / "none").benchmarks[0]


@pytest.mark.parametrize("kind", ["class_incremental", "domain_incremental"])
def test_class_incremental_boards_are_ranked_by_last_accuracy(tmp_path: Path, kind: str) -> None:
    """One method is right on all 12 images of the first task, the other on all 4 of the second."""
    made = published(tmp_path, {"ncm": (True, False), "other": (False, True)}, kind)
    values = {row.method: (row.figures[LAST].mean, row.figures[PRIMARY].mean) for row in made.rows}
    assert values == {"ncm": (0.75, 0.5), "other": (0.25, 0.5)}
    assert made.headline == (LAST if kind == "class_incremental" else PRIMARY)
    assert first_columns(made)[0].name == made.headline
    ranks = {row.method: row.rank.rank for row in made.rows if row.rank}
    assert ranks == ({"ncm": 1, "other": 2} if kind == "class_incremental" else {"ncm": 1, "other": 1})
    assert headline_of(kind) == made.headline


def test_bounds_stand_among_the_rows_without_a_rank(tmp_path: Path) -> None:
    rights = {"joint": (True, True), "ncm": (True, False), "finetune": (False, True)}
    made = published(tmp_path, rights, "class_incremental")
    shown = [(row.method, row.bound, row.rank.rank if row.rank else None) for row in made.rows]
    assert shown == [("joint", "upper", None), ("ncm", None, 1), ("finetune", "lower", None)]
    assert made.ranked == 1


def whole() -> Board:
    rows = [row("lae", 1, 0.9, title="LAE"), row("der++ + fpf", 2, 0.5, title="DER++ + FPF")]
    return board([bound("joint", "upper", 0.95), *rows, bound("finetune", "lower", 0.2)])


def test_bounds_are_lines_of_the_table_and_of_the_plots() -> None:
    page, text = site_files(whole())["boards/small.html"].decode(), readme(whole()).decode()
    assert re.search(r'<tr id="row-joint"[^>]*class="bound"><td class="num"><span [^>]*>upper bound</span>', page)
    assert "| upper bound | [joint](records/small/joint) |" in text
    assert b"\n,,,lower,finetune,finetune," in data_files(whole())["data/small.csv"]
    top = main_plot(whole().benchmarks[0])
    assert top is not None
    assert [point.name for point in top.points] == ["LAE", "DER++ + FPF"]
    assert [line.text for line in top.bounds] == ["joint: 95.0 % (upper bound)", "finetune: 20.0 % (lower bound)"]
    assert page.count('<line class="bound"') == 2 * 5  # in each plot


def test_stale_rows_are_told_where_a_board_is_read_first() -> None:
    """The card, the page and the Markdown say how many rows wait to be run again; a current board says nothing."""
    old = [row("lae", 1, 0.9).model_copy(update={"badge": "stale"}), row("lwf", 2, 0.5)]
    told = (
        "1 of 2 rows is stale: made by an earlier version of a method or of this stream, and waiting to be run again."
    )
    files = site_files(board(old))
    assert f'<p class="stale">{told}</p>' in files["boards/small.html"].decode()
    card = files["index.html"].decode().partition('<ul class="cards">')[2].partition("</ul>")[0]
    assert told in card
    assert card.count(">stale</span>") == 1  # beside the row of the first three that is stale
    assert told in readme(board(old)).decode()
    assert not any(b"waiting to be run again" in content for content in site_files(whole()).values())
    assert "waiting to be run again" not in readme(whole()).decode()


def test_titles_are_shown_and_commands_keep_their_names() -> None:
    made = site_files(whole())
    assert '<bdi title="called der++ + fpf in commands">DER++ + FPF</bdi>' in made["boards/small.html"].decode()
    assert "clsuite leaderboard rerun small/der++ + fpf/0" in made["details/small/der-fpf-390f1fd7a9.js"].decode()
    assert "[DER++ + FPF](records/small/der%2B%2B_%2B_fpf)" in readme(whole()).decode()
    assert "<h1><bdi>LAE</bdi></h1>\n" in made["methods/lae.html"].decode()


def without(*names: str) -> Benchmark:
    one = whole().benchmarks[0]
    return one.model_copy(update={"metrics": [column for column in METRICS if column.name not in names]})


def test_the_plot_at_the_top_says_what_it_shows() -> None:
    kept, forgot = main_plot(whole().benchmarks[0]), main_plot(without("probe_knn"))
    assert kept is not None
    assert forgot is not None
    assert (kept.title, kept.better) == ("Accuracy against what is kept of the pre-training (probe knn)", "right")
    assert (forgot.title, forgot.better) == ("Accuracy against forgetting", "left")
    assert [point.text for point in forgot.best] == ["LAE: 90.0 % at 10.0 %"]
    assert main_plot(board([bound("joint", "upper", 0.9)]).benchmarks[0]) is None


def other(name: str, rows: list[Row]) -> Benchmark:
    return board(rows, name=name).benchmarks[0]


def test_a_method_is_placed_on_all_boards() -> None:
    first, second = whole().benchmarks[0], other("big", [row("replay", 1, 0.7)])
    two = other("two", [row("lae", 2, 0.4).model_copy(update={"rank": Rank(rank=3, low=None, high=None)})])
    made = Board(benchmarks=[second, first, two], reported=[])
    found = standings(made, "lae")
    assert [(one.benchmark.name, one.row is not None) for one in found] == [
        ("small", True), ("two", True), ("big", False),
    ]  # fmt: skip
    place = found[0]
    assert place.text.startswith("small: final acc. 90.0 %, rank 1 of 2; joint 95.0 % (upper bound)")
    assert (len(place.others), len(place.bounds)) == (1, 2)
    assert place.bounds[1][0] < place.others[0] < place.own < place.bounds[0][0]
    page = site_files(made)["methods/lae.html"].decode()
    assert page.count('class="plot strip"') == 2
    assert page.count("not measured<") == 1


def test_a_board_shows_six_columns_first() -> None:
    assert [column.name for column in first_columns(without())] == [
        "final_accuracy_macro", "forgetting_max_before_last", "probe_knn", "stored_bytes", "trainable_parameters",
        "gradient_samples",
    ]  # fmt: skip
    last = Column(name=LAST, label="last acc. (weighted)", higher_is_better=True)
    one = without("probe_knn").model_copy(update={"metrics": [*METRICS, last], "headline": LAST})
    assert [column.name for column in first_columns(one)][:2] == [LAST, PRIMARY]
