"""scikit-learn's handwritten digits: 1,797 real 8 x 8 images, shipped with the library, no network needed."""

from __future__ import annotations

import numpy as np
from PIL import Image

from clsuite.data.stable_random import stable_random
from clsuite.data.table import ImageTable, digest

TEST_SHARE = 0.3


def digits_table(image_size: int) -> ImageTable:
    """Load the digits, ink white, resized bilinearly, with a fixed stratified 70/30 split.

    The data set has no official split. Ours does not depend on the seed of a run: per class, in the order of a fixed
    permutation, the first 30 % (rounded) are the test part.

    Args:
        image_size: Side of the images in pixels.
    """
    from sklearn.datasets import load_digits

    bunch = load_digits()
    raw = np.round(bunch.images * (255 / 16)).astype(np.uint8)
    labels = bunch.target.astype(np.int64)
    return ImageTable(
        images=np.stack([_resize(image, image_size) for image in raw])[:, None],
        labels=labels,
        domains=np.zeros(len(labels), dtype=np.int64),
        is_test=_fixed_split(labels),
        digests=np.stack(
            [digest(bytes([index % 256, index // 256]) + image.tobytes()) for index, image in enumerate(raw)]
        ),
        classes=tuple(str(name) for name in range(10)),
        domain_names=("",),
    )


def _resize(
    image: np.ndarray[tuple[int, ...], np.dtype[np.uint8]], size: int
) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR))


def _fixed_split(labels: np.ndarray[tuple[int], np.dtype[np.int64]]) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    is_test = np.zeros(len(labels), dtype=np.bool_)
    for label in range(10):
        rows = stable_random(0, "digits split", label).permutation(np.flatnonzero(labels == label))
        is_test[rows[: round(TEST_SHARE * len(rows))]] = True
    return is_test
