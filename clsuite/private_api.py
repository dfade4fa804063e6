"""Every private name of PyTorch, timm, Lightning and NumPy that clsuite uses, each in one place.

None of these libraries promises to keep them. ``tests/test_private_api.py`` has a test for each, which says what is
lost where the next version of a library has it no more. Nothing is imported before a function is called.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import Generator, Tensor, nn

FORWARD_HOOKS = ("_forward_pre_hooks", "_forward_hooks")
HOOKS = (*FORWARD_HOOKS, "_backward_pre_hooks", "_backward_hooks")
"""Where a PyTorch module keeps its hooks; first those of the forward pass alone."""


# -- PyTorch ----------------------------------------------------------------------------------------------------------


def hooks_of(module: nn.Module, *names: str) -> list[Any]:
    """The hooks of a module: dictionaries, of all kinds or of some of `HOOKS`."""
    return [getattr(module, name) for name in names or HOOKS]


def parts_by_name(module: nn.Module) -> dict[str, Any]:
    """The parameters, buffers and modules that a module has itself, those without a value too."""
    return {**module._parameters, **module._buffers, **module._modules}


def global_forward_hooks() -> tuple[Any, Any]:
    """The hooks that PyTorch calls before and after every module's forward pass: two dictionaries."""
    from torch.nn.modules import module

    return module._global_forward_pre_hooks, module._global_forward_hooks


def batch_norm_class() -> type[nn.Module]:
    """What all batch normalizations of PyTorch derive from."""
    from torch.nn.modules.batchnorm import _BatchNorm

    return _BatchNorm


def tensor_version(value: Tensor) -> int:
    """A number that grows with each change of a tensor in place."""
    return value._version


def standard_gamma(concentration: Tensor, generator: Generator) -> Tensor:
    """Draw from Gamma(concentration, 1) with a generator, which ``torch.distributions`` does not take."""
    import torch

    drawn: Tensor = torch._standard_gamma(concentration, generator=generator)
    return drawn


def clip_true_gradients(optimizer: Any) -> None:
    """Have gradients unscaled before a fused optimizer's step, so that Lightning clips the true ones under float16."""
    optimizer._step_supports_amp_scaling = False


def cpu_has_native_bf16() -> bool:
    """Whether the processor computes in bfloat16 natively; False where PyTorch does not say."""
    import torch

    probe = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return bool(probe and probe())


def become(module: nn.Module, kind: type[nn.Module]) -> None:
    """Give a module another ``forward``, in place: names, parameters and hooks stay. The class is a subclass of its."""
    module.__class__ = kind


def register_python_backend(
    name: str, module: Any, fallback: Callable[..., Any], kernels: Mapping[str, Callable[..., Any]]
) -> list[Any]:
    """Make a device whose operations are done in Python, under the key that PyTorch keeps for backends of others.

    Args:
        name: Of the device.
        module: What PyTorch asks the device for.
        fallback: Does any operation: gets it, and its arguments.
        kernels: Operations that do not come to the fallback, by name.

    Returns:
        What must be kept for as long as the device is needed.
    """
    import torch
    from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

    _setup_privateuseone_for_python_backend(name, backend_module=module)
    every, own = torch.library.Library("_", "IMPL"), torch.library.Library("aten", "IMPL")
    every.fallback(fallback, "PrivateUse1")
    for operation, kernel in kernels.items():
        own.impl(operation, kernel, "PrivateUse1")
    return [every, own]


def device_operations(kind: str) -> tuple[Any, ...]:
    """Operations of PyTorch that a device must know apart.

    Args:
        kind: ``copying`` (between devices), ``reading`` (a value), ``indexing`` (by tensors), or ``by content``: the
            shape of the result follows from values.
    """
    import torch

    aten = torch.ops.aten
    known: dict[str, tuple[Any, ...]] = {
        "copying": (aten._to_copy.default, aten.copy_.default),
        "reading": (aten._local_scalar_dense.default,),
        "indexing": (
            aten.index.Tensor, aten._unsafe_index.Tensor, aten.index_put.default, aten.index_put_.default,
        ),
        "by content": (
            aten.nonzero.default, aten.masked_select.default, aten._unique2.default, aten.unique_dim.default,
            aten.unique_consecutive.default, aten.bincount.default, aten.repeat_interleave.Tensor,
        ),
    }  # fmt: skip
    return known[kind]


def wrapper_tensor_class() -> type[Any]:
    """A kind of tensor that has shape and device, and keeps its values in another tensor, ``below``."""
    import torch

    class WrapperTensor(torch.Tensor):
        below: Tensor
        __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

        @staticmethod
        def __new__(cls: Any, below: Tensor, device: torch.device) -> Any:
            made = torch.Tensor._make_wrapper_subclass(
                cls,
                below.shape,
                strides=below.stride(),
                storage_offset=below.storage_offset(),
                dtype=below.dtype,
                device=device,
            )
            made.below = below
            return made

    return WrapperTensor


def flat_leaves(tree: Any) -> list[Any]:
    """The leaves of nested lists, tuples and dictionaries."""
    from torch.utils._pytree import tree_leaves

    return tree_leaves(tree)


def map_leaves(change: Callable[[Any], Any], tree: Any) -> Any:
    """Nested lists, tuples and dictionaries with each leaf changed."""
    from torch.utils._pytree import tree_map

    return tree_map(change, tree)


# -- timm -------------------------------------------------------------------------------------------------------------


def positioned_tokens(model: Any, patches: Tensor) -> Tensor:
    """The tokens of a timm ViT: its patches with positions, after its class and register tokens."""
    tokens: Tensor = model._pos_embed(patches)
    return tokens


# -- Lightning --------------------------------------------------------------------------------------------------------


def trainer_of(module: Any) -> Any:
    """The trainer that a LightningModule is with; None where it is with none (``trainer`` raises then)."""
    return module._trainer


def gathers_gradients(trainer: Any) -> bool:
    """Whether the gradients of a trainer's batch wait for those of the next one, so that no step was taken."""
    return bool(trainer.fit_loop.epoch_loop._should_accumulate())


def training_source(trainer: Any) -> Any:
    """What a trainer was given to train on: a loader, or a module that gives one."""
    return trainer.fit_loop._data_source.instance


def optimizers_of(trainer: Any) -> list[Any]:
    """The optimizers of a trainer, without a look at whether they are set up."""
    found: list[Any] = trainer.strategy._optimizers
    return found


# -- NumPy ------------------------------------------------------------------------------------------------------------


def memory_map(array: Any) -> mmap.mmap | None:
    """The memory map below an array; None where it is in memory."""
    mapped = getattr(array, "_mmap", None)
    return mapped if isinstance(mapped, mmap.mmap) else None
