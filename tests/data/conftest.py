"""Tables whose pixels say which row they are, and trees of tiny images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clsuite.data.table import ImageTable, digest


@pytest.fixture(scope="session")
def numbered_table() -> ImageTable:
    """60 images of 1 x 2 x 2 pixels, all of the value of their row; 3 classes; every third image is a test image."""
    rows = np.arange(60)
    return ImageTable(
        images=np.broadcast_to(rows[:, None, None, None], (60, 1, 2, 2)).astype(np.uint8),
        labels=rows // 20,
        domains=np.zeros(60, dtype=np.int64),
        is_test=rows % 3 == 0,
        digests=np.stack([digest(bytes([row])) for row in rows]),
        classes=("a", "b", "c"),
        domain_names=("",),
    )


Tree = Callable[..., Path]


@pytest.fixture
def png_tree(tmp_path: Path) -> Tree:
    """Writes one-colored images, ``{"train/cat/1.png": (255, 0, 0)}``, and returns the root."""

    def write(images: dict[str, tuple[int, int, int]], size: tuple[int, int] = (6, 4)) -> Path:
        for name, color in images.items():
            path = tmp_path / "tree" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", size, color).save(path)
        return tmp_path / "tree"

    return write


RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


@pytest.fixture
def plain_tree(png_tree: Tree) -> Path:
    """Two classes, five images."""
    return png_tree(
        {
            "train/cat/b.png": RED,
            "train/cat/a.png": GREEN,
            "train/dog/1.png": BLUE,
            "test/cat/1.png": RED,
            "test/dog/2.png": WHITE,
        }
    )
