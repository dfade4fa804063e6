"""Features that runs share on disk: looked up where the very same computation was done before, and else computed.

The bits of an image's features hang on the images beside it in the batch, on the processor and on more (see
`clsuite.learner.forward_identity`). So what is looked up is never the features of an image, but those of a block of
rows, in the order and the batches in which this run would compute them, by a network and in surroundings whose
description is the same to the letter. What comes from the disk is therefore what the run would have computed, bit by
bit, and a run ends the same with the store and without.

It is the backbone as it was loaded, in eval mode and without augmentation, whose features are shared. Whether a
backbone is that is seen from the content of its tensors, and from all that is attached to it: no method says so of
itself.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clsuite.backbones.vit import Backbone
from clsuite.data.feature_files import Block, FeatureFiles
from clsuite.data.seal import table_sha256
from clsuite.data.table import ImageTable
from clsuite.learner.batch_size import inference_batch_size
from clsuite.learner.features import compute_features, in_eval_mode
from clsuite.learner.forward_identity import (
    AlteredError,
    structure_sha256,
    surroundings,
    weights_sha256,
)
from clsuite.records.canonical import sha256_of

BLOCK = 256
"""Rows of a block, at most, or one batch: what is asked for is cut into blocks of whole batches."""
PATIENCE = 600.0
"""Seconds to wait for a block that another process computes, when nothing else is left to do; then it is done here."""


@dataclass
class Taken:
    """What a run took from the store.

    Attributes:
        images: How many images' features.
        seconds: What they had cost when they were computed.
        waited: Seconds that the run waited while another process computed some of these: no time of its own.
    """

    images: int = 0
    seconds: float = 0.0
    waited: float = 0.0


class SharedFeatures:
    """The store as one run sees it.

    Attributes:
        taken: What the run took from it so far.
    """

    def __init__(self, backbone: Backbone, files: FeatureFiles, name: str) -> None:
        """Remember what the backbone is like now, as it was loaded.

        Args:
            backbone: Whose features are shared.
            files: Where they lie.
            name: What people call the backbone.
        """
        self.taken = Taken()
        self._files, self._name = files, name
        self._loaded = weights_sha256(backbone)
        self._tables: list[tuple[ImageTable, str]] = []

    def features_of(
        self, backbone: Backbone, table: ImageTable, rows: NDArray[np.int64], batch_size: int | None = None
    ) -> Tensor:
        """Features ``[len(rows), width]`` as `compute_features` gives them, to the last bit."""
        device = next(backbone.parameters()).device
        about = self._about(backbone, table, device)
        if about is None or not len(rows):
            return compute_features(backbone, table.images, rows, batch_size)
        at_once = batch_size or inference_batch_size(table.images.shape, device)
        step = max(1, BLOCK // at_once) * at_once
        blocks = [rows[start : start + step] for start in range(0, len(rows), step)]
        parts: dict[int, Tensor] = {}
        with in_eval_mode(backbone):
            for patience in (0.0, PATIENCE):  # first what no other process is computing just now
                for place in [place for place in range(len(blocks)) if place not in parts]:
                    found = self._block(backbone, table, blocks[place], {**about, "batch": at_once}, patience)
                    if found is not None:
                        parts[place] = found
        return torch.cat([parts[place] for place in range(len(blocks))])

    def _about(self, backbone: Backbone, table: ImageTable, device: torch.device) -> dict[str, Any] | None:
        """What decides the features of a backbone as it was loaded; None of one that is not."""
        try:
            structure = structure_sha256(backbone)
        except AlteredError:
            return None
        if weights_sha256(backbone) != self._loaded:
            return None
        return {
            "weights": self._loaded,
            "structure": structure,
            "table": self._table(table),
            "images": list(table.images.shape),
            **surroundings(device),
        }

    def _block(
        self, backbone: Backbone, table: ImageTable, rows: NDArray[np.int64], about: dict[str, Any], patience: float
    ) -> Tensor | None:
        """Features of a block; None where another process computes it, and there is no patience to wait for it."""
        group = sha256_of(about)
        place = (group[:32], sha256_of([group, rows.tolist()])[:32])
        device = next(backbone.parameters()).device
        if (known := self._known(place, len(rows))) is not None:
            return known.to(device)
        asked = time.perf_counter()
        with self._files.claimed(*place, patience) as mine:
            if not mine and not patience:
                return None
            waited = time.perf_counter() - asked
            if (known := self._known(place, len(rows))) is not None:
                self.taken.waited += waited
                return known.to(device)
            started = time.perf_counter()
            computed = compute_features(backbone, table.images, rows, about["batch"])
            block = Block(computed.cpu().numpy(), time.perf_counter() - started)
            self._files.write(*place, block, {"backbone": self._name, **about})
        return computed

    def _known(self, place: tuple[str, str], rows: int) -> Tensor | None:
        """A block from the disk."""
        known = self._files.read(*place)
        if known is None or len(known.features) != rows:
            return None
        self.taken.images += rows
        self.taken.seconds += known.seconds
        return torch.from_numpy(known.features)

    def _table(self, table: ImageTable) -> str:
        for known, digest in self._tables:
            if known is table:
                return digest
        self._tables.append((table, table_sha256(table)))
        return self._tables[-1][1]
