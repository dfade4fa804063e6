"""State files with a checksum: the file contains a hash of all entries, which is verified when it is read.

`torch.load` verifies no checksum: with a sector of zeros, or a flipped bit, it would return other weights. The hash
covers the entries and not the bytes of the file, so that `torch.load` can still read it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from clsuite.records import atomic_path
from clsuite.regular_files import refuse_irregular

SEAL = "sha256"
MOST_SHARED = 16
"""Maximum ratio of the size of all tensors to the size of the file; tied weights are stored once and read twice."""


class DamagedStateError(Exception):
    """A file whose content is not what was written; the message says in what way."""


def write_state(state: dict[str, Any], path: Path) -> None:
    """Write a state with its hash, atomically.

    Raises:
        UserError: If the folder cannot be written, or its disk is full.
    """
    with atomic_path(path) as temporary, temporary.open("wb") as opened:
        try:
            torch.save({**state, SEAL: state_digest(state)}, opened)
        except RuntimeError as error:  # torch raises this after an error of the file
            raise (error.__context__ if isinstance(error.__context__, OSError) else error) from None


def read_state(path: Path) -> dict[str, Any]:
    """Read a state; nothing in it is executed.

    Raises:
        FileNotFoundError: If there is no file.
        DamagedStateError: If `write_state` did not write it so: it is truncated, changed, or another kind of file.
    """
    try:
        refuse_irregular(path)
        state = torch.load(path, weights_only=True, map_location="cpu")
    except FileNotFoundError:
        raise
    except OSError as error:
        raise DamagedStateError(f"it cannot be read ({error.strerror or type(error).__name__})") from error
    except Exception as error:  # a truncated file raises many kinds of errors
        raise DamagedStateError(f"it cannot be read ({type(error).__name__})") from error
    if not isinstance(state, dict) or SEAL not in state:
        raise DamagedStateError(
            "it has no checksum: it is truncated, from an older version of clsuite, or another kind of file"
        )
    content = {name: value for name, value in state.items() if name != SEAL}
    try:
        _refuse_more_than_it_holds(content, path.stat().st_size)
        digest = state_digest(content)
    except DamagedStateError:
        raise
    except Exception as error:  # lists that contain themselves, tensors without bytes
        raise DamagedStateError(f"it contains something that no state has ({type(error).__name__})") from error
    if digest != state[SEAL]:
        raise DamagedStateError("its content has changed since it was written")
    return state


def _refuse_more_than_it_holds(state: Any, size: int) -> None:
    """Check that the tensors are not much larger than their file, which may store one number for a million entries.

    Raises:
        DamagedStateError: If they are.
    """
    total = sum(tensor.numel() * tensor.element_size() for tensor in _tensors(state))
    if total > MOST_SHARED * size:
        raise DamagedStateError(f"its tensors would need {total} bytes, but the file has only {size}")


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping | list | tuple):
        for entry in value.values() if isinstance(value, Mapping) else value:
            yield from _tensors(entry)


def state_digest(state: Any) -> str:
    """SHA-256 of the types, names, shapes and bytes of all entries of a state."""
    total = hashlib.sha256()
    for piece in _pieces(state):
        total.update(piece)
    return total.hexdigest()


def _pieces(value: Any) -> Iterator[Any]:
    if isinstance(value, Tensor):
        yield f"tensor {value.dtype} {tuple(value.shape)}\n".encode()
        yield value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data
    elif isinstance(value, Mapping):
        yield f"mapping {len(value)}\n".encode()
        for name, entry in value.items():
            yield f"{name!r}\n".encode()
            yield from _pieces(entry)
    elif isinstance(value, list | tuple):
        yield f"sequence {len(value)}\n".encode()
        for entry in value:
            yield from _pieces(entry)
    elif isinstance(value, set | frozenset):
        yield f"set {sorted(map(repr, value))}\n".encode()
    else:
        yield f"{type(value).__name__} {value!r}\n".encode()
