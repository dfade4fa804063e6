"""Features that runs share on disk: they are read if exactly the same computation was done before, else computed.

The bits of an image's features depend on the other images of the batch, on the processor and more (see
`clsuite.learner.forward_identity`). Therefore an entry has the features of a block of rows, in the order and batches in
which this run would compute them, with exactly the same description of network and environment. The features on disk
are bit-identical to those that the run would compute, and a run has the same result with and without the store.

Only features of the backbone as it was loaded, in eval mode and without augmentation, are shared. Whether a backbone is
unchanged is determined from its tensors and everything attached to it; methods declare nothing for this.
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
"""Maximum rows of a block, or one batch if that is more: requests are divided into blocks of whole batches."""
PATIENCE = 600.0
"""Seconds to wait for a block that another process computes, after all others; then it is computed here."""


@dataclass
class Taken:
    """The features that a run has read from the store.

    Attributes:
        images: Number of images.
        seconds: Seconds that the features took to compute.
        waited: Seconds that the run waited for another process that computed them; not counted as its own time.
    """

    images: int = 0
    seconds: float = 0.0
    waited: float = 0.0


class SharedFeatures:
    """The access of one run to the store.

    Attributes:
        taken: The features that the run has read so far.
    """

    def __init__(self, backbone: Backbone, files: FeatureFiles, name: str) -> None:
        """Record the state of the backbone as it was loaded.

        Args:
            backbone: The backbone whose features are shared.
            files: The files of the features.
            name: Name of the backbone for users.
        """
        self.taken = Taken()
        self._files, self._name = files, name
        self._loaded = weights_sha256(backbone)
        self._tables: list[tuple[ImageTable, str]] = []

    def features_of(
        self, backbone: Backbone, table: ImageTable, rows: NDArray[np.int64], batch_size: int | None = None
    ) -> Tensor:
        """Return features ``[len(rows), width]``, bit-identical to those of `compute_features`."""
        device = next(backbone.parameters()).device
        about = self._about(backbone, table, device)
        if about is None or not len(rows):
            return compute_features(backbone, table.images, rows, batch_size)
        at_once = batch_size or inference_batch_size(table.images.shape, device)
        step = max(1, BLOCK // at_once) * at_once
        blocks = [rows[start : start + step] for start in range(0, len(rows), step)]
        parts: dict[int, Tensor] = {}
        with in_eval_mode(backbone):
            for patience in (0.0, PATIENCE):  # first those that no other process is computing
                for place in [place for place in range(len(blocks)) if place not in parts]:
                    found = self._block(backbone, table, blocks[place], {**about, "batch": at_once}, patience)
                    if found is not None:
                        parts[place] = found
        return torch.cat([parts[place] for place in range(len(blocks))])

    def _about(self, backbone: Backbone, table: ImageTable, device: torch.device) -> dict[str, Any] | None:
        """The description of everything that determines the features; None if the backbone is changed."""
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
        """Features of a block; None if another process computes it, and `patience` is 0."""
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
        """A block from disk, if there is one."""
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
