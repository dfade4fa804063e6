"""Operations on weights: copies, means, differences, and masks of the largest entries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from clsuite.errors import UserError, did_you_mean
from clsuite.learner.learner import Learner
from clsuite.learner.weight_swap import statistics_of

Weights = Mapping[str, Tensor]


def weights_of(module: nn.Module, trained: bool = False) -> dict[str, Tensor]:
    """Copy the parameters of a module, with the running statistics of its batch normalizations.

    Names are relative to the module: pass the learner to get those for `WeightSwap` and `set_weights`.

    Args:
        module: The module.
        trained: Whether to copy only trainable parameters.
    """
    parameters = {name: value for name, value in module.named_parameters() if value.requires_grad or not trained}
    return {name: value.detach().clone() for name, value in {**parameters, **statistics_of(module, parameters)}.items()}


def mean_of(several: Sequence[Weights], shares: Sequence[float] | None = None) -> dict[str, Tensor]:
    """Compute the mean of weights, entry by entry.

    Args:
        several: Weights with the same names and shapes.
        shares: Coefficient of each, divided by the sum of all; by default equal.

    Returns:
        The mean; integers, such as counts of batches, are those of the last weights.

    Raises:
        UserError: If there are no weights, or names or shapes differ.
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
    """Compute the change of weights by training: the end minus the start.

    Args:
        end: Weights, or a module with its current weights.
        start: The weights before training; names that are not in these, such as a head's new classes, are left out.

    Raises:
        UserError: If weights of the start are missing in the end.
    """
    now = weights_of(end) if isinstance(end, nn.Module) else end
    _check_alike(start, {name: now[name] for name in now if name in start})
    return {name: now[name] - before.to(now[name].device) for name, before in start.items()}


@torch.no_grad()
def set_weights(learner: Learner, values: Weights) -> None:
    """Set parameters or statistics of a learner by name, and discard the features of the old weights.

    Raises:
        UserError: If the learner has no weight of a name, or its shape differs.
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
    """Create masks of the largest entries of all tensors together, exactly ``round(share * entries)`` of them.

    Args:
        scores: Scores by name.
        share: Share of the entries, from 0 to 1.

    Returns:
        Boolean masks in the shapes of the scores.

    Raises:
        UserError: If the share is not from 0 to 1.
    """
    if not 0 <= share <= 1:
        raise UserError(f"top_share: share is {share}, but must be from 0 to 1")
    flat = torch.cat([score.flatten() for score in scores.values()])
    chosen = torch.zeros(len(flat), dtype=torch.bool, device=flat.device)
    chosen[torch.topk(flat, round(share * len(flat))).indices] = True
    parts = chosen.split([score.numel() for score in scores.values()])
    return {name: part.view_as(scores[name]) for name, part in zip(scores, parts, strict=True)}


def _check_alike(first: Weights, other: Weights) -> None:
    """Check that two sets of weights have the same names and shapes."""
    different = sorted(first.keys() ^ other.keys())
    if different:
        raise UserError(f"the weights do not fit: '{different[0]}' is only in one of them")
    for name, value in first.items():
        if value.shape != other[name].shape:
            shapes = f"{list(value.shape)} and {list(other[name].shape)}"
            raise UserError(f"the weights do not fit: '{name}' has the shapes {shapes}")
