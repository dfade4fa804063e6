"""The features of a ViT's class token, without the last block's unused computations for other tokens.

If the features are the class token alone, the last block needs the keys and values of all tokens, but query, projection
and MLP of one token only. The result is mathematically equal, but floating-point sums have another order.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from timm.models.vision_transformer import Attention, Block, VisionTransformer  # type: ignore[attr-defined]
from torch import Tensor, nn
from torch.nn import functional as F

from clsuite.config.fast_paths import fast_paths
from clsuite.private_api import hooks_of, positioned_tokens


def only_class_token_counts(model: VisionTransformer) -> bool:
    """Whether this shortcut applies and gives the same result as timm.

    It does not if a module is of an unknown kind, has another ``forward``, or has a hook, which would see fewer tokens.
    Layers inside attention and MLP may be replaced by others that treat each token separately (LoRA).
    """
    if (
        not fast_paths()
        or type(model) is not VisionTransformer
        or model.global_pool != "token"
        or model.attn_pool is not None
    ):
        return False
    last = model.blocks[-1]
    plain = type(last) is Block and type(last.attn) is Attention
    if not plain or model.grad_checkpointing or getattr(last.attn, "gate", None) is not None:
        return False
    if any(name in vars(model) for name in ("forward_features", "forward_head")):
        return False
    return not any("forward" in vars(module) or _hooked(module) for module in _passed_over(model, last))


def class_token_features(model: VisionTransformer, images: Tensor) -> Tensor:
    """Map normalized images ``[B, 3, H, W]`` to the class token's features ``[B, width]``."""
    tokens = model.norm_pre(model.patch_drop(positioned_tokens(model, model.patch_embed(images))))
    for block in model.blocks[:-1]:
        tokens = block(tokens)
    features: Tensor = model.forward_head(model.norm(_last_block(model.blocks[-1], tokens)), pre_logits=True)
    return features


def _last_block(block: Any, tokens: Tensor) -> Tensor:
    """Timm's ``Block`` on ``[B, N, width]``, computed for the first token only: ``[B, 1, width]``."""
    first = tokens[:, :1]
    first = first + block.drop_path1(block.ls1(_attend(block.attn, block.norm1(tokens))))
    output: Tensor = first + block.drop_path2(block.ls2(block.mlp(block.norm2(first))))
    return output


def _attend(attn: Any, tokens: Tensor) -> Tensor:
    """Timm's ``Attention`` with the first token's query only."""
    batch, number, _ = tokens.shape
    query, key, value = attn.qkv(tokens).view(batch, number, 3, attn.num_heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
    query, key = attn.q_norm(query[:, :, :1]), attn.k_norm(key)
    dropped = attn.attn_drop.p if attn.training else 0.0
    if attn.fused_attn:
        attended = F.scaled_dot_product_attention(query, key, value, dropout_p=dropped)
    else:
        attended = attn.attn_drop((query * attn.scale @ key.transpose(-2, -1)).softmax(dim=-1)) @ value
    attended = attended.transpose(1, 2).reshape(batch, 1, -1)
    output: Tensor = attn.proj_drop(attn.proj(attn.norm(attended)))
    return output


def _passed_over(model: VisionTransformer, last: Block) -> Iterator[nn.Module]:
    """Modules that receive fewer tokens, or are not called at all."""
    yield from (model, model.blocks, model.norm)
    yield from last.modules()


def _hooked(module: nn.Module) -> bool:
    return any(hooks_of(module))
