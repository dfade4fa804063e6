"""Names of the hooks, and of what plugins do, by the rule that composition gives them. Needs no torch."""

from __future__ import annotations

ANSWERING = {
    "predict": "prediction",
    "parameter_groups": "the optimizer's parameter groups",
    "classification": "the classification loss",
}
"""Hooks that belong to at most one plugin of a method, and what they answer."""

TRAINING = (
    "loss", "classification", "transform_batch", "select_indices", "parameter_groups", "plan_training", "on_round_end",
    "transform_update",
)  # fmt: skip
"""Hooks that only act where gradient steps are taken."""

OURS = frozenset(
    {*ANSWERING, *TRAINING, "before_task_training", "rebuild_modules", "on_before_forward", "on_task_exit",
     "transform_images",
     "stored_bytes", "state_dict", "load_state_dict", "setup", "teardown"}
)  # fmt: skip
"""Hooks whose names do not begin with ``on_``; all others of ours and of Lightning's do."""

STANDING_IN = frozenset({"on_task_end", "on_task_exit"})
"""Hooks of a plugin that puts other weights in place for the evaluation alone, and takes them back."""

OF_WEIGHTS = ("weights", "importances", "masks", "statistics")
"""What a plugin keeps that it takes from the weights at a task's end."""

OF_FEATURES = ("importances", "statistics", "prototypes")
"""What a plugin keeps that a task's end must not change once it is taken."""

EFFECTS = {
    "adds modules": "adds a module of its own at a task's start",
    "warms up head": "trains the head's new part at a task's start",
    "scores weights": "reads gradients at a task's start, through the head as it then is",
    "averages weights": "averages the weights after each step, from those at the task's start on",
    "tunes between steps": "trains some parameters between steps",
    "resets weights": "puts weights back after each step",
    "freezes for a task": "holds parameters frozen for a task, and thaws them at its end",
    "changes weights": "changes the weights permanently at a task's end",
}
"""What a plugin can say in ``traits.effects``."""

FORMER_EFFECTS = {
    "warms up": "warms up head",
    "scores": "scores weights",
    "follows": "averages weights",
    "tunes": "tunes between steps",
    "restores": "resets weights",
    "thaws": "freezes for a task",
    "moves": "changes weights",
    "freezes": "freezes_backbone",
}
"""Words that these, or a trait, had before version 2 of the plugin API."""

ORDERS = (
    ("reads weights", "swaps weights", "whose weights stand in for the evaluation alone"),
    ("herds", "swaps weights", "whose weights stand in for the evaluation alone"),
    ("freezes for a task", "swaps weights", "which works on weights at a task's end that must be thawed by then"),
    ("freezes for a task", "keeps statistics", "which works on weights at a task's end that must be thawed by then"),
    ("changes weights", "keeps statistics", "which keeps what the weights are after the task"),
    ("changes weights", "herds", "which chooses exemplars by the weights after the task"),
    ("adds modules", "warms up head", "which trains the head on features that the new module changes"),
    ("adds modules", "averages weights", "which follows what is there when a task starts"),
    ("warms up head", "scores weights", "which reads gradients through a head that must be warm"),
    ("warms up head", "averages weights", "which follows the head from its values after the warm-up"),
    ("tunes between steps", "averages weights", "which averages the weights as they are after the tuning"),
    ("resets weights", "averages weights", "which averages the weights as they are once put back"),
)
"""Who must stand before whom: what the one does, what the other does, and why, as said of the other.

Besides `EFFECTS` it knows what follows from hooks and stores: to put other weights in place for the evaluation
(`STANDING_IN`), to read weights (`OF_WEIGHTS`) or to keep statistics (`OF_FEATURES`) at a task's end, and to herd
exemplars."""

ROLES = {
    "lora": "lora", "adapter": "adapters", "adaptformer": "adapters", "prefix": "prompts", "prompt": "prompts",
    "ia3": "scales", "ssf": "scales",
}  # fmt: skip
"""What the parameters of each kind of parameter-efficient module are to other plugins."""

FROZEN = {
    "blocks": "'{name}' freezes the backbone: the blocks of '{other}' would never be trained",
    "masks": "'{name}' freezes the backbone: there is nothing for '{other}' to choose from",
}
"""What others may not keep beside a plugin that freezes the backbone, and why."""

MODULES_ON_FROZEN = {
    "modules": "both freeze the backbone and add modules to it",
    "all data": "'{name}' keeps its modules from task to task, and '{other}' starts over at each",
}
"""What others may not keep either where that plugin trains modules of its own in the backbone, and why."""

UNTRAINED = {
    "modules": "the modules of '{other}' would never be trained: to train some on the first task, "
    "write [first_session, {name}]",
    "blocks": "the blocks of '{other}' would never be trained: to adapt the features on the first task, "
    "write [first_session, {name}]",
    "masks": "there are no steps for the masks of '{other}' to act on",
    "weights": "the weights of '{other}' would never differ from the pre-trained ones",
}
"""What a plugin keeps that comes to nothing where no gradient steps are taken, and why."""


def is_hook(method: str) -> bool:
    """Whether a method of that name is a hook, and not a helper of the plugin's own."""
    return method in OURS or method.startswith("on_")
