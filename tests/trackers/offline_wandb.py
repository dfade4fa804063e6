"""Reads the files of Weights & Biases' offline runs, for which its package has no reader."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

BLOCK, HEADER = 2**15, 7
"""Size of a block of the file, and of the header of a part of a record: checksum, length and type."""
FULL, FIRST, LAST = 1, 2, 4
"""Types of a part: a whole record, and the first and the last of several."""


def records(path: Path) -> Iterator[bytes]:
    """The records of a file in the format of LevelDB's log, behind a header of seven bytes."""
    content, place, found = path.read_bytes(), HEADER, b""
    assert content.startswith(b":W&B")
    while place + HEADER <= len(content):
        left = BLOCK - place % BLOCK
        if left < HEADER:
            place += left
            continue
        length, kind = int.from_bytes(content[place + 4 : place + 6], "little"), content[place + 6]
        part = content[place + HEADER : place + HEADER + length]
        place += HEADER + length
        found = part if kind in (FULL, FIRST) else found + part
        if kind in (FULL, LAST):
            yield found


def read_run(folder: Path) -> tuple[str, list[dict[str, Any]]]:
    """The id and the logged rows of an offline run, of all its folders in the order of their times."""
    from wandb.proto.wandb_internal_pb2 import Record

    names, rows = set(), []
    for path in sorted(folder.glob("offline-run-*/run-*.wandb")):
        for content in records(path):
            record = Record.FromString(content)
            if record.WhichOneof("record_type") == "run":
                names.add(record.run.run_id)
            if record.WhichOneof("record_type") == "history":
                items = {"/".join(item.nested_key) or item.key: item.value_json for item in record.history.item}
                rows.append({name: json.loads(text) for name, text in items.items() if not name.startswith("_")})
    (name,) = names
    return name, rows
