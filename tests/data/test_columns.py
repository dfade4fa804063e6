"""What a batch carries for each sample goes wherever the sample goes."""

from __future__ import annotations

import pytest
import torch

from clsuite.data.batch import Batch
from clsuite.data.buffer import ExemplarBuffer
from clsuite.errors import UserError


def batch(samples: int = 4) -> Batch:
    labels = torch.arange(samples) % 3
    images = torch.zeros(samples, 3, 2, 2, dtype=torch.uint8)
    return Batch(images, labels, torch.arange(samples), torch.zeros(samples, dtype=torch.bool))


def exemplars(number: int = 2) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return torch.zeros(number, 3, 2, 2, dtype=torch.uint8), torch.tensor([4, 0])[:number], torch.arange(number)


def test_columns_go_with_the_samples() -> None:
    whole = batch().with_columns(weights=torch.arange(4.0)).with_columns(seen=torch.tensor([1, 2, 3, 4]))
    part = whole.part(slice(1, 3)).to(torch.device("cpu"))
    assert {name: column.tolist() for name, column in part.columns.items()} == {"weights": [1.0, 2.0], "seen": [2, 3]}
    assert whole.with_images(torch.ones(4, 3, 2, 2)).columns == whole.columns
    assert batch().columns == {}


def test_what_one_part_does_not_have_is_filled() -> None:
    own = batch(2).with_columns(weights=torch.tensor([2.0, 3.0]), targets=torch.tensor([[0.5, 0.5], [0.0, 1.0]]))
    longer = own.extended(*exemplars(), logits=torch.tensor([[1.0, 2.0], [3.0, 4.0]]), count=torch.tensor([7, 8]))
    assert longer.columns["weights"].tolist() == [2.0, 3.0, 1.0, 1.0]
    assert longer.columns["targets"].tolist() == [
        [0.5, 0.5, 0, 0, 0], [0, 1, 0, 0, 0], [0, 0, 0, 0, 1], [1, 0, 0, 0, 0],
    ]  # fmt: skip
    assert longer.columns["logits"][:2].isnan().all()
    assert longer.columns["logits"][2:].tolist() == [[1.0, 2.0], [3.0, 4.0]]
    assert longer.columns["count"].tolist() == [-1, -1, 7, 8]
    assert longer.replayed.tolist() == [False, False, True, True]


def test_rows_must_fit() -> None:
    with pytest.raises(UserError, match="column 'weights' of a batch of 4 samples is of shape"):
        batch().with_columns(weights=torch.ones(3))
    with pytest.raises(UserError, match="is of float"):
        batch().with_columns(weights=1.0)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="column 'logits' has rows of the shapes"):
        batch().with_columns(logits=torch.ones(4, 2)).extended(*exemplars(), logits=torch.ones(2, 3))


def test_stored_logits_come_with_their_exemplars() -> None:
    buffer, draws = ExemplarBuffer(4, "reservoir"), torch.Generator().manual_seed(0)
    images, labels, indices = exemplars()
    buffer.add(images, labels, indices, draws, logits=torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    found = buffer.batch(torch.tensor([1, 0]))
    assert torch.equal(found.columns["logits"], buffer.logits[[1, 0]])
    plain = ExemplarBuffer(4, "reservoir")
    plain.add(images, labels, indices, draws)
    assert plain.batch(torch.tensor([0])).columns == {}
