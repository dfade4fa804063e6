"""The bundled backbone: its weights, and a card that describes its pre-training."""
