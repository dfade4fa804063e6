"""Global and local cross-entropy."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from clsuite.learner.loss import classification_loss

OLD, NEW = (0, 1, 2), (3, 4)


def logits(number: int = 6) -> Tensor:
    return torch.randn(number, 5, generator=torch.Generator().manual_seed(0))


def test_global_is_cross_entropy_over_all_seen_classes() -> None:
    labels = torch.tensor([0, 1, 2, 3, 4, 4])
    torch.testing.assert_close(classification_loss(logits(), labels, "global", NEW), F.cross_entropy(logits(), labels))


def test_local_lets_only_the_classes_of_the_task_compete() -> None:
    labels = torch.tensor([3, 4, 4, 3, 3, 4])
    expected = F.cross_entropy(logits()[:, 3:], labels - 3)
    torch.testing.assert_close(classification_loss(logits(), labels, "local", NEW), expected)


def test_exemplars_of_other_classes_keep_all_classes_in_a_local_loss() -> None:
    labels = torch.tensor([3, 4, 0, 2, 1, 3])
    own = labels >= 3
    each = torch.where(
        own,
        F.cross_entropy(logits()[:, 3:], (labels - 3).clamp_min(0), reduction="none"),
        F.cross_entropy(logits(), labels, reduction="none"),
    )
    torch.testing.assert_close(classification_loss(logits(), labels, "local", NEW), each.mean())


def test_the_two_agree_on_the_first_task() -> None:
    labels = torch.tensor([0, 1, 2, 3, 4, 0])
    local = classification_loss(logits(), labels, "local", (0, 1, 2, 3, 4))
    assert torch.equal(local, classification_loss(logits(), labels, "global", (0, 1, 2, 3, 4)))


def test_by_hand() -> None:
    """Logits (log 3, log 1, log 4), label 2: 4 of 8 among all, 4 of 5 among the last two."""
    given = torch.tensor([[3.0, 1.0, 4.0]]).log()
    label = torch.tensor([2])
    assert float(classification_loss(given, label, "global", (1, 2))) == pytest.approx(math.log(2))
    assert float(classification_loss(given, label, "local", (1, 2))) == pytest.approx(math.log(5 / 4))


@pytest.mark.parametrize("scope", ["global", "local"])
def test_a_local_loss_gives_old_classes_no_gradient(scope: str) -> None:
    given = logits().requires_grad_()
    classification_loss(given, torch.tensor([3, 4, 4, 3, 3, 4]), scope, NEW).backward()  # type: ignore[arg-type]
    assert given.grad is not None
    assert torch.isfinite(given.grad).all()
    assert bool(given.grad[:, list(OLD)].any()) == (scope == "global")
    assert given.grad[:, list(NEW)].all()


def test_tasks_whose_classes_are_no_run_of_labels() -> None:
    labels = torch.tensor([1, 4, 1, 4, 1, 4])
    expected = F.cross_entropy(logits()[:, [1, 4]], (labels == 4).long())
    torch.testing.assert_close(classification_loss(logits(), labels, "local", (1, 4)), expected)


def test_half_precision_logits_are_compared_in_single_precision() -> None:
    loss = classification_loss(logits().bfloat16(), torch.tensor([0, 1, 2, 3, 4, 0]), "global", NEW)
    assert loss.dtype == torch.float32


def test_the_logits_are_not_written_into() -> None:
    given = logits()
    classification_loss(given, torch.tensor([3, 4, 4, 3, 3, 4]), "local", NEW)
    assert torch.equal(given, logits())
