"""The base class of all parameter-efficient modules."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, ClassVar

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from clsuite.peft.route import Route


class PET(nn.Module, ABC):
    """A parameter-efficient module in several blocks of a network, attached by hooks.

    Attributes:
        role: What its parameters are to other plugins (``learner.parameters_of``); the class says it.
        enabled: Whether an attached module acts.
        route: For a module with several entries, which of them act on which sample of the current batch; with None all
            act on every sample.
        on_text: Whether it acts on the text tower of a CLIP, and so on no feature of an image.
    """

    role: ClassVar[str] = ""

    def __init__(self) -> None:
        """Create a module that is enabled and not attached."""
        super().__init__()
        self.enabled = True
        self.route: Route | None = None
        self.on_text = False
        self._handles: list[Any] = []

    @property
    def replaces_features(self) -> bool:
        """Whether the features of an image are not the network's own while the module is attached."""
        return False

    @abstractmethod
    def attach(self, model: nn.Module) -> None:
        """Attach to a network, without changing its parameters."""

    def detach_from_model(self) -> None:
        """Remove the module from the network completely."""
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def release(self) -> None:
        """Forget what was set for one forward pass."""
        self.route = None

    def switches(self) -> tuple[object, ...] | None:
        """What decides about its effect besides its parameters; None if that is of a single forward pass."""
        return None if self.route is not None else (self.enabled, self.training)

    @contextmanager
    def switched(self, enabled: bool) -> Iterator[None]:
        """Enable or disable the module inside a context, for example for a query pass."""
        before, self.enabled = self.enabled, enabled
        try:
            yield
        finally:
            self.enabled = before

    def rest(self) -> None:
        """Disable the module and freeze its parameters."""
        self.enabled = False
        self.requires_grad_(False)

    @torch.no_grad()
    def copy_from(self, other: PET) -> None:
        """Copy the parameters of a module of the same kind and size."""
        self.load_state_dict(other.state_dict())

    @torch.no_grad()
    def average_towards(self, other: PET, decay: float) -> None:
        """``self <- decay * self + (1 - decay) * other``, parameter by parameter."""
        for mine, theirs in zip(self.parameters(), other.parameters(), strict=True):
            mine.lerp_(theirs, 1 - decay)

    @torch.no_grad()
    def move_towards(self, others: Sequence[PET], share: float) -> None:
        """Move the parameters by a share towards the mean of those of other modules of the same kind and size."""
        for mine, *theirs in zip(self.parameters(), *(other.parameters() for other in others), strict=True):
            mine.lerp_(torch.stack([1 / len(others) * value.to(mine.device) for value in theirs]).sum(dim=0), share)

    @property
    def numel(self) -> int:
        """Number of parameters."""
        return sum(parameter.numel() for parameter in self.parameters())

    def save(self, path: Path) -> None:
        """Write the parameters to a safetensors file."""
        save_file({name: value.contiguous() for name, value in self.state_dict().items()}, path)

    def load(self, path: Path) -> None:
        """Read a file that `save` wrote."""
        self.load_state_dict(load_file(path))


@contextmanager
def only(modules: Sequence[PET], chosen: int | None) -> Iterator[None]:
    """Inside this context only one of several modules acts, or none; afterwards their previous state is restored."""
    with ExitStack() as stack:
        for number, module in enumerate(modules):
            stack.enter_context(module.switched(number == chosen))
        yield
