"""The bundled backbone: its weights, and the card with the record of its pre-training."""
