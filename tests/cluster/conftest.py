"""The sweeps of these tests, done once without any disturbance; and the engines."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import slurm_engine
from sweeps import Folder, results


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """A folder of one's own."""
    return Folder(tmp_path)


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Keys and counts of each benchmark, done by local processes."""
    folder = Folder(tmp_path_factory.mktemp("undisturbed"))
    for name in ("six", "slow"):
        folder.call("bench", f"{name}.yaml", "--executor", "local")
    return {name: results(folder.records(name)) for name in ("six", "slow")}


@pytest.fixture(scope="session")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[slurm_engine.Slurm]:
    """Slurm; its nodes are given back by each test."""
    if lacking := slurm_engine.missing():
        pytest.skip(f"not installed: {', '.join(lacking)} (tests/cluster/README.md)")
    with slurm_engine.slurm(tmp_path_factory.mktemp("slurm")) as commands:
        yield commands
