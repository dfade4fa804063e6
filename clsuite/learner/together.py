"""Several processes that learn one stream together, each on a device of its own: the same method, the same draws.

Each process draws every batch whole, by the same generators, and passes its part of it through the backbone. The
features of all parts are given to every process, which computes the loss of the whole batch; the gradients of the parts
are added up. So buffers, draws and weights are the same in all of them, no exemplar is exchanged, and each loss is that
of one process but for rounding, also one that compares samples.

PyTorch's DistributedDataParallel, and Lightning's strategy on top of it, give each process batches of its own, and add
up gradients of the parameters that are trained when a task begins: buffers would differ, losses that compare samples
would see a part, and what a method lets train in the middle of a task would drift apart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, distributed, nn

from clsuite.data.batch import Batch


@dataclass(frozen=True)
class Together:
    """This process among those that learn together; they have met (``torch.distributed``).

    Attributes:
        rank: Which it is, from 0.
        number: How many there are.
    """

    rank: int
    number: int

    def encode(self, encode: Callable[[Batch], Tensor], batch: Batch) -> Tensor:
        """Features ``[B, width]`` of a batch, of which each process has computed its part.

        A batch with fewer samples than there are processes is encoded by each of them.

        Args:
            encode: Features of a batch, with gradient.
            batch: The whole batch, its images transformed.
        """
        if len(batch) < self.number:
            return encode(batch)
        sizes = [len(rows) for rows in torch.arange(len(batch)).tensor_split(self.number)]
        start = sum(sizes[: self.rank])
        features: Tensor = _Gather.apply(encode(batch.part(slice(start, start + sizes[self.rank]))), sizes, self.rank)
        return features

    def mean_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Give every process the mean of all gradients; what each has computed whole stays what it is."""
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        for work in [distributed.all_reduce(gradient, async_op=True) for gradient in gradients]:
            work.wait()
        for gradient in gradients:
            gradient.div_(self.number)

    def wait(self) -> None:
        """Wait for the others, so that what the first has written is there, and what it has removed is gone."""
        distributed.barrier()

    def check_agreement(self, parameters: Iterable[nn.Parameter]) -> None:
        """Make sure that all have the same weights.

        Raises:
            RuntimeError: If they have not: something did not follow from the seed, or devices compute differently.
        """
        total = torch.stack([parameter.detach().double().sum().cpu() for parameter in parameters]).sum()
        totals: list[Any] = [None] * self.number
        distributed.all_gather_object(totals, float(total))
        if len(set(totals)) > 1:
            raise RuntimeError(
                f"the {self.number} processes that learn together have different weights after a task: something in "
                "the method does not follow from its seed"
            )


class _Gather(torch.autograd.Function):
    """The features of all parts; the gradient of one's own, times the number of parts, as gradients are averaged."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, sizes: Sequence[int], rank: int) -> Tensor:
        ctx.start, ctx.size, ctx.number = sum(sizes[:rank]), sizes[rank], len(sizes)
        padded = torch.zeros(max(sizes), features.shape[1], device=features.device)
        padded[: len(features)] = features
        parts = [torch.empty_like(padded) for _ in sizes]
        distributed.all_gather(parts, padded)
        return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)]).to(features.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return ctx.number * gradients[0][ctx.start : ctx.start + ctx.size], None, None
