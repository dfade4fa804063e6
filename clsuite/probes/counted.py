"""The number of images that a probe classifies, computed from its images alone. Needs no torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from clsuite.data.manifest import choose_rows
from clsuite.probes.images import load_probe_images
from clsuite.probes.named import load_named_table
from clsuite.probes.spec import HeadProbe, KnnProbe, ZeroShotProbe


def images_classified(spec: HeadProbe | KnnProbe | ZeroShotProbe, image_size: int, data_root: Path | None) -> int:
    """The number of images that a probe with its own images classifies.

    Args:
        spec: The probe.
        image_size: Side of the decoded images in pixels.
        data_root: Folder in which they are searched.

    Raises:
        UserError: If they are missing.
    """
    if isinstance(spec, ZeroShotProbe):
        return len(load_named_table(spec, image_size, data_root).rows)
    table = load_probe_images(spec.path, image_size, data_root)
    if isinstance(spec, HeadProbe):
        rows = np.arange(len(table))
        return len(choose_rows(table.labels, table.domains, rows, spec.images_per_class, "probe images"))
    left = np.bincount(table.labels) - spec.index
    return int(np.minimum(left, spec.queries).clip(min=0).sum())
