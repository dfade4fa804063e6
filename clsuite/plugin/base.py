"""The plugin API: a Lightning callback with the few hooks that continual learning needs and Lightning lacks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import lightning as L
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from clsuite.plugin.traits import API_VERSION, Traits

if TYPE_CHECKING:
    from clsuite.data.batch import Batch
    from clsuite.learner.learner import Learner, Step
    from clsuite.scenarios import Scenario, Task


class Plugin(L.Callback):
    """A method, or a part of one. Every hook is a no-op; all of Lightning's hooks work too.

    The constructor's signature is the configuration: typed, with defaults that are literals or constants. A plugin may
    derive from another one, and has its arguments, traits and hooks then. What must survive an interruption goes
    through ``state_dict`` and ``load_state_dict`` (tensors, numbers, strings, lists and dicts). Modules with
    parameters are registered with ``learner.register_plugin_module(self, name, module)``.

    Attributes:
        traits: What the method requires, keeps between tasks, and cannot be combined with.
        api: The version of the plugin API that it was written for, a literal; without one, the current version.
    """

    traits: ClassVar[Traits] = Traits()
    api: ClassVar[int] = API_VERSION

    def on_stream_start(self, learner: Learner, scenario: Scenario) -> None:
        """Prepare the model, once, before the first task; also called when a run is resumed or a model is loaded."""

    def rebuild_modules(self, learner: Learner, tasks: int) -> None:
        """Create again the modules that ``on_task_start`` created for the first `tasks` tasks.

        Called on resume and on load, after ``on_stream_start`` and before any state is loaded.
        """

    def on_task_start(self, learner: Learner, task: Task) -> None:
        """The head has grown; training has not begun. New parameters are created here and not later."""

    def on_task_end(self, learner: Learner, task: Task) -> None:
        """The task has been trained and not yet evaluated."""

    def on_task_exit(self, learner: Learner, task: Task) -> None:
        """The task has been evaluated and another follows; the checkpoint is written afterwards.

        The last plugin goes first, so that what was put in place last is taken out first. Here a plugin that puts other
        weights in place for the evaluation (in ``on_task_end``) takes them out again.
        After the last task it stays as evaluated, and is saved so.
        """

    def select_indices(self, learner: Learner, task: Task, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """Shape the training data: return the indices of the table to train on. Plugins answer one after another."""
        return indices

    def transform_batch(self, learner: Learner, batch: Batch) -> Batch:
        """Shape the batch, on the device, before augmentation (images uint8). Return a new one; never write into it."""
        return batch

    def on_before_forward(self, learner: Learner, batch: Batch) -> None:
        """A transformed batch is about to pass the backbone, in training, rehearsal or evaluation.

        Other passes (frozen features, probes) do not come by here; a forward hook on the backbone sees all of them.
        """

    def loss(self, learner: Learner, step: Step) -> Tensor | None:
        """Return a scalar that is added to the cross-entropy, or None."""
        return None

    def parameter_groups(self, learner: Learner) -> list[dict[str, Any]] | None:
        """Return the optimizer's parameter groups. At most one plugin of a method answers."""
        return None

    def predict(self, learner: Learner, batch: Batch) -> Tensor | None:
        """Return logits ``[B, seen classes]`` in place of the head's. At most one plugin of a method answers.

        The answer for a sample must not depend on the other samples of the batch.
        """
        return None

    def stored_bytes(self) -> dict[str, int]:
        """Bytes kept between tasks, by kind; the kinds are those of ``traits.memory``."""
        return {}
