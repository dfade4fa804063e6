"""Features on disk, in blocks: each is written completely or not at all, and checked when it is read. Needs no torch.

A block is a file in the cache folder: ``features/GROUP/KEY.safetensors``. A group is one network in one environment on
one table of images, and a key stands for the rows of the block. The header holds the hash of the content, the number of
seconds that it took to compute, and the key. Blocks are read through a memory map. A process claims the block that it
computes, so that others compute another one meanwhile; two processes that compute the same block write equal features.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from clsuite.config.paths import cache_folder
from clsuite.data.cache import note_use
from clsuite.errors import InputWarning, UserError, warn_of
from clsuite.records import atomic_path
from clsuite.records.canonical import canonical_json
from clsuite.regular_files import refuse_irregular

FOLDER, SUFFIX, ABOUT = "features", ".safetensors", "about.json"
TENSOR = "features"
LOOKS = 20
"""The folder's size is checked about this many times while the limit's worth of features is written."""
LEFT = 0.9
"""Share of the limit that is kept when the limit is exceeded."""


class DamagedBlockError(Exception):
    """A file that differs from the block that was written; the message says how."""


@dataclass(frozen=True)
class Block:
    """Features of some rows.

    Attributes:
        features: float32 ``[rows, width]``.
        seconds: Time that it took to compute them.
    """

    features: NDArray[np.float32]
    seconds: float


class FeatureFiles:
    """The blocks of a cache folder. If it cannot be read or written, there is one warning, and nothing is stored."""

    def __init__(self, limit: int, root: Path | None = None) -> None:
        """Open the store without reading anything.

        Args:
            limit: Largest size in bytes.
            root: Cache folder; `cache_folder` by default. It is made absolute, as plugins may change the current one.
        """
        self.folder = (root or cache_folder()).absolute() / FOLDER
        self._limit, self._unseen, self._written = limit, 0, True

    def read(self, group: str, key: str) -> Block | None:
        """Read a block; returns None if it is missing, or damaged, which causes a warning."""
        path = self._path(group, key)
        try:
            block = read_block(path)
        except FileNotFoundError:
            return None
        except (DamagedBlockError, OSError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            warn_of(f"the features '{path}' in the cache are damaged ({reason}): computed again", InputWarning)
            return None
        note_use(path)
        return block

    def write(self, group: str, key: str, block: Block, about: Mapping[str, Any]) -> None:
        """Store a block.

        Args:
            group: Its group.
            key: Its key.
            block: The features.
            about: Description of the group, written with its first block.
        """
        if not self._written:
            return
        content = packed_block(block, key)
        try:
            if not (self.folder / group / ABOUT).is_file():
                with atomic_path(self.folder / group / ABOUT) as temporary:
                    temporary.write_text(json.dumps(about, indent=1, sort_keys=True), encoding="utf-8")
            with atomic_path(self._path(group, key)) as temporary:
                temporary.write_bytes(content)
        except UserError as error:
            self._written = False
            warn_of(
                f"features are not stored for other runs: {error}. The run continues without storing them.",
                InputWarning,
            )
            return
        self._keep_the_limit(len(content))

    @contextmanager
    def claimed(self, group: str, key: str, patience: float) -> Iterator[bool]:
        """Claim a block for this process while it computes and writes it; claims end with the process.

        If the folder supports no locks or cannot be written, every claim is granted: computing a block twice does no
        harm.

        Args:
            group: Its group.
            key: Its key.
            patience: Seconds to wait if another process has claimed it.

        Yields:
            Whether the block is claimed.
        """
        path = self.folder / group / f".{key}.lock"
        lock = FileLock(path, timeout=patience)
        granted = _acquired(lock, path) if self._written else True
        try:
            yield granted
        finally:
            if lock.is_locked:
                path.unlink(missing_ok=True)
                lock.release()

    def _keep_the_limit(self, written: int) -> None:
        """Check the folder's size after the first block, and whenever a part of the limit has been written."""
        first, self._unseen = not self._unseen, self._unseen + written
        if first or self._unseen > self._limit // LOOKS:
            trim(self.folder, self._limit)
            self._unseen = 1

    def _path(self, group: str, key: str) -> Path:
        return self.folder / group / f"{key}{SUFFIX}"


def _acquired(lock: FileLock, path: Path) -> bool:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        return False
    except (OSError, NotImplementedError):
        return True
    return True


def packed_block(block: Block, key: str) -> bytes:
    """The content of a block's file."""
    features = np.ascontiguousarray(block.features)
    metadata = {"key": key, "seconds": repr(float(block.seconds))}
    return save({TENSOR: features}, {**metadata, "sha256": _digest(features, metadata)})


def read_block(path: Path) -> Block:
    """Read a block and check it.

    Raises:
        FileNotFoundError: If there is no such block.
        DamagedBlockError: If the file differs from what was written.
        OSError: If it cannot be read.
    """
    refuse_irregular(path)
    try:
        with safe_open(path, framework="numpy") as opened:
            metadata, features = dict(opened.metadata() or {}), opened.get_tensor(TENSOR)
    except SafetensorError as error:
        raise DamagedBlockError("it is truncated, or of another kind") from error
    digest = metadata.pop("sha256", "")
    if digest != _digest(features, metadata) or metadata.get("key") != path.name.removesuffix(SUFFIX):
        raise DamagedBlockError("its content is not what was written")
    return Block(features, float(metadata["seconds"]))


def trim(folder: Path, limit: int, left: float = LEFT) -> int:
    """Delete the blocks that were not used for the longest time if the limit is exceeded; returns the bytes deleted.

    Args:
        folder: Folder of the store.
        limit: Largest size in bytes.
        left: Share of the limit that is kept if it is exceeded.
    """
    found = sorted((status.st_mtime, status.st_size, path) for path, status in blocks_below(folder))
    total = sum(size for _, size, _ in found)
    if total <= limit:
        return 0
    deleted = 0
    for _, size, path in found:
        if total - deleted <= left * limit:
            break
        with suppress(OSError):
            path.unlink()
            deleted += size
    for group in {path.parent for _, _, path in found}:
        forget_if_empty(group)
    return deleted


def forget_if_empty(group: Path) -> None:
    """Delete the folder of a group that has no blocks left."""
    with suppress(OSError):
        if not any(path.name != ABOUT for path in group.iterdir()):
            (group / ABOUT).unlink(missing_ok=True)
            group.rmdir()


def blocks_below(folder: Path) -> list[tuple[Path, os.stat_result]]:
    """All blocks with their file status; those deleted meanwhile are omitted."""
    found = []
    for path in folder.glob(f"*/*{SUFFIX}"):
        with suppress(OSError):
            found.append((path, path.stat()))
    return found


def _digest(features: NDArray[Any], metadata: Mapping[str, str]) -> str:
    hashed = hashlib.sha256(canonical_json([dict(metadata), features.dtype.str, list(features.shape)]).encode())
    hashed.update(np.ascontiguousarray(features).data)
    return hashed.hexdigest()
