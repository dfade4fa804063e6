"""Mixture-of-experts adapters in both towers of a CLIP (MoE-Adapters4CL)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Literal

from torch import Tensor

from clsuite.peft import DomainAutoencoder, ExpertMixture, FrozenQuery, nearest_domain
from clsuite.plugin import Batch, Learner, Plugin, Scenario, Task, Traits, UserError, check_range
from clsuite.plugin.helpers import ClassTexts, clip_of


class MoEAdapters(Plugin):
    """Trains experts that all tasks share and a router of each task, and answers as the frozen CLIP for strangers.

    Yu et al., "Boosting continual learning of vision-language models via mixture-of-experts adapters" (CVPR 2024).

    * In every block of both towers experts stand beside the MLP and read the same tokens, before its norm: adapters
      with ReLU, whose output is scaled by 0.1 and zero at first. The router of the task maps the first token (of
      images the class token, of texts the one that begins them) to a number for each expert; the softmax of the two
      largest mixes these two. In training normal noise with a learned deviation is added to the numbers.
    * After each task, in each block, the two experts that were chosen most often are frozen. There is no load-balance
      loss: the authors' code computes one and never adds it.
    * An autoencoder of each task's features says which router an image and its texts get: that of the smallest error,
      or none (the frozen CLIP) where the error is far from that on features it was not trained on.

    Differences from the authors' code: each image is judged by itself, not by the mean error of 128 of one task. The
    autoencoders read the frozen CLIP's features, not AlexNet's; their threshold is in deviations, their rate constant.
    The authors take rates from 1e-4 to 5e-3. ``router: shared, experts: 2`` is their class-incremental method.

    Args:
        experts: Experts of a block (authors: 22).
        size: Hidden units of an expert (authors: 64).
        top: Experts that act on a sample (authors: 2).
        scale: What the output of an expert is multiplied with (authors: 0.1).
        dropout: Dropout of hidden units in training (authors: 0.1).
        freeze: Experts of a block that each task freezes (authors: 2).
        router: ``task`` (a router of each task) or ``shared`` (one for all).
        code: Hidden units of an autoencoder (authors: 100).
        code_steps: Its training steps (authors: 300).
        code_batch: Features of one of them (ours).
        code_lr: Its learning rate (authors: 0.01).
        code_held_out: Share of the features that it is not trained on; their errors are the usual ones (ours).
        threshold: Deviations above the usual error above which an image is a stranger (ours).
    """

    traits = Traits(
        requires=("clip", "gradient"),
        memory=("modules",),
        pet=("adaptformer",),
        freezes_backbone=True,
        open_vocabulary=True,
        second_pass="its autoencoders are trained on a task's images after the training",
        incompatible_with={"all data": "joint training has one task: there is nothing to route"},
        training={
            "head": "zero_shot",
            "loss": "local",
            "label_smoothing": 0.2,
            "templates": "first",
            "batch_size": 64,
            "schedule": "cosine",
            "warmup_steps": 100,
            "optimizer": {"name": "adamw", "lr": 1e-3, "weight_decay": 0.0},
        },
        paper="Yu, CVPR 2024 (MoE-Adapters)",
        effects=("trains by itself",),
    )
    state = ("_frozen", "_ended")

    def __init__(
        self,
        experts: int = 22,
        size: int = 64,
        top: int = 2,
        scale: float = 0.1,
        dropout: float = 0.1,
        freeze: int = 2,
        router: Literal["task", "shared"] = "task",
        code: int = 100,
        code_steps: int = 300,
        code_batch: int = 64,
        code_lr: float = 0.01,
        code_held_out: float = 0.2,
        threshold: float = 3.0,
    ) -> None:
        super().__init__()
        check_range("moe_adapters", at_least=1, experts=experts, size=size, top=top, code=code, code_batch=code_batch)
        check_range("moe_adapters", at_least=0, freeze=freeze, code_steps=code_steps, threshold=threshold)
        check_range("moe_adapters", at_least=0, below=1, dropout=dropout, code_held_out=code_held_out)
        check_range("moe_adapters", above=0, scale=scale, code_lr=code_lr)
        if max(top, freeze) > experts:
            raise UserError(f"moe_adapters: there are {experts} experts, and top and freeze cannot be more")
        self.experts, self.size, self.top, self.scale, self.dropout = experts, size, top, scale, dropout
        self.freeze, self.router, self.threshold = freeze, router, threshold
        self.code, self._fit, self.code_held_out = code, (code_steps, code_batch, code_lr), code_held_out

    def on_stream_start(self, learner: Learner, scenario: Scenario) -> None:
        """Freeze the CLIP and attach the experts; the head must be ``zero_shot``."""
        clip = clip_of(learner.backbone, "plugin 'moe_adapters'").requires_grad_(False)
        if learner.options.head != "zero_shot":
            raise UserError("moe_adapters: it classifies by text features: it needs training.head: zero_shot")
        sizes, more = (self.experts, self.size), {"top": self.top, "scale": self.scale, "dropout": self.dropout}
        image, text = (learner.generator("moe_adapters", tower) for tower in ("image", "text"))
        self.image = ExpertMixture(clip.model, *sizes, image, **more)  # type: ignore[arg-type]
        self.text = ExpertMixture(clip.text_model, *sizes, text, **more)  # type: ignore[arg-type]
        learner.register_plugin_module(self, "image", self.image)
        learner.register_plugin_module(self, "text", self.text)
        self.image.attach(clip.model)
        clip.attach_to_text(self.text)
        self._query = FrozenQuery(learner, [self.image])
        self._make_texts = partial(ClassTexts, clip, scenario.class_names)
        self._texts, self._domains = dict[int, ClassTexts](), list[DomainAutoencoder]()
        self._frozen: list[list[int]] = [[] for _ in (*self.image.blocks, *self.text.blocks)]
        self._ended, self._passes = 0, 0

    def rebuild_modules(self, learner: Learner, tasks: int) -> None:
        """Create the routers and autoencoders again, and freeze the experts that were frozen."""
        for number in range(tasks):
            self._begin(learner, number)
        self._freeze(self.saved_state.get("_frozen", self._frozen))

    def on_task_start(self, learner: Learner, task: Task) -> None:
        """Create the router and the autoencoder of the task."""
        self._begin(learner, task.index)

    def _begin(self, learner: Learner, number: int) -> None:
        shared = self.router == "shared"
        self._passes, self.image.task, self.text.task = 0, 0 if shared else number, 0 if shared else number
        for block in (*self.image.blocks, *self.text.blocks) if number == 0 or not shared else ():
            block.add_router()
        if not shared:
            domain = DomainAutoencoder(
                learner.backbone.width, self.code, learner.generator("moe_adapters code", number)
            )
            learner.register_plugin_module(self, f"domain{number}", domain.requires_grad_(False), role="features")
            self._domains.append(domain)

    def on_before_forward(self, learner: Learner, batch: Batch) -> None:
        """Give the routers the noise of a training pass."""
        if learner.training:
            for name, tower in (("image", self.image), ("text", self.text)):
                noise = learner.generator("moe_adapters noise", name, self._passes)
                for block in tower.blocks:
                    block.noise = noise
            self._passes += 1

    def on_task_end(self, learner: Learner, task: Task) -> None:
        """Fit the autoencoder, and freeze the experts that were used most."""
        if self.router == "shared":
            return
        features, draws = self._query.of_rows(task.train), learner.generator("moe_adapters code batches")
        domain = self._domains[task.index]
        learner.count_gradients(domain.fit(features, *self._fit, draws, self.code_held_out))
        most_used = [block.most_used(self.freeze) for block in (*self.image.blocks, *self.text.blocks)]
        self._freeze([sorted({*old, *new}) for old, new in zip(self._frozen, most_used, strict=True)])
        self._ended = task.index + 1

    def _freeze(self, frozen: list[list[int]]) -> None:
        self._frozen = frozen
        for block, numbers in zip((*self.image.blocks, *self.text.blocks), frozen, strict=True):
            block.forget()
            for number in numbers:
                block.experts[number].requires_grad_(False)

    def predict(self, learner: Learner, batch: Batch) -> Tensor:
        """Scaled cosines ``[B, classes of the stream]``, of each image and all texts under the router of its task."""
        classes = learner.scenario.seen_classes(len(learner.scenario.tasks))
        if self.router == "shared":
            return self._texts_under(0).logits(learner.encode(batch), classes)
        plain = self._query.of_batch(batch)
        routes = nearest_domain(self._domains[: self._ended], plain, self.threshold)
        logits = plain.new_zeros(len(plain), classes)
        for number in routes.unique().tolist():
            rows = (routes == number).nonzero().flatten()
            with self._under(number):
                assert batch.images is not None
                features = plain[rows] if number < 0 else learner.backbone(batch.images[rows])
                logits[rows] = self._texts_under(number).logits(features, classes)
        return logits

    def _texts_under(self, number: int) -> ClassTexts:
        """Text features of all classes under the router of a task, which are kept apart from those of the others."""
        if number not in self._texts:
            self._texts[number] = self._make_texts()
        return self._texts[number]

    @contextmanager
    def _under(self, number: int) -> Iterator[None]:
        """Use the routers of a task inside the context; with -1 the frozen CLIP."""
        before = self.image.task
        with self.image.switched(number >= 0), self.text.switched(number >= 0):
            self.image.task = self.text.task = max(number, 0)
            try:
                yield
            finally:
                self.image.task = self.text.task = before
