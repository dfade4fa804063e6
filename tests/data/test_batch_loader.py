"""Batches: gathered by index, in an order that seed and epoch decide alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from clsuite.data.batch import Batch, BatchLoader, gather
from clsuite.data.table import ImageTable

ROWS = np.arange(3, 50)


def loader(table: ImageTable, seed: int | None = 1, size: int = 8, with_images: bool = True) -> BatchLoader:
    return BatchLoader(table, table.labels, ROWS, size, shuffle_seed=seed, with_images=with_images)


def order(batches: BatchLoader) -> list[int]:
    """Rows of one epoch."""
    return torch.cat([batch.indices for batch in batches]).tolist()


def test_an_epoch_covers_each_row_once(numbered_table: ImageTable) -> None:
    batches = loader(numbered_table)
    for _ in range(3):
        assert sorted(order(batches)) == ROWS.tolist()


def test_epochs_differ_and_seeds_repeat(numbered_table: ImageTable) -> None:
    one, again, other = loader(numbered_table), loader(numbered_table), loader(numbered_table, seed=2)
    first = [order(one), order(one)]
    assert first[0] != first[1]
    assert [order(again), order(again)] == first
    assert order(other) not in first


def test_the_order_does_not_depend_on_the_batch_size(numbered_table: ImageTable) -> None:
    assert order(loader(numbered_table, size=5)) == order(loader(numbered_table, size=47))


def test_an_epoch_that_is_broken_off_counts(numbered_table: ImageTable) -> None:
    """Two epochs never see the same order, even where the first one was not finished."""
    whole, broken = loader(numbered_table), loader(numbered_table)
    order(whole)
    next(iter(broken))
    assert order(broken) == order(whole)


def test_global_seeds_have_no_part_in_it(numbered_table: ImageTable) -> None:
    np.random.seed(0)
    torch.manual_seed(0)
    first = order(loader(numbered_table))
    np.random.seed(5)
    torch.manual_seed(5)
    assert order(loader(numbered_table)) == first


def test_without_a_seed_the_order_is_the_given_one(numbered_table: ImageTable) -> None:
    assert order(loader(numbered_table, seed=None)) == ROWS.tolist()


@pytest.mark.parametrize("size", [1, 8, 46, 47, 48])
def test_batch_sizes(numbered_table: ImageTable, size: int) -> None:
    batches = loader(numbered_table, size=size)
    lengths = [len(batch) for batch in batches]
    assert len(lengths) == len(batches)
    assert sum(lengths) == 47
    assert set(lengths[:-1]) <= {size}
    assert 0 < lengths[-1] <= size


def test_images_and_labels_belong_to_their_rows(numbered_table: ImageTable) -> None:
    for batch in loader(numbered_table):
        assert batch.images is not None
        assert batch.images.dtype == torch.uint8
        assert batch.images.shape == (len(batch), 1, 2, 2)
        assert (batch.images == batch.indices[:, None, None, None]).all()
        assert batch.labels.tolist() == (batch.indices // 20).tolist()
        assert not batch.replayed.any()


def test_images_can_be_left_out(numbered_table: ImageTable) -> None:
    batches = list(loader(numbered_table, with_images=False))
    assert all(batch.images is None for batch in batches)
    assert torch.cat([batch.indices for batch in batches]).tolist() == order(loader(numbered_table))


def test_a_batch_is_a_copy(numbered_table: ImageTable) -> None:
    table = ImageTable(**{**vars(numbered_table), "images": numbered_table.images.copy()})
    batch = gather(table, table.labels, np.array([4, 5]))
    assert batch.images is not None
    batch.images.zero_()
    assert table.images[4].max() == 4


def exemplars() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return torch.full((2, 1, 2, 2), 9, dtype=torch.uint8), torch.tensor([0, 0]), torch.tensor([9, 9])


def test_exemplars_come_after_the_batch_and_are_marked(numbered_table: ImageTable) -> None:
    batch = gather(numbered_table, numbered_table.labels, np.array([20, 40]))
    longer = batch.extended(*exemplars())
    assert longer.indices.tolist() == [20, 40, 9, 9]
    assert longer.labels.tolist() == [1, 2, 0, 0]
    assert longer.replayed.tolist() == [False, False, True, True]
    assert longer.images is not None
    assert longer.images[:, 0, 0, 0].tolist() == [20, 40, 9, 9]
    assert len(batch) == 2


def test_exemplars_of_a_batch_without_images_have_none(numbered_table: ImageTable) -> None:
    batch = gather(numbered_table, numbered_table.labels, np.array([20]), with_images=False)
    longer = batch.extended(*exemplars())
    assert longer.images is None
    assert longer.indices.tolist() == [20, 9, 9]


def test_other_pixels_leave_the_rest(numbered_table: ImageTable) -> None:
    batch = gather(numbered_table, numbered_table.labels, np.array([20, 40]))
    changed = batch.with_images(torch.zeros(2, 3, 2, 2))
    assert changed.images is not None
    assert changed.images.shape == (2, 3, 2, 2)
    assert changed.indices is batch.indices
    assert isinstance(changed.to(torch.device("cpu")), Batch)
