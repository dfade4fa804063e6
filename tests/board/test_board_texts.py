"""Texts of records: no path of a machine is published, and nothing is taken for one that is none."""

from __future__ import annotations

from typing import Any

import pytest
from published_records import make_record

from clsuite.board.validate.text import portability_problem

PATHS = (
    "/x", "~/x", "C:\\Users\\b", "see /home/bob/x", "cwd=/home/bob", "cwd:/data/x", "(/srv)", "file:///home/x",
    "at ~/x",
    "of ~bob/x", "in D:/data", "on \\\\host\\share", '"/tmp"', "a\n/b/c", "[/srv/x/y]", "/data/images,/home",
)  # fmt: skip
NONE = (
    "and/or", "w/ and w/o", "TCP/IP", "N/A", "https://a.org/b/c", "http://x:8080/p/q", "s3://bucket/x/y", "2026/11/27",
    "1 / 2 / 3", "a/b/c", "./x/y", "../x/y", "**/*.py/z", "{root}/y/z", "km /h", "10^-3/s", "</b></i>",
    "a photo of a {}.",
    "open_clip:ViT-B-32/laion2b_s34b_b79k", "~5 / x", "lambda:0.1", "cpu: AMD EPYC 7/2",
)  # fmt: skip


def complaint(**environment: Any) -> str:
    return portability_problem(make_record("a", 0, environment=environment))


@pytest.mark.parametrize("text", PATHS)
def test_a_path_anywhere_in_a_text_is_told(text: str) -> None:
    assert complaint(nested=[{"cwd": text}]) == f"it holds a path of a machine: '{text}'"
    assert complaint(**{text: 1}).startswith("it holds a path of a machine")


@pytest.mark.parametrize("text", NONE)
def test_what_is_no_path_is_published(text: str) -> None:
    assert complaint(note=text) == ""


def test_a_long_text_is_cut_where_it_is_told() -> None:
    assert len(complaint(note="/home/x" * 1000)) < 250


@pytest.mark.parametrize("one", ["\x1b", "\0", "\x9b", "\u202e", "\u2066", "\x7f"])
def test_a_character_that_no_terminal_should_get_is_told(one: str) -> None:
    assert "which cannot be shown: 'a\\" in complaint(note=f"a{one}b")
    assert complaint(note="a\tb\nc d\xa0e") == ""
