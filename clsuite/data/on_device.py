"""Images on the compute device without waiting for it: tables that fit are kept there, others are read ahead.

A table on a device is looked up by the array of its images, so that all readers benefit: training, evaluation, feature
extraction and passes of plugins. On the CPU, and on MPS, which shares the CPU's memory, there is nothing to gain.
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
"""Share of a device's free memory up to which a table is kept on it. The rest is for activations."""
CHUNK_BYTES = 64 << 20
"""Bytes that are copied at a time when a table is put on a device."""
SHARED_MEMORY = ("cpu", "mps")

_kept: dict[tuple[int, torch.device], Tensor] = {}
"""Tables by device and by the identity of their array, which lives longer than its entry here."""


def moved(values: Tensor, device: torch.device) -> Tensor:
    """Move a tensor to a device. The copy to a CUDA device is asynchronous, through pinned memory.

    Args:
        values: The tensor, on any device; small, or used once.
        device: The target device.
    """
    if values.device.type != "cpu" or device.type in SHARED_MEMORY:
        return values.to(device)
    return (values.pin_memory() if device.type == "cuda" else values).to(device, non_blocking=True)


def keep_images(images: NDArray[np.uint8], device: torch.device) -> bool:
    """Put the stored images of a table on a device if they fit; they stay there as long as the array exists.

    Args:
        images: uint8 ``[N, C, H, W]``.
        device: The target device.

    Returns:
        Whether they are on the device.
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
    """The images of a table on a device, uint8 ``[N, C, H, W]``; None if they are not there."""
    return _kept.get((id(images), _whole(device))) if _kept else None


def kept_bytes(device: torch.device) -> int:
    """Bytes of the tables on a device, which are not counted as the memory that a method needs."""
    return sum(kept.numel() for (_, where), kept in _kept.items() if where == _whole(device))


def image_chunks(
    images: NDArray[np.uint8], chunks: Sequence[NDArray[np.int64]], device: torch.device
) -> Iterator[Tensor]:
    """Images of a table on a device, uint8 ``[B, C, H, W]`` for each chunk of rows.

    If the table is on the device, they are gathered there. Otherwise a thread reads each chunk while the one before is
    processed, into pinned memory if the device is a CUDA one. On the CPU each chunk is read when it is requested.

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
    """The images of each chunk on the CPU; the next chunk is read meanwhile."""
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
    """Copy all images to a device, in parts."""
    kept = torch.empty(images.shape, dtype=torch.uint8, device=device)
    at_once = max(1, CHUNK_BYTES // images[0].nbytes)
    rows = [np.arange(start, min(start + at_once, len(images))) for start in range(0, len(images), at_once)]
    for part, pixels in zip(rows, _read_ahead(images, rows, device), strict=True):
        kept[part[0] : part[-1] + 1].copy_(pixels, non_blocking=True)
    return kept


def _free_bytes(device: torch.device) -> int:
    """Free memory of a device in bytes; 0 if its backend does not report it."""
    memory_info = getattr(torch.get_device_module(device), "mem_get_info", None)
    return int(memory_info(device)[0]) if memory_info else 0


def _whole(device: torch.device) -> torch.device:
    """A device with its index, as tensors on it have it."""
    return device if device.index is not None or device.type == "cpu" else torch.empty(0, device=device).device
