"""Everything that determines, bit by bit, the features that a network computes: the key of features that runs share.

A network is described module by module: classes, plain attributes, tensors, hooks. Its features are not shared if a
part may change them in an unknown way: a class or hook of a plugin, an enabled module of `clsuite.peft`, a compiled
block. Hooks of disabled modules are part of the description: they change nothing, but a library may take another code
path because of them, with another order of sums.

The environment is described too: processor or GPU, threads, precision, versions of the libraries, sources of clsuite's
own forward passes, and the settings that choose kernels.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import cache, partial
from importlib.metadata import version
from pathlib import Path
from types import CellType, FunctionType, MethodType
from typing import Any

import torch
from torch import Tensor, nn

from clsuite.backbones.clip import ClipBackbone
from clsuite.backbones.vit import Backbone
from clsuite.config.fast_paths import fast_paths
from clsuite.config.processor import processor
from clsuite.peft.base import PET
from clsuite.peft.query import RoutedByQuery
from clsuite.private_api import FORWARD_HOOKS, HOOKS, global_forward_hooks, hooks_of
from clsuite.records.canonical import sha256_of

TRUSTED = ("clsuite", "torch", "timm", "open_clip", "torchvision")
"""Packages whose modules are fully determined by their source, attributes and tensors."""
OF_TORCH = frozenset(vars(nn.Module()))
"""Attributes of each module; its parameters, buffers and hooks are described separately, and it is in eval mode."""
PACKAGES = ("torch", "torchvision", "timm", "open_clip_torch", "numpy")
SOURCES = ("backbones", "peft", "learner", "data/transforms.py", "data/table.py", "data/on_device.py", "private_api.py")
"""Sources of clsuite's own part of a forward pass."""
VARIABLES = ("ATEN_", "CUBLAS_", "CUDNN_", "DNNL_", "MKL_", "NVIDIA_TF32", "ONEDNN_", "TORCH_ALLOW_TF32")
"""Prefixes of environment variables that choose kernels."""

DENORMAL = 1e-40
"""A float32 number so small that processors may be configured to treat it as zero."""


class AlteredError(Exception):
    """A network with an unknown part; the message names it."""


def forward_parts(backbone: Backbone) -> Iterator[tuple[str, nn.Module]]:
    """The modules, by name, that compute a backbone's image features: for CLIP, all except the text tower.

    Modules in plain attributes, which PyTorch does not register, are included.
    """
    seen: set[int] = set()
    if isinstance(backbone, ClipBackbone):
        seen = {id(backbone), id(backbone.clip)}
        yield from (("", backbone), ("clip", backbone.clip))
        roots: list[tuple[str, nn.Module]] = [("clip.visual", backbone.clip.visual), ("normalize", backbone.normalize)]
    else:
        roots = [("", backbone)]
    while roots:
        name, module = roots.pop()
        if id(module) in seen:
            continue
        seen.add(id(module))
        yield name, module
        plain = [(key, value) for key, value in vars(module).items() if key not in OF_TORCH]
        for key, child in (*module.named_children(), *plain):
            roots += [(f"{name}.{key}", one) for one in _found_in(child, nn.Module)]


def _found_in(value: Any, kind: type[Any]) -> Iterator[Any]:
    """A value of the given type, or such values in a container."""
    if isinstance(value, kind):
        yield value
    elif isinstance(value, list | tuple | dict):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _found_in(one, kind)


def weights_sha256(backbone: Backbone) -> str:
    """Hash of all tensors that determine the features, and of their memory layout, which determines the kernels.

    Their whole content is read: PyTorch's version counters miss changes by fused optimizers and through ``.data``.
    """
    total = hashlib.sha256()
    for name, value in _tensors(backbone):
        total.update(f"{name} {value.dtype} {tuple(value.shape)} {value.stride()}\n".encode())
        total.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()


