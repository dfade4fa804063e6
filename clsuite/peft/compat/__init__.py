"""Networks that are built unlike timm's plain ViT, seen under its names."""
