"""scikit-learn's handwritten digits: 1,797 real 8 x 8 images, shipped with the library, no network needed."""

from __future__ import annotations

import numpy as np
from PIL import Image

from clsuite.data.decoding.job import resize_pixels
from clsuite.data.manifest import Manifest, Pixels
from clsuite.data.stable_random import stable_random
from clsuite.data.table import ImageTable, digest

TEST_SHARE = 0.3


def list_digits() -> Manifest:
    """List the digits, ink white, to be resized bilinearly, with a fixed stratified 70/30 split.

    The data set has no official split. Ours does not depend on the seed of a run: per class, in the order of a fixed
    permutation, the first 30 % (rounded) are the test part.
    """
    from sklearn.datasets import load_digits

    bunch = load_digits()
    raw = np.round(bunch.images * (255 / 16)).astype(np.uint8)
    labels = bunch.target.astype(np.int64)
    digests = [digest(bytes([index % 256, index // 256]) + image.tobytes()) for index, image in enumerate(raw)]
    return Manifest(
        source=Pixels(raw, np.stack(digests), "bilinear"),
        labels=labels,
        domains=np.zeros(len(labels), dtype=np.int64),
        is_test=_fixed_split(labels),
        classes=tuple(str(name) for name in range(10)),
    )


def digits_table(image_size: int) -> ImageTable:
    """Load the digits into memory.

    Args:
        image_size: Side of the images in pixels.
    """
    manifest = list_digits()
    pixels = manifest.source
    assert isinstance(pixels, Pixels)
    return ImageTable(
        images=np.stack([resize_pixels(image, image_size, Image.Resampling.BILINEAR) for image in pixels.images])[
            :, None
        ],
        labels=manifest.labels,
        domains=manifest.domains,
        is_test=manifest.is_test,
        digests=pixels.digests,
        classes=manifest.classes,
        domain_names=manifest.domain_names,
    )


def _fixed_split(labels: np.ndarray[tuple[int], np.dtype[np.int64]]) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    is_test = np.zeros(len(labels), dtype=np.bool_)
    for label in range(10):
        rows = stable_random(0, "digits split", label).permutation(np.flatnonzero(labels == label))
        is_test[rows[: round(TEST_SHARE * len(rows))]] = True
    return is_test
