"""Images on a device, and what of a batch is known on the CPU; a device that is not the CPU: tests/conformance."""

from __future__ import annotations

import dataclasses
import gc
from typing import Any

import numpy as np
import pytest
import torch

from clsuite.data import on_device
from clsuite.data.batch import Batch, BatchLoader, gather
from clsuite.data.table import ImageTable, read_rows

META = torch.device("meta")
CHUNKS = [np.array([3, 1]), np.array([5]), np.array([0, 2, 4])]


def values(chunks: Any) -> list[list[int]]:
    return [chunk[:, 0, 0, 0].tolist() for chunk in chunks]


def test_the_cpu_keeps_no_second_copy(numbered_table: ImageTable) -> None:
    cpu = torch.device("cpu")
    assert not on_device.keep_images(numbered_table.images, cpu)
    assert on_device.kept_images(numbered_table.images, cpu) is None
    assert on_device.kept_bytes(cpu) == 0
    assert values(on_device.image_chunks(numbered_table.images, CHUNKS, cpu)) == [[3, 1], [5], [0, 2, 4]]


def test_a_table_is_kept_where_a_quarter_of_the_free_memory_carries_it(
    numbered_table: ImageTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = numbered_table.images.copy()
    size = images.nbytes
    monkeypatch.setattr(on_device, "_free_bytes", lambda device: 4 * size - 1)
    assert not on_device.keep_images(images, META)
    monkeypatch.setattr(on_device, "_free_bytes", lambda device: 4 * size)
    assert on_device.keep_images(images, META)
    kept = on_device.kept_images(images, META)
    assert kept is not None
    assert kept.shape == images.shape
    assert kept.dtype == torch.uint8
    assert on_device.kept_bytes(META) == size
    assert on_device.kept_images(images.copy(), META) is None
    del images
    gc.collect()
    assert on_device.kept_bytes(META) == 0


def test_what_is_kept_is_what_is_stored(numbered_table: ImageTable, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the table goes there in several parts."""
    monkeypatch.setattr(on_device, "CHUNK_BYTES", 7 * numbered_table.images[0].nbytes)
    copied = on_device._copied(numbered_table.images, torch.device("cpu"))
    assert torch.equal(copied, torch.from_numpy(numbered_table.images.copy()))


def test_chunks_are_read_in_order_one_ahead(numbered_table: ImageTable, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []

    def noting(images: Any, rows: Any, out: Any) -> Any:
        read.append(len(rows))
        return read_rows(images, rows, out)

    monkeypatch.setattr(on_device, "read_rows", noting)
    chunks = on_device._read_ahead(numbered_table.images, CHUNKS, torch.device("cpu"))
    assert values([next(chunks)]) == [[3, 1]]
    assert values(chunks) == [[5], [0, 2, 4]]
    assert read == [2, 1, 3]
    assert list(on_device._read_ahead(numbered_table.images, [], torch.device("cpu"))) == []


def test_an_error_of_the_thread_is_the_loops(numbered_table: ImageTable, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: Any) -> Any:
        raise OSError("the disk is gone")

    monkeypatch.setattr(on_device, "read_rows", failing)
    with pytest.raises(OSError, match="the disk is gone"):
        list(on_device._read_ahead(numbered_table.images, CHUNKS, torch.device("cpu")))


def test_rows_are_read_into_memory_that_is_there(numbered_table: ImageTable) -> None:
    out = np.zeros((2, 1, 2, 2), np.uint8)
    assert read_rows(numbered_table.images, np.array([7, 9]), out) is out
    assert out[:, 0, 0, 0].tolist() == [7, 9]


def test_a_batch_on_a_device_is_known_on_the_cpu(numbered_table: ImageTable) -> None:
    batch = gather(numbered_table, numbered_table.labels, np.array([20, 40])).to(META)
    longer = batch.extended(torch.zeros(1, 1, 2, 2, dtype=torch.uint8), torch.tensor([0]), torch.tensor([9]))
    assert longer.labels.device == META
    assert longer.host.indices.tolist() == [20, 40, 9]
    assert longer.host.labels.tolist() == [1, 2, 0]
    assert longer.host.images is None
    assert (longer.own, len(longer)) == (2, 3)
    assert longer.with_images(torch.zeros(3, 3, 2, 2, device=META)).own == 2


def test_what_was_known_of_other_labels_is_forgotten(numbered_table: ImageTable) -> None:
    batch = gather(numbered_table, numbered_table.labels, np.array([20, 40]))
    known = batch.knowing(batch)
    changed = dataclasses.replace(known, labels=torch.tensor([2, 2]))
    assert known.host.labels.tolist() == [1, 2]
    assert changed.host.labels.tolist() == [2, 2]


def test_the_loader_makes_the_same_batches_on_a_device(numbered_table: ImageTable) -> None:
    """The order, the rows and the labels; on a device without memory only what is known of them can be seen."""

    def batches(device: torch.device | None) -> list[Batch]:
        rows = np.arange(3, 50)
        return list(BatchLoader(numbered_table, numbered_table.labels, rows, 8, shuffle_seed=1, device=device))

    for here, there in zip(batches(None), batches(META), strict=True):
        assert there.indices.device == META
        assert there.host.indices.tolist() == here.indices.tolist()
        assert there.host.labels.tolist() == here.labels.tolist()
        assert there.images is not None
        assert here.images is not None
        assert there.images.shape == here.images.shape