def structure_sha256(backbone: Backbone) -> str:
    """Hash of the modules that compute the features: their classes, plain attributes and hooks.

    Raises:
        AlteredError: If one of them has an unknown class, or a hook may change the features.
    """
    if any(global_forward_hooks()):
        raise AlteredError("hooks of all modules")
    modules = list(forward_parts(backbone))
    for place in {nn.functional, *(base for _, module in modules for base in type(module).__mro__)}:
        for value in vars(place).values():
            if isinstance(value, FunctionType):
                _check_written(value)
    return sha256_of([_described(name, module) for name, module in modules])


def surroundings(device: torch.device) -> dict[str, Any]:
    """Everything else that determines the result, besides the network and the images."""
    on_gpu = device.type == "cuda"
    capability = torch.cuda.get_device_capability(device) if on_gpu else torch.backends.cpu.get_cpu_capability()
    return {
        "device": device.type,
        "processor": torch.cuda.get_device_name(device) if on_gpu else processor(),
        "capability": str(capability),
        "threads": torch.get_num_threads(),
        "precision": str(torch.get_autocast_dtype(device.type)) if torch.is_autocast_enabled(device.type) else "",
        "switches": _switches(),
        "variables": {name: os.environ[name] for name in sorted(os.environ) if name.startswith(VARIABLES)},
        **_versions(),
    }


@cache
def _versions() -> dict[str, Any]:
    return {
        "packages": {name: version(name) for name in PACKAGES},
        "build": hashlib.sha256(torch.__config__.show().encode()).hexdigest(),
        "sources": _sources_sha256(),
    }


def _switches() -> list[str]:
    backends = torch.backends
    return [
        str(switch)
        for switch in (
            fast_paths(), torch.is_inference_mode_enabled(), torch.get_default_dtype(),
            float(torch.tensor(DENORMAL) * 1) != 0,
            torch.get_float32_matmul_precision(), torch.are_deterministic_algorithms_enabled(),
            torch.is_deterministic_algorithms_warn_only_enabled(), backends.mha.get_fastpath_enabled(),
            backends.mkldnn.enabled, backends.cudnn.enabled, backends.cudnn.benchmark, backends.cudnn.deterministic,
            backends.cudnn.allow_tf32, backends.cuda.matmul.allow_tf32,
            backends.cuda.matmul.allow_bf16_reduced_precision_reduction,
            backends.cuda.matmul.allow_fp16_reduced_precision_reduction, backends.cuda.flash_sdp_enabled(),
            backends.cuda.mem_efficient_sdp_enabled(), backends.cuda.math_sdp_enabled(),
            backends.cuda.cudnn_sdp_enabled(),
        )
    ]  # fmt: skip


def _sources_sha256() -> str:
    """Hash of the sources of clsuite that are part of a forward pass."""
    root, total = Path(__file__).parents[1], hashlib.sha256()
    for name in SOURCES:
        place = root / name
        for path in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
            total.update(f"{path.relative_to(root).as_posix()}\n".encode())
            total.update(path.read_bytes())
    return total.hexdigest()


def _tensors(backbone: Backbone) -> Iterator[tuple[str, Tensor]]:
    beside = backbone.clip if isinstance(backbone, ClipBackbone) else None  # has the tensors of its text tower
    for prefix, module in forward_parts(backbone):
        if module is beside:
            continue
        own = (module.named_parameters(recurse=False), module.named_buffers(recurse=False))
        plain = [(key, value) for key, value in vars(module).items() if key not in OF_TORCH]
        found = ((name, one) for name, value in plain for one in _found_in(value, Tensor))
        for name, value in (*own[0], *own[1], *found):
            yield f"{prefix}.{name}", value


def _described(name: str, module: nn.Module) -> list[Any]:
    if vars(module).get("_compiled_call_impl") is not None:
        raise AlteredError(f"{name} is compiled")
    kind = type(module)
    attributes = {key: value for key, value in vars(module).items() if key not in OF_TORCH}
    overridden = attributes.pop("forward", None)
    return [
        name,
        _of_trusted(kind),
        [_of_trusted(vars(one)["forward"]) for one in kind.__mro__ if "forward" in vars(one)],
        None if overridden is None else _without_effect(overridden, module),
        [[_without_effect(hook) for hook in found.values()] for found in hooks_of(module, *FORWARD_HOOKS)],
        [len(found) for found in hooks_of(module, *HOOKS[len(FORWARD_HOOKS) :])],
        {key: _plainly(value) for key, value in sorted(attributes.items())},
    ]


