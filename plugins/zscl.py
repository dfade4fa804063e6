"""Zero-shot continual learning (ZSCL)."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, Literal

import lightning as L
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clsuite.plugin import ImageTable, Learner, Plugin, Scenario, Step, Task, Traits, UserError, check_range
from clsuite.plugin.helpers import (
    SINGLE_PASS,
    ClassTexts,
    clip_of,
    distillation,
    random_tokens,
    read_rows,
    reference_images,
    reference_texts,
    set_weights,
    tensor_bytes,
)


class ZSCL(Plugin):
    """Fine-tunes both towers of a CLIP, and distills the original one on reference images and texts.

    Zheng et al., "Preventing zero-shot transfer degradation in continual learning of vision-language models" (ICCV
    2023), as in the authors' code: with scaled cosines of reference images to reference texts, the loss is

        cross-entropy + kd_image * KD(images) + kd_text * KD(texts) + l2 * sum (theta - theta_task)^2

    * KD(images) is T^2 times the cross-entropy of the student's softmax over the texts with the teacher's, mean over
      images; KD(texts) swaps the two (equations 2, 3). Both take the teacher's text features: no text tower gets them.
    * theta_task are the trained weights at the task's start; the sum is not halved (equation 4).
    * From the first step on, every `ensemble_every` steps, the weights enter a running mean that begins with theta_task
      (equation 5). The mean is evaluated, and the next task starts from it. The logit scale is frozen.

    The authors' references are ImageNet and Conceptual Captions; here a folder of images, not augmented, and prompts of
    its classes or a file of texts, or the task's own. With ``teacher: previous``, ``l2: 0``, ``ensemble_every: 0`` this
    is their LwF, with ``texts: random`` LwF-VR. They train 1000 steps on MTIL (rate of 5e-5 on Aircraft and MNIST); in
    class-incremental runs ``kd_image: 5, kd_text: 5, ensemble_every: 10``, a rate near 7e-6 and a warm-up of 30 steps.

    Args:
        reference: Folder ``CLASS/*`` of reference images, absolute or below the data root; null takes the task's own.
        names: File in it with lines ``CLASS<tab>name``; by default names are the folders' or WordNet's.
        images_per_class: Largest number of images of each class of the folder.
        fingerprint: The beginning of the hash that the folder's images must have; a different one is reported.
        texts: ``classes`` (first prompt of each reference class), ``random`` (random tokens), or a file of lines.
        random_texts: Number of random sentences (authors: 1000).
        random_tokens: Number of random tokens in each (authors: 10).
        reference_batch: Reference images of a step (authors: 64).
        temperature: Temperature T of the distillation (authors: 2).
        kd_image: Weight of KD(images).
        kd_text: Weight of KD(texts).
        l2: Weight of the squared distance to the weights of the task's start; 0 for none (ZSCL*).
        ensemble_every: Steps between two weights of the mean; 0 for no mean.
        teacher: ``zero_shot`` (the CLIP before the stream) or ``previous`` (the one at the task's start).
    """

    traits = Traits(
        requires=("clip", "gradient"),
        memory=("weights",),
        incompatible_with={
            "all data": "joint training starts from the pre-trained weights at each task",
            "freezes_backbone": "the towers are frozen: there is nothing to distill",
            "averages weights": "zscl may put a mean of weights in place for the evaluation, as the other does",
        },
        training={
            "head": "zero_shot",
            "tune": "both",
            "loss": "local",
            "label_smoothing": 0.2,
            "templates": "first",
            "batch_size": 64,
            "schedule": "cosine",
            "warmup_steps": 100,
            "optimizer": {"name": "adamw", "lr": 1e-5, "weight_decay": 0.0},
        },
        paper="Zheng, ICCV 2023 (ZSCL)",
        effects=("averages weights", "changes weights", "replaces weights", "trains by itself"),
    )
    state = ("_bytes",)

    def __init__(
        self,
        reference: str | None = None,
        names: str | None = None,
        images_per_class: int | None = None,
        fingerprint: str | None = None,
        texts: str = "classes",
        random_texts: int = 1000,
        random_tokens: int = 10,
        reference_batch: int = 64,
        temperature: float = 2.0,
        kd_image: float = 1.0,
        kd_text: float = 1.0,
        l2: float = 1.0,
        ensemble_every: int = 100,
        teacher: Literal["zero_shot", "previous"] = "zero_shot",
    ) -> None:
        super().__init__()
        check_range("zscl", at_least=0, kd_image=kd_image, kd_text=kd_text, l2=l2, ensemble_every=ensemble_every)
        check_range("zscl", at_least=1, reference_batch=reference_batch, images_per_class=images_per_class)
        check_range("zscl", at_least=1, random_texts=random_texts, random_tokens=random_tokens)
        check_range("zscl", above=0, temperature=temperature)
        self.reference, self.names, self.images_per_class = reference, names, images_per_class
        self.fingerprint, self.texts, self.reference_batch = fingerprint, texts, reference_batch
        self.random_texts, self.random_tokens, self.temperature = random_texts, random_tokens, temperature
        self.kd_image, self.kd_text, self.l2, self.ensemble_every = kd_image, kd_text, l2, ensemble_every
        self.teacher, self._bytes = teacher, 0

    def on_stream_start(self, learner: Learner, scenario: Scenario) -> None:
        """Freeze the logit scale, and keep the CLIP as the teacher.

        Raises:
            UserError: If the head is not ``zero_shot``, or the stream passes once and references are its own images.
        """
        backbone = clip_of(learner.backbone, "plugin 'zscl'")
        if self.reference is None and scenario.kind in SINGLE_PASS:
            raise UserError(
                f"zscl: without a reference a task's own images are distilled, again and again, and a stream of kind "
                f"'{scenario.kind}' passes once: name a folder as reference"
            )
        if learner.options.head != "zero_shot":
            raise UserError("zscl: it classifies by text features: it needs training.head: zero_shot")
        backbone.clip.logit_scale.requires_grad_(False)
        self._teacher = copy.deepcopy(backbone).requires_grad_(False).eval()
        self._read: tuple[ImageTable, NDArray[np.int64]] | None = None
        if self.texts == "random":
            size, draws = (self.random_texts, self.random_tokens), learner.generator("zscl texts")
            self._words = random_tokens(self._teacher, *size, draws)

    def on_task_start(self, learner: Learner, task: Task) -> None:
        """Keep the weights, and compute the teacher's features of the references if they are not known."""
        if self.teacher == "previous":
            self._teacher.load_state_dict(learner.backbone.state_dict())
        self._teacher.to(learner.device)
        if self._read is None or self.teacher == "previous" or self.reference is None:
            self._read_references(learner, task)
        self._start = {name: v.detach().clone() for name, v in learner.named_parameters() if v.requires_grad}
        self._mean, self._in_mean, self._steps = {k: v.clone() for k, v in self._start.items()}, 1, 0

    @torch.no_grad()
    def _read_references(self, learner: Learner, task: Task) -> None:
        """Find the R reference images, and compute the teacher's features of them and of the texts."""
        if self.reference is not None:
            found = reference_images(learner, self.reference, self.names, self.images_per_class, self.fingerprint)
            self._read, names = (found.table, found.rows), found.names
        else:
            self._read = learner.scenario.table, task.train
            names = tuple(learner.scenario.class_names[label] for label in task.classes)
        with learner.autocast():
            parts = torch.arange(len(self._read[1])).split(self.reference_batch)
            pixels = (self._teacher.normalize(self._pixels(learner, part)) for part in parts)
            self._image_features = torch.cat([self._teacher(part).float() for part in pixels])
        self._text_features = self._read_texts(learner, names)

    def _pixels(self, learner: Learner, places: Tensor) -> Tensor:
        """Some of the reference images, ``[len(places), C, H, W]``, which are not kept: they are in a table."""
        assert self._read is not None
        table, rows = self._read
        return torch.from_numpy(read_rows(table.images, rows[places.numpy()])).to(learner.device)

    def _read_texts(self, learner: Learner, names: Sequence[Any]) -> Tensor:
        if self.texts == "classes":
            return ClassTexts(self._teacher, names, first_only=True).features(len(names))
        tokens = self._words if self.texts == "random" else self._teacher.tokenize(reference_texts(learner, self.texts))
        parts = tokens.to(learner.device).split(self.reference_batch)
        return torch.cat([self._teacher.encode_tokens(part).float() for part in parts])

    def loss(self, learner: Learner, step: Step) -> Tensor:
        """Both distillation terms, and the squared distance to the weights of the task's start."""
        generator = learner.generator("zscl references", self._steps)
        rows = torch.randperm(len(self._image_features), generator=generator)[: self.reference_batch]
        features = learner.backbone(learner.backbone.normalize(self._pixels(learner, rows)))
        learner.count_gradients(len(rows))
        backbone = clip_of(learner.backbone, "plugin 'zscl'")
        known = self._image_features[rows.to(learner.device)]
        teacher, student = (backbone.logits(one, self._text_features) for one in (known, features))
        loss = self.kd_image * distillation(teacher, student, self.temperature)
        loss = loss + self.kd_text * distillation(teacher.T, student.T, self.temperature)
        present = dict(learner.named_parameters())
        apart = [(present[name] - start).square().sum() for name, start in self._start.items()]
        return loss + self.l2 * torch.stack(apart).sum() if self.l2 else loss

    @torch.no_grad()
    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Let the weights enter the mean."""
        if self.ensemble_every and self._steps % self.ensemble_every == 0:
            present = dict(pl_module.named_parameters())
            for name, mean in self._mean.items():
                mean.lerp_(present[name], 1 / (self._in_mean + 1))
            self._in_mean += 1
        self._steps += 1

    @torch.no_grad()
    def on_task_end(self, learner: Learner, task: Task) -> None:
        """Put the mean in place, from which the next task starts."""
        self._bytes = tensor_bytes([self._start, self._mean if self.ensemble_every else {}, self._teacher])
        if self.ensemble_every:
            set_weights(learner, self._mean)
        self._start, self._mean = {}, {}

    def stored_bytes(self) -> dict[str, int]:
        """Bytes of the teacher, and of the weights that are kept while a task is trained."""
        return {"weights": self._bytes}
