"""A decoding job: a folder with the list of images, the decoded pixels, and the state of each chunk."""

from __future__ import annotations

import json
import os
import shutil
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from clsuite.data.decode import decode
from clsuite.data.file_digests import with_digests
from clsuite.data.manifest import Files, Manifest, Pixels
from clsuite.data.space import reserve
from clsuite.data.table import digest
from clsuite.errors import UserError
from clsuite.regular_files import read_bytes

CHUNK = 256
"""Images per chunk: what a process decodes at a time, and the most that is lost when it is killed."""

UNDONE = -1


@dataclass(frozen=True)
class Job:
    """A decoding job, as its folder describes it.

    The folder has ``job.json`` (written last: a folder without it is ignored), ``digests.npy`` (the expected digest of
    each image), ``images.npy`` (the result), ``marks.npy`` (a checksum per chunk, or -1 until it is done), and
    ``pixels.npy`` if the images do not come from files.
    """

    folder: Path
    size: int
    count: int
    root: Path | None
    names: tuple[str, ...]
    resample: str
    squash: bool = False

    @classmethod
    def open(cls, folder: Path) -> Job:
        """Open the job in a folder."""
        fields = json.loads((folder / "job.json").read_text(encoding="utf-8"))
        root = None if fields["root"] is None else Path(fields["root"])
        return cls(
            folder,
            fields["size"],
            fields["count"],
            root,
            tuple(fields["names"]),
            fields["resample"],
            fields.get("squash", False),
        )

    @classmethod
    def prepare(cls, folder: Path, manifest: Manifest, size: int, squash: bool = False) -> Job:
        """Create the job in a folder, or continue the existing one if it has the same files and pixels."""
        manifest = with_digests(manifest)
        fields = {**_description(manifest, size), "squash": squash}
        if _described(folder) != fields or not _has_sources(folder, manifest):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            _write_job(folder, manifest, size, fields)
        return cls.open(folder)

    @property
    def chunks(self) -> int:
        """Number of chunks."""
        return -(-self.count // CHUNK)

    def length(self, chunk: int) -> int:
        """Number of images in a chunk."""
        return min(CHUNK, self.count - chunk * CHUNK)

    def missing(self) -> list[int]:
        """Chunks that are not done, or whose pixels have changed since they were written."""
        marks = np.load(self.folder / "marks.npy")
        images, digests = (np.load(self.folder / f"{name}.npy", mmap_mode="r") for name in ("images", "digests"))
        missing = []
        for chunk in range(self.chunks):
            rows = slice(chunk * CHUNK, chunk * CHUNK + self.length(chunk))
            if marks[chunk] == UNDONE or marks[chunk] != _checksum(images[rows], digests[rows]):
                missing.append(chunk)
        return missing

    def fill(self, chunk: int) -> None:
        """Decode a chunk. The result depends only on the sources.

        Raises:
            UserError: If an image cannot be decoded, or has changed since it was listed; names it.
        """
        rows = slice(chunk * CHUNK, chunk * CHUNK + self.length(chunk))
        images = np.load(self.folder / "images.npy", mmap_mode="r+")
        digests = np.load(self.folder / "digests.npy", mmap_mode="r")
        block = self._decode_pixels(rows) if self.root is None else self._decode_files(rows, digests)
        images[rows] = block
        marks = np.load(self.folder / "marks.npy", mmap_mode="r+")
        marks[chunk] = _checksum(block, digests[rows])

    def _decode_files(self, rows: slice, digests: NDArray[np.uint8]) -> NDArray[np.uint8]:
        assert self.root is not None
        block = np.empty((rows.stop - rows.start, 3, self.size, self.size), dtype=np.uint8)
        for position, row in enumerate(range(rows.start, rows.stop)):
            path = self.root / self.names[row]
            try:
                content = read_bytes(path)
            except OSError as error:
                raise UserError(f"cannot read the image '{path}': {error.strerror}") from error
            if not np.array_equal(digest(content), digests[row]):
                raise UserError(f"the image '{path}' changed while it was read: run it again")
            block[position] = decode(path, self.size, content, self.squash)
        return block

    def _decode_pixels(self, rows: slice) -> NDArray[np.uint8]:
        method = Image.Resampling[self.resample.upper()]
        images = np.load(self.folder / "pixels.npy", mmap_mode="r")[rows]
        block = np.stack([resize_pixels(image, self.size, method) for image in images])
        return block[:, None] if block.ndim == 3 else np.ascontiguousarray(block.transpose(0, 3, 1, 2))


def resize_pixels(image: NDArray[np.uint8], size: int, method: Image.Resampling) -> NDArray[np.uint8]:
    """Resize a square image ``[H, W]`` or ``[H, W, 3]``; returns it unchanged if it has the size already."""
    return image if image.shape[:2] == (size, size) else np.asarray(Image.fromarray(image).resize((size, size), method))


def _checksum(block: NDArray[np.uint8], digests: NDArray[np.uint8]) -> int:
    return zlib.crc32(np.ascontiguousarray(digests).data, zlib.crc32(np.ascontiguousarray(block).data))


def _description(manifest: Manifest, size: int) -> dict[str, Any]:
    """The content of ``job.json``."""
    source = manifest.source
    fields: dict[str, Any] = {"size": size, "count": len(manifest), "root": None, "names": [], "resample": "bicubic"}
    if isinstance(source, Files):
        fields |= {"root": str(source.root.resolve()), "names": list(source.names)}
    else:
        fields["resample"] = source.resample
    return {**fields, "identity": manifest.identity}


def _described(folder: Path) -> Any:
    """The content of the ``job.json`` in a folder; None if there is none, or it cannot be read."""
    try:
        return json.loads((folder / "job.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _has_sources(folder: Path, manifest: Manifest) -> bool:
    """Whether a folder has the digests of a manifest, and its pixels if they are in memory."""
    due = {"digests": manifest.digests}
    if isinstance(manifest.source, Pixels):
        due["pixels"] = manifest.source.images
    try:
        return all(np.array_equal(np.load(folder / f"{name}.npy", mmap_mode="r"), due[name]) for name in due)
    except (OSError, ValueError, EOFError):
        return False


def _write_job(folder: Path, manifest: Manifest, size: int, fields: dict[str, Any]) -> None:
    source, count = manifest.source, len(manifest)
    channels = 1 if isinstance(source, Pixels) and source.images.ndim == 3 else 3
    reserve(folder / "images.npy", (count, channels, size, size))
    if isinstance(source, Pixels):
        np.save(folder / "pixels.npy", source.images)
    np.save(folder / "digests.npy", manifest.digests)
    np.save(folder / "marks.npy", np.full(-(-count // CHUNK), UNDONE, dtype=np.int64))
    temporary = folder / "job.json.new"
    temporary.write_text(json.dumps(fields), encoding="utf-8")
    os.replace(temporary, folder / "job.json")
