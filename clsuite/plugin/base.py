"""The plugin API: a Lightning callback with additional hooks for continual learning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

import lightning as L
import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from clsuite.plugin.state import declared_state, load_state, save_state, tensor_bytes
from clsuite.plugin.traits import API_VERSION, Traits

if TYPE_CHECKING:
    from clsuite.data.batch import Batch
    from clsuite.data.buffer import ExemplarBuffer
    from clsuite.learner.learner import Learner
    from clsuite.learner.step import Step
    from clsuite.learner.training_plan import TrainingPlan
    from clsuite.scenarios import Scenario, Task


class Plugin(L.Callback):
    """A method, or a part of one. By default, no hook does anything; all hooks of Lightning work too.

    The constructor's signature is the configuration: typed, with defaults that are literals or constants. A plugin may
    derive from another one, and then has its arguments, traits and hooks. Modules with parameters are registered with
    ``learner.register_plugin_module(self, name, module)``, which trains, moves, saves and counts them. Other attributes
    that must survive an interruption are declared in ``state``.

    Attributes:
        traits: What the method requires, keeps between tasks, and cannot be combined with.
        api: The version of the plugin API that it was written for, a literal; without one, the current version.
        state: Names of the attributes that must survive an interruption. Tensors, numbers, strings, lists and
            dictionaries are saved as they are. Other objects are saved by their ``state_dict`` and
            ``load_state_dict``, and must exist once the stream has started. Names of base classes stay declared.
        registered_modules: Modules that were registered with the learner, by name.
        saved_state: The saved result of ``state_dict`` during ``rebuild_modules``; empty at any other time.
    """

    traits: ClassVar[Traits] = Traits()
    api: ClassVar[int] = API_VERSION
    state: ClassVar[tuple[str, ...]] = ()
    registered_modules: Mapping[str, nn.Module] = MappingProxyType({})
    saved_state: Mapping[str, Any] = MappingProxyType({})

    @property
    def state_key(self) -> str:
        """A unique key for Lightning, which saves no plugin: two plugins may have classes of the same name."""
        return f"{type(self).__qualname__}-{id(self)}"

    def on_stream_start(self, learner: Learner, scenario: Scenario) -> None:
        """Prepare the model: freeze parameters, attach modules, create buffers.

        Called once, before the first task, and again when a run is resumed or a model is loaded; the stream of a loaded
        model has no images.

        Args:
            learner: The model before training; its head has no classes yet.
            scenario: The stream.
        """

    def rebuild_modules(self, learner: Learner, tasks: int) -> None:
        """Recreate the modules that ``on_task_start`` created.

        Called when a run is resumed or a model is loaded, after ``on_stream_start`` and before any state is loaded.
        If the number or shape of modules depends on the data, ``self.saved_state`` has the saved result of the plugin's
        ``state_dict``: ``for rank in self.saved_state["ranks"]: ...``

        Args:
            learner: The model.
            tasks: Number of tasks that had begun.
        """

    def before_task_training(self, learner: Learner, task: Task) -> None:
        """Train with a loop of the plugin's own before the method begins the task.

        Called when the head has grown, before ``on_task_start`` of any plugin. Get batches from ``learner.batches_of``,
        run them through the model with ``learner.step_of``, and count them with ``learner.count_gradients``. Any weight
        may be made trainable: afterwards, ``requires_grad`` of all earlier parameters, modes and global random states
        are restored, gradients are removed, and cached features are discarded. The model is in training mode.

        Args:
            learner: The model.
            task: The task that is about to begin.
        """

    def on_task_start(self, learner: Learner, task: Task) -> None:
        """Prepare for a task; new parameters must be created here and not later.

        Called when the head has grown and training has not begun.

        Args:
            learner: The model.
            task: The task that begins.
        """

    def plan_training(self, learner: Learner, task: Task, plan: TrainingPlan) -> TrainingPlan:
        """Decide how a task, or a round of it, is trained: epochs, optimizer, schedule and number of rounds.

        Called before each round of a task, after ``on_task_start``, plugin after plugin. Plugins that make conflicting
        decisions are refused. During the task, ``learner.options`` has the planned options.

        Args:
            learner: The model.
            task: The task.
            plan: The plan of the benchmark, or of the previous plugin. Change it with ``plan.with_options(epochs=10)``
                or ``dataclasses.replace(plan, rounds=3)``.

        Returns:
            The same plan or a new one.
        """
        return plan

    def on_round_end(self, learner: Learner, task: Task, round: int) -> None:
        """Store what a round of a task has produced, or set weights for the next round.

        Called after each round of a task, before the next one (``plan.rounds``) or ``on_task_end``.

        Args:
            learner: The model.
            task: The task.
            round: Number of the round that ends, from 0.
        """

    def on_stream_end(self, learner: Learner, scenario: Scenario) -> None:
        """Finish the method after all tasks have been trained.

        Called once, after the end of the last task and before the last evaluation.

        Args:
            learner: The model.
            scenario: The stream; only its first tasks if the run is limited to these.
        """

    def on_task_end(self, learner: Learner, task: Task) -> None:
        """Store what is kept of a task: statistics, importances, exemplars.

        Called after the training of the task and before its evaluation.

        Args:
            learner: The model.
            task: The task that ends.
        """

    def on_task_exit(self, learner: Learner, task: Task) -> None:
        """Undo changes that were made only for the evaluation, such as replaced weights.

        Called after the evaluation of a task if another task follows, before the checkpoint is written. The plugins of
        a method are called in reverse order, so that the last change is undone first. It is not called after the last
        task: the model is saved as it was evaluated.

        Args:
            learner: The model.
            task: The task that was evaluated.
        """

    def select_indices(self, learner: Learner, task: Task, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """Choose the training data of a task.

        Called once for each task, after ``on_task_start``, plugin after plugin.

        Args:
            learner: The model.
            task: The task.
            indices: Indices into the table: all samples of the task, or those that the previous plugin has chosen.

        Returns:
            Indices of the samples to train on. The given array must not be modified.
        """
        return indices

    def transform_batch(self, learner: Learner, batch: Batch) -> Batch:
        """Transform a training batch, for example add exemplars to it.

        Called with each training batch on the compute device, plugin after plugin. Images are uint8 and not augmented
        yet.

        Args:
            learner: The model.
            batch: The batch, which must not be modified.

        Returns:
            The same batch or a new one.
        """
        return batch

    def transform_images(self, learner: Learner, images: Tensor) -> Tensor:
        """Transform images before they enter the network, for example by a learned frame or a filter.

        Called with all images that enter the backbone, plugin after plugin: in training, rehearsal, evaluation, for
        cached features, queries and probes. Its parameters are registered as a module and trained with it. The result
        for an image must not depend on other images of the batch. Cached features of a frozen model are discarded
        whenever a task begins, ends or is left; if the transformation changes at another moment, call
        ``learner.forget_features()``.

        Args:
            learner: The model.
            images: Float ``[B, 3, H, W]``, normalized, and augmented in training; must not be modified.

        Returns:
            Images of the same shape.
        """
        return images

    def on_before_forward(self, learner: Learner, batch: Batch) -> None:
        """Configure the plugin's modules for a batch.

        Called before the backbone's forward pass of a transformed batch, in training, rehearsal or evaluation. It is
        not called for other passes (cached features, probes); a forward hook on the backbone sees all of them.

        Args:
            learner: The model.
            batch: The batch, with normalized images.
        """

    def classification(self, learner: Learner, step: Step) -> Tensor | None:
        """Compute the classification loss of a training step instead of the cross-entropy: margins, temperatures.

        Called at each training step, after the head and before any ``loss``, whose results are added to this one. At
        most one plugin of a method may have this hook. ``learner.options.loss`` says which classes compete in the
        benchmark; ``classification_loss`` computes this cross-entropy for any logits.

        Args:
            learner: The model.
            step: The batch with its features and logits.

        Returns:
            A scalar, or None for the benchmark's cross-entropy.
        """
        return None

    def loss(self, learner: Learner, step: Step) -> Tensor | None:
        """Compute an additional loss of a training step.

        Called at each training step, after the head.

        Args:
            learner: The model.
            step: The batch with its features and logits.

        Returns:
            A scalar that is added to the classification loss, or None.
        """
        return None

    def parameter_groups(self, learner: Learner) -> list[dict[str, Any]] | None:
        """Define the parameter groups of the optimizer and their learning rates.

        Called in each round of a task, before the optimizer is created. At most one plugin of a method may have this
        hook.

        Args:
            learner: The model.

        Returns:
            The parameter groups, or None for the benchmark's. Besides PyTorch's keys (``params``, ``lr``,
            ``weight_decay``, …) a group may have its own ``optimizer``, as a name or with keys as in a benchmark, and
            its own ``schedule``, as a name or a function of the `Moment`.
        """
        return None

    def transform_update(self, learner: Learner, updates: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Transform the updates of an optimizer's step, for example project them.

        Called after each step, plugin after plugin, in the order of the method. An update is the whole change of a
        weight in the step, with momentum, Adam's scaling, learning rate and weight decay. Changes that plugins make
        themselves, such as in ``on_train_batch_end``, are not included.

        Args:
            learner: The model with the weights after the step.
            updates: The update of each changed weight, by name, in the weight's shape; must not be modified.

        Returns:
            The updates to replace, by name; the others stay as they are.
        """
        return {}

    def predict(self, learner: Learner, batch: Batch) -> Tensor | None:
        """Predict for a batch instead of the head.

        Called with each batch of an evaluation. At most one plugin of a method may have this hook. The prediction for a
        sample must not depend on the other samples of the batch. With ``traits.open_vocabulary`` it has all classes of
        the stream, ``[B, learner.scenario.stream_classes]``.

        Args:
            learner: The model.
            batch: The batch, with normalized images, or without images if features are frozen.

        Returns:
            Logits ``[B, seen classes]``, or None to use those of the head.
        """
        return None

    def lent_buffer(self) -> ExemplarBuffer | None:
        """Return the exemplars that another plugin of the method may use.

        Called by a plugin with ``traits.borrows``, once the stream has started.

        Returns:
            ``self.buffer`` if ``traits.lends`` is set, else None.
        """
        buffer: ExemplarBuffer | None = getattr(self, "buffer", None) if self.traits.lends else None
        return buffer

    def stored_bytes(self) -> dict[str, int]:
        """Count the bytes that are kept between tasks.

        Called at the end of a run. By default, registered modules are counted as ``modules``, and the tensors in
        ``state`` as the other kind in ``traits.memory``, if there is only one.

        Returns:
            Bytes by kind, with the kinds of ``traits.memory``.
        """
        sizes = {"modules": tensor_bytes(list(self.registered_modules.values()))} if self.registered_modules else {}
        others = [kind for kind in self.traits.memory if kind != "modules"]
        names = declared_state(type(self))
        if names and len(others) == 1:
            sizes[others[0]] = tensor_bytes([getattr(self, name) for name in names])
        return sizes

    def state_dict(self) -> dict[str, Any]:
        """Return the state that must survive an interruption; registered modules are saved with the learner.

        Called after each task.

        Returns:
            By default, the attributes declared in ``state``, by name.
        """
        return save_state(self)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state.

        Called when a run is resumed or a model is loaded, after ``on_stream_start`` and ``rebuild_modules``.

        Args:
            state_dict: The result of ``state_dict``.
        """
        load_state(self, state_dict)


def overriding(plugins: Sequence[Plugin], hook: str) -> list[Plugin]:
    """The plugins whose class overrides a hook."""
    return [plugin for plugin in plugins if getattr(type(plugin), hook) is not getattr(Plugin, hook)]
