"""Records on disk: written completely or not at all, and read as foreign input."""

from __future__ import annotations

import io
import json
import lzma
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from clsuite.config.error_text import first_mistake
from clsuite.errors import UserError, printable
from clsuite.records.atomic import atomic_path
from clsuite.records.record import SCHEMA_VERSION, RunRecord
from clsuite.regular_files import open_regular, read_text

UNREADABLE = (
    OSError, ValueError, TypeError, EOFError, RuntimeError, MemoryError, OverflowError, struct.error,
    zipfile.BadZipFile, zlib.error, lzma.LZMAError,
)  # fmt: skip
"""Exceptions that reading a damaged archive of arrays may raise."""
ARRAYS = ("class_incremental", "task_aware", "labels", "task", "learned", "open_vocabulary")
"""The arrays of predictions; ``learned`` only if the evaluation parts are not the tasks, ``open_vocabulary`` only of
methods that have one."""
CURVE_ARRAYS = ("curve_names", "curve_of", "curve_task", "curve_step", "curve_value")
"""The arrays of training curves, which may be in the same file (see `clsuite.records.curves`)."""
LARGEST_PREDICTIONS = 2**28
"""Largest number of bytes of all arrays together: 50,000 test images over a thousand tasks."""
AT_ONCE = 4096
"""Number of bytes that are unpacked at a time, so that an archive with a wrong size does not fill the memory."""
HALF = re.compile(r"\\u[dD][89a-fA-F]")
"""An escape for half of a character, which no text can hold without the other half."""
DEEPEST = 100
"""Largest number of nesting levels of a record: deeper content could not be written again."""


class RecordError(UserError):
    """A file that is not a readable record; the message names it and the reason."""


def record_text(record: RunRecord) -> str:
    """A record as indented JSON with sorted keys, as in its file."""
    return json.dumps(record.model_dump(mode="json"), indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def write_record(record: RunRecord, path: Path) -> None:
    """Write a record as `record_text` returns it, atomically."""
    text = record_text(record)
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def read_record(path: str | Path) -> RunRecord:
    """Read and check one record.

    Args:
        path: Its file; ``~`` is the home folder.

    Returns:
        The record of a run, which may be unfinished: see its ``status``.

    Raises:
        RecordError: If the file is missing, truncated, nested too deeply, of a newer schema, or not a record.
    """
    path = Path(path).expanduser()
    try:
        text = read_text(path)
        content = json.loads(text)
        if HALF.search(text):
            json.dumps(content, ensure_ascii=False).encode("utf-8")
    except OSError as error:
        raise RecordError(f"cannot read the record '{path}': {error.strerror or error}") from error
    except UnicodeEncodeError as error:
        half = ascii(error.object[error.start])
        raise RecordError(f"the record '{path}' is not complete JSON (it holds half a character: {half})") from error
    except (ValueError, RecursionError) as error:
        raise RecordError(f"the record '{path}' is not complete JSON ({error})") from error
    if _is_deep(content):
        raise RecordError(f"the record '{path}' is not valid: it is nested more than {DEEPEST} levels deep")
    version = content.get("schema_version") if isinstance(content, dict) else None
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise RecordError(f"the record '{path}' has schema {version}; this clsuite reads up to {SCHEMA_VERSION}")
    try:
        return RunRecord.model_validate(content)
    except ValidationError as error:
        raise RecordError(f"the record '{path}' is not valid: {first_mistake(error, 'the record')}") from error


def _is_deep(content: Any) -> bool:
    """Whether JSON is nested more than `DEEPEST` levels deep; checked level by level, because recursion would fail."""
    level = [content]
    for _ in range(DEEPEST):
        level = [item for child in level if isinstance(child, dict | list) for item in _items(child)]
    return any(isinstance(child, dict | list) for child in level)


def _items(child: dict[str, Any] | list[Any]) -> Iterable[Any]:
    return child.values() if isinstance(child, dict) else child


def write_predictions(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write the predictions of a run, compressed, atomically (see `clsuite.stream.evaluation` for the arrays).

    Curves of training go into the same file.
    """
    save: Callable[..., None] = np.savez_compressed  # NumPy before 2.2 takes `allow_pickle` for the name of an array
    with atomic_path(path) as temporary, temporary.open("wb") as opened:
        save(opened, **arrays)


def read_predictions(path: Path, largest: int = LARGEST_PREDICTIONS) -> dict[str, NDArray[np.integer]]:
    """Read the predictions of a run, without its training curves.

    Args:
        path: The file.
        largest: Largest number of bytes of all its arrays.

    Raises:
        RecordError: If the file is missing, truncated or damaged, too large, or has other content.
    """
    return read_arrays(path, ARRAYS, largest)


def read_arrays(path: Path, names: Sequence[str], largest: int = LARGEST_PREDICTIONS) -> dict[str, NDArray[Any]]:
    """Read some of the arrays of a run's file.

    Raises:
        RecordError: As `read_predictions`.
    """
    try:
        with open_regular(path) as opened, zipfile.ZipFile(opened) as archive:
            members = _members(archive, largest)
            return {name: _array(archive, info) for name, info in members.items() if name in names}
    except UNREADABLE as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or error
        raise RecordError(f"cannot read the predictions '{path}': {reason}") from error


def _members(archive: zipfile.ZipFile, largest: int) -> dict[str, zipfile.ZipInfo]:
    """The arrays of an archive by name; nothing is unpacked."""
    members: dict[str, zipfile.ZipInfo] = {}
    for info in archive.infolist():
        name = info.filename.removesuffix(".npy")
        if name not in (*ARRAYS, *CURVE_ARRAYS):
            raise ValueError(
                f"it holds '{printable(name[:80])}', which is not part of predictions: {', '.join(ARRAYS)}"
            )
        if name in members:
            raise ValueError(f"it holds '{name}' twice")
        members[name] = info
    size = sum(info.file_size for info in members.values())
    if size > largest:
        raise ValueError(f"its arrays take {size} bytes, but may take {largest} at most")
    return members


def _array(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> NDArray[Any]:
    content = io.BytesIO()
    with archive.open(info) as opened:
        while chunk := opened.read(AT_ONCE):
            content.write(chunk)
    content.seek(0)
    array: NDArray[Any] = np.lib.format.read_array(content, allow_pickle=False)
    if array.size > info.file_size:
        raise ValueError(f"'{info.filename}' says that it has {array.size} entries, but holds {info.file_size} bytes")
    return array
