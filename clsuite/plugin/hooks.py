"""Names of the hooks by the rule that composition gives them. Needs no torch."""

from __future__ import annotations

ANSWERING = {"predict": "prediction", "parameter_groups": "the optimiser's parameter groups"}
"""Hooks that belong to at most one plugin of a method, and what they answer."""

TRAINING = ("loss", "training_batch", "training_rows", "parameter_groups")
"""Hooks that only act where gradient steps are taken."""

STANDING_IN = frozenset({"on_task_end", "before_next_task"})
"""Hooks of a plugin that puts other weights in place for the evaluation alone, and takes them back."""

OF_WEIGHTS = ("weights", "importances", "masks", "statistics")
"""What a plugin keeps that it takes from the weights at a task's end."""

UNTRAINED = {
    "modules": "the modules of '{other}' would never be trained: to train some on the first task, "
    "write [first_session, {name}]",
    "blocks": "the blocks of '{other}' would never be trained: to adapt the features on the first task, "
    "write [first_session, {name}]",
    "masks": "there are no steps for the masks of '{other}' to act on",
    "weights": "the weights of '{other}' would never differ from the pre-trained ones",
}
"""What a plugin keeps that comes to nothing where no gradient steps are taken, and why."""
