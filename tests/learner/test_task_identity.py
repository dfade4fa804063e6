"""The task of an image, by the class that a small network predicts from features that stay."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from clsuite.learner.options import TrainingSpec
from clsuite.plugin.helpers import AlignmentSettings, ClassGaussians, TaskIdentity


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


LEARNER: Any = SimpleNamespace(device=torch.device("cpu"), options=TrainingSpec())
"""What an alignment asks a learner for."""


def clouds(labels: list[int], each: int = 20) -> tuple[torch.Tensor, torch.Tensor]:
    """Features of some classes, each around a corner of its own."""
    owners = torch.tensor(labels).repeat_interleave(each)
    return 3 * torch.eye(8)[owners] + 0.3 * torch.randn(len(owners), 8, generator=seeded(5)), owners


def taught(form: Any = "plain") -> TaskIdentity:
    """Three tasks of two classes, each learned alone and then aligned with all before."""
    identity, known = TaskIdentity(8, 7, seeded(), form), ClassGaussians(8, "centroids", centroids=2)
    for task in range(3):
        features, labels = clouds([2 * task, 2 * task + 1])
        known.add(features, labels, seeded(task))
        identity.learn(features, labels, task, epochs=10, lr=5e-3, batch_size=8, generator=seeded(task))
        if task:
            identity.align(LEARNER, known, AlignmentSettings(lr=5e-3, epochs=10, samples=16), seeded(task))
    return identity


@pytest.mark.parametrize("form", ["plain", "residual"])
def test_it_tells_the_task_of_every_class(form: str) -> None:
    features, labels = clouds(list(range(6)))
    identity = taught(form)
    assert (identity.tasks_of(features) == labels // 2).float().mean() > 0.95
    assert torch.equal(identity.tasks_of(features), identity.owners[identity(features).argmax(dim=1)])


def test_the_residual_form_is_the_authors_codes() -> None:
    """Layers with GELU between them are added to the feature, and the sum is normalized."""
    identity = TaskIdentity(8, 3, seeded(), "residual")
    identity.owners.zero_()
    first, second, last = (one for one in identity.modules() if isinstance(one, nn.Linear))
    (norm,) = (one for one in identity.modules() if isinstance(one, nn.LayerNorm))
    features = torch.randn(4, 8, generator=seeded(1))
    inner = features + second(F.gelu(first(features)))
    centered = inner - inner.mean(dim=1, keepdim=True)
    expected = last(centered / (centered.square().mean(dim=1, keepdim=True) + norm.eps).sqrt())
    torch.testing.assert_close(identity(features), expected)


def test_classes_that_have_not_been_learned_are_never_predicted() -> None:
    identity = taught()
    assert identity.owners.tolist() == [0, 0, 1, 1, 2, 2, -1]
    assert (identity(10 * torch.randn(50, 8, generator=seeded(3)))[:, 6] == -torch.inf).all()


def test_a_task_is_learned_among_its_own_classes() -> None:
    """Rows of other classes have no gradient: they are what they were."""
    identity = TaskIdentity(8, 4, seeded())
    before = identity.layers[-1].weight.detach().clone()
    features, labels = clouds([2, 3])
    identity.learn(features, labels, 1, epochs=3, lr=1e-2, batch_size=8, generator=seeded())
    after = identity.layers[-1].weight
    assert torch.equal(after[:2], before[:2])
    assert not torch.isclose(after[2:], before[2:]).all(dim=1).any()
    assert not any(value.requires_grad or value.grad is not None for value in identity.parameters())


def test_owners_are_saved_and_the_size_is_twice_the_width_between() -> None:
    identity, other = taught(), TaskIdentity(8, 7, seeded(1))
    other.load_state_dict(identity.state_dict())
    features, _ = clouds(list(range(6)))
    assert torch.equal(other.tasks_of(features), identity.tasks_of(features))
    assert sum(value.numel() for value in identity.parameters()) == 8 * 16 + 16 + 16 * 8 + 8 + 8 * 7 + 7


def test_the_task_does_not_depend_on_the_precision_of_the_run() -> None:
    features, _ = clouds(list(range(6)), each=200)
    near = 0.02 * features + 1.0  # answers so close that bf16 ties them
    identity = taught()
    with torch.autocast("cpu", torch.bfloat16):
        asked = identity.tasks_of(near)
        coarse = identity.owners[identity(near).argmax(dim=1)]
    assert torch.equal(asked, identity.tasks_of(near))
    assert not torch.equal(coarse, asked)
