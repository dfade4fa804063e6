"""Replacements for PyTorch kernels that are slow in bfloat16 on the CPU; the computed function is the same."""

from __future__ import annotations

from timm.layers.patch_embed import PatchEmbed
from torch import Tensor, nn
from torch.nn import functional as F

from clsuite.config.fast_paths import fast_paths
from clsuite.private_api import become


def avoid_slow_kernels(model: nn.Module) -> None:
    """Make timm's modules use matrix products instead of operations with slow kernels, in place.

    Measured in training steps of a ViT-Ti on two cores with AMX:

    * The backward pass of fused attention takes half of a step at 128 px: 12 ms per block, less than 2 ms with matrix
      products.
    * The backward pass of the patch embedding's convolution takes an eighth of a step at 64 px; as a matrix product,
    its
      time is negligible.
    """
    if not fast_paths():
        return
    for module in model.modules():
        if isinstance(getattr(module, "fused_attn", None), bool):
            module.fused_attn = False  # type: ignore[assignment]
        if isinstance(module, PatchEmbed) and _is_product(module.proj):
            become(module.proj, PatchProjection)


class PatchProjection(nn.Conv2d):
    """A convolution whose stride equals its kernel size: one matrix product over the patches."""

    def forward(self, input: Tensor) -> Tensor:
        """Map images ``[B, C, H, W]`` to ``[B, width, H / side, W / side]``."""
        batch, channels, height, width = input.shape
        down, across = self.kernel_size
        rows, columns = height // down, width // across
        patches = input.reshape(batch, channels, rows, down, columns, across).permute(0, 2, 4, 1, 3, 5)
        answer = F.linear(patches.reshape(batch, rows * columns, -1), self.weight.flatten(1), self.bias)
        return answer.transpose(1, 2).reshape(batch, -1, rows, columns)


def _is_product(layer: nn.Module) -> bool:
    """Whether a layer is a plain convolution over patches without overlap and padding."""
    return (
        type(layer) is nn.Conv2d
        and layer.stride == layer.kernel_size
        and layer.padding == (0, 0)
        and layer.dilation == (1, 1)
        and layer.groups == 1
    )
