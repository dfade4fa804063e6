"""Several processes that train on one stream together, each on its own device, with the same method and random draws.

Each process draws all batches with the same generators, and passes its part of each batch through the backbone. The
features of all parts are gathered in every process, which computes the loss of the whole batch; the gradients of the
parts are added. So buffers, draws and weights are the same in all processes, no exemplars are exchanged, and each loss
is that of a single process except for rounding, including losses that compare samples.

PyTorch's DistributedDataParallel, and Lightning's strategy for it, give each process its own batches, and add the
gradients of the parameters that are trainable at the beginning of a task. Buffers would differ, losses that compare
samples would only see a part, and parameters that become trainable during a task would diverge.
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
    """This process among those that train together, with an initialized ``torch.distributed``.

    Attributes:
        rank: Rank of this process, from 0.
        number: Number of processes.
    """

    rank: int
    number: int

    def encode(self, encode: Callable[[Batch], Tensor], batch: Batch) -> Tensor:
        """Compute features ``[B, width]`` of a batch, of which each process computes its part.

        If a batch has fewer samples than there are processes, each of them encodes the whole batch.

        Args:
            encode: Computes features of a batch with gradients.
            batch: The whole batch with transformed images.
        """
        if len(batch) < self.number:
            return encode(batch)
        sizes = [len(rows) for rows in torch.arange(len(batch)).tensor_split(self.number)]
        start = sum(sizes[: self.rank])
        features: Tensor = _Gather.apply(encode(batch.part(slice(start, start + sizes[self.rank]))), sizes, self.rank)
        return features

    def mean_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Average the gradients over all processes; gradients that all have computed completely do not change."""
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        for work in [distributed.all_reduce(gradient, async_op=True) for gradient in gradients]:
            work.wait()
        for gradient in gradients:
            gradient.div_(self.number)

    def wait(self) -> None:
        """Wait for the other processes, so that all see the files that the first one has written and removed."""
        distributed.barrier()

    def check_agreement(self, parameters: Iterable[nn.Parameter]) -> None:
        """Check that all processes have the same weights.

        Raises:
            RuntimeError: If they have not: something does not depend on the seed, or devices compute differently.
        """
        total = torch.stack([parameter.detach().double().sum().cpu() for parameter in parameters]).sum()
        totals: list[Any] = [None] * self.number
        distributed.all_gather_object(totals, float(total))
        if len(set(totals)) > 1:
            raise RuntimeError(
                f"the {self.number} processes that train together have different weights after a task: something in "
                "the method does not depend on its seed"
            )


class _Gather(torch.autograd.Function):
    """Gathers the features of all parts; the gradient of the own part is multiplied by the number of parts."""

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
