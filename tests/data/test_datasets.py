"""The registry: names, paths, and the bound on training images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from clsuite.data.datasets import load_table, locate, select_indices
from clsuite.data.spec import DatasetSpec
from clsuite.data.table import ImageTable
from clsuite.errors import UserError


def test_digits_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLSUITE_CACHE", str(tmp_path))
    table = load_table(DatasetSpec(name="digits"), 8)
    assert table.images.shape == (1797, 1, 8, 8)
    assert isinstance(table.images, np.memmap)


def test_an_unknown_name_gets_a_hint() -> None:
    with pytest.raises(UserError, match=r"unknown data set 'digit'\. Did you mean 'digits'\?"):
        load_table(DatasetSpec(name="digit"), 8)


def test_digits_take_no_path() -> None:
    with pytest.raises(UserError, match="takes no path"):
        load_table(DatasetSpec(name="digits", path="x"), 8)


def test_a_folder_needs_a_path() -> None:
    with pytest.raises(UserError, match="needs a path"):
        load_table(DatasetSpec(name="image_folder"), 8)


def test_a_relative_path_is_looked_for_below_the_data_root(tmp_path: Path) -> None:
    (tmp_path / "birds").mkdir()
    assert locate("birds", tmp_path) == tmp_path / "birds"


def test_an_absolute_path_wins(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    assert locate(str(tmp_path), tmp_path / "root") == tmp_path


def test_data_that_is_nowhere_says_where_it_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"no data at '{tmp_path}/birds' or 'birds'.*correct --data-root"):
        locate("birds", tmp_path)


def test_data_without_a_root_says_how_to_name_it() -> None:
    with pytest.raises(UserError, match=r"no data at 'no such birds'.*--data-root FOLDER"):
        locate("no such birds", None)


def test_all_training_rows(numbered_table: ImageTable) -> None:
    rows = select_indices(numbered_table, None)
    assert rows.tolist() == [row for row in range(60) if row % 3]


@pytest.mark.parametrize("bound", [1, 5, 13, 14, 100])
def test_at_most_so_many_of_each_class(numbered_table: ImageTable, bound: int) -> None:
    rows = select_indices(numbered_table, bound)
    everyone = select_indices(numbered_table, None)
    available = np.bincount(numbered_table.labels[everyone])
    assert np.bincount(numbered_table.labels[rows]).tolist() == np.minimum(available, bound).tolist()
    assert set(rows) <= set(everyone)
    assert (np.diff(rows) > 0).all()


def test_a_larger_bound_only_adds_rows(numbered_table: ImageTable) -> None:
    chosen = [set(select_indices(numbered_table, bound).tolist()) for bound in (2, 5, 9)]
    assert chosen[0] < chosen[1] < chosen[2]


def test_the_bound_holds_for_each_domain(numbered_table: ImageTable) -> None:
    domains = np.arange(60) % 2
    table = ImageTable(**{**vars(numbered_table), "domains": domains, "domain_names": ("x", "y")})
    rows = select_indices(table, 4)
    groups = table.labels[rows] * 2 + table.domains[rows]
    assert np.bincount(groups).tolist() == [4] * 6


def test_the_choice_is_not_the_first_rows(numbered_table: ImageTable) -> None:
    everyone = select_indices(numbered_table, None)
    first = [row for label in range(3) for row in everyone[numbered_table.labels[everyone] == label][:5]]
    assert select_indices(numbered_table, 5).tolist() != first
