"""How many images a probe classifies, from its images alone. Needs no torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from clsuite.data.manifest import choose_rows
from clsuite.probes.images import load_probe_images
from clsuite.probes.named import load_named_table
from clsuite.probes.spec import HeadProbe, KnnProbe, ZeroShotProbe


def images_classified(spec: HeadProbe | KnnProbe | ZeroShotProbe, image_size: int, data_root: Path | None) -> int:
    """The number of images that right answers of a probe with images of its own are counted among.

    Args:
        spec: The probe.
        image_size: What images are decoded at.
        data_root: Where they lie.

    Raises:
        UserError: If they are not there.
    """
    if isinstance(spec, ZeroShotProbe):
        return len(load_named_table(spec, image_size, data_root).rows)
    table = load_probe_images(spec.path, image_size, data_root)
    if isinstance(spec, HeadProbe):
        rows = np.arange(len(table))
        return len(choose_rows(table.labels, table.domains, rows, spec.images_per_class, "probe images"))
    left = np.bincount(table.labels) - spec.index
    return int(np.minimum(left, spec.queries).clip(min=0).sum())
