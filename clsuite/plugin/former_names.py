"""Former names of hooks and traits in version 1 of the plugin API, for errors that suggest the current ones."""

from __future__ import annotations

FORMER_HOOKS = {
    "restore": "rebuild_modules",
    "training_rows": "select_indices",
    "training_batch": "transform_batch",
    "before_encoding": "on_before_forward",
    "before_next_task": "on_task_exit",
}
"""Hooks: the name in version 1, and the current name."""
FORMER_TRAITS = {
    "needs": "requires",
    "stores": "memory",
    "forbids": "incompatible_with",
    "refuses": "unsupported_scenarios",
    "does": "effects",
}
"""Fields of `clsuite.plugin.Traits`: the name in version 1, and the current name."""
