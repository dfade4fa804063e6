"""Images on the compute device, without a step that waits for it: tables that fit lie there, others come one ahead.

What lies on a device is found by the array of the table itself, so that every way to the images gains by it: training,
evaluation, features, and passes of a plugin's own. On the CPU, and on MPS, which shares the memory of the CPU, there is
nothing to gain.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clsuite.data.table import read_rows

SHARE = 0.25
"""Of the memory of a device that is free: tables up to this size lie there. The rest is for activations."""
CHUNK_BYTES = 64 << 20
"""What goes to the device at a time when a table is put there."""
SHARED_MEMORY = ("cpu", "mps")

_kept: dict[tuple[int, torch.device], Tensor] = {}
"""Tables by the identity of their array, which outlives its entry here, and device."""


def moved(values: Tensor, device: torch.device) -> Tensor:
    """A tensor on a device. A CUDA device is not waited for: the copy goes through pinned memory.

    Args:
        values: Wherever it is; small, or used once.
        device: Where it is needed.
    """
    if values.device.type != "cpu" or device.type in SHARED_MEMORY:
        return values.to(device)
    return (values.pin_memory() if device.type == "cuda" else values).to(device, non_blocking=True)


def keep_images(images: NDArray[np.uint8], device: torch.device) -> bool:
    """Put the images of a table on a device as they are stored, if they fit; they stay as long as the array lives.

    Args:
        images: uint8 ``[N, C, H, W]``.
        device: Where they shall lie.

    Returns:
        Whether they lie there.
    """
    if device.type in SHARED_MEMORY or not len(images):
        return False
    key = (id(images), _whole(device))
    if key not in _kept:
        if images.nbytes > SHARE * _free_bytes(device):
            return False
        _kept[key] = _copied(images, device)
        weakref.finalize(images, _kept.pop, key, None)
    return True


def kept_images(images: NDArray[np.uint8], device: torch.device) -> Tensor | None:
    """The images of a table that lie on a device, uint8 ``[N, C, H, W]``; None where they do not."""
    return _kept.get((id(images), _whole(device))) if _kept else None


def kept_bytes(device: torch.device) -> int:
    """Bytes of the tables that lie on a device: memory that is spent where there is some, and no method's need."""
    return sum(kept.numel() for (_, where), kept in _kept.items() if where == _whole(device))


def image_chunks(
    images: NDArray[np.uint8], chunks: Sequence[NDArray[np.int64]], device: torch.device
) -> Iterator[Tensor]:
    """Some images of a table on a device, uint8 ``[B, C, H, W]`` for each chunk of rows.

    Those that lie there are gathered there. Others are read while the chunk before them is worked on, by a thread, into
    pinned memory where the device is a CUDA one. On the CPU each chunk is read when it is asked for.

    Args:
        images: uint8 ``[N, C, H, W]``.
        chunks: Rows of the table, in order.
        device: Where the images are needed.
    """
    kept = kept_images(images, device)
    if kept is not None and chunks:
        rows = moved(torch.from_numpy(np.concatenate(chunks)), device)
        yield from (kept.index_select(0, part) for part in rows.split([len(chunk) for chunk in chunks]))
    elif device.type in SHARED_MEMORY:
        yield from (torch.from_numpy(read_rows(images, rows)).to(device) for rows in chunks)
    else:
        yield from (pixels.to(device, non_blocking=True) for pixels in _read_ahead(images, chunks, device))


def _read_ahead(
    images: NDArray[np.uint8], chunks: Sequence[NDArray[np.int64]], device: torch.device
) -> Iterator[Tensor]:
    """The images of each chunk on the CPU; the next one is read meanwhile."""
    pinned = device.type == "cuda"
    with ThreadPoolExecutor(1, thread_name_prefix="images") as reader:
        following: Future[Tensor] | None = None
        for rows in chunks:
            pixels, following = following, reader.submit(_read, images, rows, pinned)
            if pixels is not None:
                yield pixels.result()
        if following is not None:
            yield following.result()


def _read(images: NDArray[np.uint8], rows: NDArray[np.int64], pinned: bool) -> Tensor:
    pixels = torch.empty((len(rows), *images.shape[1:]), dtype=torch.uint8, pin_memory=pinned)
    read_rows(images, rows, pixels.numpy())
    return pixels


def _copied(images: NDArray[np.uint8], device: torch.device) -> Tensor:
    """All images on a device, read some at a time."""
    kept = torch.empty(images.shape, dtype=torch.uint8, device=device)
    at_once = max(1, CHUNK_BYTES // images[0].nbytes)
    rows = [np.arange(start, min(start + at_once, len(images))) for start in range(0, len(images), at_once)]
    for part, pixels in zip(rows, _read_ahead(images, rows, device), strict=True):
        kept[part[0] : part[-1] + 1].copy_(pixels, non_blocking=True)
    return kept


def _free_bytes(device: torch.device) -> int:
    """Memory of a device that is free; 0 where its backend does not say."""
    memory_info = getattr(torch.get_device_module(device), "mem_get_info", None)
    return int(memory_info(device)[0]) if memory_info else 0


def _whole(device: torch.device) -> torch.device:
    """A device with its number, as tensors on it have it."""
    return device if device.index is not None or device.type == "cpu" else torch.empty(0, device=device).device
