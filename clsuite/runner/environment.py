"""The environment in a record: versions, hardware and commit; no host names, no paths."""

from __future__ import annotations

import platform
import subprocess
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from clsuite.config.fast_paths import fast_paths
from clsuite.config.processor import processor
from clsuite.learner.precision import resolve_precision

PACKAGES = (
    "clsuite", "torch", "torchvision", "lightning", "timm", "open_clip_torch", "numpy", "pillow", "torchmetrics",
    "scipy", "scikit-learn",
)  # fmt: skip


def describe_environment(device: torch.device, asked_precision: str, threads: int) -> dict[str, Any]:
    """Versions, hardware, precision, threads and commit of this run."""
    return {
        "python": platform.python_version(),
        "system": platform.system(),
        "packages": {name: version(name) for name in PACKAGES},
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else processor(),
        "device_type": device.type,
        "precision": resolve_precision(asked_precision, device),
        "threads": threads,
        **({} if fast_paths() else {"fast_paths": False}),
        **_commit(),
    }


@cache
def _commit() -> dict[str, Any]:
    """Commit and dirty flag, if clsuite runs from a git checkout."""
    folder = Path(__file__).parents[1]

    def git(*words: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(folder), *words], capture_output=True, text=True, check=True, timeout=10
        )
        return done.stdout.strip()

    try:
        if not git("ls-files", "__init__.py"):
            return {"commit": None, "dirty": None}
        return {"commit": git("rev-parse", "HEAD"), "dirty": bool(git("status", "--porcelain", "--untracked-files=no"))}
    except (OSError, subprocess.SubprocessError):
        return {"commit": None, "dirty": None}
