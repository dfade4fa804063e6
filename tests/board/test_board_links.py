"""Links in a board from elsewhere lead nowhere: no file outside of it is written, cut or removed."""

from __future__ import annotations

from pathlib import Path

import pytest
from published_records import make_record, write_run

from clsuite.board.files import build
from clsuite.board.layout import Leaderboard
from clsuite.board.publish import add_records
from clsuite.board.validate.record import record_place
from clsuite.errors import UserError


@pytest.fixture
def board(tmp_path: Path) -> Leaderboard:
    """A board of one row, that is built."""
    write_run(tmp_path / "runs", "good", 0)
    place = Leaderboard(tmp_path / "board")
    add_records([tmp_path / "runs"], place, False, False, lambda record, arrays: "")
    build(place)
    return place


@pytest.mark.parametrize("name", [".lock", "records", "site", "data"])
def test_a_part_that_is_a_link_is_refused(name: str, board: Leaderboard, tmp_path: Path) -> None:
    own, part = tmp_path / "own", board.folder / name
    part.rename(own)
    part.symlink_to(own)
    kept = own / "mine.txt" if own.is_dir() else own
    kept.write_text("mine")
    write_run(tmp_path / "more", "poor", 0, 0.4)
    with pytest.raises(UserError, match=rf"{name}' is a link, and what it leads to would be changed"):
        build(board)
    with pytest.raises(UserError, match=rf"{name}' is a link"):
        add_records([tmp_path / "more"], board, False, False, lambda record, arrays: "")
    assert kept.read_text() == "mine"


@pytest.mark.parametrize("level", [0, 1])
def test_no_record_is_written_through_a_link(level: int, board: Leaderboard, tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    record = make_record("poor", 0, 0.4, benchmark="other")
    link = (board.records / record_place(record)).parents[1 - level]
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(own)
    write_run(tmp_path / "more", "poor", 0, 0.4, benchmark="other")
    (outcome,) = add_records([tmp_path / "more"], board, False, False, lambda record, arrays: "")
    assert (outcome.verdict, "is a link" in outcome.reason) == ("refused", True)
    assert not list(own.iterdir())
