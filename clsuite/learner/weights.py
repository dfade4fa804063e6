"""Weights as values: copies, means, differences, and the largest of their entries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from clsuite.errors import UserError, did_you_mean
from clsuite.learner.learner import Learner
from clsuite.learner.weight_swap import statistics_of

Weights = Mapping[str, Tensor]


def weights_of(module: nn.Module, trained: bool = False) -> dict[str, Tensor]:
    """A copy of the parameters of a module, with the running statistics of its batch normalizations.

    Of ``learner.backbone`` names are the backbone's, of the learner those that `WeightSwap` and `set_weights` take.

    Args:
        module: The module.
        trained: Of those parameters alone that are trained.
    """
    parameters = {name: value for name, value in module.named_parameters() if value.requires_grad or not trained}
    return {name: value.detach().clone() for name, value in {**parameters, **statistics_of(module, parameters)}.items()}


def mean_of(several: Sequence[Weights], shares: Sequence[float] | None = None) -> dict[str, Tensor]:
    """The mean of weights, entry by entry.

    Args:
        several: Weights of the same names and shapes.
        shares: What each of them counts, divided by the sum of all; the same by default.

    Returns:
        Their mean; integers, such as counts of batches, are those of the last.

    Raises:
        UserError: If there are none, or they do not fit.
    """
    counted = [1.0] * len(several) if shares is None else [float(share) for share in shares]
    if not several or len(counted) != len(several) or not sum(counted):
        raise UserError(
            f"mean_of: {len(several)} weights and {len(counted)} shares: give one share for each, not all 0"
        )
    for other in several[1:]:
        _check_alike(several[0], other)
    total = sum(counted)
    means = {}
    for name, last in several[-1].items():
        values = [one[name].to(last.device) for one in several]
        terms = [share / total * value for share, value in zip(counted, values, strict=True)]
        means[name] = torch.stack(terms).sum(dim=0) if last.is_floating_point() else last.clone()
    return means


def task_vector(end: nn.Module | Weights, start: Weights) -> dict[str, Tensor]:
    """What training has added to weights: the end without the start.

    Args:
        end: Weights, or a module as it is now.
        start: The weights before; names that these do not have, such as a head's new classes, are left out.

    Raises:
        UserError: If the end has not all that the start has.
    """
    now = weights_of(end) if isinstance(end, nn.Module) else end
    _check_alike(start, {name: now[name] for name in now if name in start})
    return {name: now[name] - before.to(now[name].device) for name, before in start.items()}


@torch.no_grad()
def set_weights(learner: Learner, values: Weights) -> None:
    """Give named parameters or statistics of a learner other values, and forget the features of the old ones.

    Raises:
        UserError: If the learner has no weight of a name, or one of another shape.
    """
    present = {**dict(learner.named_parameters()), **dict(learner.named_buffers())}
    for name in values:
        if name not in present:
            raise did_you_mean("a weight of the learner:", name, present)
    _check_alike(values, {name: present[name] for name in values})
    for name, value in values.items():
        present[name].copy_(value)
    if any(not name.startswith("head.") for name in values):
        learner.forget_features()


def top_share(scores: Weights, share: float) -> dict[str, Tensor]:
    """Masks of the largest entries of all tensors together, exactly ``round(share * entries)`` of them.

    Args:
        scores: By name.
        share: From 0 to 1.

    Returns:
        bool, of the shape of each.

    Raises:
        UserError: If the share is none.
    """
    if not 0 <= share <= 1:
        raise UserError(f"top_share: share is {share}, but must be from 0 to 1")
    flat = torch.cat([score.flatten() for score in scores.values()])
    chosen = torch.zeros(len(flat), dtype=torch.bool, device=flat.device)
    chosen[torch.topk(flat, round(share * len(flat))).indices] = True
    parts = chosen.split([score.numel() for score in scores.values()])
    return {name: part.view_as(scores[name]) for name, part in zip(scores, parts, strict=True)}


def _check_alike(first: Weights, other: Weights) -> None:
    """Two sets of weights have the same names and shapes."""
    different = sorted(first.keys() ^ other.keys())
    if different:
        raise UserError(f"the weights do not fit: '{different[0]}' is in one of them alone")
    for name, value in first.items():
        if value.shape != other[name].shape:
            shapes = f"{list(value.shape)} and {list(other[name].shape)}"
            raise UserError(f"the weights do not fit: '{name}' has the shapes {shapes}")
