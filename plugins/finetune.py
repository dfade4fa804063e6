"""Fine-tuning: the lower bound that every method must beat."""

from __future__ import annotations

from clsuite.plugin import Plugin, Traits


class Finetune(Plugin):
    """Trains the whole model on each task in turn, with nothing against forgetting."""

    traits = Traits(paper="lower bound")
