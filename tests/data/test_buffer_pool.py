"""Memory of batches: never written to while anything of the batch is held, and used again afterwards."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from clsuite.data import buffer_pool
from clsuite.data.buffer_pool import BufferPool
from clsuite.data.transforms import Normalize

SHAPE = (4, 3, 8, 8)


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(buffer_pool, "SMALLEST", 4 * 3 * 64)


def test_memory_is_used_again_once_the_batch_is_gone() -> None:
    memory = BufferPool()
    places = set()
    for _ in range(5):
        batch = memory.empty(SHAPE)
        places.add(batch.data_ptr())
        assert batch.shape == SHAPE
        assert batch.dtype == torch.float32
        assert batch.is_contiguous()
        assert batch.data_ptr() % buffer_pool.ALIGNMENT == 0
        del batch
    assert len(places) == 1


def saved_for_backward(batch: Tensor) -> Tensor:
    layer = nn.Conv2d(3, 2, 1)
    return layer(batch).square().sum()


HOLDERS: dict[str, Callable[[Tensor], Any]] = {
    "the batch": lambda batch: batch,
    "a part of it": lambda batch: batch[1:, :1],
    "a view without history": lambda batch: batch.detach().permute(1, 0, 2, 3),
    "its storage": lambda batch: batch.untyped_storage(),
    "an array": lambda batch: batch.numpy()[2],
    "a backward pass": saved_for_backward,
    "a list": lambda batch: list(batch.unbind()),
}


@pytest.mark.parametrize("holder", sorted(HOLDERS))
def test_what_is_held_in_any_way_is_never_written_to(holder: str) -> None:
    memory = BufferPool()
    batch = memory.empty(SHAPE).fill_(1.0)
    place = batch.data_ptr()
    held = HOLDERS[holder](batch)
    del batch
    others = [memory.empty(SHAPE).fill_(2.0) for _ in range(4)]
    assert place not in {other.data_ptr() for other in others}
    assert len({other.data_ptr() for other in others}) == 4
    del held, others
    assert memory.empty(SHAPE).data_ptr() == place


def test_a_view_made_in_inference_mode_holds_it_too() -> None:
    memory = BufferPool()
    with torch.inference_mode():
        held = memory.empty(SHAPE)[2:]
        assert memory.empty(SHAPE).data_ptr() + 2 * 3 * 64 * 4 != held.data_ptr()
    other = memory.empty(SHAPE)
    other.requires_grad_(True)  # memory, unlike a tensor, has no mode
    assert other.data_ptr() + 2 * 3 * 64 * 4 != held.data_ptr()


def test_sizes_may_change() -> None:
    memory = BufferPool()
    for number in (4, 2, 9, 4, 1, 30, 2):
        batch = memory.empty((number, 3, 8, 8)).fill_(float(number))
        assert (batch == number).all()
    assert len(memory._blocks) <= 2


def test_copies_have_memory_of_their_own() -> None:
    module = Normalize((0.5,) * 3, (0.5,) * 3)
    images = torch.zeros(SHAPE, dtype=torch.uint8)
    first = module(images)
    del first
    for twin in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        assert torch.equal(twin(images), module(images))
        assert not {id(block) for block in twin._memory._blocks} & {id(block) for block in module._memory._blocks}


def test_batches_in_flight_keep_their_values() -> None:
    module = Normalize((0.5,) * 3, (0.5,) * 3)
    batches = [module(torch.full(SHAPE, value, dtype=torch.uint8)) for value in range(6)]
    for value, batch in enumerate(batches):
        torch.testing.assert_close(batch, torch.full(SHAPE, value / 127.5 - 1))