def _plainly(value: Any) -> Any:
    """An attribute as text; tensors, which are hashed with the weights, and objects only by their type."""
    if value is None or isinstance(value, bool | int | float | str):
        return repr(value)
    if isinstance(value, tuple | list | torch.Size):
        return [_plainly(one) for one in value]
    if isinstance(value, dict):
        return [[_plainly(key), _plainly(one)] for key, one in value.items()]
    if isinstance(value, set | frozenset):
        return sorted(repr(one) for one in value)
    if isinstance(value, partial):
        return [_plainly(value.func), _plainly(value.args), _plainly(value.keywords)]
    if isinstance(value, torch.dtype):
        return str(value)
    if isinstance(value, type | FunctionType | MethodType):
        return _of_trusted(value)
    return _of_trusted(type(value))


def _of_trusted(defined: Any) -> str:
    """The full name of a class or function of a trusted package.

    Raises:
        AlteredError: If it belongs to another package.
    """
    name = f"{getattr(defined, '__module__', '')}.{getattr(defined, '__qualname__', '')}"
    if name.partition(".")[0] not in (*TRUSTED, "builtins"):
        raise AlteredError(f"{name} is not of {', '.join(TRUSTED)}")
    function = defined.__func__ if isinstance(defined, MethodType) else defined
    if isinstance(function, FunctionType):
        _check_written(function)
    return name


def _check_written(function: FunctionType) -> None:
    """Check the modules in which a function, and the functions that it wraps, were defined, whatever their names.

    Raises:
        AlteredError: If one was defined outside the trusted packages and the standard library.
    """
    wrapped = [function]
    for one in wrapped:
        written = str(one.__globals__.get("__name__"))
        if written.partition(".")[0] not in (*TRUSTED, *sys.stdlib_module_names):
            raise AlteredError(f"{one.__qualname__} was written in {written}")
        wrapped += [held for held in _held(one)[1] if isinstance(held, FunctionType) and held not in wrapped]


def _without_effect(function: Callable[..., Any], overridden: nn.Module | None = None) -> Any:
    """Describe a hook, or a replaced ``forward``, that has no effect now.

    A hook of a module of `clsuite.peft` has no effect while the module is disabled. A hook that only calls others has
    none if they have none.

    Args:
        function: The hook.
        overridden: The module whose ``forward`` it replaces: the module's own methods have no other effect.

    Raises:
        AlteredError: If it may have an effect.
    """
    of, held = _held(function)
    name = _of_trusted(of)
    owners = [one for one in held if isinstance(one, PET | RoutedByQuery)]
    if any(owner.enabled for owner in owners):
        raise AlteredError(f"{name} is switched on")
    if owners:
        return [name, *(_of_trusted(type(owner)) for owner in owners)]
    passed_on = [one for one in held if isinstance(one, FunctionType | MethodType | partial)]
    own = overridden is not None and getattr(function, "__self__", None) is overridden
    if not passed_on and not own:
        raise AlteredError(f"{name} may have an effect")
    return [name, *(_without_effect(one, overridden) for one in passed_on)]


def _held(function: Callable[..., Any]) -> tuple[Callable[..., Any], list[Any]]:
    """A function without its bound values, and all values that it refers to."""
    if isinstance(function, partial):
        return function.func, [*function.args, *function.keywords.values(), function.func]
    of = function.__func__ if isinstance(function, MethodType) else function
    bound: Iterable[Any] = [function.__self__] if isinstance(function, MethodType) else []
    cells = getattr(of, "__closure__", None) or ()
    return of, [*bound, *(value for cell in cells for value in _content(cell))]


def _content(cell: CellType) -> list[Any]:
    """The value of a closure variable; empty if it has none yet."""
    try:
        return [cell.cell_contents]
    except ValueError:
        return []
