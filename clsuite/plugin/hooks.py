"""Names of the hooks by the rule that composition gives them. Needs no torch."""

from __future__ import annotations

ANSWERING = {"predict": "prediction", "parameter_groups": "the optimiser's parameter groups"}
"""Hooks that belong to at most one plugin of a method, and what they answer."""

TRAINING = ("loss", "training_batch", "training_rows", "parameter_groups")
"""Hooks that only act where gradient steps are taken."""
