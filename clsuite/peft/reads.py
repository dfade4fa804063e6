"""Where learned prompts and keys are read: what the rows of their parameters are multiplied with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor, nn


@dataclass(frozen=True)
class Read:
    """Rows of a parameter, and what reads them.

    Attributes:
        name: The parameter's name in its module.
        index: Its first indices, which choose the rows; none for all rows.
        by: Tokens that a ``block`` is given, the ``queries`` of its attention, or ``features`` of the frozen network.
        block: Number of the block; -1 for features.
    """

    name: str
    index: tuple[int, ...]
    by: Literal["block", "queries", "features"]
    block: int = -1

    @property
    def space(self) -> str:
        """A name for the space of what reads them, the same for all parameters that it reads."""
        return f"{self.by} {self.block}"

    def rows(self, parameter: Tensor) -> Tensor:
        """The rows ``[..., width]`` of the parameter, as a view."""
        return parameter[self.index] if self.index else parameter


class PrefixValues(nn.ParameterDict):
    """Keys and values of a `GivenPrefix` in some blocks, ``prompt [blocks, 2, length, width]``, and perhaps a ``key``.

    Attributes:
        blocks: Numbers of the blocks.
    """

    role = "prompts"

    def __init__(self, blocks: Sequence[int], parameters: Mapping[str, nn.Parameter]) -> None:
        """Keep parameters by name."""
        super().__init__(parameters)
        self.blocks = tuple(blocks)

    def reads(self) -> list[Read]:
        """The prefix's keys are read by the queries of their blocks, and the key by the images' features."""
        own = [Read("prompt", (place, 0), "queries", number) for place, number in enumerate(self.blocks)]
        return [*own, *([Read("key", (), "features")] if "key" in self else [])]


class PromptKeys(nn.ParameterDict):
    """The keys of a pool, ``key [entries, width]``."""

    role = "keys"

    def reads(self) -> list[Read]:
        """They are read by the images' features."""
        return [Read("key", (), "features")]


def reads_of(modules: nn.Module, prefix: str = "") -> Iterator[tuple[str, Read]]:
    """What is read inside some modules: the parameters' names, which begin with `prefix`, and where."""
    for name, module in modules.named_modules(prefix=prefix):
        reads: Any = getattr(module, "reads", None)
        for read in reads() if callable(reads) else ():
            yield f"{name}.{read.name}", read
