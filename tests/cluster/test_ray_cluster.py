"""Ray: two nodes on this machine, of which one is killed; and a caller whose folder no node sees."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sweeps import LONGEST, Folder, results

pytestmark = pytest.mark.cluster

STORE = 100 * 10**6


@pytest.fixture
def two_nodes(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A cluster, and its second node; its runs last, so that both nodes are seen at work at once."""
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("PACE", "0.8")
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": STORE})
    node = cluster.add_node(num_cpus=1, object_store_memory=STORE)
    yield cluster, node
    cluster.shutdown()


def until(done: Callable[[], object], process: subprocess.Popen[str], folder: Folder) -> None:
    """Wait for something while a call goes on."""
    end = time.monotonic() + LONGEST
    while not done():
        assert process.poll() is None, folder.printed
        assert time.monotonic() < end, folder.printed
        time.sleep(0.1)


def test_a_node_that_is_killed_loses_nothing(two_nodes: Any, folder: Folder, undisturbed: dict[str, Any]) -> None:
    cluster, node = two_nodes
    process = folder.start("bench", "slow.yaml", "--executor", "ray", "--executor-option", f"address={cluster.address}")
    until(lambda: len(folder.beside("slow", "*.ckpt")) == 2, process, folder)  # two runs are in their second task
    cluster.remove_node(node, allow_graceful=False)
    assert process.wait(timeout=LONGEST) == 0, folder.printed
    assert results(folder.records("slow")) == undisturbed["slow"]
    assert len(undisturbed["slow"]) == 4


def test_records_come_home_where_no_disk_is_shared(two_nodes: Any, folder: Folder, undisturbed: dict[str, Any]) -> None:
    cluster, _ = two_nodes
    away = folder.path.parent / f"{folder.path.name}-away"
    shutil.copytree(folder.path, away)  # what the caller sees; the nodes see the folder without the benchmark's files
    for name in ("slow.py", "pace.py", "slow.yaml"):
        (folder.path / name).unlink()
    words = ["slow.yaml", "--seeds", "0,1", "--executor", "ray", "--executor-option", f"address={cluster.address}"]
    call = [sys.executable, "-m", "clsuite", "bench", *words]
    script = 'mount --bind "$0" "$1" && cd "$1" && shift && exec "$@"'
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, str(away), str(folder.path), *call],
        capture_output=True, text=True, timeout=LONGEST,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert not (folder.path / "runs").exists()
    home = Folder(away)
    expected = {name: one for name, one in undisturbed["slow"].items() if name.startswith(("seed0", "seed1"))}
    assert results(home.records("slow")) == expected
    assert len(home.beside("slow", "seed*.npz")) == 2
