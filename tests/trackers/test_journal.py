"""The journal of a run: rows once each, whatever was interrupted, killed or brought from elsewhere."""

from __future__ import annotations

from pathlib import Path

from clsuite.trackers.journal import Journal, Row, add_rows, new_rows


def read(path: Path) -> list[Row]:
    with path.open("rb") as opened:
        return list(new_rows(opened))


def steps(*numbers: int) -> list[Row]:
    return [Row("step", number, {"train/loss": number / 4}) for number in numbers]


def test_a_resumed_run_writes_no_row_twice_and_completes_an_unfinished_one(tmp_path: Path) -> None:
    path = tmp_path / "seed0.journal"
    journal = Journal(path)
    journal.append([Row("run", 0, {"key": "k"}), *steps(1, 2), Row("task", 1, {"accuracy/average": 0.5}), *steps(3)])
    journal.close()
    whole = read(path)
    path.write_bytes(path.read_bytes()[:-4])  # killed in the middle of the last row
    assert read(path) == whole[:-1]
    again = Journal(path)
    again.append([Row("run", 0, {"key": "k"}), *steps(2), Row("task", 1, {"accuracy/average": 0.5}), *steps(3, 4)])
    again.close()
    assert read(path) == [*whole, *steps(4)]


def test_a_reader_waits_before_a_row_that_is_being_written(tmp_path: Path) -> None:
    path = tmp_path / "seed0.journal"
    first, second = (row.line() for row in steps(1, 2))
    path.write_bytes(first + second[:5])
    with path.open("rb") as opened:
        assert list(new_rows(opened)) == steps(1)
        assert list(new_rows(opened)) == []
        with path.open("ab") as more:
            more.write(second[5:])
        assert list(new_rows(opened)) == steps(2)


def test_the_rows_of_another_machine_are_added_to_those_that_are_here(tmp_path: Path) -> None:
    path = tmp_path / "seed0.journal"
    for numbers in ((1, 2), (2, 3)):  # the run was restarted on another node, after a checkpoint behind step 1
        add_rows(path, b"".join(row.line() for row in steps(*numbers)))
    assert read(path) == steps(1, 2, 3)
