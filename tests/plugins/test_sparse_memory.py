"""Sparse memory fine-tuning: the layer against all its slots, scores by hand, rows that stay, and an interruption."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from interruptions import bits, interrupted
from torch import Tensor

from clsuite.errors import UserError
from clsuite.learner.learner import Learner
from clsuite.learner.options import OptimizerSpec
from clsuite.peft import ProductMemory
from clsuite.plugin import Plugin
from clsuite.scenarios import Scenario, Task
from clsuite_plugins.sparse_memory import SparseMemory, tf_idf

SMALL: dict[str, Any] = {"keys": 12, "heads": 2, "reads": 3, "key_size": 8}
ADAMW: dict[str, Any] = {"loss": "local", "optimizer": OptimizerSpec(name="adamw", lr=0.01, weight_decay=0.3)}


def layer(model: Any) -> ProductMemory:
    generator = torch.Generator().manual_seed(0)
    return ProductMemory(model, [1], keys=6, heads=2, reads=4, key_size=8, generator=generator)


def test_a_layer_reads_the_best_of_all_slots(make_stream: Any) -> None:
    part = layer(make_stream().learner.backbone.model).memories["1"]
    tokens = torch.randn(5, 192, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        part.output.weight.normal_(generator=torch.Generator().manual_seed(2))
        queries = part.query(tokens).view(5, 2, 2, 4)
        halves = [torch.einsum("thk,hnk->thn", queries[:, :, table], part.keys[table]) for table in range(2)]
        scores, slots = (halves[0][..., :, None] + halves[1][..., None, :]).flatten(-2).topk(4)
        chosen, weights = part.choose(tokens)
        assert torch.equal(chosen, slots)
        torch.testing.assert_close(weights, scores.softmax(-1))
        summed = (weights[..., None] * part.values[slots]).sum((1, 2))
        expected = part.output(summed * torch.nn.functional.silu(part.gate(tokens)))
        torch.testing.assert_close(part(tokens[None])[0], expected)


def test_it_adds_nothing_at_first_and_counts_reads_of_training_alone(make_stream: Any, scenario: Scenario) -> None:
    learner: Learner = make_stream().learner.eval()
    images = learner.backbone.normalize(torch.tensor(scenario.table.images[:4]))
    before = learner.backbone(images)
    memory = layer(learner.backbone.model)
    memory.attach(learner.backbone.model)
    part = memory.memories["1"]
    assert torch.equal(learner.backbone(images), before)
    assert int(part.accesses.sum()) == 0
    learner.train()
    learner.backbone(images)
    assert int(part.accesses.sum()) == 4 * 16 * 2 * 4


def test_scores_are_of_what_a_batch_reads_and_the_background_does_not() -> None:
    accesses, known = torch.tensor([6, 3, 1, 0]), torch.tensor([9, 0, 4, 0])
    found = tf_idf(accesses, known, 9)
    expected = torch.tensor([0.0, 0.3 * math.log(10), 0.1 * math.log(2), 0.0]).double()
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(tf_idf(accesses, known * 0, 0), torch.tensor([0.6, 0.3, 0.1, 0.0]).double())


class Rows(Plugin):
    """Keeps which values a step of each task has changed, and what else of the layer a task has."""

    def __init__(self, method: SparseMemory) -> None:
        super().__init__()
        self.method = method
        self.changed: dict[int, list[int]] = {}
        self.moved: dict[int, set[str]] = {}

    def copies(self) -> dict[str, Tensor]:
        return {name: value.detach().clone() for name, value in self.method.memory.named_parameters()}

    def on_task_start(self, learner: Learner, task: Task) -> None:
        self.start, self.step = self.copies(), self.copies()

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        now = self.copies()
        name = next(name for name in now if name.endswith("values"))
        rows = int((now[name] != self.step[name]).any(1).sum())
        self.changed.setdefault(pl_module.task.index, []).append(rows)
        self.step = now

    def on_task_end(self, learner: Learner, task: Task) -> None:
        self.moved[task.index] = {
            name.split(".", 2)[2] for name, value in self.copies().items() if not torch.equal(value, self.start[name])
        }


@pytest.mark.parametrize("score", ["tf_idf", "tf"])
def test_a_step_changes_as_many_values_as_it_may(score: Any, make_stream: Any, scenario: Scenario) -> None:
    """Under AdamW with weight decay and clipping, whose state would move all others."""
    method = SparseMemory(slots=10, score=score, **SMALL)
    rows = Rows(method)
    make_stream(method, rows, on=scenario.first(2), gradient_clip=1.0, **ADAMW).run()
    assert min(rows.changed[0]) > 100  # all are decayed
    assert max(rows.changed[1]) == 10
    assert rows.moved == {0: {"query.weight", "keys", "values", "gate.weight", "output.weight"}, 1: {"values"}}
    assert method._known_batches == sum(len(steps) for steps in rows.changed.values())
    assert method.stored_bytes()["statistics"] == 4 * 144


def test_values_that_a_batch_does_not_read_stay(make_stream: Any, scenario: Scenario) -> None:
    """Also where fewer are read than a step may train."""
    method = SparseMemory(slots=143, **SMALL)

    class Unread(Rows):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
            (name, part), now = next(iter(method.memory.memories.items())), self.copies()
            values = f"parts.{name}.values"
            moved = (now[values] != self.step[values]).any(1)
            self.step = now
            self.changed.setdefault(pl_module.task.index, []).append(int((moved & (part.accesses == 0)).sum()))

    rows = Unread(method)
    make_stream(method, rows, on=scenario.first(2), **ADAMW).run()
    assert max(rows.changed[0]) > 0  # all are trained
    assert set(rows.changed[1]) == {0}


def test_all_slots_are_dense_training_to_the_bit(make_stream: Any, scenario: Scenario) -> None:
    class Dense(SparseMemory):
        on_before_optimizer_step = Plugin.on_before_optimizer_step
        transform_update = Plugin.transform_update

    streams = [make_stream(kind(slots=144, **SMALL), on=scenario.first(2), **ADAMW) for kind in (SparseMemory, Dense)]
    for stream in streams:
        stream.run()
    ours, plain = ([*stream.learner.state_dict().values()] for stream in streams)
    assert all(torch.equal(one, other) for one, other in zip(ours, plain, strict=True))


@pytest.mark.slow
def test_interrupted_and_resumed_it_ends_in_the_same_bits(make_stream: Any, scenario: Scenario, tmp_path: Path) -> None:
    def method() -> list[Plugin]:
        return [SparseMemory(slots=10, **SMALL)]

    given = {"on": scenario.first(2), **ADAMW}
    alone = make_stream(*method(), **given)
    alone.run()
    again = interrupted(make_stream, tmp_path / "x.ckpt", 1, alone.tasks[1].steps - 1, method, **given)
    assert bits(again) == bits(alone)
    assert torch.equal(again.learner.plugins[0]._known["1"], alone.learner.plugins[0]._known["1"])


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"slots": 0}, "slots is 0"),
        ({"slots": 5000}, "slots is 5000, but the layer has 4096"),
        ({"reads": 65}, "reads is 65, but each table has 64 keys"),
        ({"key_size": 7}, "key_size is 7, but must be even"),
    ],
)
def test_bad_arguments_are_refused(given: dict[str, Any], reason: str) -> None:
    with pytest.raises(UserError, match=f"sparse_memory: {reason}"):
        SparseMemory(**given)
