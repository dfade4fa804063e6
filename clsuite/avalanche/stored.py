"""What a strategy keeps between tasks, found in its attributes and those of its plugins."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from avalanche.benchmarks.utils import AvalancheDataset
from avalanche.training.storage_policy import ExemplarsBuffer
from torch import Tensor, nn

from clsuite.data.buffer_policy import LABEL_BYTES

PASSING = (
    "model", "optimizer", "optimized_param_id", "plugins", "evaluator", "clock", "dataloader", "adapted_dataset",
    "experience", "mbatch", "mb_output", "loss", "replay_loader", "current_eval_stream", "_eval_streams", "device",
)  # fmt: skip
"""Attributes of strategies that are no memory of earlier tasks."""
KEPT_IMAGES = ("x_memory", "memory_x", "ext_mem_list_x")
"""Attributes of Avalanche's plugins that hold images as tensors."""
OF_IMAGES = ("exemplars", "all data")
"""Kinds of memory that are images; a strategy keeps at most one other kind."""
DEEPEST = 6
"""Levels of containers that are searched."""


def stored_by(strategy: Any, image_bytes: int) -> tuple[int, int]:
    """Bytes of exemplars, and of all other tensors that a strategy keeps.

    An exemplar in one of Avalanche's buffers is a reference to the data set: it counts as a stored image with its
    label. Images that are kept as floats count as such.

    Args:
        strategy: The strategy.
        image_bytes: Bytes of an image in the table.
    """
    exemplars, others, counted = 0, dict[int, int](), dict[int, Any]()
    for owner in (strategy, strategy.model, *strategy.plugins):
        for name, value in list(vars(owner).items()):
            if name in PASSING or (owner is strategy.model and name.startswith("_")):
                continue
            for found in _kept(value, DEEPEST):
                if isinstance(found, ExemplarsBuffer | AvalancheDataset):
                    if id(found) not in counted:
                        samples = found.buffer if isinstance(found, ExemplarsBuffer) else found
                        exemplars += len(samples) * (image_bytes + LABEL_BYTES)
                    counted[id(found)] = found
                elif name in KEPT_IMAGES:
                    exemplars += found.numel() * found.element_size()
                else:
                    others[found.data_ptr()] = found.numel() * found.element_size()
    own = {value.data_ptr() for value in (*strategy.model.parameters(), *strategy.model.buffers())}
    means = _class_means(strategy.model)
    return exemplars, sum(size for place, size in others.items() if place not in own) + means


def _class_means(model: nn.Module) -> int:
    """Bytes of the statistics of classes in a classifier of Avalanche's that has no weights."""
    kept = [getattr(part, name, None) for part in model.modules() for name in ("class_means", "class_covs")]
    return sum(value.numel() * value.element_size() for value in kept if isinstance(value, Tensor))


def _kept(value: Any, levels: int) -> Iterator[Any]:
    """The tensors and buffers of exemplars in a value."""
    if isinstance(value, Tensor | ExemplarsBuffer | AvalancheDataset):
        yield value
    elif isinstance(value, nn.Module):
        yield from (*value.parameters(), *value.buffers())
    elif levels and isinstance(value, Mapping):
        for inner in value.values():
            yield from _kept(inner, levels - 1)
    elif levels and isinstance(value, Sequence) and not isinstance(value, str):
        for inner in value:
            yield from _kept(inner, levels - 1)
    elif levels and hasattr(value, "__dict__") and type(value).__module__.startswith("avalanche.training"):
        for inner in vars(value).values():
            yield from _kept(inner, levels - 1)


def as_kinds(kinds: Sequence[str], exemplars: int, others: int) -> dict[str, int]:
    """The bytes by the kinds of memory that a method declares."""
    return {kind: exemplars if kind in OF_IMAGES else others for kind in kinds}
