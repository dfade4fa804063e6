"""The plugin API: a Lightning callback with the few hooks that continual learning needs and Lightning lacks."""

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
    """A method, or a part of one. Every hook is a no-op; all of Lightning's hooks work too.

    The constructor's signature is the configuration: typed, with defaults that are literals or constants. A plugin may
    derive from another one, and has its arguments, traits and hooks then. Modules with parameters are registered with
    ``learner.register_plugin_module(self, name, module)``, which trains, moves, saves and counts them. What else must
    survive an interruption is declared in ``state``.

    Attributes:
        traits: What the method requires, keeps between tasks, and cannot be combined with.
        api: The version of the plugin API that it was written for, a literal; without one, the current version.
        state: Names of the attributes that must survive an interruption. Tensors, numbers, strings, lists and
            dictionaries are saved as they are, other objects by their ``state_dict`` and ``load_state_dict``, and must
            then be there once the stream has started. What a base class declares stays declared.
        registered_modules: Modules that were registered with the learner, by name.
        saved_state: What ``state_dict`` had given, while ``rebuild_modules`` is called; empty at any other time.
    """

    traits: ClassVar[Traits] = Traits()
    api: ClassVar[int] = API_VERSION
    state: ClassVar[tuple[str, ...]] = ()
    registered_modules: Mapping[str, nn.Module] = MappingProxyType({})
    saved_state: Mapping[str, Any] = MappingProxyType({})

    @property
    def state_key(self) -> str:
        """Tells plugins apart for Lightning, which saves none of them: two may have classes of the same name."""
        return f"{type(self).__qualname__}-{id(self)}"

    def on_stream_start(self, learner: Learner, scenario: Scenario) -> None:
        """Prepare the model: freeze, attach modules, make room for what is kept.

        Called once, before the first task; called again when a run is resumed or a model is loaded, where the stream
        has no images.

        Args:
            learner: The model that is about to learn; its head has no classes yet.
            scenario: The stream.
        """

    def rebuild_modules(self, learner: Learner, tasks: int) -> None:
        """Create again the modules that ``on_task_start`` created.

        Called when a run is resumed or a model is loaded, after ``on_stream_start`` and before any state is loaded.
        Modules whose number or shape followed from data are made by ``self.saved_state``, which has what the plugin's
        own ``state_dict`` gave: ``for rank in self.saved_state["ranks"]: ...``

        Args:
            learner: The model.
            tasks: How many tasks had begun.
        """

    def before_task_training(self, learner: Learner, task: Task) -> None:
        """Train anything, by a loop of one's own, before the method begins the task.

        Called when the head has grown, before ``on_task_start`` of any plugin. Take batches from
        ``learner.batches_of``, pass them by ``learner.step_of``, count them by ``learner.count_gradients``. Any weight
        may be made trainable: afterwards ``requires_grad`` of all that was there before, modes and global random states
        are put back, gradients are removed, and kept features are forgotten. The model is in training mode.

        Args:
            learner: The model.
            task: The task that is about to begin.
        """

    def on_task_start(self, learner: Learner, task: Task) -> None:
        """Make ready for a task; new parameters are created here and not later.

        Called when the head has grown and training has not begun.

        Args:
            learner: The model.
            task: The task that begins.
        """

    def plan_training(self, learner: Learner, task: Task, plan: TrainingPlan) -> TrainingPlan:
        """Say how a task, or a round of it, is trained: epochs, optimizer, schedule, and how often.

        Called before each round of a task, after ``on_task_start``, plugin after plugin. Two plugins that decide the
        same differently are refused. ``learner.options`` is what has been planned while the task lasts.

        Args:
            learner: The model.
            task: The task.
            plan: What the benchmark says, or the plugin before this one: ``plan.with_options(epochs=10)`` or
                ``dataclasses.replace(plan, rounds=3)`` are other plans.

        Returns:
            The same plan or another one.
        """
        return plan

    def on_round_end(self, learner: Learner, task: Task, round: int) -> None:
        """Take from a round of a task what is kept of it, or put weights in place for the next one.

        Called when a task has been trained once, before the next round (``plan.rounds``) or ``on_task_end``.

        Args:
            learner: The model.
            task: The task.
            round: The round that ends, from 0.
        """

    def on_stream_end(self, learner: Learner, scenario: Scenario) -> None:
        """Do what is done once, after everything has been learned.

        Called when the last task has ended, before the last evaluation.

        Args:
            learner: The model.
            scenario: The stream; where only its first tasks are learned, these.
        """

    def on_task_end(self, learner: Learner, task: Task) -> None:
        """Take from a task what is kept of it: statistics, importances, exemplars.

        Called when the task has been trained and not yet evaluated.

        Args:
            learner: The model.
            task: The task that ends.
        """

    def on_task_exit(self, learner: Learner, task: Task) -> None:
        """Take out again what was put in place for the evaluation alone, such as other weights.

        Called when the task has been evaluated and another follows, before the checkpoint is written. The last plugin
        of a method is called first, so that what was put in place last is taken out first. After the last task it is
        not called: the model stays as evaluated, and is saved so.

        Args:
            learner: The model.
            task: The task that was evaluated.
        """

    def select_indices(self, learner: Learner, task: Task, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """Choose the training data of a task.

        Called once a task, after ``on_task_start``, plugin after plugin.

        Args:
            learner: The model.
            task: The task.
            indices: Indices of the table, of the task or as the plugin before this one has chosen them.

        Returns:
            Indices of the table to train on; not the given array, written over.
        """
        return indices

    def transform_batch(self, learner: Learner, batch: Batch) -> Batch:
        """Shape a training batch, for example add exemplars to it.

        Called with each training batch on the compute device, plugin after plugin, before augmentation: images are
        uint8.

        Args:
            learner: The model.
            batch: The batch, which stays as it is.

        Returns:
            The same batch or a new one.
        """
        return batch

    def transform_images(self, learner: Learner, images: Tensor) -> Tensor:
        """Transform images in front of the network, in every pass: a learned frame, a filter.

        Called with all images that pass the backbone, plugin after plugin: in training, rehearsal, evaluation, for
        features by row, queries and probes. Parameters of its own are registered as a module and trained with it. What
        an image becomes must not depend on the others of the batch. Features that are kept while nothing is trained are
        forgotten whenever a task begins, ends or is left; where it changes at another moment, call
        ``learner.forget_features()``.

        Args:
            learner: The model.
            images: Float ``[B, 3, H, W]``, augmented in training and normalized; not to be written into.

        Returns:
            Images of the same shape.
        """
        return images

    def on_before_forward(self, learner: Learner, batch: Batch) -> None:
        """Set what the plugin's modules do with a batch.

        Called when a transformed batch is about to pass the backbone, in training, rehearsal or evaluation. Other
        passes (frozen features, probes) do not come by here; a forward hook on the backbone sees all of them.

        Args:
            learner: The model.
            batch: The batch, with normalized images.
        """

    def classification(self, learner: Learner, step: Step) -> Tensor | None:
        """Give the classification loss of a training step, in place of the cross-entropy: margins, temperatures.

        Called at each training step, after the head and before any ``loss``, whose answers are added to this one. At
        most one plugin of a method answers. ``learner.options.loss`` says which classes compete in the benchmark;
        ``classification_loss`` computes the cross-entropy so for any logits.

        Args:
            learner: The model.
            step: The batch with its features and logits.

        Returns:
            A scalar, or None for the benchmark's cross-entropy.
        """
        return None

    def loss(self, learner: Learner, step: Step) -> Tensor | None:
        """Add to the loss of a training step.

        Called at each training step, after the head.

        Args:
            learner: The model.
            step: The batch with its features and logits.

        Returns:
            A scalar that is added to the classification loss, or None.
        """
        return None

    def parameter_groups(self, learner: Learner) -> list[dict[str, Any]] | None:
        """Say what the optimizer trains, with which rates.

        Called in each round of a task, before the optimizer is made. At most one plugin of a method answers.

        Args:
            learner: The model.

        Returns:
            The optimizer's parameter groups, or None for the benchmark's. Besides PyTorch's keys (``params``, ``lr``,
            ``weight_decay``, …) a group may have an ``optimizer`` of its own, a name or keys as a benchmark writes
            them, and a ``schedule``, a name or a function of the `Moment`.
        """
        return None

    def transform_update(self, learner: Learner, updates: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Transform what an optimizer's step does to the weights, for example project it.

        Called after each step, plugin after plugin, in the order of the method. An update is the whole difference that
        the step makes, with momentum, Adam's scaling, learning rate and weight decay. What plugins write into weights
        themselves, such as in ``on_train_batch_end``, is none.

        Args:
            learner: The model; its weights are those after the step.
            updates: By name, of each weight that the step has changed; of its shape, and not to be written into.

        Returns:
            The updates that are other ones, by name; what is left out stays as it is.
        """
        return {}

    def predict(self, learner: Learner, batch: Batch) -> Tensor | None:
        """Answer for a batch in place of the head.

        Called with each batch of an evaluation. At most one plugin of a method answers. The answer for a sample must
        not depend on the other samples of the batch.

        Args:
            learner: The model.
            batch: The batch, with normalized images, or with none where features are frozen.

        Returns:
            Logits ``[B, seen classes]``, or None for those of the head.
        """
        return None

    def lent_buffer(self) -> ExemplarBuffer | None:
        """The exemplars that another plugin of the method may use.

        Called by a plugin that borrows (``traits.borrows``), once the stream has started.

        Returns:
            What stands in ``self.buffer`` where ``traits.lends`` says so; else None.
        """
        buffer: ExemplarBuffer | None = getattr(self, "buffer", None) if self.traits.lends else None
        return buffer

    def stored_bytes(self) -> dict[str, int]:
        """Count what is kept between tasks.

        Called at the end of a run. By default registered modules are counted as ``modules``, and the tensors in
        ``state`` as what ``traits.memory`` names beside these, where that is one kind.

        Returns:
            Bytes by kind; the kinds are those of ``traits.memory``.
        """
        sizes = {"modules": tensor_bytes(list(self.registered_modules.values()))} if self.registered_modules else {}
        others = [kind for kind in self.traits.memory if kind != "modules"]
        names = declared_state(type(self))
        if names and len(others) == 1:
            sizes[others[0]] = tensor_bytes([getattr(self, name) for name in names])
        return sizes

    def state_dict(self) -> dict[str, Any]:
        """Give what must survive an interruption; registered modules are saved with the learner.

        Called after each task.

        Returns:
            By default, what is declared in ``state``, by name.
        """
        return save_state(self)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take back what ``state_dict`` gave.

        Called when a run is resumed or a model is loaded, after ``on_stream_start`` and ``rebuild_modules``.

        Args:
            state_dict: What ``state_dict`` gave.
        """
        load_state(self, state_dict)


def overriding(plugins: Sequence[Plugin], hook: str) -> list[Plugin]:
    """Those plugins whose class has a hook of its own."""
    return [plugin for plugin in plugins if getattr(type(plugin), hook) is not getattr(Plugin, hook)]
