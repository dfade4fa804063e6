"""L2M: a large pool of modules, one for each image, in which entries that were used often are avoided."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from torch import Tensor

from clsuite.plugin import fill_defaults

from .l2p import L2P

LEAST_SHARE = 1e-6
"""Added to the share of each entry, so that one that has never been chosen has an inverse (authors' code)."""


class L2M(L2P):
    """Every image is given the entry of a pool whose key is the most similar to its frozen features.

    Schmied et al., "Learning to modulate pre-trained models in RL" (NeurIPS 2023), and the authors' code. There a
    decision transformer learns one robot task after another, and the entry modulates it; here it is a ViT that learns
    classes. The pool, its keys and the loss that pulls them are `l2p`'s, with ``pet: lora`` L2L's. What differs:

    * A pool of 30, of which one entry acts on an image (L2L: 5 of 10): LoRAs of rank 8 with a factor of 2.
    * Usage penalty: in training, from the second task on, the similarity of an entry, moved to between 0 and 1, is
      multiplied with the inverse of how often tasks before have chosen it. Entries that none has chosen come first, the
      most similar of them. At test time usage does not count.
    * ``pet: ia3`` is the paper's other modulation: factors of keys, values and hidden units, at first 1.

    Differences from the authors' code: the query is the frozen network's feature, as in L2P, where the code takes the
    mean of the embedded states, which for patches of an image says little more than its mean color. The LoRA beside the
    MLP changes the same hidden units, but reads the MLP's input, where the code's reads these units themselves. Usage
    counts images (code: the mean over steps of the shares in a batch). There are no entries that tasks own
    (L2M-oracle). In RL the tasks' loss is a regression; here it is the cross-entropy of the task's classes, as of the
    other methods with a pool.

    With ``diversify: false`` it is ``l2p`` with the same arguments, to the bit.

    Args:
        pet: ``lora`` or ``ia3``.
        size: Rank of a LoRA (authors' runs: 8; the code's default: 4). IA3 has no size.
        pool: Number of entries (authors: 30).
        top_k: Number of entries that an image is given (authors: 1).
        blocks: The transformer blocks that get a module: ``all``, ``0-4``, ``0,2,5``.
        targets: For LoRA only: projections among ``q``, ``k``, ``v``, ``proj``, ``fc1``, ``fc2``, joined by ``+``; null
            takes ``q+v+fc1``.
        alpha: For LoRA only: numerator of the scaling factor; null takes twice the rank (authors).
        similarity: Weight of the loss that pulls the keys (authors: 0.5).
        diversify: Whether entries that were used often are avoided.
        key_init: First values of the keys: ``unit``, U(-1, 1) (authors), or ``small``, U(0, 0.01).
        query: ``plain``: the query of a training image is computed once, without augmentation; ``augmented``: at each
            step, from the augmented image.
    """

    traits = replace(
        L2P.traits,
        defaults_by={
            "pet": {
                "lora": {"size": 8, "targets": "q+v+fc1", "alpha": None},
                "ia3": {"size": 1},
            }
        },
        paper="Schmied, NeurIPS 2023 (L2M)",
    )

    def __init__(
        self,
        pet: Literal["lora", "ia3"] = "lora",
        size: int | None = None,
        pool: int = 30,
        top_k: int = 1,
        blocks: str = "all",
        targets: str | None = None,
        alpha: float | None = None,
        similarity: float = 0.5,
        diversify: bool = True,
        key_init: Literal["unit", "small"] = "unit",
        query: Literal["plain", "augmented"] = "plain",
    ) -> None:
        given = fill_defaults("l2m", self.traits, pet=pet, size=size, targets=targets, alpha=alpha)
        super().__init__(
            pet, given["size"], pool, top_k, blocks, given["targets"], similarity, diversify, key_init=key_init,
            query=query,
        )  # fmt: skip
        if pet == "lora":
            self._build["alpha"] = 2.0 * given["size"] if given["alpha"] is None else given["alpha"]

    def _choose(self, cosines: Tensor, training: bool) -> Tensor:
        """Indices ``[B, top_k]`` of the entries of each image."""
        scores = cosines.detach()
        if training and self.diversify and self._chosen_before.any():
            scores = (scores + 1) / 2 * rarity(self._chosen_before).to(scores.device)
        return scores.topk(self.top_k, dim=1).indices


def rarity(counts: Tensor) -> Tensor:
    """Inverse of the share that each of ``[pool]`` counts has of all, divided by the sum of these inverses."""
    inverse = 1 / (counts / counts.sum() + LEAST_SHARE)
    return inverse / inverse.sum()
