"""What a learner gives to plugins: data and features, sources of randomness, modules, parameters, and counts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Literal

import lightning as L
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from clsuite.backbones.vit import Backbone
from clsuite.data.batch import Batch
from clsuite.data.on_device import moved
from clsuite.data.stable_random import derive_seed
from clsuite.errors import UserError
from clsuite.learner.features import FeatureStore, Source, computed_here
from clsuite.learner.finite import check_features
from clsuite.learner.free_training import own_batches
from clsuite.learner.head import Head
from clsuite.learner.options import TrainingSpec
from clsuite.learner.precision import autocast
from clsuite.learner.roles import ON_FEATURES, parameters_of
from clsuite.plugin.base import Plugin
from clsuite.plugin.traits import Scores
from clsuite.scenarios import Scenario, Task


def _unheard(name: str, value: Any) -> None:
    """Where no stream keeps curves."""


def trained_entries(model: nn.Module) -> int:
    """Number of parameters of a model that are trained now."""
    return sum(value.numel() for value in model.parameters() if value.requires_grad)


class LearnerTools(L.LightningModule):
    """The half of a learner that plugins use; the other half is `clsuite.learner.learner.Learner`, which says all."""

    scenario: Scenario
    store: FeatureStore

    def __init__(
        self, backbone: Backbone, head: Head, options: TrainingSpec, plugins: Sequence[Plugin], seed: int
    ) -> None:
        """Put the parts of a model together."""
        super().__init__()
        self.backbone, self.head, self.plugin_modules = backbone, head, nn.ModuleDict()
        self.plugins, self.seed = tuple(plugins), seed
        self.options, self._benchmark_options = options, options
        self.task: Task | None = None
        self.gradient_samples, self.own_loops, self.own_trained = 0, 0, 0
        self.log_to: Callable[[str, Any], None] = _unheard
        self.feature_source: Source = computed_here
        self.data_root: Path | None = None
        self._tasks_begun = 0
        self._roles: dict[str, str] = {}
        self._module_owners: dict[str, Plugin] = {}

    def register_plugin_module(self, plugin: Plugin, name: str, module: nn.Module, role: str | None = None) -> None:
        """Register a plugin's module: trained, moved and saved with the learner.

        Args:
            plugin: Whose it is.
            name: Its name among the plugin's modules.
            module: The module.
            role: What its parameters are to other plugins, such as ``prompts`` or ``keys``; modules of `clsuite.peft`
                say so themselves. With ``features`` it acts on features alone, behind the backbone: while it is
                trained, those of a frozen backbone are still looked up.

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
        if role is not None:
            self._roles[key] = role
        plugin.registered_modules = {**plugin.registered_modules, name: module}

    def seed_for(self, source: Literal["head", "order", "augment"], *purpose: str | int) -> int:
        """A seed of one purpose, which follows from the run's seed or from that of its source (``training.seeds``).

        Args:
            source: Of which randomness it is.
            purpose: As of `generator`.
        """
        own = getattr(self._benchmark_options.seeds, source)
        return derive_seed(self.seed if own is None else own, *purpose)

    def parameters_of(self, role: str) -> dict[str, nn.Parameter]:
        """Parameters by what they are, whichever plugin has made them, and whether they are trained or not.

        Args:
            role: ``backbone``, ``head``, or what modules of plugins are: ``prompts`` (prefixes too), ``lora``,
                ``adapters``, ``scales`` (IA3, SSF), or a role of another plugin's own.

        Returns:
            Parameters by the name that they have in the learner.

        Raises:
            UserError: If there are none; says what there is. Declare ``Traits(works_on=...)``, and a method without
                them is refused before.
        """
        return parameters_of(self, self._roles, role)

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
        plugin = self._answering
        return "logits" if plugin is None else plugin.traits.scores

    @property
    def open_vocabulary(self) -> bool:
        """Whether classes are predicted by their names, also those not learned yet: by the plugin, or by the head."""
        plugin = self._answering
        return self.head.open_vocabulary if plugin is None else plugin.traits.open_vocabulary

    @property
    def _answering(self) -> Plugin | None:
        """The plugin that predicts; None if the head does."""
        return next((plugin for plugin in self.plugins if type(plugin).predict is not Plugin.predict), None)

    @property
    def has_own_features(self) -> bool:
        """Whether what the backbone gives is its own kind of feature, which its pre-trained head was made to read."""
        return not any(getattr(module, "replaces_features", False) for module in self.plugin_modules.modules())

    @property
    def frozen(self) -> bool:
        """Whether the features are fixed: nothing in the backbone, or in a plugin's module in it, is trained.

        Modules in the text tower of a CLIP act on no feature of an image.
        """
        modules = ((self._roles.get(key), module) for key, module in self.plugin_modules.items())
        inside = [module for role, module in modules if role != ON_FEATURES and not getattr(module, "on_text", False)]
        parts = (self.backbone, *inside)
        return not any(parameter.requires_grad for part in parts for parameter in part.parameters())

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

    def batches_of(
        self, indices: NDArray[np.int64], augment: bool = True, batch_size: int | None = None
    ) -> Iterator[Batch]:
        """Batches for a training loop of one's own: shuffled, augmented and normalized, on the compute device.

        Each call is one pass over the rows, with an order and an augmentation of its own, which follow from the seed,
        the task and the number of the call in it. The draws of the training itself stay what they are. Pass batches on
        to `step_of`, and count what passes backwards (`count_gradients`).

        Args:
            indices: Rows of the table, such as ``task.train``.
            augment: Whether to augment as the benchmark says.
            batch_size: Samples of each batch but the last; by default that of the training.

        Returns:
            Batches with float images ``[B, 3, H, W]``.

        Raises:
            UserError: If a row is that of a test image, `batch_size` is no size, or no task has begun.
        """
        if self.task is None:
            raise UserError("batches_of is for tasks, and none has begun: call it from before_task_training or later")
        number, self.own_loops = self.own_loops, self.own_loops + 1
        order = self.seed_for("order", self.task.index, "own order", number)
        augmentation = self.seed_for("augment", self.task.index, "own augment", number)
        return own_batches(self, indices, batch_size, order, augmentation if augment else None)

    def count_gradients(self, samples: int) -> None:
        """Count samples that passed backwards in a loop of one's own: they are the cost in every table.

        Features that are drawn from statistics are no samples: they pass through a head or a map alone.

        Args:
            samples: How many; of a batch that passes twice, twice its size.

        Raises:
            UserError: If it is no number of samples.
        """
        if not isinstance(samples, int) or samples < 0:
            raise UserError(f"count_gradients takes a number of samples, not {samples!r}: write len(batch)")
        self.gradient_samples += samples
        if samples:
            self.own_trained = max(self.own_trained, trained_entries(self))

    def forget_features(self) -> None:
        """Forget all features that are kept by row, because what computes them has changed; queries of prompts too."""
        self.store.forget()

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
