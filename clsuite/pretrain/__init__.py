"""Pre-training recipes of the bundled backbones."""
