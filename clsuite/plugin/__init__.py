"""The plugin API: everything that the author of a method imports.

Names that need torch are imported on first use, so that declarations can be read without it. Further functions of the
reference methods are in `clsuite.plugin.helpers`, and parameter-efficient modules in `clsuite.peft`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from clsuite.errors import UserError
from clsuite.lazy import imported_on_use
from clsuite.plugin.defaults import fill_defaults
from clsuite.plugin.ranges import check_range
from clsuite.plugin.traits import API_VERSION, Traits

if TYPE_CHECKING:
    from clsuite.data.batch import Batch
    from clsuite.data.buffer import ExemplarBuffer, exemplar_capacity, herding_ranks
    from clsuite.data.table import ImageTable
    from clsuite.learner.head import GrowingHead, Head
    from clsuite.learner.learner import Learner
    from clsuite.learner.loss import classification_loss
    from clsuite.learner.options import OptimizerSpec, TrainingSpec
    from clsuite.learner.rehearsal import select_parameters, tune_on_exemplars
    from clsuite.learner.step import Step
    from clsuite.learner.training_plan import TrainingPlan
    from clsuite.learner.warmup import warm_up_head
    from clsuite.plugin.base import Plugin
    from clsuite.plugin.rehearsal import RehearsalPlugin
    from clsuite.scenarios import EvalSplit, Scenario, Task

__all__ = [
    "API_VERSION",
    "Batch",
    "EvalSplit",
    "ExemplarBuffer",
    "GrowingHead",
    "Head",
    "ImageTable",
    "Learner",
    "OptimizerSpec",
    "Plugin",
    "RehearsalPlugin",
    "Scenario",
    "Step",
    "Task",
    "TrainingPlan",
    "TrainingSpec",
    "Traits",
    "UserError",
    "check_range",
    "classification_loss",
    "exemplar_capacity",
    "fill_defaults",
    "herding_ranks",
    "select_parameters",
    "tune_on_exemplars",
    "warm_up_head",
]

LAZY = {
    "Batch": "clsuite.data.batch",
    "EvalSplit": "clsuite.scenarios",
    "ExemplarBuffer": "clsuite.data.buffer",
    "GrowingHead": "clsuite.learner.head",
    "Head": "clsuite.learner.head",
    "ImageTable": "clsuite.data.table",
    "Learner": "clsuite.learner.learner",
    "OptimizerSpec": "clsuite.learner.options",
    "Plugin": "clsuite.plugin.base",
    "RehearsalPlugin": "clsuite.plugin.rehearsal",
    "Scenario": "clsuite.scenarios",
    "Step": "clsuite.learner.step",
    "Task": "clsuite.scenarios",
    "TrainingPlan": "clsuite.learner.training_plan",
    "TrainingSpec": "clsuite.learner.options",
    "classification_loss": "clsuite.learner.loss",
    "exemplar_capacity": "clsuite.data.buffer",
    "herding_ranks": "clsuite.data.buffer",
    "select_parameters": "clsuite.learner.rehearsal",
    "tune_on_exemplars": "clsuite.learner.rehearsal",
    "warm_up_head": "clsuite.learner.warmup",
}
"""The module of each name that needs torch."""


__getattr__ = imported_on_use(__name__, LAZY)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
