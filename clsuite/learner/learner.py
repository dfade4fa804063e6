"""The learner: backbone, growing head and plugins in one LightningModule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from clsuite.backbones.slow_kernels import avoid_slow_kernels
from clsuite.backbones.vit import Backbone
from clsuite.data.augment import augment
from clsuite.data.batch import Batch
from clsuite.data.columns import TARGETS, WEIGHTS
from clsuite.errors import UserError
from clsuite.learner.features import FeatureStore
from clsuite.learner.finite import check_loss
from clsuite.learner.free_training import train_before
from clsuite.learner.heads import choose_towers, make_head
from clsuite.learner.image_gate import ImageGate
from clsuite.learner.loss import classification_loss
from clsuite.learner.optimizer import OptimizerPolicy
from clsuite.learner.options import TrainingSpec
from clsuite.learner.parts import encode_in_parts, refuse_batch_statistics
from clsuite.learner.precision import has_slow_kernels
from clsuite.learner.step import Step
from clsuite.learner.together import Together
from clsuite.learner.tools import LearnerTools, trained_entries
from clsuite.learner.training_plan import TrainingPlan, make_plan
from clsuite.learner.updates import Updates
from clsuite.plugin.base import Plugin, overriding
from clsuite.scenarios import Scenario, Task, check_competing, check_single_pass

__all__ = ["Learner", "Step"]


class Learner(LearnerTools):
    """A model that learns one task after another.

    Attributes:
        backbone: The pre-trained network.
        head: The growing head.
        plugins: The plugins of the method, in order.
        options: Training options of the current task: those of the benchmark, or as planned by plugins.
        plan: Training plan of the current round of the task.
        trained_before: Whether plugins had backward passes in their own loops before the task.
        earlier_steps: Optimizer steps of the earlier rounds of the task.
        scenario: The stream; set by `start`.
        task: The current task; None before the first.
        gradient_samples: Number of samples with a backward pass since the task began.
        own_loops: Calls of `batches_of` since the task began.
        own_trained: Largest number of parameters that rounds or plugins' loops have trained since the task began.
        log_to: Receives the values that plugins log; set by the stream.
        together: The processes that train together; None for a single process.
        feature_source: The source of features; set by the stream before it starts the learner.
        data_root: Folder in which files that plugins name are searched, besides the current one; set by the run.
    """

    def __init__(self, backbone: Backbone, options: TrainingSpec, plugins: Sequence[Plugin], seed: int) -> None:
        """Create a learner; `start` prepares it for a stream."""
        choose_towers(backbone, options)
        super().__init__(backbone, make_head(backbone, options), options, plugins, seed)
        self.plan, self.earlier_steps, self.trained_before = TrainingPlan(options), 0, False
        self.optimizer_policy = OptimizerPolicy(options)
        self.together: Together | None = None
        self._updates: Updates | None = None
        self._gate: ImageGate | None = None

    # -- stages of a stream ---------------------------------------------------------------------------------------

    def start(self, scenario: Scenario) -> None:
        """Prepare for a stream with the hooks of the plugins.

        Raises:
            UserError: If a plugin refuses, or masks the weights of a backbone that another one has frozen.
        """
        self.scenario = scenario
        self.store = FeatureStore(scenario, self.feature_source)
        self.head.begin(scenario.class_names)
        if has_slow_kernels(self.options.precision, self.device):
            avoid_slow_kernels(self.backbone)
        for plugin in self.plugins:
            plugin.on_stream_start(self, scenario)
        transforming = overriding(self.plugins, "transform_images")
        self._gate = ImageGate(self, transforming) if transforming else None
        if self.frozen and any("masks" in plugin.traits.memory for plugin in self.plugins):
            raise UserError(
                f"[{', '.join(type(plugin).__name__ for plugin in self.plugins)}] cannot be combined: "
                "the backbone is frozen, so there are no weights for masks to choose from"
            )

    def leave_backbone(self) -> None:
        """Remove image transformations from the backbone, which another learner will use."""
        if self._gate is not None:
            self._gate.open()

    def begin_task(self, task: Task, may_train: bool = True) -> None:
        """Grow the head by the task's new classes and let the plugins begin.

        Args:
            task: The task.
            may_train: Whether plugins may train before it, which is not so for the evaluation before the stream.

        Raises:
            UserError: If batches would be split although the network normalizes by their statistics.
        """
        self.task, self.gradient_samples, self.own_loops, self.own_trained = task, 0, 0, 0
        self.options = self._options_of(task, len(task.train))
        self.plan, self.earlier_steps = TrainingPlan(self.options), 0
        self._tasks_begun = task.index + 1
        self._augment_generator = torch.Generator().manual_seed(self.seed_for("augment", task.index, "augment"))
        wanted = len(self.scenario.classes) if self.options.head_classes == "stream" else self.seen
        new = wanted - self.head.classes
        if new > 0:
            self.head.grow(new, torch.Generator().manual_seed(self.seed_for("head", "head", task.index)))
            self.head.to(self.device)
        self.trained_before = may_train and train_before(self, overriding(self.plugins, "before_task_training"), task)
        if not self.trains_by_gradient(task):
            self.requires_grad_(False)
        for plugin in self.plugins:
            plugin.on_task_start(self, task)
        self._forget_transformed()
        self.backbone.hold_statistics()
        for splits, by in ((self.options.accumulate > 1, "training.accumulate"), (self.together, "--devices")):
            if splits:
                refuse_batch_statistics(self.modules(), by)

    def _options_of(self, task: Task, images: int) -> TrainingSpec:
        """The benchmark's options for a task with some number of training images."""
        return self._benchmark_options.of_task(task.name).for_images(images, self.scenario.batch_repeats)

    def begin_round(self, task: Task, round: int, images: int) -> None:
        """Let the plugins plan a round of a task, and use this plan from now on.

        Args:
            task: The task.
            round: Number of the round, from 0.
            images: Number of its training images.

        Raises:
            UserError: If the plans of two plugins conflict, they plan several passes over a single-pass stream, or a
                local loss for a single class, or nothing is trained but a first task of a single class.
        """
        first = TrainingPlan(self._options_of(task, images), self.plan.rounds if round else 1, round)
        plan = make_plan(self, overriding(self.plugins, "plan_training"), task, first)
        options = plan.options.for_images(images, self.scenario.batch_repeats)
        self.plan = replace(plan, options=options, rounds=self.plan.rounds if round else plan.rounds)
        self.options = options
        from_memory = any(plugin.traits.from_memory for plugin in self.plugins)
        check_single_pass(self.scenario.kind, self.options.epochs * self.plan.rounds, from_memory)
        if self.options.loss == "local":
            check_competing(task)
        for plugin in self.plugins if self.options.head_classes == "seen" and task.index == 0 else ():
            if plugin.traits.first_session:
                check_competing(task, trained_on=type(plugin).__name__)
        self.own_trained = max(self.own_trained, trained_entries(self))
        if round:
            self.optimizer_policy.forget()
            seed = self.seed_for("augment", task.index, "augment", round)
            self._augment_generator = torch.Generator().manual_seed(seed)

    def end_round(self, task: Task, steps: int) -> None:
        """Let the plugins end a round.

        Args:
            task: The task.
            steps: Number of optimizer steps of the round.
        """
        self.earlier_steps += steps
        if not self.frozen:
            self.store.clear()
        for plugin in self.plugins:
            plugin.on_round_end(self, task, self.plan.round)

    def end_task(self, task: Task) -> None:
        """Let the plugins end the task."""
        if not self.frozen:
            self.store.clear()
        for plugin in self.plugins:
            plugin.on_task_end(self, task)
        self._forget_transformed()

    def end_stream(self) -> None:
        """Let the plugins end the stream, after all training and before the last evaluation."""
        ending = overriding(self.plugins, "on_stream_end")
        for plugin in ending:
            plugin.on_stream_end(self, self.scenario)
        if ending:
            self.store.clear()

    def leave_task(self, task: Task) -> None:
        """Let the plugins leave the task, in reverse order, so that the last change is undone first."""
        for plugin in reversed(self.plugins):
            plugin.on_task_exit(self, task)
        self._forget_transformed()

    def _forget_transformed(self) -> None:
        """Discard the features of transformed images: the transformation may have changed."""
        if self._gate is not None:
            self.forget_features()

    def restore(self, tasks: int, head_sizes: Sequence[int], states: Sequence[Mapping[str, Any]] = ()) -> None:
        """Recreate the modules of the first tasks, so that a saved state fits.

        Args:
            tasks: Number of tasks that had begun.
            head_sizes: Number of classes of each group of the head.
            states: The saved states of the plugins, which they can use meanwhile.
        """
        self._tasks_begun = tasks
        for size in head_sizes:
            self.head.grow(size, torch.Generator())
        self.head.to(self.device)
        for plugin, state in zip(self.plugins, states or [{} for _ in self.plugins], strict=True):
            plugin.saved_state = MappingProxyType(state)
            plugin.rebuild_modules(self, tasks)
            del plugin.saved_state

    # -- passes through the model ---------------------------------------------------------------------------------

    def encode(self, batch: Batch) -> Tensor:
        """Compute features ``[B, width]`` of a transformed batch; they are looked up if the batch has no images."""
        if batch.images is None:
            return self.store.lookup(batch.indices)
        for plugin in self.plugins:
            plugin.on_before_forward(self, batch)
        features: Tensor = self.backbone(batch.images)
        return features

    def rehearse(self, batch: Batch, exact: bool = False) -> Step:
        """Run exemplars through the model with gradients, after augmentation and normalization.

        Args:
            batch: The exemplars (``buffer.batch``).
            exact: As of `step_of`.
        """
        batch = batch.to(self.device)
        if batch.images is not None:
            images = augment(self.options.augment, batch.images, self._augment_generator)
            batch = batch.with_images(self.backbone.normalize(images))
        with self._precision(exact):
            features = self.encode(batch)
            return Step(batch, features, self.head(features))

    def step_of(self, batch: Batch, exact: bool = False) -> Step:
        """Run a batch of `batches_of` through the model with gradients, in the run's precision.

        It is split into ``training.accumulate`` parts for the backbone. If several processes train together, each of
        them computes the whole batch.

        Args:
            batch: The batch.
            exact: Whether to compute in 32 bits, whatever the run's precision: gradients that no scaler scales vanish
                in ``16``.
        """
        with self._precision(exact):
            features = self.encode(batch) if batch.images is None else self._encode_parts(batch)
            return Step(batch, features, self.head(features))

    def _precision(self, exact: bool) -> AbstractContextManager[Any]:
        return torch.autocast(self.device.type, enabled=False) if exact else self.autocast()

    def forward(self, images: Tensor) -> Tensor:
        """Map normalized images ``[B, 3, H, W]`` to the head's logits ``[B, seen classes]``."""
        logits: Tensor = self.head(self.backbone(images))
        return logits

    # -- Lightning ------------------------------------------------------------------------------------------------

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        """Move a batch to a device."""
        return batch.to(device)

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Let plugins transform a training batch, then augment and normalize it on the device."""
        if self.trainer.training:
            for plugin in self.plugins:
                batch = plugin.transform_batch(self, batch)
        if batch.images is None:
            return batch
        images = batch.images
        if self.trainer.training:
            images = augment(self.options.augment, images, self._augment_generator)
        return batch.with_images(self.backbone.normalize(images))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Compute the classification loss, by default the cross-entropy, plus the losses of the plugins.

        Raises:
            UserError: If the loss is not finite; names the task, epoch and step.
        """
        features = self._encode_to_learn(batch)
        step = Step(batch, features, self.head(features))
        loss = self.classification_of(step)
        for plugin in self.plugins:
            extra = plugin.loss(self, step)
            if extra is not None:
                loss = loss + extra
        if self._checks_loss(batch_idx):
            check_loss(loss, features, self.task, self.current_epoch, batch_idx)
        self.gradient_samples += len(batch)
        return loss

    def classification_of(self, step: Step) -> Tensor:
        """The classification loss of a step: that of a plugin, or else the benchmark's cross-entropy."""
        assert self.task is not None
        for plugin in self.plugins:
            own = plugin.classification(self, step)
            if own is not None:
                return own
        weights, targets = (step.batch.columns.get(name) for name in (WEIGHTS, TARGETS))
        options, labels = self.options, step.batch.labels
        return classification_loss(
            step.logits, labels, options.loss, self.task.classes, weights, targets, options.label_smoothing
        )

    def backward(self, loss: Tensor, *args: Any, **words: Any) -> None:
        """Compute the gradients, averaged over all processes that train together."""
        super().backward(loss, *args, **words)
        if self.together is not None:
            self.together.mean_gradients(self.parameters())

    def test_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return logits in float32: ``[B, seen classes]``, or of all classes of the stream with an open vocabulary."""
        return self._predict(batch, self.scenario.stream_classes if self.open_vocabulary else self.seen)

    def predict_logits(self, batch: Batch) -> Tensor:
        """Return the logits ``[B, seen classes]`` of a plugin or the head for a transformed batch.

        If the head has all classes from the start, only seen ones compete.
        """
        return self._predict(batch, self.seen)

    def _predict(self, batch: Batch, classes: int) -> Tensor:
        """Return the logits ``[B, classes]`` of the stream's first classes.

        Raises:
            UserError: If a plugin with an open vocabulary does not predict all classes of the stream.
        """
        for plugin in self.plugins:
            logits = plugin.predict(self, batch)
            if logits is not None:
                if plugin.traits.open_vocabulary and logits.shape[1] < self.scenario.stream_classes:
                    raise UserError(
                        f"plugin {type(plugin).__name__} predicts {logits.shape[1]} classes, but with "
                        f"traits.open_vocabulary it must predict all {self.scenario.stream_classes} of the stream"
                    )
                return logits[:, :classes].float()
        features = self.encode(batch)
        answer = self.head.by_name(features, classes) if self.head.open_vocabulary else self.head(features)
        return answer[:, :classes].float()

    def configure_optimizers(self) -> Any:
        """Create the optimizer and its schedule for the current task."""
        groups = [answer for plugin in self.plugins if (answer := plugin.parameter_groups(self)) is not None]
        steps = int(self.trainer.estimated_stepping_batches)
        configured = self.optimizer_policy.configure(self, groups[0] if groups else None, steps, self.plan)
        transforming = overriding(self.plugins, "transform_update")
        self._updates = Updates(self, transforming) if transforming else None
        if self._updates is not None:
            configured["optimizer"].register_step_post_hook(self._updates.after)
        return configured

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Store the weights before a step whose update plugins transform, after the gradient hooks of plugins."""
        if self._updates is not None:
            self._updates.before(optimizer)

    def on_train_end(self) -> None:
        """Store the optimizer's state if the next task continues with it."""
        optimizer = self.optimizers()
        self.optimizer_policy.keep(self, optimizer.optimizer)  # type: ignore[union-attr]

    def _encode_to_learn(self, batch: Batch) -> Tensor:
        """Compute features of a training batch, split over the processes and into the parts of the options."""
        if batch.images is None:
            return self.encode(batch)
        return self._encode_parts(batch) if self.together is None else self.together.encode(self._encode_parts, batch)

    def _encode_parts(self, batch: Batch) -> Tensor:
        if self.options.accumulate == 1:
            return self.encode(batch)
        return encode_in_parts(self.encode, batch, self.options.accumulate)

    def _checks_loss(self, batch_idx: int) -> bool:
        """Whether to check the loss of a step, which waits for a GPU."""
        return self.device.type == "cpu" or batch_idx % 25 == 0 or bool(self.trainer.is_last_batch)
