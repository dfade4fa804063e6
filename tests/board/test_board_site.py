"""The files of the page, without a browser."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
import tomllib
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from site_board import board, row, small

from clsuite.board.model import Board, Rank, Row
from clsuite.board.readme import readme
from clsuite.board.site import site_files
from clsuite.board.site.addresses import address, record_link
from clsuite.board.site.pareto import main_plot, pareto_plots
from clsuite.board.site.text import NONE
from clsuite.metrics import NOTATION

EVIL = "<script>alert(1)</script>'\"&\u2028\ud800"
SVG = "http://www.w3.org/2000/svg"


class Tags(HTMLParser):
    """All tags of a page with their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    return site_files(small())


def pages(files: dict[str, bytes]) -> dict[str, str]:
    return {name: content.decode() for name, content in files.items() if name.endswith(".html")}


def detail(files: dict[str, bytes], key: str) -> dict[str, Any]:
    text = files[f"details/{key}.js"].decode()
    return json.loads("[" + text.removeprefix("clsuite.detail(").removesuffix(");\n") + "]")[1]


def test_there_is_a_page_for_each_board_and_method(files: dict[str, bytes]) -> None:
    expected = {"index.html", "reported.html", "methods/index.html", "boards/small.html"}
    expected |= {f"methods/{name}.html" for name in ("ranpac", "replay", "lora", "finetune")}
    assert set(pages(files)) == expected


def test_the_same_board_gives_the_same_bytes_in_another_process(tmp_path: Path, files: dict[str, bytes]) -> None:
    (tmp_path / "board.json").write_text(small().model_dump_json())
    code = (
        "import sys, hashlib; from clsuite.board.model import Board; from clsuite.board.site import site_files\n"
        "files = site_files(Board.model_validate_json(open(sys.argv[1]).read()))\n"
        "assert 'torch' not in sys.modules\n"
        "print(hashlib.sha256(repr(sorted(files.items())).encode()).hexdigest())"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "board.json")]
    there = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    assert there == hashlib.sha256(repr(sorted(files.items())).encode()).hexdigest()


def test_every_page_forbids_all_but_its_own_scripts_and_styles(files: dict[str, bytes]) -> None:
    for text in pages(files).values():
        tags = Tags(text).found
        policy = next(a["content"] for _, a in tags if a.get("http-equiv") == "Content-Security-Policy")
        assert policy is not None
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
        assert "unsafe" not in policy
        assert all("src" in attributes for tag, attributes in tags if tag == "script")
        assert not [name for _, attributes in tags for name in attributes if name == "style" or name.startswith("on")]


def test_links_lead_to_files_that_are_there_and_only_papers_are_elsewhere(files: dict[str, bytes]) -> None:
    for name, text in pages(files).items():
        for tag, attributes in Tags(text).found:
            link = attributes.get("href") or attributes.get("src")
            if not link or link == "data:,":
                continue
            if "//" in link:
                assert (tag, link) == ("a", "https://example.org/p")
                continue
            path = link.split("#")[0]
            target = (Path("/") / Path(name).parent / path).resolve() if path else Path("/") / name
            assert target.relative_to("/").as_posix() in files, (name, link)
    for name in ("static/site.js", "static/theme.js", "static/details.js", "static/site.css"):
        assert re.findall(r"https?://[^\"' ]+", files[name].decode()) in ([], [SVG])


def test_foreign_names_are_escaped_everywhere() -> None:
    evil = json.loads(json.dumps(small().model_dump()).replace("ranpac", "@@").replace("Split Z", "@@"))
    text = json.dumps(evil)
    for word in ("@@", "Doe, 2020", "A small one", "vit", "final acc.", "d 1"):
        text = text.replace(word, json.dumps(EVIL)[1:-1])
    files = site_files(Board.model_validate(json.loads(text)))
    for name, content in files.items():
        assert b"<script>alert" not in content, name
    for text in pages(files).values():
        assert all("src" in attributes for tag, attributes in Tags(text).found if tag == "script")
    assert f"boards/{address('small')}.html" in files
    for name in files:
        assert re.fullmatch(r"[\w./+=-]+", name)
    scripts = [content for name, content in files.items() if name.startswith(("details/", "boards/")) and "js" in name]
    assert all(content.isascii() and b"<" not in content for content in scripts)


@pytest.mark.parametrize("name", ["../../x", "..", "a/b", "A", "a.b", "", "index", "ä", "con#?%", "x" * 300])
def test_addresses_are_safe_and_different(name: str) -> None:
    assert re.fullmatch(r"[a-z0-9-]{1,60}", address(name))
    assert len({address(other) for other in (name, name + "_", name.swapcase() + "-", "a_b")}) == 4


