"""Records on disk: written whole or not at all, and read as foreign input."""

from __future__ import annotations

import json
import lzma
import os
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from clsuite.errors import UserError
from clsuite.records.record import SCHEMA_VERSION, RunRecord

UNREADABLE = (
    OSError, ValueError, TypeError, EOFError, RuntimeError, MemoryError, zipfile.BadZipFile, zlib.error, lzma.LZMAError
)  # fmt: skip
"""What reading a damaged archive of arrays raises."""


class RecordError(UserError):
    """A file that is not a readable record; the message says which and why."""


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """A temporary file beside the target that takes its name when the block ends well.

    Raises:
        UserError: If the folder cannot be written, or something else has that name.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    except OSError as error:
        raise UserError(f"cannot write into '{target.parent}': {error.strerror or error}") from error
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o644)
        _rename(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def _rename(temporary: Path, target: Path) -> None:
    try:
        os.replace(temporary, target)
    except OSError as error:
        raise UserError(f"cannot write '{target}': {error.strerror or error}") from error


def record_text(record: RunRecord) -> str:
    """A record as indented JSON with sorted keys, as its file holds it."""
    return json.dumps(record.model_dump(mode="json"), indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def write_record(record: RunRecord, path: Path) -> None:
    """Write a record as `record_text` gives it, atomically."""
    text = record_text(record)
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def read_record(path: Path) -> RunRecord:
    """Read and check one record.

    Raises:
        RecordError: If the file is missing, cut, of a newer schema, or does not hold a record.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecordError(f"cannot read the record '{path}': {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise RecordError(f"the record '{path}' is not whole JSON ({error})") from error
    version = content.get("schema_version") if isinstance(content, dict) else None
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise RecordError(f"the record '{path}' has schema {version}; this clsuite reads up to {SCHEMA_VERSION}")
    try:
        return RunRecord.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the record"
        raise RecordError(f"the record '{path}' is not valid: {where}: {first['msg']}") from error


def write_predictions(path: Path, arrays: dict[str, NDArray[np.integer]]) -> None:
    """Write the predictions of a run, compressed, atomically (see `clsuite.stream.evaluation` for the arrays)."""
    with atomic_path(path) as temporary, temporary.open("wb") as opened:
        np.savez_compressed(opened, allow_pickle=False, **arrays)


def read_predictions(path: Path) -> dict[str, NDArray[np.integer]]:
    """Read the predictions of a run.

    Raises:
        RecordError: If the file is missing, cut or damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as opened:
            return {name: opened[name] for name in opened.files}
    except UNREADABLE as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or error
        raise RecordError(f"cannot read the predictions '{path}': {reason}") from error
