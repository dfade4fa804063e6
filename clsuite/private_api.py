"""All private names of PyTorch, timm, Lightning, Avalanche and NumPy that clsuite uses.

These libraries do not guarantee to keep them. ``tests/test_private_api.py`` has a test for each, whose message says
what is lost if a new version of a library removes it. Nothing is imported before a function is called.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from clsuite.errors import UserError

if TYPE_CHECKING:
    import torch
    from torch import Generator, Tensor, nn

FORWARD_HOOKS = ("_forward_pre_hooks", "_forward_hooks")
HOOKS = (*FORWARD_HOOKS, "_backward_pre_hooks", "_backward_hooks")
"""The attributes in which a PyTorch module stores its hooks; those of the forward pass come first."""


# -- PyTorch ----------------------------------------------------------------------------------------------------------


def hooks_of(module: nn.Module, *names: str) -> list[Any]:
    """The hooks of a module, as dictionaries: all kinds, or some of `HOOKS`."""
    return [getattr(module, name) for name in names or HOOKS]


def parts_by_name(module: nn.Module) -> dict[str, Any]:
    """The parameters, buffers and submodules of a module itself, including those that are None."""
    return {**module._parameters, **module._buffers, **module._modules}


def global_forward_hooks() -> tuple[Any, Any]:
    """The hooks that PyTorch calls before and after the forward pass of every module: two dictionaries."""
    from torch.nn.modules import module

    return module._global_forward_pre_hooks, module._global_forward_hooks


def batch_norm_class() -> type[nn.Module]:
    """The base class of all batch normalizations of PyTorch."""
    from torch.nn.modules.batchnorm import _BatchNorm

    return _BatchNorm


def tensor_version(value: Tensor) -> int:
    """A number that increases with each in-place change of a tensor."""
    return value._version


def standard_gamma(concentration: Tensor, generator: Generator) -> Tensor:
    """Draw from Gamma(concentration, 1) with a generator, which ``torch.distributions`` does not accept."""
    import torch

    drawn: Tensor = torch._standard_gamma(concentration, generator=generator)
    return drawn


def clip_true_gradients(optimizer: Any) -> None:
    """Unscale gradients before a fused optimizer's step, so that Lightning clips the true ones under float16."""
    optimizer._step_supports_amp_scaling = False


def cpu_has_native_bf16() -> bool:
    """Whether the processor supports bfloat16 natively; False if PyTorch does not report it."""
    import torch

    probe = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return bool(probe and probe())


def become(module: nn.Module, kind: type[nn.Module]) -> None:
    """Change the class of a module to a subclass, in place: names, parameters and hooks are kept."""
    module.__class__ = kind


def register_python_backend(
    name: str, module: Any, fallback: Callable[..., Any], kernels: Mapping[str, Callable[..., Any]]
) -> list[Any]:
    """Create a device whose operations are implemented in Python, under PyTorch's key for external backends.

    Args:
        name: Name of the device.
        module: The module from which PyTorch gets information on the device.
        fallback: Implements all operations: it receives an operation and its arguments.
        kernels: Operations that are implemented separately, by name.

    Returns:
        An object that must be kept for as long as the device is needed.

    Raises:
        UserError: If this version of PyTorch cannot do this: 2.9 cannot.
    """
    import torch
    from torch.utils import backend_registration

    if (set_up := getattr(backend_registration, "_setup_privateuseone_for_python_backend", None)) is None:
        raise UserError(f"a device made in Python needs a newer PyTorch than {torch.__version__}")
    set_up(name, backend_module=module)
    every, own = torch.library.Library("_", "IMPL"), torch.library.Library("aten", "IMPL")
    every.fallback(fallback, "PrivateUse1")
    for operation, kernel in kernels.items():
        own.impl(operation, kernel, "PrivateUse1")
    return [every, own]


def device_operations(kind: str) -> tuple[Any, ...]:
    """Operations of PyTorch that a device must distinguish.

    Args:
        kind: ``copying`` (between devices), ``reading`` (a value), ``indexing`` (by tensors), or ``by content`` (the
            shape of the result depends on values).
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
    """A tensor class with shape and device, whose values are stored in another tensor, ``below``."""
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


# -- timm -------------------------------------------------------------------------------------------------------------


def positioned_tokens(model: Any, patches: Tensor) -> Tensor:
    """The tokens of a timm ViT: class and register tokens, then patches with position embeddings."""
    tokens: Tensor = model._pos_embed(patches)
    return tokens


# -- Lightning --------------------------------------------------------------------------------------------------------


def trainer_of(module: Any) -> Any:
    """The trainer of a LightningModule; None if it has none (its attribute ``trainer`` raises then)."""
    return module._trainer


def look_up_callbacks_once() -> None:
    """Let Lightning look up once, and not for each trainer, which installed packages add callbacks to trainers.

    For this it reads the metadata of all installed packages. Their callbacks are still created for each trainer.
    """
    from importlib import metadata

    from lightning.fabric.utilities import registry

    if vars(registry).get("entry_points") is metadata.entry_points:
        vars(registry)["entry_points"] = cache(metadata.entry_points)


def gathers_gradients(trainer: Any) -> bool:
    """Whether the gradients of a trainer's batch are accumulated with the next one, so that there was no step."""
    return bool(trainer.fit_loop.epoch_loop._should_accumulate())


def training_source(trainer: Any) -> Any:
    """The training data of a trainer: a loader, or a module that creates one."""
    return trainer.fit_loop._data_source.instance


def optimizers_of(trainer: Any) -> list[Any]:
    """The optimizers of a trainer, without checking whether they are set up."""
    found: list[Any] = trainer.strategy._optimizers
    return found


# -- Avalanche --------------------------------------------------------------------------------------------------------


def labeled_dataset(images: Any, transforms: Mapping[str, Any]) -> Any:
    """A data set of Avalanche with one task label, whose images pass the transforms of the group ``train`` at first.

    Args:
        images: A data set with ``targets``.
        transforms: For each group, the transform of images and that of targets.
    """
    from avalanche.benchmarks.utils import _make_taskaware_classification_dataset

    return _make_taskaware_classification_dataset(
        images, transform_groups=transforms, initial_transform_group="train", task_labels=0
    )


def begin_evaluation(strategy: Any, experiences: Sequence[Any]) -> None:
    """Call what a strategy of Avalanche calls when the evaluation of some experiences begins."""
    strategy._before_eval()
    for experience in experiences:
        strategy.experience = experience
        strategy._before_eval_exp()


def end_evaluation(strategy: Any) -> None:
    """Call what a strategy of Avalanche calls when an evaluation ends."""
    strategy._after_eval()


def evaluate_batch(strategy: Any) -> Tensor:
    """The output of a strategy for its ``mbatch``, with what Avalanche calls around it in an evaluation."""
    strategy._before_eval_iteration()
    strategy._before_eval_forward()
    strategy.mb_output = strategy.forward()
    strategy._after_eval_forward()
    strategy._after_eval_iteration()
    output: Tensor = strategy.mb_output
    return output


# -- NumPy ------------------------------------------------------------------------------------------------------------


def memory_map(array: Any) -> mmap.mmap | None:
    """The memory map of an array; None if it is in memory."""
    mapped = getattr(array, "_mmap", None)
    return mapped if isinstance(mapped, mmap.mmap) else None