def test_plain_names_are_their_own_addresses() -> None:
    assert address("lwf+replay") == "lwf+replay"


def test_an_address_is_nobody_elses_name() -> None:
    assert address("LoRA") == "lora-c0f5e2c9f7"
    assert address("lora-c0f5e2c9f7") not in ("lora-c0f5e2c9f7", address("lora-c0f5e2c9f8"))
    pair = site_files(board([row("LoRA", 1, 0.9), row("lora-c0f5e2c9f7", 2, 0.8)]))
    assert len([name for name in pair if name.startswith("details/")]) == 2


def test_only_published_records_are_linked() -> None:
    assert record_link("records/a b/k.json") == "records/a%20b/k.json"
    assert [record_link(bad) for bad in ("records/../../x", "/etc", "javascript:1", "records//x")] == [""] * 4


def test_the_best_is_bold_with_its_interval_and_ties_are_shown(files: dict[str, bytes]) -> None:
    text = files["boards/small.html"].decode()
    assert '<strong>90.0 <span class="half">±&nbsp;1.8</span></strong>' in text
    assert text.count("<strong>") == 1
    assert "(1-3)" in text
    assert "lower is better" in text


def test_times_of_several_kinds_of_machine_are_told_apart(files: dict[str, bytes]) -> None:
    assert b"combinations of machine" not in files["boards/small.html"] + readme(small())
    other = {"machine": "cpu: Y", "environment": {"precision": "bf16-mixed"}, "seconds": 7200.0}
    both = row("ranpac", 1, 0.9)
    same = {"environment": {"precision": "bf16-mixed"}}
    halved = both.model_copy(update={"runs": [both.runs[0], both.runs[1].model_copy(update=same)]})
    assert "The runs used 2 combinations of machine and precision" in readme(board([halved])).decode()
    both = both.model_copy(update={"runs": [both.runs[0], both.runs[1].model_copy(update=other)]})
    shown = readme(board([both])).decode()
    assert "2 combinations of machine and precision (listed [below](#machines-and-running-times)), " in shown
    assert "a row whose runs used several has none (\N{EN DASH})." in shown
    assert "| small | 1 | cpu: X | 32-true | 0.00 |\n| small | 1 | cpu: Y | bf16-mixed | 2.00 |" in shown
    assert b"The runs used 2 combinations of machine and precision" in site_files(board([both]))["boards/small.html"]


def one_seed(name: str, rank: int) -> Row:
    made = row(name, rank, 0.5)
    return made.model_copy(update={"rank": Rank(rank=rank, low=None, high=None), "seeds": [0], "runs": made.runs[:1]})


def test_a_rank_that_is_certain_and_one_from_a_single_seed_look_different() -> None:
    made = board([row("sure", 1, 0.9), one_seed("once", 2)])
    shown, pages_made = readme(made).decode(), pages(site_files(made))
    assert "| 1 (1-1) | [sure]" in shown
    assert "| 2 (one seed) | [once]" in shown
    assert "\n(one seed): the rank of a row with one seed has no interval" in shown
    assert "(one seed):" not in readme(small()).decode()
    words = re.sub(r"<[^>]+>", "", pages_made["boards/small.html"])
    assert "1 ranks (1-1)" in words
    assert "2 (one seed)" in words
    assert "(one seed) if a single seed gives no interval" in words
    assert "2 (one seed)" in re.sub(r"<[^>]+>", "", pages_made["methods/once.html"])


def test_pages_say_what_decides_whether_two_methods_differ(files: dict[str, bytes]) -> None:
    for text in (*pages(files).values(), readme(small()).decode()):
        plain = " ".join(re.sub(r"<[^>]+>", "", text).split())
        assert "Overlapping rank intervals do not decide whether two methods differ" in plain
        assert "clsuite compare" in plain
        assert "tied for all that these seeds can tell" not in plain


def test_reported_rows_are_apart_and_never_ranked(files: dict[str, bytes]) -> None:
    assert "92.2" in files["reported.html"].decode()
    page = files["methods/ranpac.html"].decode()
    assert re.search(r"<b>RanPAC, 10,000 projections</b>: [^<]*92\.2", page)  # which variant a figure is of
    assert b"92.2" not in files["boards/small.html"] + files["boards/small.js"]


def test_details_hold_the_command_configuration_and_every_figure(files: dict[str, bytes]) -> None:
    known = detail(files, "small/replay")
    assert [one["command"] for one in known["runs"]] == [one.command for one in small().benchmarks[0].rows[1].runs]
    assert known["config"] == {"training": {"epochs": 1}}
    assert len(known["figures"]) == 9
    forgetting = next(entry for entry in known["figures"] if entry[0] == "forgetting")
    assert forgetting[6:] == [NONE, "", [NONE, NONE]]


