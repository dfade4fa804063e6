"""States on disk that know what they hold: a hash of all entries lies in the file, and is compared when it is read.

`torch.load` compares no checksum: a sector of zeros, or one flipped bit, would be read as other weights. The hash is of
the entries and not of the file's bytes, so that the file stays one that `torch.load` reads.
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
"""How often the bytes of a file may be read as part of another tensor: of weights that are tied, twice."""


class DamagedStateError(Exception):
    """A file that is not what was written; the message says how."""


def write_state(state: dict[str, Any], path: Path) -> None:
    """Write a state with its hash, whole or not at all.

    Raises:
        UserError: If the folder cannot be written, or its disk is full.
    """
    with atomic_path(path) as temporary, temporary.open("wb") as opened:
        try:
            torch.save({**state, SEAL: state_digest(state)}, opened)
        except RuntimeError as error:  # with these words torch goes on after an error of the file
            raise (error.__context__ if isinstance(error.__context__, OSError) else error) from None


def read_state(path: Path) -> dict[str, Any]:
    """Read a state; nothing in it is executed.

    Raises:
        FileNotFoundError: If there is none.
        DamagedStateError: If it is not what `write_state` wrote: cut, changed, or something else.
    """
    try:
        refuse_irregular(path)
        state = torch.load(path, weights_only=True, map_location="cpu")
    except FileNotFoundError:
        raise
    except OSError as error:
        raise DamagedStateError(f"it cannot be read ({error.strerror or type(error).__name__})") from error
    except Exception as error:  # a cut file raises many kinds of errors
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
    except Exception as error:  # lists within themselves, tensors of no bytes
        raise DamagedStateError(f"it holds something that no state has ({type(error).__name__})") from error
    if digest != state[SEAL]:
        raise DamagedStateError("its content has changed since it was written")
    return state


def _refuse_more_than_it_holds(state: Any, size: int) -> None:
    """Make sure that tensors are not larger than their file: one number may be stored for a million of them.

    Raises:
        DamagedStateError: If they are.
    """
    total = sum(tensor.numel() * tensor.element_size() for tensor in _tensors(state))
    if total > MOST_SHARED * size:
        raise DamagedStateError(f"its tensors would take {total} bytes, and the file has {size}")


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping | list | tuple):
        for entry in value.values() if isinstance(value, Mapping) else value:
            yield from _tensors(entry)


def state_digest(state: Any) -> str:
    """sha256 over the kinds, names, shapes and bytes of everything in a state."""
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
