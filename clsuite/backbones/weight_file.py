"""Weight files in their usual formats: prefixes of wrappers are removed, and others are refused with a reason."""

from __future__ import annotations

import pickle
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from clsuite.errors import UserError, listed, printable, shortened
from clsuite.regular_files import open_regular

LFS = b"version https://git-lfs"
ZIP, PICKLE = b"PK\x03\x04", b"\x80"
"""First bytes of files of ``torch.save``, in its current and its oldest format."""
SAFE = ".safetensors"
FIRST_BYTES = 512
OWN = ("learner", "task_classes", "image_shape")
"""Entries of the models that ``clsuite bench --save-model`` writes."""
MODULES = "plugin_modules."
"""Prefix of the parameters of a learner's plugin modules."""
State = dict[str, Tensor]


def read_network(path: Path, read: Callable[[str], Any], wanted: Mapping[str, Tensor]) -> tuple[State, str]:
    """Read the weights of a network from a file, with or without a wrapper's prefix.

    Args:
        path: The file.
        read: Reads a file of a known format; it may raise anything.
        wanted: The network's weights; a prefix with which the file has most of their names is removed.

    Returns:
        The weights by name, and the removed prefix.

    Raises:
        UserError: If the file has no weights, cannot be read, has several such networks, or has values that are not
            plain numbers of the network's type; says what it is.
    """
    _check_first_bytes(path)
    try:
        content = read(str(path))
        own = isinstance(content, Mapping) and all(name in content for name in OWN)
        values = dict(_tensors(content["learner"]["parameters"] if own else content))
    except Exception as error:  # the file may be anything: all errors of the reader are treated alike
        raise UserError(f"cannot read the weights '{path}': {_reason(error)}") from error
    if own and (modules := [name for name in values if name.startswith(MODULES)]):
        raise UserError(
            f"the weights '{path}' are a model with modules besides its backbone ({listed(modules, at_most=1)}), "
            "without which it is not the learned model: a run can start from a model of a method without modules"
        )
    if not values:
        raise UserError(f"cannot read the weights '{path}': it holds no tensors")
    prefix = _prefix(path, values, wanted)
    state = {name.removeprefix(prefix): value for name, value in values.items() if name.startswith(prefix)}
    _refuse_odd(path, state, wanted)
    return state, prefix


def _refuse_odd(path: Path, state: State, wanted: Mapping[str, Tensor]) -> None:
    """Check that values are plain numbers, and floats if the network's are: other types would be converted silently."""
    for name, value in state.items():
        if not (kind := _oddness(value)) and name in wanted and wanted[name].is_floating_point():
            kind = "" if value.is_floating_point() else f"of type {value.dtype}, and the network's have fractions"
        if kind:
            raise UserError(f"the weights '{path}' cannot be used: the values of '{shortened(name)}' are {kind}")


def _oddness(value: Tensor) -> str:
    """The type of a tensor that has no plain numbers; empty if it has."""
    if value.is_meta:
        return "missing: only their shape was saved"
    if value.is_quantized or value.layout != torch.strided:
        return f"no plain ones, but {'quantized' if value.is_quantized else 'sparse'}: save them as they are computed"
    return ""


def fit(network: nn.Module, state: State, path: Path, name: str) -> None:
    """Load weights into a network, which must have exactly these.

    Raises:
        UserError: If some are missing, unknown or of another shape; names the first ones.
    """
    if problem := misfit(network.state_dict(), state):
        raise UserError(f"the weights '{path}' do not fit backbone '{name}': {problem}")
    network.load_state_dict(state, strict=True)


def misfit(wanted: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> str:
    """The differences between weights and those of a network; empty if they fit."""
    missing = [name for name in wanted if name not in state]
    unknown = [name for name in state if name not in wanted]
    other = [
        f"{name} ({'x'.join(map(str, state[name].shape))}, not {'x'.join(map(str, wanted[name].shape))})"
        for name in wanted
        if name in state and state[name].shape != wanted[name].shape
    ]
    parts = [(missing, "misses"), (unknown, "has besides"), (other, "has in another shape")]
    return "; ".join(f"it {verb} {listed(names, at_most=3)}" for names, verb in parts if names)


def what_differs(network: nn.Module, state: State) -> str:
    """What prevents the weights in a file from being loaded into a network."""
    return misfit(network.state_dict(), state) or "its values cannot be turned into those of this network"


def _check_first_bytes(path: Path) -> None:
    """Refuse files that by their first bytes are not weights, such as Git LFS pointers and web pages."""
    try:
        with open_regular(path) as opened:
            first = opened.read(FIRST_BYTES)
    except OSError as error:
        raise UserError(f"cannot read the weights '{path}': {error.strerror or error}") from error
    if kind := _kind(first, path):
        raise UserError(f"the file '{path}' holds no weights: it is {kind}")


def _kind(first: bytes, path: Path) -> str:
    text = first.lstrip().lower()
    if not first:
        return "empty"
    if first.startswith(LFS):
        return f"a Git LFS pointer of {path.stat().st_size} bytes. Fetch what it points to with `git lfs pull`"
    if text.startswith((b"<!doctype", b"<html", b"<?xml", b"<head", b"<!--")):
        return "a web page. Download the file itself, by the link that the page shows"
    if path.suffix != SAFE and first[8:9] == b"{" and int.from_bytes(first[:8], "little") < path.stat().st_size:
        return f"of the format safetensors. Give it a name that ends in {SAFE}"
    if path.suffix == SAFE and first[8:9] != b"{" and first.startswith((ZIP, PICKLE)):
        return "written by torch.save, and no safetensors. Give it a name that ends in .pt"
    if path.suffix not in (SAFE, ".npz", ".npy") and not first.startswith((ZIP, PICKLE)):
        return f"neither of torch.save nor of safetensors (it begins with {printable(first[:20].decode('latin-1'))!r})"
    return ""


def _reason(error: Exception) -> str:
    """The message of a reader's error, without its own advice."""
    if isinstance(error, pickle.UnpicklingError) or "weights_only" in str(error):
        return (
            "it holds other things than tensors, which are not loaded as they could run code, or is damaged. Save the "
            "network's state_dict() alone"
        )
    return f"it is cut, damaged, or of another format ({type(error).__name__})"


def _tensors(content: Any, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    """The tensors in nested mappings, by dotted names."""
    if isinstance(content, Mapping):
        for name, value in content.items():
            if isinstance(value, Tensor):
                yield f"{prefix}{name}", value
            else:
                yield from _tensors(value, f"{prefix}{name}.")


def _prefix(path: Path, values: Collection[str], wanted: Collection[str]) -> str:
    """The prefix of the network's weights in a file: ``model.``, ``module.backbone.``, ...; mostly empty."""
    known, counts = set(wanted), Counter[str]()
    for name in values:
        parts = name.split(".")
        for depth in range(len(parts)):
            if ".".join(parts[depth:]) in known:
                counts["".join(f"{part}." for part in parts[:depth])] += 1
    most = max(counts.values(), default=0)
    best = [prefix for prefix, count in counts.items() if count == most]
    if not 2 * most > len(known) or "" in best:
        return ""
    if len(best) > 1:
        raise UserError(
            f"the weights '{path}' hold several networks ({listed(best)}): save the state_dict() of one of them alone"
        )
    return best[0]
