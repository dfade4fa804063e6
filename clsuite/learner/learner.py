"""The learner: backbone, growing head and plugins in one LightningModule."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import lightning as L
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from clsuite.backbones.slow_kernels import avoid_slow_kernels
from clsuite.backbones.vit import Backbone
from clsuite.data.augment import augment
from clsuite.data.batch import Batch
from clsuite.data.on_device import moved
from clsuite.data.stable_random import derive_seed
from clsuite.errors import UserError
from clsuite.learner.features import FeatureStore, Source, computed_here
from clsuite.learner.finite import check_features, check_loss
from clsuite.learner.heads import choose_towers, make_head
from clsuite.learner.loss import classification_loss
from clsuite.learner.optimizer import OptimizerPolicy
from clsuite.learner.options import TrainingSpec
from clsuite.learner.parts import encode_in_parts, refuse_batch_statistics
from clsuite.learner.precision import autocast, has_slow_kernels
from clsuite.learner.together import Together
from clsuite.plugin.base import Plugin
from clsuite.plugin.traits import Scores
from clsuite.scenarios import Scenario, Task


def _unheard(name: str, value: Any) -> None:
    """Where no stream keeps curves."""


@dataclass(frozen=True)
class Step:
    """One training step as the loss hooks see it.

    Attributes:
        batch: The batch, its images transformed (None while frozen features are used).
        features: ``[B, width]``.
        logits: ``[B, seen classes]``, of the head; ``[B, classes of the stream]`` where it has all of them from the
            start (``training.head_classes: stream``).
    """

    batch: Batch
    features: Tensor
    logits: Tensor


class Learner(L.LightningModule):
    """A model that learns one task after another.

    Attributes:
        backbone: The pre-trained network.
        head: The growing head.
        plugins: The method, in order.
        options: How tasks are trained.
        scenario: The stream; set by `start`.
        task: The current task; None before the first.
        gradient_samples: Samples that passed backwards since the task began.
        log_to: Gets what plugins log; the stream sets it.
        together: The processes that learn together; None where one learns alone.
        feature_source: Where features of the table's rows come from; the stream sets it before it starts the learner.
    """

    def __init__(self, backbone: Backbone, options: TrainingSpec, plugins: Sequence[Plugin], seed: int) -> None:
        """Put a learner together; `start` makes it ready for a stream."""
        super().__init__()
        self.backbone = backbone
        choose_towers(backbone, options)
        self.head = make_head(backbone, options)
        self.plugin_modules = nn.ModuleDict()
        self.plugins = tuple(plugins)
        self.options = options
        self.seed = seed
        self.optimizer_policy = OptimizerPolicy(options)
        self.task: Task | None = None
        self.gradient_samples = 0
        self.log_to: Callable[[str, Any], None] = _unheard
        self.together: Together | None = None
        self.feature_source: Source = computed_here
        self._tasks_begun = 0
        self._module_owners: dict[str, Plugin] = {}

    # -- the life of a stream -------------------------------------------------------------------------------------

    def start(self, scenario: Scenario) -> None:
        """Prepare for a stream: every plugin prepares the model.

        Raises:
            UserError: If a plugin refuses, or masks the weights of a backbone that another one has frozen.
        """
        self.scenario = scenario
        self.store = FeatureStore(scenario, self.feature_source)
        self.head.begin(scenario.classes)
        if has_slow_kernels(self.options.precision, self.device):
            avoid_slow_kernels(self.backbone)
        for plugin in self.plugins:
            plugin.on_stream_start(self, scenario)
        if self.frozen and any("masks" in plugin.traits.memory for plugin in self.plugins):
            raise UserError(
                f"[{', '.join(type(plugin).__name__ for plugin in self.plugins)}] cannot be combined: "
                "the backbone is frozen, so there are no weights for masks to choose from"
            )

    def begin_task(self, task: Task) -> None:
        """Grow the head by the task's new classes and let the plugins begin.

        Raises:
            UserError: If batches are to be taken apart, and the network normalizes by them.
        """
        self.task, self.gradient_samples = task, 0
        self._tasks_begun = task.index + 1
        self._augment_generator = torch.Generator().manual_seed(derive_seed(self.seed, task.index, "augment"))
        wanted = len(self.scenario.classes) if self.options.head_classes == "stream" else self.seen
        new = wanted - self.head.classes
        if new > 0:
            self.head.grow(new, torch.Generator().manual_seed(derive_seed(self.seed, "head", task.index)))
            self.head.to(self.device)
        if not self.trains_by_gradient(task):
            self.requires_grad_(False)
        for plugin in self.plugins:
            plugin.on_task_start(self, task)
        self.backbone.hold_statistics()
        for taken_apart, by in ((self.options.accumulate > 1, "training.accumulate"), (self.together, "--devices")):
            if taken_apart:
                refuse_batch_statistics(self.modules(), by)

    def end_task(self, task: Task) -> None:
        """Let the plugins end the task."""
        if not self.frozen:
            self.store.clear()
        for plugin in self.plugins:
            plugin.on_task_end(self, task)

    def leave_task(self, task: Task) -> None:
        """Let the plugins make ready for the next task, the last first: what was put aside last is taken back first."""
        for plugin in reversed(self.plugins):
            plugin.on_task_exit(self, task)

    def restore(self, tasks: int, head_sizes: Sequence[int]) -> None:
        """Create again what the first tasks created, so that saved state fits."""
        self._tasks_begun = tasks
        for size in head_sizes:
            self.head.grow(size, torch.Generator())
        self.head.to(self.device)
        for plugin in self.plugins:
            plugin.rebuild_modules(self, tasks)

    # -- what plugins use -----------------------------------------------------------------------------------------

    def register_plugin_module(self, plugin: Plugin, name: str, module: nn.Module) -> None:
        """Register a plugin's module: trained, moved and saved with the learner.

        Raises:
            UserError: If a plugin of another file, whose class has the same name, has a module of that name.
        """
        key = f"{type(plugin).__name__}_{name}"
        if self._module_owners.setdefault(key, plugin) is not plugin:
            raise UserError(
                f"two plugins called {type(plugin).__name__} register a module '{name}': one would overwrite the "
                "other's; give the class of one of them another name"
            )
        self.plugin_modules[key] = module.to(self.device)
        plugin.registered_modules = {**plugin.registered_modules, name: module}

    def generator(self, *purpose: str | int, device: torch.device | str = "cpu") -> torch.Generator:
        """A source of random draws that follows from the seed, the task and the purpose alone.

        Args:
            purpose: What is drawn, in words and numbers; each purpose has draws of its own.
            device: Where is drawn. On the CPU draws are the same on every machine; buffers need it there.
        """
        task = -1 if self.task is None else self.task.index
        return torch.Generator(device=device).manual_seed(derive_seed(self.seed, task, *purpose))

    @property
    def device(self) -> torch.device:
        """Where the model computes: the device of the backbone, also before a trainer has moved the learner."""
        return next(self.backbone.parameters()).device

    @property
    def seen(self) -> int:
        """Number of classes seen up to the current task; of a loaded model, all that it learned."""
        return self.scenario.seen_classes(self._tasks_begun)

    @property
    def scores(self) -> Scores:
        """What `predict_logits` gives: what the plugin that answers says, or the logits of the head."""
        answering = [plugin for plugin in self.plugins if type(plugin).predict is not Plugin.predict]
        return answering[0].traits.scores if answering else "logits"

    @property
    def has_own_features(self) -> bool:
        """Whether what the backbone gives is its own kind of feature, which its pre-trained head was made to read."""
        return not any(getattr(module, "replaces_features", False) for module in self.plugin_modules.modules())

    @property
    def frozen(self) -> bool:
        """Whether the features are fixed: nothing in the backbone or in a plugin's module is trained."""
        trained = (*self.backbone.parameters(), *self.plugin_modules.parameters())
        return not any(parameter.requires_grad for parameter in trained)

    def trains_by_gradient(self, task: Task) -> bool:
        """Whether a task is trained by gradient steps; gradient-free methods at most do so in a first session."""
        traits = [plugin.traits for plugin in self.plugins]
        first = task.index == 0 and any(trait.first_session for trait in traits)
        return first or not any(trait.gradient_free for trait in traits)

    @property
    def uses_cached_features(self) -> bool:
        """Whether training needs no images: the features are fixed and nothing is augmented."""
        return self.frozen and not self.options.augment

    def features_of(self, indices: NDArray[np.int64]) -> Tensor:
        """Features ``[len(indices), width]`` at indices of the table: no augmentation, no gradient; kept while frozen.

        Raises:
            UserError: If one is not finite; says in which task, and of which part.
        """
        with self.autocast():
            if self.frozen:
                self.store.add(self.backbone, indices)
                features = self.store.lookup(torch.from_numpy(indices))
            else:
                features = self.feature_source(self.backbone, self.scenario.table, indices)
        check_features(features, self.scenario.table.is_test[indices], self.task)
        return features

    def have_features(self, rows: NDArray[np.int64], batch_size: int) -> bool:
        """Have the features of rows at hand for an evaluation of them, unless it must compute them.

        Args:
            rows: Rows of the table, in the order of the evaluation.
            batch_size: Images of its batches.

        Returns:
            Whether `encode` looks them up, so that the evaluation needs no images.
        """
        if self.frozen:
            self.features_of(rows)
        return self.frozen

    def compute_known_features(self) -> None:
        """Compute the features of all tasks so far: task by task, so that a resumed run gets the same bits."""
        for seen in self.scenario.tasks[: 0 if self.task is None else self.task.index + 1]:
            self.features_of(seen.train)

    def labels_of(self, indices: NDArray[np.int64]) -> Tensor:
        """Stream labels ``[len(indices)]`` at indices of the table, on the compute device."""
        return moved(torch.from_numpy(self.scenario.labels[indices]), self.device)

    def images_of(self, indices: NDArray[np.int64]) -> Tensor:
        """Stored images, uint8 ``[len(indices), C, H, W]``, at indices of the table."""
        return torch.from_numpy(self.scenario.table.images[indices])

    def encode(self, batch: Batch) -> Tensor:
        """Features ``[B, width]`` of a transformed batch, looked up where the batch carries no images."""
        if batch.images is None:
            return self.store.lookup(batch.indices)
        for plugin in self.plugins:
            plugin.on_before_forward(self, batch)
        features: Tensor = self.backbone(batch.images)
        return features

    def rehearse(self, batch: Batch) -> Step:
        """A forward pass of its own over exemplars (``buffer.batch``): normalized, augmented, with gradient."""
        batch = batch.to(self.device)
        if batch.images is not None:
            images = augment(self.options.augment, batch.images, self._augment_generator)
            batch = batch.with_images(self.backbone.normalize(images))
        with self.autocast():
            features = self.encode(batch)
            return Step(batch, features, self.head(features))

    def forward(self, images: Tensor) -> Tensor:
        """Map normalized images ``[B, 3, H, W]`` to the head's logits ``[B, seen classes]``."""
        logits: Tensor = self.head(self.backbone(images))
        return logits

    def autocast(self) -> AbstractContextManager[Any]:
        """The run's precision for work outside the trainer."""
        return autocast(self.options.precision, self.device)

    def log(self, name: str, value: Any, *_: Any, **__: Any) -> None:
        """Keep a number of this moment, such as a term of the loss: its curve goes into the file with the predictions.

        The mean of what is logged under a name is kept for some points of each task. Lightning's options for loggers
        and progress bars are taken and mean nothing here.

        Args:
            name: Of the curve.
            value: A number, or a tensor with one.
        """
        self.log_to(name, value)

    # -- Lightning ------------------------------------------------------------------------------------------------

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        """Move a batch."""
        return batch.to(device)

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Let plugins shape a training batch, then augment and normalize it on the device."""
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
        """Cross-entropy plus what the plugins add.

        Raises:
            UserError: If the loss is not finite; says in which task, epoch and step.
        """
        features = self._encode_to_learn(batch)
        step = Step(batch, features, self.head(features))
        assert self.task is not None
        loss = classification_loss(step.logits, batch.labels, self.options.loss, self.task.classes)
        for plugin in self.plugins:
            extra = plugin.loss(self, step)
            if extra is not None:
                loss = loss + extra
        if self._looks_at(batch_idx):
            check_loss(loss, features, self.task, self.current_epoch, batch_idx)
        self.gradient_samples += len(batch)
        return loss

    def backward(self, loss: Tensor, *args: Any, **words: Any) -> None:
        """Compute the gradients, of all processes that learn together."""
        super().backward(loss, *args, **words)
        if self.together is not None:
            self.together.mean_gradients(self.parameters())

    def test_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Logits ``[B, seen classes]`` in float32."""
        return self.predict_logits(batch)

    def predict_logits(self, batch: Batch) -> Tensor:
        """The method's logits ``[B, seen classes]`` for a transformed batch: of the plugin that answers, or the head's.

        Classes that a head has from the start compete from the task on in which they are seen.
        """
        for plugin in self.plugins:
            logits = plugin.predict(self, batch)
            if logits is not None:
                return logits[:, : self.seen].float()
        answer: Tensor = self.head(self.encode(batch))
        return answer[:, : self.seen].float()

    def configure_optimizers(self) -> Any:
        """The optimizer and its schedule for the current task."""
        groups = [answer for plugin in self.plugins if (answer := plugin.parameter_groups(self)) is not None]
        steps = int(self.trainer.estimated_stepping_batches)
        return self.optimizer_policy.configure(self, groups[0] if groups else None, steps)

    def on_train_end(self) -> None:
        """Keep the optimizer's state where the next task carries it on."""
        optimizer = self.optimizers()
        self.optimizer_policy.keep(self, optimizer.optimizer)  # type: ignore[union-attr]

    def _encode_to_learn(self, batch: Batch) -> Tensor:
        """Features of a training batch: of this process's part and the others', in as many parts as the options say."""
        if batch.images is None:
            return self.encode(batch)
        return self._encode_parts(batch) if self.together is None else self.together.encode(self._encode_parts, batch)

    def _encode_parts(self, batch: Batch) -> Tensor:
        if self.options.accumulate == 1:
            return self.encode(batch)
        return encode_in_parts(self.encode, batch, self.options.accumulate)

    def _looks_at(self, batch_idx: int) -> bool:
        """Whether the loss of a step is looked at: a look at it waits for a GPU."""
        return self.device.type == "cpu" or batch_idx % 25 == 0 or bool(self.trainer.is_last_batch)
