"""A simulated device for machines without a GPU: it uses the CPU's memory and follows CUDA's rules.

PyTorch supports device backends in Python. This one wraps CPU tensors and does each operation on these. If an operation
mixes tensors of both devices, it raises the same error as CUDA, and it counts the operations that would make the CPU
wait for a GPU. PyTorch's fake tensors have no values, so that they cannot be used for training.

It must be created before the first backward pass of a process, because PyTorch then creates the threads of all devices.
It remains, instead of any GPU, until the process ends.
"""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import torch
from lightning.pytorch.accelerators import AcceleratorRegistry, CPUAccelerator
from torch import Tensor

from clsuite.private_api import (
    device_operations,
    register_python_backend,
    wrapper_tensor_class,
)

NAME = "simulated"
MEMORY = 1 << 30
"""Bytes of free memory that the device reports."""

aten = torch.ops.aten
COPIES, READING, INDEXING, BY_CONTENT = (
    device_operations(kind) for kind in ("copying", "reading", "indexing", "by content")
)
"""Operations that copy between devices, read a value, use indices, and have results whose shape depends on values."""

waits: Counter[str] = Counter()
"""Number of times that the CPU would have waited for a GPU, by operation and line of code."""


class SimulatedTensor(wrapper_tensor_class()):  # type: ignore[misc]
    """A tensor on the simulated device, with its values in a CPU tensor."""

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Execute an operation."""
        return _operate(func, args, kwargs or {})

    def __repr__(self, **words: Any) -> str:
        return f"{self.below!r} on {NAME}"

    def __format__(self, spec: str) -> str:
        return format(self.item() if self.dim() == 0 else repr(self), spec)

    def __reduce_ex__(self, protocol: Any) -> Any:
        _count_wait("pickle")
        return self.below.__reduce_ex__(protocol)

    def tolist(self) -> Any:
        """Convert to Python numbers."""
        _count_wait("tolist")
        return self.below.tolist()

    def numpy(self, *args: Any, **words: Any) -> Any:
        """Refuse the conversion, like CUDA tensors."""
        raise TypeError(
            f"can't convert {NAME}:0 device type tensor to numpy. Use Tensor.cpu() to copy the tensor to host memory "
            "first."
        )

    __array__ = numpy


class _Module:
    """The device module of PyTorch (``torch.get_device_module``)."""

    def is_initialized(self) -> bool:
        return True

    def is_available(self) -> bool:
        return True

    def current_device(self) -> int:
        return 0

    def device_count(self) -> int:
        return 1

    def manual_seed_all(self, seed: int) -> None:
        pass

    def _is_in_bad_fork(self) -> bool:
        return False

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16, torch.float16]

    def mem_get_info(self, device: Any = None) -> tuple[int, int]:
        return MEMORY, MEMORY


class _Accelerator(CPUAccelerator):
    """The accelerator of Lightning."""

    def setup_device(self, device: torch.device) -> None:
        pass

    @staticmethod
    def name() -> str:
        return NAME


_libraries: list[Any] = []


def simulated_device() -> torch.device:
    """Return the simulated device; the first call of a process creates it."""
    if not _libraries:
        operations = {"empty.memory_format": aten.empty.memory_format, "empty_strided": aten.empty_strided.default}
        kernels: dict[str, Callable[..., Any]] = {
            name: lambda *args, _of=of, **words: _operate(_of, args, words) for name, of in operations.items()
        }
        _libraries.extend(
            register_python_backend(
                NAME,
                _Module(),
                lambda func, *args, **words: _operate(func, args, words),
                {**kernels, "_copy_from": _copy_from},
            )
        )
        AcceleratorRegistry.register(NAME, _Accelerator, description="a device that is not the CPU")
    return torch.device(NAME, 0)


def _copy_from(source: Tensor, target: Tensor, non_blocking: bool = False) -> Tensor:
    _operate(aten.copy_.default, (target, source, non_blocking), {})
    return target


def _operate(func: Any, args: tuple[Any, ...], words: dict[str, Any]) -> Any:
    """Execute an operation on the CPU tensors, and put its results on the correct device."""
    leaves = [*flat_leaves((args, words))]
    here = [one for one in leaves if isinstance(one, SimulatedTensor)]
    others = [one for one in leaves if isinstance(one, Tensor) and not isinstance(one, SimulatedTensor)]
    is_result_here = _is_result_here(func, args, words, bool(here))
    if here and func not in COPIES:
        _check_devices(func, args, others)
    if is_result_here and any(isinstance(one, torch.Generator) for one in leaves):
        raise RuntimeError(f"Expected a '{NAME}' device type for generator but found 'cpu'")
    _count(func, args, words, here, others, is_result_here)
    if words.get("device") is not None:
        words = {**words, "device": torch.device("cpu")}
    words.pop("pin_memory", None)
    below = map_leaves(lambda one: one.below if isinstance(one, SimulatedTensor) else one, (args, words))
    result = func(*below[0], **below[1])
    if not is_result_here:
        return args[0] if func is aten.copy_.default else result
    wrappers = {id(one.below): one for one in here}
    return map_leaves(lambda one: _wrapped(one, wrappers) if isinstance(one, Tensor) else one, result)


def flat_leaves(tree: Any) -> Iterator[Any]:
    """The leaves of nested lists, tuples and dictionaries; PyTorch's own takes several times as long."""
    if isinstance(tree, list | tuple):
        for one in tree:
            yield from flat_leaves(one)
    elif isinstance(tree, dict):
        for one in tree.values():
            yield from flat_leaves(one)
    else:
        yield tree


