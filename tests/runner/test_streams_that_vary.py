"""Avalanche streams that give another stream each time are told, before any run."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from clsuite.cli.main import main

STREAM = """
import warnings
warnings.filterwarnings("ignore")
import numpy as np, random, torch
from torch.utils.data import Dataset
from avalanche.benchmarks import nc_benchmark

class Images(Dataset):
    def __init__(self, x):
        self.x, self.targets = x, [i % 4 for i in range(len(x))]
    def __len__(self):
        return len(self.x)
    def __getitem__(self, i):
        return self.x[i], self.targets[i]

def fixed(seed):
    return torch.rand(24, 3, 32, 32, generator=torch.Generator().manual_seed(0))

def make_benchmark(seed):
    images = {images}
    return nc_benchmark(Images(images), Images(images[:8]), n_experiences=2, task_labels=False{seed})
"""


@pytest.fixture
def bench(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs the stream of a file, which must be refused; returns what is said."""

    def refused(images: str, seed: str, seeds: str) -> str:
        path = tmp_path / "stream.py"
        path.write_text(STREAM.replace("{images}", images).replace("{seed}", seed))
        assert main(["bench", str(path), "--methods", "ncm", "--seeds", seeds, "--out", str(tmp_path / "out")]) == 2
        return capsys.readouterr().err

    return refused


@pytest.mark.parametrize(
    ("images", "seed", "seeds"),
    [
        ("fixed(seed)", "", "0,1"),
        ("torch.rand(24, 3, 32, 32)", ", seed=seed", "0"),
        ("torch.from_numpy(np.random.rand(24, 3, 32, 32)).float()", ", seed=seed", "0"),
    ],
)
def test_a_stream_that_does_not_follow_from_its_seed(
    bench: Callable[..., str], tmp_path: Path, images: str, seed: str, seeds: str
) -> None:
    said = bench(images, seed, seeds)
    assert re.search(r"make_benchmark\([01]\) of 'stream\.py' gives another stream each time", said)
    assert "the seed" in said
    assert not list(tmp_path.glob("out/*/*/*.json"))


def test_values_of_0_to_255_say_so(bench: Callable[..., str]) -> None:
    said = bench("255 * fixed(seed)", ", seed=seed", "0")
    assert "(float32): they must be uint8, or floats in 0..1; divide them by 255" in said
    assert "normalization" not in said
