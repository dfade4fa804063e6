"""The plugin API: one import line for the author of a method.

Whatever needs torch is imported on first use, so that declarations can be read without it. What reference methods use
beyond this is in `clsuite.plugin.helpers`; parameter-efficient modules are in `clsuite.peft`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from clsuite.errors import UserError
from clsuite.plugin.defaults import fill_defaults
from clsuite.plugin.ranges import check_range
from clsuite.plugin.traits import API_VERSION, Traits

if TYPE_CHECKING:
    from clsuite.data.batch import Batch
    from clsuite.data.buffer import ExemplarBuffer
    from clsuite.learner.learner import Learner, Step
    from clsuite.plugin.base import Plugin
    from clsuite.plugin.rehearsal import RehearsalPlugin
    from clsuite.scenarios import Scenario, Task

__all__ = [
    "API_VERSION",
    "Batch",
    "ExemplarBuffer",
    "Learner",
    "Plugin",
    "RehearsalPlugin",
    "Scenario",
    "Step",
    "Task",
    "Traits",
    "UserError",
    "check_range",
    "fill_defaults",
]

LAZY = {
    "Batch": "clsuite.data.batch",
    "ExemplarBuffer": "clsuite.data.buffer",
    "Learner": "clsuite.learner.learner",
    "Plugin": "clsuite.plugin.base",
    "RehearsalPlugin": "clsuite.plugin.rehearsal",
    "Scenario": "clsuite.scenarios",
    "Step": "clsuite.learner.learner",
    "Task": "clsuite.scenarios",
}
"""Where each name that needs torch is defined."""


def __getattr__(name: str) -> Any:
    if name in LAZY:
        return getattr(import_module(LAZY[name]), name)
    raise AttributeError(f"module 'clsuite.plugin' has no attribute '{name}'")
