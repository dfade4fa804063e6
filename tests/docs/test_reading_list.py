"""The page of the reading list names what there is, and every method that names a paper of the list."""

from __future__ import annotations

import re

import pytest
from pydantic import ValidationError

from clsuite_docs import fields, methods, metrics, reading_list
from clsuite_docs.reading_list import Paper


def test_every_name_on_the_list_exists() -> None:
    assert list(reading_list.unknown()) == []


def test_every_method_that_names_a_paper_of_the_list_is_there() -> None:
    assert {name: titles for name in methods.names() if (titles := list(reading_list.unlisted(name)))} == {}
    listed = {use.name for paper in reading_list.read().papers for use in paper.uses}
    assert {"acl", "fpf", "hft", "lae", "mix_cd", "moder", "saft"} <= listed


def test_titles_are_there_once_and_not_all_are_in_the_field() -> None:
    papers = reading_list.read().papers
    assert len({reading_list.plain(one.title) for one in papers}) == len(papers) < reading_list.read().titles


def test_a_title_has_a_place_or_a_reason() -> None:
    for wrong in ({}, {"methods": ["ncm"], "absent": "it is not here"}):
        with pytest.raises(ValidationError, match="needs either a place in clsuite or the reason"):
            Paper(title="A paper", **wrong)


def test_a_wrong_name_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = Paper(
        title="A paper", methods=("no_such", "pet(no_such=1)"), probes=("none",), options=("training.no", "seeds.head")
    )
    monkeypatch.setattr(reading_list, "read", lambda: reading_list.ReadingList(outside="", titles=1, papers=(wrong,)))
    assert list(reading_list.unknown()) == [
        "A paper: method no_such", "A paper: argument no_such of pet", "A paper: probes none",
        "A paper: option training.no", "A paper: option seeds.head",
    ]  # fmt: skip


def test_the_page_links_papers_and_places() -> None:
    text = reading_list.page()
    assert "(https://arxiv.org/abs/2303.10070) | method [`lae`](methods/lae.md) |" in text
    assert "streams [`power_law`](benchmark-file.md#powerlaw), [`recurring`](benchmark-file.md#recurring)" in text
    anchors = {*re.findall(r"\{ #(\w+) \}", fields.page() + metrics.page())}
    assert {*re.findall(r"(?:benchmark-file|metrics)\.md#(\w+)", text)} <= anchors
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    assert len(lines) == len(reading_list.read().papers) + 4  # two tables, each with a heading and a rule