def test_every_column_is_explained_where_it_stands(files: dict[str, bytes]) -> None:
    known = small().benchmarks[0].metrics[0]
    page, method = files["boards/small.html"].decode(), files["methods/ranpac.html"].decode()
    hint = 'title="The last accuracy. mean_j A[T-1,j] (x)"'
    for text in (page, method):
        assert hint in text
        legend = re.sub(r"<[^>]+>", "", text.split('<details class="legend">')[1].split("</details>")[0])
        assert "What the columns mean" in legend
        assert f"{known.label} % ↑{known.about} {known.formula} ({known.source})" in legend
        assert NOTATION in legend
    assert "- **final acc.**: The last accuracy. `mean_j A[T-1,j]` (x)\n" in readme(small()).decode()
    assert detail(files, "small/replay")["figures"][0][:6] == ["final acc.", "↑", "%", known.about, known.formula, "x"]
    assert detail(files, "small/replay")["probes"] == {"knn": "probe knn", "calibration": "probe calibration"}


def test_fronts_hold_what_nothing_beats() -> None:
    rows = [row("a", 1, 0.9), row("b", 2, 0.8), row("c", 3, 0.95), row("d", 4, 0.5)]
    plots = {plot.axis: plot for plot in pareto_plots(board(rows).benchmarks[0])}
    front = {axis: {point.name for point in plot.points if point.front} for axis, plot in plots.items()}
    assert front["trained parameters"] == {"a", "c"}  # 10, 100, 1000, 10000
    assert front["stored bytes"] == {"c"}  # 1000, 2000, 0, 1000
    assert set(front) == {"trained parameters", "stored bytes", "gradient samples", "training time (s)"}
    top = main_plot(board(rows).benchmarks[0])
    assert top is not None
    assert {point.name for point in top.points if point.front} == {"c", "d"}  # more is better: 0.51 to 0.54
    places = [(point.x, point.y) for plot in plots.values() for point in plot.points]
    assert all(40 <= x <= 338 and 16 <= y <= 198 for x, y in places)


def test_names_of_points_hide_no_point_of_the_front(files: dict[str, bytes]) -> None:
    svg = files["boards/small.html"].decode().split("<svg")[1]
    assert svg.index('<text class="name"') < svg.index('<a class="point"')  # what comes later lies on top
    rows = [row(f"method_{index}", index + 1, 0.9 - index / 300) for index in range(8)]
    crowded = pareto_plots(board([*rows, row("joint", 9, 0.9), row("z", 3, 0.95)]).benchmarks[0])
    for plot in crowded:
        named = [point for point in plot.points if point.label]
        assert named
        boxes = []
        for point in named:
            (x, y), width = point.at, 6.2 * len(point.label)
            left = x if point.anchor == "start" else x - width
            assert 36 <= left <= left + width <= 350
            assert not [one for one in plot.points if one.front and one != point
                        and left - 4 < one.x < left + width + 4 and y - 13 < one.y < y + 6]  # fmt: skip
            assert not [
                box for box in boxes if box[0] < left + width and left < box[0] + box[1] and abs(y - box[2]) < 10
            ]
            boxes.append((left, width, y))


def test_figures_without_a_direction_have_no_front() -> None:
    one = board([row("a", 1, 0.9), row("b", 2, 0.8)]).benchmarks[0]
    undirected = [
        replace(column, higher_is_better=None) if column.unit == "seconds" else column for column in one.metrics
    ]
    plots = {plot.axis: plot for plot in pareto_plots(one.model_copy(update={"metrics": undirected}))}
    times = plots["training time (s)"]
    assert (times.line, [point.front for point in times.points]) == ("", [False, False])
    assert "several kinds of machine" in times.summary
    assert any(point.front for point in plots["trained parameters"].points)


def test_an_empty_board_is_a_page_too() -> None:
    assert "Nothing has been published yet" in site_files(Board(benchmarks=[], reported=[]))["index.html"].decode()


def test_a_wheel_holds_the_templates_and_static_files() -> None:
    root = Path(__file__).parents[2]
    settings = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["setuptools"]
    folder = root / "clsuite" / "board" / "site"
    packed = {path for glob in settings["package-data"]["clsuite.board.site"] for path in folder.glob(glob)}
    assert packed == {path for path in folder.glob("*/*") if path.suffix != ".pyc"}
    assert "clsuite.board.site" in settings["packages"]
