"""Makes of timm's transformers, small enough for tests: each has its attention written in a way of its own."""

from __future__ import annotations

from typing import Any

SMALL: dict[str, Any] = {"img_size": 32, "patch_size": 8, "embed_dim": 48, "depth": 2, "num_heads": 3, "num_classes": 0}
VITS = {"vit": "vit_tiny_patch16_224"}
OTHERS = {
    "eva": "eva_giant_patch14_224",
    "eva_rope": "eva02_tiny_patch14_224",
    "eva_separate": "eva02_base_patch14_224",
    "beit": "beitv2_base_patch16_224",
    "distilled": "deit_tiny_distilled_patch16_224",
}
