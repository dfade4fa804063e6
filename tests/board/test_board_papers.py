"""Every paper that a shipped plugin names is linked, and no address is there for nothing."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import ValidationError
from site_board import board, row

from clsuite.board.build import read_reported
from clsuite.board.model import Reported
from clsuite.board.papers import NO_PAPERS, PAPERS, linked
from clsuite.board.readme import readme
from clsuite.board.site import site_files
from clsuite.errors import UserError
from clsuite.plugin.catalog import catalog, is_ours

ADDRESS = (
    r"https://(arxiv\.org/abs/\d{4}\.\d{5}|doi\.org/10\.\d+/[\w.-]+|openreview\.net/forum\?id=\w+"
    r"|openaccess\.thecvf\.com/content/\w+/html/[\w-]+_paper\.html)"
)


def test_every_paper_of_our_plugins_has_an_address_and_none_is_left_over() -> None:
    ours = [info.source.traits.paper for info in catalog().values() if info.source and is_ours(info.target)]
    named = {name for paper in ours for name in linked(paper)}
    assert named == PAPERS.keys()
    assert {*ours} >= NO_PAPERS


def test_addresses_are_of_known_places_in_full() -> None:
    for address in PAPERS.values():
        assert re.fullmatch(ADDRESS, address)


def test_papers_are_parted_and_unknown_ones_have_no_address() -> None:
    both = linked("Kirkpatrick, PNAS 2017; Me, 2030")
    assert both == {"Kirkpatrick, PNAS 2017": "https://arxiv.org/abs/1612.00796", "Me, 2030": ""}
    assert linked("") == {}


def test_what_a_plugin_without_a_paper_is_does_not_stand_for_one() -> None:
    assert [linked(word) for word in sorted(NO_PAPERS)] == [{}] * 3
    assert linked("baseline; Kirkpatrick, PNAS 2017") == linked("Kirkpatrick, PNAS 2017")


def test_every_reported_figure_leads_to_its_paper() -> None:
    reported = read_reported(Path(__file__).parents[2] / "leaderboard" / "reported.yaml")
    assert len(reported) > 25
    by_source = {one.source: {other.address for other in reported if other.source == one.source} for one in reported}
    assert all(len(places) == 1 and re.fullmatch(ADDRESS, *places) for places in by_source.values()), by_source


FIGURES = {
    "method": "LAE", "stream": "Z", "weights": "w", "protocol": "p", "source": "Doe | 2020", "figures": {"last": "9"}
}  # fmt: skip


@pytest.mark.parametrize("address", ["", "https://arxiv.org/abs/2001.00001"])
def test_the_source_of_a_reported_figure_is_a_link_where_it_has_an_address(address: str) -> None:
    shown = board([row("lae", 1, 0.9)], (Reported.model_validate({**FIGURES, "address": address}),))
    pages, text = site_files(shown), readme(shown).decode()
    link = f'<a href="{address}">Doe | 2020</a>'
    for page in ("reported.html", "methods/lae.html"):
        assert (link in pages[page].decode()) is bool(address)
        assert "Doe | 2020" in pages[page].decode()
    assert (f"| [Doe \\| 2020]({address}) |" if address else "| Doe \\| 2020 |") in text


ENTRY = "method: LAE\n  stream: Z\n  weights: w\n  protocol: p\n  source: Doe"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (f"- {ENTRY}\n  figures: {{a: 1.5}}", "6: figures.a is 1.5, but must be text: write it in quotation marks"),
        (f"- {ENTRY}\n  figures: {{a: '1'}}\n- {ENTRY}", "7: figures is missing"),
        (f"- {ENTRY}\n  figures: {{a: '1'}}\n  yeer: 1", "7: unknown key 'yeer'. Known: method, stream, weights, .*"),
        (f"- {ENTRY}\n  figures: {{}}", "6: figures is {}, but must have at least 1 entries"),
        ("- LAE", "1: the entry is 'LAE', but must be a mapping, such as {method: ...}"),
        (f"- {ENTRY}\n  figures: !!timestamp x", "6: not YAML: 'x' is no !!timestamp"),
    ],
)
def test_a_reported_figure_that_is_wrong_is_named_in_one_plain_line(tmp_path: Path, text: str, complaint: str) -> None:
    (tmp_path / "reported.yaml").write_text(text)
    with pytest.raises(UserError) as caught:
        read_reported(tmp_path / "reported.yaml")
    assert re.fullmatch(f"{re.escape(str(tmp_path))}/reported.yaml:{complaint}", str(caught.value))
    assert "pydantic" not in str(caught.value)


def test_reported_figures_are_a_list(tmp_path: Path) -> None:
    (tmp_path / "reported.yaml").write_text(ENTRY.replace("\n  ", "\n"))
    with pytest.raises(UserError, match=r"reported\.yaml' must be a list of entries such as '- method: \.\.\.'$"):
        read_reported(tmp_path / "reported.yaml")
    (tmp_path / "reported.yaml").write_text("# nothing yet\n")
    assert read_reported(tmp_path / "reported.yaml") == []


@pytest.mark.parametrize("address", ["javascript:alert(1)", "http://x.org", "https://x.org/a) b", "https://x.org/|"])
def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(ValidationError, match="address"):
        Reported.model_validate({**FIGURES, "address": address})
