"""Runs at a time and their devices."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from clsuite.errors import UserError
from clsuite.runner.devices import check_shares, count_by_library, count_cores, count_gpus, device_slots


@pytest.mark.parametrize(
    ("device", "jobs", "threads", "gpus", "expected"),
    [
        ("auto", None, 1, 0, ["auto"] * 4),
        ("cpu", None, 2, 2, ["cpu"] * 2),
        ("cpu", None, 8, 0, ["cpu"]),
        ("cpu", 3, 1, 0, ["cpu"] * 3),
        ("auto", None, 1, 2, ["cuda:0", "cuda:1"]),
        ("cuda", 3, 1, 2, ["cuda:0", "cuda:1", "cuda:0"]),
        ("cuda:1", None, 1, 2, ["cuda:1"]),
        ("mps", None, 1, 0, ["mps"]),
    ],
)
def test_slots(device: str, jobs: int | None, threads: int, gpus: int, expected: list[str]) -> None:
    assert device_slots(device, jobs, threads, gpus, cores=4) == expected


@pytest.mark.parametrize("by", ["--devices", "training.accumulate"])
def test_each_part_of_a_batch_has_an_image(by: str) -> None:
    check_shares(by, 2, 2)
    with pytest.raises(UserError, match=rf"{by} is 3, but training\.batch_size only 2"):
        check_shares(by, 3, 2)


def test_gpus_are_counted_by_the_driver_and_the_environment(tmp_path: Path) -> None:
    assert count_gpus({}, tmp_path / "none", lambda: 0) == 0
    assert count_gpus({}, tmp_path / "none", lambda: 4) == 4
    assert count_gpus({"CUDA_VISIBLE_DEVICES": "1"}, tmp_path / "none", lambda: 4) == 1
    for name in ("0000:01", "0000:02", "0000:03"):
        (tmp_path / name).mkdir()
    assert count_gpus({}, tmp_path) == 3
    assert count_gpus({"CUDA_VISIBLE_DEVICES": "0,2"}, tmp_path) == 2
    assert count_gpus({"CUDA_VISIBLE_DEVICES": ""}, tmp_path) == 0
    assert count_gpus({"CUDA_VISIBLE_DEVICES": "-1"}, tmp_path) == 0
    assert count_cores() >= 1


LIBRARY = """
static int open = 0;
int nvmlInit_v2(void) {{ open = 1; return 0; }}
int nvmlDeviceGetCount_v2(unsigned int *count) {{ *count = 3; return open ? {status} : 1; }}
int nvmlShutdown(void) {{ return 0; }}
"""


@pytest.mark.parametrize(("status", "counted"), [(0, 3), (999, 0)])
def test_gpus_are_counted_by_the_library_of_the_driver(tmp_path: Path, status: int, counted: int) -> None:
    (tmp_path / "nvml.c").write_text(LIBRARY.format(status=status))
    library = tmp_path / f"nvml{status}.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, tmp_path / "nvml.c"], check=True)
    assert count_by_library(str(library)) == counted
    assert count_by_library("libm.so.6") == 0  # no such functions
    assert count_by_library("no-such-library.so") == 0
