"""Heads: what every head can do, and the growing head with one group of class weights for each time that it grew."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from clsuite.data.class_names import ClassName
from clsuite.errors import UserError
from clsuite.learner.options import SMALL_INIT, HeadInit
from clsuite.learner.precision import full_precision


class Head(nn.Module, ABC):
    """A classifier over all seen classes that grows by whole groups; column ``c`` is stream label ``c``."""

    open_vocabulary: ClassVar[bool] = False
    """Whether it can predict a class by its name, before it has seen an image of it; it then has `by_name`."""

    @property
    @abstractmethod
    def sizes(self) -> list[int]:
        """Classes of each group."""

    @property
    def classes(self) -> int:
        """Number of classes."""
        return sum(self.sizes)

    def begin(self, class_names: Sequence[ClassName]) -> None:
        """Hear what prompts call the stream's classes, by stream label."""

    @abstractmethod
    def grow(self, classes: int, generator: torch.Generator) -> None:
        """Add a group for new classes."""

    def reset(self, generator: torch.Generator) -> None:
        """Forget what was trained; the classes stay."""

    def newest_parameters(self) -> list[nn.Parameter]:
        """Parameters of the newest group alone."""
        return []

    def group_parameters(self, group: int) -> list[nn.Parameter]:
        """Parameters of one group, by number in the order of growing; none where a head has no weights of its own.

        Raises:
            UserError: If there is no such group.
        """
        return [value for _, value in self._named([group])]

    def freeze(self, groups: Sequence[int] | None = None) -> None:
        """Train some groups no more; neither gradients nor weight decay reach them.

        What is frozen stays so over an interruption. ``learner.head.freeze(range(task.index))`` in ``on_task_start``
        leaves the newest of a class-incremental stream.

        Args:
            groups: By number, from the end where negative; all by default.

        Raises:
            UserError: If there is no such group.
        """
        for _, value in self._named(groups):
            value.requires_grad_(False)

    def thaw(self, groups: Sequence[int] | None = None) -> None:
        """Train some groups again; see `freeze`."""
        for _, value in self._named(groups):
            value.requires_grad_(True)

    def backup(self, groups: Sequence[int] | None = None) -> dict[str, Tensor]:
        """A copy of the values of some groups, for `recall`.

        Kept in an attribute that the plugin declares in ``state``, it survives an interruption.

        Args:
            groups: As of `freeze`.

        Returns:
            Tensors by name.
        """
        return {name: value.detach().clone() for name, value in self._named(groups)}

    @torch.no_grad()
    def recall(self, kept: Mapping[str, Tensor]) -> None:
        """Give groups back the values of a `backup`; those that came later stay as they are."""
        present = dict(self.named_parameters())
        for name, value in kept.items():
            present[name].copy_(value)

    def _named(self, groups: Sequence[int] | None) -> list[tuple[str, nn.Parameter]]:
        """Names and parameters of some groups."""
        number = len(self.sizes)
        wrong = [group for group in groups or () if not -number <= group < number]
        if wrong:
            raise UserError(f"the head has {number} groups and none with the number {wrong[0]}")
        chosen = range(number) if groups is None else [group % number for group in groups]
        prefixes = tuple(f"groups.{group}." for group in chosen)
        return [(name, value) for name, value in self.named_parameters() if name.startswith(prefixes)]

    @abstractmethod
    def forward(self, features: Tensor) -> Tensor:
        """Map features ``[B, width]`` to logits ``[B, classes]``."""

    def by_name(self, features: Tensor, classes: int) -> Tensor:
        """Map features ``[B, width]`` to logits ``[B, classes]`` of the stream's first classes, learned or not.

        Raises:
            NotImplementedError: If the head has no open vocabulary.
        """
        raise NotImplementedError(f"{type(self).__name__} predicts only classes that it has grown by")


class GrowingHead(Head):
    """A classifier over all seen classes; column ``c`` is stream label ``c``.

    It grows by whole groups, so that the parameters of old classes stay the same objects.
    """

    def __init__(
        self, width: int, cosine: bool = False, first_values: HeadInit = SMALL_INIT, first_scale: float = 10.0
    ) -> None:
        """Make a head without classes.

        Args:
            width: Length of a feature vector.
            cosine: Cosine similarity with a learned scale in place of the dot product.
            first_values: Standard deviation of the first weights, or ``uniform`` (`TrainingSpec.head_init`).
            first_scale: What the scale of a cosine head begins with.
        """
        super().__init__()
        self.width, self.cosine = width, cosine
        self.first_values, self.first_scale = first_values, first_scale
        self.groups = nn.ModuleList()
        self.scale = nn.Parameter(torch.tensor(float(first_scale))) if cosine else None

    @property
    def sizes(self) -> list[int]:
        """Classes of each group."""
        return [group.out_features for group in self._linear_groups()]

    def grow(self, classes: int, generator: torch.Generator) -> None:
        """Add a group for new classes, with `first_values`; a cosine head has no bias.

        It begins on ``meta``, so that nothing is drawn from the global generator.
        """
        group = nn.Linear(self.width, classes, bias=not self.cosine, device="meta").to_empty(device="cpu")
        self._fill(group, generator)
        old = self._linear_groups()
        self.groups.append(group.to(old[0].weight.device) if old else group)

    @torch.no_grad()
    def _fill(self, group: nn.Linear, generator: torch.Generator) -> None:
        if group.bias is not None:
            group.bias.zero_()
        if self.first_values == "uniform":
            bound = self.width**-0.5
            for values in group.parameters():
                values.uniform_(-bound, bound, generator=generator)
        else:
            group.weight.normal_(0.0, self.first_values, generator=generator)

    def reset(self, generator: torch.Generator) -> None:
        """New weights for every group, and the scale that a cosine head starts with."""
        sizes, device = self.sizes, next(self.parameters()).device
        self.groups = nn.ModuleList()
        for size in sizes:
            self.grow(size, generator)
        if self.scale is not None:
            nn.init.constant_(self.scale, self.first_scale)
        self.to(device)

    def fix_scale(self, scale: float) -> None:
        """Give a cosine head a scale that is not trained; call it in ``on_stream_start``.

        Raises:
            UserError: If the head is none of cosines.
        """
        if self.scale is None:
            raise UserError("a linear head has no scale to fix: take training.head: cosine")
        self.first_scale = float(scale)
        nn.init.constant_(self.scale, self.first_scale)
        self.scale.requires_grad_(False)

    def newest_parameters(self) -> list[nn.Parameter]:
        """Parameters of the newest group alone."""
        return list(self.groups[-1].parameters())

    def forward(self, features: Tensor) -> Tensor:
        """Map features ``[B, width]`` to logits ``[B, classes]``; cosines in full precision, as few bits make ties."""
        if self.scale is None:
            return torch.cat([group(features) for group in self.groups], dim=1)
        weight = torch.cat([group.weight for group in self._linear_groups()])
        with full_precision(features):
            return self.scale * F.linear(F.normalize(features.float(), dim=1), F.normalize(weight, dim=1))

    def _linear_groups(self) -> list[nn.Linear]:
        return [group for group in self.groups if isinstance(group, nn.Linear)]
