"""What a plugin declares as its state is saved, restored and counted without a line of its own."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import nn

from clsuite.data.batch import Batch
from clsuite.data.buffer import ExemplarBuffer
from clsuite.data.taken import TakenRows, row_positions
from clsuite.errors import UserError
from clsuite.plugin import Plugin, RehearsalPlugin, Traits
from clsuite.plugin.helpers import tensor_bytes


class Means(Plugin):
    traits = Traits(memory=("prototypes",))
    state: ClassVar[tuple[str, ...]] = ("_means", "_taken")

    def start(self) -> Means:
        self._means, self._taken = {"a": torch.zeros(3), "b": torch.ones(2).double()}, TakenRows(4)
        return self


class Counting(Means):
    state = ("_begun",)
    _begun = 0


def test_what_is_declared_is_saved_and_restored_bases_first() -> None:
    one, other = Counting().start(), Counting().start()
    one._begun = 3
    one._means["a"] += 1
    assert one._taken.new(np.array([1, 2, 1])).tolist() == [1, 2]
    saved = one.state_dict()
    assert list(saved) == ["_means", "_taken", "_begun"]
    other.load_state_dict(saved)
    assert other._begun == 3
    assert other._means["a"].tolist() == [1, 1, 1]
    assert other._taken.new(np.array([1, 2, 3])).tolist() == [3]


def test_tensors_of_the_state_are_counted_as_the_one_kind_of_memory() -> None:
    assert Counting().start().stored_bytes() == {"prototypes": 3 * 4 + 2 * 8}
    assert Plugin().stored_bytes() == {}
    assert Plugin().state_dict() == {}
    two = type("Two", (Means,), {"traits": Traits(memory=("prototypes", "weights"))})
    assert two().start().stored_bytes() == {}


def test_registered_modules_are_counted_beside_them() -> None:
    plugin = type("Both", (Means,), {"traits": Traits(memory=("modules", "prototypes"))})().start()
    plugin.registered_modules = {"one": nn.Linear(2, 3), "two": nn.ParameterDict({"key": nn.Parameter(torch.zeros(5))})}
    assert plugin.stored_bytes() == {"modules": 4 * (6 + 3 + 5), "prototypes": 28}
    assert Means().registered_modules == {}


def test_bytes_of_what_holds_tensors() -> None:
    layer = nn.BatchNorm1d(3)
    assert tensor_bytes(layer) == 4 * 3 * 4 + 8
    assert tensor_bytes([torch.zeros(2, dtype=torch.uint8), {"x": (layer.weight,)}, "text", 7, None]) == 2 + 12
    buffer = ExemplarBuffer(2, "reservoir")
    one = torch.zeros(1, dtype=torch.int64)
    buffer.add(torch.zeros(1, 1, 2, 2, dtype=torch.uint8), one, one, torch.Generator())
    assert tensor_bytes(buffer) == buffer.bytes == 4 + 8


def test_two_plugins_of_one_class_are_told_apart() -> None:
    one, other = Means(), Means()
    assert one.state_key != other.state_key


def test_positions_of_rows() -> None:
    assert row_positions(5, np.array([3, 0])).tolist() == [1, -1, -1, 0, -1]


class Keeps(RehearsalPlugin):
    traits = Traits(memory=("exemplars",), lends=True)

    def __init__(self, capacity: int | None = 4, capacity_bytes: int | None = None) -> None:
        super().__init__("keeps", capacity, capacity_bytes)


class Borrows(Keeps):
    traits = Traits(memory=("exemplars",), borrows=True)


class Table:
    images = np.zeros((6, 1, 2, 2), np.uint8)

    def __len__(self) -> int:
        return len(self.images)


STREAM: Any = SimpleNamespace(
    table=Table(),
    classes=("a", "b"),
    tasks=(None,),
    seen_classes=lambda tasks: 2,
)


def started(*plugins: Plugin) -> Any:
    learner: Any = SimpleNamespace(plugins=plugins, scenario=STREAM, generator=lambda name: torch.Generator())
    for plugin in plugins:
        plugin.on_stream_start(learner, STREAM)
        plugin.on_task_start(learner, SimpleNamespace(index=0, train=[*range(6)]))  # type: ignore[arg-type]
    return learner


def filled(plugin: RehearsalPlugin) -> RehearsalPlugin:
    rows = torch.arange(3)
    plugin.buffer.add(torch.zeros(3, 1, 2, 2, dtype=torch.uint8), rows % 2, rows, plugin.draws)
    return plugin


def test_a_rehearsal_plugin_makes_saves_and_counts_its_buffer() -> None:
    for given in ({"capacity": 4}, {"capacity": None, "capacity_bytes": 4 * 12}):
        plugin = Keeps(**given)
        started(plugin)
        assert plugin.buffer.capacity == 4
    assert filled(plugin).stored_bytes() == {"exemplars": 3 * 12}
    again = Keeps()
    started(again)
    again.load_state_dict(plugin.state_dict())
    assert again.buffer.indices.tolist() == plugin.buffer.indices.tolist()
    with pytest.raises(UserError, match=r"^keeps: capacity is 0, but must be at least 1$"):
        Keeps(capacity=0)
    with pytest.raises(UserError, match=r"^keeps: give either capacity"):
        Keeps(capacity=None)


def test_exemplars_follow_the_batch() -> None:
    plugin = Keeps()
    started(plugin)
    two = torch.arange(2)
    batch = Batch(torch.zeros(2, 1, 2, 2, dtype=torch.uint8), two, two, two < 0)
    assert plugin.extend(batch) is batch
    filled(plugin)
    assert plugin.extend(batch).replayed.tolist() == [False] * 2 + [True] * 2
    assert len(plugin.extend(batch, 3)) == 5


def test_one_that_borrows_uses_the_lent_buffer_and_neither_saves_nor_counts_it() -> None:
    lender, borrower = Keeps(), Borrows()
    started(lender, borrower)
    assert borrower.buffer is lender.lent_buffer() is filled(lender).buffer
    assert borrower.lent_buffer() is None
    assert borrower.stored_bytes() == {}
    assert borrower.state_dict() == {}
    borrower.load_state_dict({})
    assert len(borrower.buffer) == 3
    alone = Borrows()
    started(alone)
    assert filled(alone).stored_bytes() == {"exemplars": 3 * 12}
    assert list(alone.state_dict()) == ["buffer"]


def test_it_is_clear_whose_exemplars_are_borrowed() -> None:
    with pytest.raises(UserError, match=r"^keeps must come after the plugin that stores exemplars"):
        started(Borrows(), Keeps())
    with pytest.raises(UserError, match=r"^keeps borrows the exemplars of one plugin, but Keeps and Keeps store"):
        started(Keeps(), Keeps(), Borrows())


def test_samples_of_a_step_are_added_once_unless_asked_for_again() -> None:
    plugin = Keeps(capacity=10)
    learner = started(plugin)
    learner.images_of = lambda indices: torch.zeros(len(indices), 1, 2, 2, dtype=torch.uint8)
    rows = torch.tensor([1, 4, 2])
    step: Any = SimpleNamespace(
        batch=Batch(None, rows % 2, rows, torch.tensor([False, False, True])), logits=torch.zeros(3, 2)
    )
    for again, held in ((False, [1, 4]), (False, [1, 4]), (True, [1, 4, 1, 4])):
        plugin.add_step(learner, step, again=again)
        assert plugin.buffer.indices.tolist() == held
