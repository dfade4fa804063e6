"""Networks whose structure differs from timm's plain ViT, made accessible under its names."""
