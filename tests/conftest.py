"""Fixtures that all tests share: a cache of their own, the real data, and tiny real streams."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

DATA_VARIABLE = "CLSUITE_TEST_DATA"


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    before = os.environ.get("CLSUITE_CACHE")
    os.environ["CLSUITE_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    yield
    if before is None:
        del os.environ["CLSUITE_CACHE"]
    else:
        os.environ["CLSUITE_CACHE"] = before


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data and weights; tests that need it are skipped only where the variable is not set."""
    folder = os.environ.get(DATA_VARIABLE)
    if folder is None:
        pytest.skip(f"{DATA_VARIABLE} is not set")
    assert Path(folder).is_dir(), f"{DATA_VARIABLE} names '{folder}', which is not a folder"
    return Path(folder)


@pytest.fixture
def image_tree(tmp_path: Path) -> Callable[..., Path]:
    """Makes image folders: a colour per class with noise, so that they can be learned."""

    def make(name: str = "tree", classes: int = 4, train: int = 8, test: int = 4, domains: tuple[str, ...] = ()) -> Path:
        random = np.random.RandomState(0)
        colours = random.randint(0, 256, (classes, 1, 1, 3))
        for domain in domains or ("",):
            shift = random.randint(-30, 30, 3)
            for part, number in (("train", train), ("test", test)):
                for label in range(classes):
                    folder = tmp_path / name / domain / part / f"class{label}"
                    folder.mkdir(parents=True)
                    for index in range(number):
                        noise = random.randint(-40, 40, (16, 16, 3))
                        pixels = np.clip(colours[label] + shift + noise, 0, 255).astype(np.uint8)
                        Image.fromarray(pixels).save(folder / f"{index}.png")
        return tmp_path / name

    return make
