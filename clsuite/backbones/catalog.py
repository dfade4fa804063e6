"""The backbones that `clsuite list backbones` shows; all other ViTs and ResNets of timm work by their full tag too."""

from __future__ import annotations

from clsuite.backbones.clip_spec import CLIP_CATALOG

CATALOG: dict[str, str] = {
    "omniglot_vit": "bundled: 2 blocks x 192, patch 8, 0.9 M parameters, pre-trained on Omniglot drawings; 32 px",
    "vit_tiny_patch16_224.augreg_in21k_ft_in1k": "ViT-Ti/16, ImageNet-21k then 1k, 5.7 M parameters",
    "vit_small_patch16_224.augreg_in21k_ft_in1k": "ViT-S/16, ImageNet-21k then 1k, 22 M parameters",
    "vit_base_patch16_224.orig_in21k": "ViT-B/16, original ImageNet-21k weights (L2P, DualPrompt, LAE), 86 M",
    "vit_base_patch16_224.augreg_in21k": "ViT-B/16, ImageNet-21k augreg (SLCA, EASE, APER, RanPAC), 86 M parameters",
    "vit_base_patch16_224.augreg_in21k_ft_in1k": "ViT-B/16, ImageNet-21k then 1k (CODA-Prompt), 86 M parameters",
    "vit_base_patch16_224.dino": "ViT-B/16, DINO self-supervision on ImageNet-1k (block expansion), 86 M parameters",
    "vit_small_patch14_dinov2.lvd142m": "ViT-S/14, DINOv2, 22 M parameters; sizes that 14 divides",
    "resnet18.a1_in1k": "ResNet-18, ImageNet-1k, 11 M parameters; any image size, for methods that need no ViT",
    "resnet50.a1_in1k": "ResNet-50, ImageNet-1k, 24 M parameters; any image size, for methods that need no ViT",
    **CLIP_CATALOG,
}
