"""The update of an optimizer's step, which plugins can transform before it is applied to the weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from clsuite.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from clsuite.learner.learner import Learner
    from clsuite.plugin.base import Plugin


class Updates:
    """Computes the update of each step from the weights before and after it, and applies the transformed update.

    An update is the whole change by the optimizer: clipping, momentum, Adam's scaling, learning rate and weight decay.
    A weight whose update no plugin transforms keeps the bits that the optimizer has computed.
    """

    def __init__(self, learner: Learner, plugins: Sequence[Plugin]) -> None:
        """Prepare for the steps of an optimizer.

        Args:
            learner: The learner with the weights.
            plugins: The plugins that transform updates, in order.
        """
        self._learner, self._plugins = learner, tuple(plugins)
        self._names = {parameter: name for name, parameter in learner.named_parameters()}
        self._before: dict[str, tuple[nn.Parameter, Tensor]] = {}

    @torch.no_grad()
    def before(self, optimizer: torch.optim.Optimizer) -> None:
        """Store the weights of the learner that the step will change: those with a gradient."""
        values = [value for group in optimizer.param_groups for value in group["params"] if value.grad is not None]
        self._before = {self._names[value]: (value, value.detach().clone()) for value in values if value in self._names}

    @torch.no_grad()
    def after(self, *_: Any) -> None:
        """Let the plugins transform the update of the step.

        Raises:
            UserError: If an update is for a weight that was not updated, or has another shape.
        """
        kept, self._before = self._before, {}
        updates = {name: value.detach() - before for name, (value, before) in kept.items()}
        wanted = updates
        for plugin in self._plugins:
            given = plugin.transform_update(self._learner, MappingProxyType(wanted))
            _check(type(plugin).__name__, given, updates)
            wanted = {**wanted, **given}
        for name, update in wanted.items():
            if update is not updates[name]:
                value, before = kept[name]
                value.copy_(before + update)


def _check(plugin: str, given: Mapping[str, Tensor], updates: Mapping[str, Tensor]) -> None:
    if not isinstance(given, Mapping):
        raise UserError(f"transform_update of {plugin} returns {type(given).__name__}: return updates by name")
    for name, update in given.items():
        if name not in updates:
            raise did_you_mean(f"transform_update of {plugin}: an updated weight:", name, updates)
        if not isinstance(update, Tensor) or update.shape != updates[name].shape:
            returned = f"has the shape {list(update.shape)}" if isinstance(update, Tensor) else f"is {update!r:.40}"
            raise UserError(
                f"transform_update of {plugin}: the update of '{name}' {returned}, but the weight has the shape "
                f"{list(updates[name].shape)}"
            )
