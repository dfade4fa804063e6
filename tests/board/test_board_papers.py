"""Every paper that a shipped plugin names is linked, and no address is there for nothing."""

from __future__ import annotations

import re

from clsuite.board.papers import PAPERS, linked
from clsuite.plugin.catalog import catalog, is_ours

NO_PAPERS = {"lower bound", "upper bound", "baseline"}


def test_every_paper_of_our_plugins_has_an_address_and_none_is_left_over() -> None:
    ours = [info.source.traits.paper for info in catalog().values() if info.source and is_ours(info.target)]
    named = {name for paper in ours for name in linked(paper)} - NO_PAPERS
    assert named == PAPERS.keys()


def test_addresses_are_of_known_places_in_full() -> None:
    for address in PAPERS.values():
        assert re.fullmatch(r"https://(arxiv\.org/abs/\d{4}\.\d{5}|doi\.org/10\.\d+/[\w-]+)", address)


def test_papers_are_parted_and_unknown_ones_have_no_address() -> None:
    both = linked("Kirkpatrick, PNAS 2017; Me, 2030")
    assert both == {"Kirkpatrick, PNAS 2017": "https://arxiv.org/abs/1612.00796", "Me, 2030": ""}
    assert linked("") == {}
