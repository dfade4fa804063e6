"""SEMA: blocks of the network get another adapter when their descriptors find a task's images surprising."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from clsuite.peft import AdapterMixture, Expert, choose_blocks, transformer_blocks
from clsuite.plugin import Batch, Learner, Plugin, Scenario, Task, Traits, UserError, check_range
from clsuite.plugin.helpers import refuse_unscaled


class SEMA(Plugin):
    """Adds adapters to the last blocks where a task's images are new to those that are there, and mixes all of them.

    Wang et al., "Self-expansion of pre-trained models with mixture of adapters for continual learning" (CVPR 2025).

    * Every block has an adapter beside its MLP. In the last quarter of the blocks there can be several: routers mix
      them by the softmax of a linear function of an image's mean token. Each of these has a descriptor, a linear
      autoencoder of mean tokens, that remembers mean and deviation of its last errors.
    * The first task trains all adapters and the head, and then the descriptors. All but the head is frozen.
    * Before each later task its images are looked at in batches. In a batch, block by block, the mean over images of
      how many deviations an error is off is taken for each descriptor. If the least exceeds the threshold, the block
      gets another adapter with a router and a descriptor. Adapter, router and head are trained on the whole task, then
      the descriptor; both are frozen, and the look goes on. A block grows once in a task at most. When something was
      added, all batches are looked at again. Then the benchmark's training trains the head, by the task's classes.

    The authors' code trains the head alone only where nothing was added. Its descriptors remember errors of the passes
    that train adapters too, where a task has few images. As there, adapters' outputs are not scaled, and weight decay
    moves the head's older parts. The traits set what the authors train with; epochs and batch size are the benchmark's
    (authors: 5 epochs on CIFAR-100, 20 on ImageNet-R, 32 images).

    Args:
        size: Hidden units of an adapter (authors: 16).
        code: Length of a descriptor's code (authors: 128).
        expandable: The blocks that can have several adapters, as ``9-11``; by default the last quarter (authors).
        threshold: Deviations above which a batch is new (authors: 2; 1 on ImageNet-A and VTAB).
        func_epochs: Epochs of an added adapter; by default the training's (authors: the same).
        descriptor_epochs: Epochs of a descriptor (authors: 20).
        descriptor_lr: Its learning rate at the start (authors: 0.01).
        records: Errors that a descriptor remembers (authors: 500).
        look: Images of the batches that are looked at (authors: 128).
        scale: What an adapter's output is multiplied with (the code's: 1; AdaptFormer's: 0.1).
    """

    traits = Traits(
        freezes_backbone=True,
        requires=("vit", "gradient"),
        memory=("modules",),
        pet=("adaptformer",),
        incompatible_with={
            "all data": "joint training has nothing to expand for",
            "select_indices": "adapters are trained before the task begins for other plugins",
            "reads network": "the network is read after it was trained on the new task's images",
        },
        scenarios=("class_incremental", "task_incremental", "long_tailed"),
        second_pass="it looks at a task's images before the training",
        training={
            "loss": "local",
            "head_classes": "seen",
            "schedule": "cosine",
            "optimizer": {"name": "sgd", "momentum": 0.9, "lr": 0.005, "head_lr": 0.005, "weight_decay": 5e-4},
        },
        paper="Wang, CVPR 2025 (SEMA)",
    )
    state = ("_experts",)

    def __init__(
        self,
        size: int = 16,
        code: int = 128,
        expandable: str | None = None,
        threshold: float = 2.0,
        func_epochs: int | None = None,
        descriptor_epochs: int = 20,
        descriptor_lr: float = 0.01,
        records: int = 500,
        look: int = 128,
        scale: float = 1.0,
    ) -> None:
        super().__init__()
        check_range("sema", at_least=1, size=size, code=code, func_epochs=func_epochs, look=look)
        check_range("sema", at_least=1, descriptor_epochs=descriptor_epochs)
        check_range("sema", at_least=2, records=records)
        check_range("sema", above=0, descriptor_lr=descriptor_lr, scale=scale)
        check_range("sema", at_least=0, threshold=threshold)
        self.size, self.code, self.expandable, self.threshold = size, code, expandable, threshold
        self.func_epochs, self.descriptor_epochs, self.descriptor_lr = func_epochs, descriptor_epochs, descriptor_lr
        self.records, self.look, self.scale = records, look, scale

    def on_stream_start(self, learner: Learner, scenario: Scenario) -> None:
        """Freeze the backbone and attach an adapter to each block; a head without weights of its own is refused."""
        refuse_unscaled("sema", learner.options.precision)
        if learner.options.head == "zero_shot":
            raise UserError("sema: training.head must be linear or cosine: later tasks train the head alone")
        learner.backbone.requires_grad_(False)
        blocks = transformer_blocks(learner.backbone.model)
        last = range(len(blocks) - max(1, len(blocks) // 4), len(blocks))
        self._at = [*last] if self.expandable is None else choose_blocks(blocks, self.expandable)
        model, generator = learner.backbone.model, learner.generator("sema")
        self.adapters = AdapterMixture(model, self._at, self.size, self.code, self.scale, generator)
        self._experts = {str(number): 0 for number in self._at}
        for number in self._at:
            self._add(learner, number)
        learner.register_plugin_module(self, "adapters", self.adapters)
        self.adapters.attach(learner.backbone.model)

    def rebuild_modules(self, learner: Learner, tasks: int) -> None:
        """Add as many adapters again as there were."""
        for number, experts in self.saved_state.get("_experts", {}).items():
            while self._experts[number] < experts:
                self._add(learner, int(number)).requires_grad_(False)

    def _add(self, learner: Learner, number: int) -> Expert:
        place = self._experts[str(number)]
        self._experts[str(number)] += 1
        expert = self.adapters.add(number, learner.generator("sema expert", number, place)).to(learner.device)
        expert.descriptor.requires_grad_(False)
        return expert

    def before_task_training(self, learner: Learner, task: Task) -> None:
        """Look at the images, and add adapters where they are new, until they are new to no block that may grow."""
        may_grow = [*self._at] if task.index else []
        while may_grow:
            before = len(may_grow)
            for batch in learner.batches_of(task.train, batch_size=self.look):
                learner.eval()
                self._pass(learner, batch)
                learner.train()
                new = [number for number in may_grow if self.adapters.mixtures[number].surprise() > self.threshold]
                if new:
                    may_grow.remove(new[0])
                    self._train_added(learner, task, new[0])
            if len(may_grow) == before:
                return

    def _train_added(self, learner: Learner, task: Task, number: int) -> None:
        expert, options = self._add(learner, number), learner.options.optimizer
        groups = [
            {"params": [*expert.adapter.parameters(), *expert.router.parameters()], "lr": options.lr},
            {"params": learner.head.newest_parameters(), "lr": options.head_lr or options.lr},
        ]
        epochs = self.func_epochs or learner.options.epochs
        optimizer, schedule = self._optimizer(learner, groups, epochs)
        for _ in range(epochs):
            for batch in learner.batches_of(task.train):
                loss = learner.classification_of(learner.step_of(batch))
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                learner.count_gradients(len(batch))
            schedule.step()
        self._describe(learner, task, [number])
        expert.requires_grad_(False)

    @staticmethod
    @torch.no_grad()
    def _pass(learner: Learner, batch: Batch) -> None:
        """Let the mixtures see the mean tokens of a whole batch, also where it is trained on in parts."""
        with learner.autocast():
            learner.encode(batch)

    def _describe(self, learner: Learner, task: Task, numbers: Sequence[int]) -> None:
        """Train the newest descriptors of some blocks, and let them remember their last errors."""
        mixtures = [self.adapters.mixtures[number] for number in numbers]
        descriptors = [mixture.newest.descriptor.requires_grad_(True) for mixture in mixtures]
        groups = [{"params": [value for one in descriptors for value in one.parameters()], "lr": self.descriptor_lr}]
        optimizer, schedule = self._optimizer(learner, groups, self.descriptor_epochs)
        known = [list[torch.Tensor]() for _ in descriptors]
        for _ in range(self.descriptor_epochs):
            for batch in learner.batches_of(task.train):
                self._pass(learner, batch)
                errors = [one(mixture.features.float()) for one, mixture in zip(descriptors, mixtures, strict=True)]
                optimizer.zero_grad()
                torch.stack([one.mean() for one in errors]).sum().backward()
                optimizer.step()
                learner.count_gradients(len(batch))
                for before, now in zip(known, errors, strict=True):
                    before.append(now.detach())
            schedule.step()
        optimizer.zero_grad()
        for descriptor, errors_of in zip(descriptors, known, strict=True):
            descriptor.know(torch.cat(errors_of)[-self.records :])
            descriptor.requires_grad_(False)

    def _optimizer(
        self, learner: Learner, groups: Sequence[dict[str, object]], epochs: int
    ) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
        """SGD whose rate falls as a cosine over the epochs, with the training's momentum and weight decay."""
        of_training = learner.options.optimizer
        momentum, decay = of_training.momentum, of_training.weight_decay
        optimizer = torch.optim.SGD(groups, momentum=momentum, weight_decay=decay)
        return optimizer, torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)

    def on_task_end(self, learner: Learner, task: Task) -> None:
        """After the first task, train the descriptors and freeze all that was trained."""
        if not task.index:
            self._describe(learner, task, self._at)
            self.adapters.requires_grad_(False)
