"""Seeds of single sources of randomness: one of them varies while the others stay."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import ValidationError

from clsuite.learner.learner import Learner
from clsuite.learner.options import TrainingSpec
from clsuite.plugin import Plugin


class Sees(Plugin):
    """Keeps what a task begins with and learns from."""

    def __init__(self) -> None:
        super().__init__()
        self.order: list[int] = []
        self.images: list[torch.Tensor] = []

    def on_task_start(self, learner: Learner, task: Any) -> None:
        if task.index == 0:
            self.head = learner.head.backup()["groups.0.weight"]
            self.own = [batch.indices.tolist() for batch in learner.batches_of(task.train)]

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if pl_module.task.index == 0:
            self.order += batch.indices.tolist()
            self.images.append(batch.images.clone())


def seen(make_stream: Any, **seeds: int) -> Sees:
    sees = Sees()
    stream = make_stream(sees, augment="crop_flip", seeds=seeds)
    stream.scenario = stream.scenario.first(1)
    stream.matrix = type(stream.matrix)(stream.scenario)
    stream.run()
    return sees


@pytest.mark.slow
def test_each_seed_moves_what_it_is_of_and_nothing_else(make_stream: Any) -> None:
    plain, same = seen(make_stream), seen(make_stream, head=0, order=0, augment=0)
    assert torch.equal(plain.head, same.head)
    assert (plain.order, plain.own) == (same.order, same.own)
    assert all(torch.equal(one, other) for one, other in zip(plain.images, same.images, strict=True))
    for name in ("head", "order", "augment"):
        other = seen(make_stream, **{name: 1})
        assert torch.equal(plain.head, other.head) == (name != "head")
        assert (plain.order == other.order) == (plain.own == other.own) == (name != "order")
        if name != "order":
            alike = all(torch.equal(one, two) for one, two in zip(plain.images, other.images, strict=True))
            assert alike == (name != "augment")


def test_records_hold_them_only_where_they_are_given() -> None:
    assert "seeds" not in TrainingSpec().model_dump()
    assert "seeds" not in TrainingSpec().recorded()
    given = TrainingSpec.model_validate({"seeds": {"order": 3}})
    assert given.model_dump()["seeds"] == {"order": 3}
    assert TrainingSpec.model_validate(given.model_dump()) == given
    with pytest.raises(ValidationError, match="classes"):
        TrainingSpec.model_validate({"seeds": {"classes": 3}})