def map_leaves(change: Callable[[Any], Any], tree: Any) -> Any:
    """Apply a function to all leaves of nested lists, tuples and dictionaries."""
    if isinstance(tree, list | tuple):
        return type(tree)([map_leaves(change, one) for one in tree])
    if isinstance(tree, dict):
        return {name: map_leaves(change, one) for name, one in tree.items()}
    return change(tree)


def _wrapped(below: Tensor, wrappers: dict[int, SimulatedTensor]) -> SimulatedTensor:
    """The simulated tensor of a CPU tensor: the existing one if it was changed in place."""
    if id(below) in wrappers:
        return wrappers[id(below)]
    with torch.inference_mode(below.is_inference()):
        return SimulatedTensor(below, torch.device(NAME, 0))


def _is_result_here(func: Any, args: tuple[Any, ...], words: dict[str, Any], any_here: bool) -> bool:
    if func is aten.copy_.default:
        return isinstance(args[0], SimulatedTensor)
    target = words.get("device")
    return any_here if target is None else torch.device(target).type == NAME


def _check_devices(func: Any, args: tuple[Any, ...], others: list[Tensor]) -> None:
    """Raise an error if CPU tensors are mixed with tensors of the device; scalars and indices are allowed."""
    on_cpu = [one for one in others if one.dim() > 0]
    if func in INDEXING and isinstance(args[0], SimulatedTensor):
        on_cpu = [one for one in on_cpu if any(one is value for value in args[2:3])]
    if on_cpu:
        raise RuntimeError(
            f"Expected all tensors to be on the same device, but found at least two devices, {NAME}:0 and cpu! ({func})"
        )


def _count(
    func: Any,
    args: tuple[Any, ...],
    words: dict[str, Any],
    here: list[SimulatedTensor],
    others: list[Tensor],
    is_result_here: bool,
) -> None:
    """Count operations that would wait for a GPU: reading a value, copies, shapes that depend on values."""
    if func in COPIES:
        at_once = words.get("non_blocking", False) or (func is aten.copy_.default and any(args[2:3]))
        if here and not is_result_here:
            _count_wait("to the CPU")
        elif is_result_here and others and not at_once:
            _count_wait("from the CPU, not by clsuite.data.on_device.moved")
    elif here and (func in READING or func in BY_CONTENT):
        _count_wait(str(func))
    elif func in INDEXING and here:
        chosen = [one for one in args[1] if isinstance(one, Tensor)]
        if any(one.dtype in (torch.bool, torch.uint8) or not isinstance(one, SimulatedTensor) for one in chosen):
            _count_wait(f"{func} by a mask or by the CPU")


def _count_wait(what: str) -> None:
    """Count a wait for the line of clsuite or of a plugin that caused it."""
    frame = inspect.currentframe()
    while frame is not None:
        name = frame.f_globals.get("__name__", "")
        if name.startswith("clsuite") and name != __name__:
            waits[f"{what}: {name}:{frame.f_lineno}"] += 1
            return
        frame = frame.f_back
    waits[f"{what}: outside of clsuite"] += 1
