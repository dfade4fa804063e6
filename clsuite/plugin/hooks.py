"""Names of hooks and effects of plugins, by the rules for their combination. Needs no torch."""

from __future__ import annotations

ANSWERING = {
    "predict": "prediction",
    "parameter_groups": "the optimizer's parameter groups",
    "classification": "the classification loss",
}
"""Hooks that at most one plugin of a method may have, and their results."""

TRAINING = (
    "loss", "classification", "transform_batch", "select_indices", "parameter_groups", "plan_training", "on_round_end",
    "transform_update", "on_after_backward",
)  # fmt: skip
"""Hooks that have an effect only if gradient steps are taken."""

OURS = frozenset(
    {*ANSWERING, *TRAINING, "before_task_training", "rebuild_modules", "on_before_forward", "on_task_exit",
     "transform_images",
     "stored_bytes", "state_dict", "load_state_dict", "setup", "teardown"}
)  # fmt: skip
"""Names of hooks; all other methods that begin with ``on_`` are hooks too."""

TEMPORARY_WEIGHTS = frozenset({"on_task_end", "on_task_exit"})
"""Hooks of a plugin that replaces the weights for the evaluation, and restores them afterwards."""

OF_WEIGHTS = ("weights", "importances", "masks", "statistics")
"""Kinds of memory that are computed from the weights at a task's end."""

OF_FEATURES = ("importances", "statistics", "prototypes")
"""Kinds of memory that become invalid if weights change after they are computed at a task's end."""

EFFECTS = {
    "adds modules": "adds a module of its own at a task's start",
    "warms up head": "trains the new part of the head at a task's start",
    "scores weights": "computes gradients at a task's start, through the current head",
    "averages weights": "averages the weights after each step, beginning with those at the task's start",
    "tunes between steps": "trains some parameters between steps",
    "resets weights": "resets weights after each step",
    "freezes for a task": "freezes parameters for a task, and unfreezes them at its end",
    "sums updates": "sums what each step does to the weights",
    "changes weights": "changes the weights permanently at a task's end",
    "replaces weights": "puts other weights permanently in place at a task's end, whatever they are then",
    "fits to weights": "fits to the weights at a task's end what corrects their answers",
    "reads network": "reads answers of the network as the last task has left it, at a task's start",
    "projects gradients": "replaces the gradient of each step by its projection",
    "counts images": "counts the classes of the images that a task is trained on",
    "trains other networks": "trains other networks than the learner's by the method's classification loss",
    "trains by itself": "makes backward passes of its own, which it counts, beside the steps of the training",
}
"""The values of ``traits.effects``."""

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
"""Former names of effects, or of a trait, before version 2 of the plugin API."""

ORDERS = (
    ("reads weights", "swaps weights", "which replaces the weights only for the evaluation"),
    ("herds", "swaps weights", "which replaces the weights only for the evaluation"),
    ("freezes for a task", "swaps weights", "which uses weights at a task's end that must be unfrozen then"),
    ("freezes for a task", "keeps statistics", "which uses weights at a task's end that must be unfrozen then"),
    ("changes weights", "keeps statistics", "which computes statistics with the weights after the task"),
    ("replaces weights", "changes weights", "which changes the weights that are put in place"),
    ("changes weights", "fits to weights", "which fits to the weights after the task"),
    ("reads network", "adds modules", "which changes the network whose answers are read"),
    ("changes weights", "herds", "which chooses exemplars with the weights after the task"),
    ("adds modules", "warms up head", "which trains the head on features that the new module changes"),
    ("adds modules", "averages weights", "which averages the parameters that exist when a task starts"),
    ("warms up head", "scores weights", "which needs gradients through a head that is warmed up"),
    ("warms up head", "averages weights", "which averages the head from its values after the warm-up"),
    ("tunes between steps", "averages weights", "which averages the weights after the tuning"),
    ("resets weights", "averages weights", "which averages the weights after the reset"),
    ("resets weights", "sums updates", "which sums the updates that remain after the reset"),
    ("sums updates", "tunes between steps", "whose tuning is not part of the steps that are summed"),
    ("chooses images", "counts images", "which counts the images that are trained on"),
)
"""Required order: the effect of the first plugin, the effect of the second one, and the reason, about the second one.

Besides `EFFECTS` there are effects that follow from hooks and memory: replacing weights for the evaluation
(`TEMPORARY_WEIGHTS`), reading weights (`OF_WEIGHTS`) or computing statistics (`OF_FEATURES`) at a task's end,
herding, and choosing the images of a task."""

ROLES = {
    "lora": "lora", "adapter": "adapters", "adaptformer": "adapters", "prefix": "prompts", "prompt": "prompts",
    "ia3": "scales", "ssf": "scales",
}  # fmt: skip
"""The role of the parameters of each kind of parameter-efficient module, for other plugins."""

FROZEN = {
    "blocks": "'{name}' freezes the backbone: the blocks of '{other}' would never be trained",
    "masks": "'{name}' freezes the backbone: there is nothing for '{other}' to choose from",
}
"""Kinds of memory that are incompatible with a plugin that freezes the backbone, with the reasons."""

MODULES_ON_FROZEN = {
    "modules": "both freeze the backbone and add modules to it",
    "all data": "'{name}' keeps its modules from task to task, but '{other}' starts again at each task",
}
"""Further incompatible kinds if that plugin trains its own modules in the backbone, with the reasons."""

UNTRAINED = {
    "modules": "the modules of '{other}' would never be trained: to train some on the first task, "
    "write [first_session, {name}]",
    "blocks": "the blocks of '{other}' would never be trained: to adapt the features on the first task, "
    "write [first_session, {name}]",
    "masks": "there are no optimizer steps for the masks of '{other}'",
    "weights": "the weights of '{other}' would never differ from the pre-trained ones",
}
"""Kinds of memory that have no effect without gradient steps, with the reasons."""


def is_hook(method: str) -> bool:
    """Whether a method of that name is a hook, and not a helper of the plugin."""
    return method in OURS or method.startswith("on_")
