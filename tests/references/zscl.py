"""ZSCL: both towers are fine-tuned while a frozen copy is distilled on reference images and texts.

Zheng et al., "Preventing zero-shot transfer degradation in continual learning of vision-language models" (ICCV 2023),
equations 2 to 5, on OpenCLIP's model alone.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

Pair = tuple[Tensor, Tensor]


def unit(features: Tensor) -> Tensor:
    """Vectors of length one."""
    return features / features.norm(dim=1, keepdim=True)


def kd(teacher: Tensor, student: Tensor, temperature: float) -> Tensor:
    """T^2 times the cross-entropy with the teacher, mean over rows."""
    target = (teacher / temperature).softmax(dim=1)
    return -(target * (student / temperature).log_softmax(dim=1)).sum(dim=1).mean() * temperature**2


def task(
    clip: Any,
    zero_shot: Any,
    batches: Sequence[Pair],
    references: Sequence[Tensor],
    prompts: Tensor,
    reference_prompts: Tensor,
    *,
    make_optimizer: Callable[[list[Tensor]], torch.optim.Optimizer],
    temperature: float = 2.0,
    l2: float = 1.0,
    every: int = 100,
) -> dict[str, Tensor]:
    """Train on one task; returns the ensemble.

    Args:
        clip: The model, which is trained.
        zero_shot: The model as it was before all tasks.
        batches: Images and labels of each step.
        references: Reference images of each step.
        prompts: Tokens of a prompt of each class.
        reference_prompts: Tokens of each reference text.
        make_optimizer: Makes the optimizer of some parameters.
        temperature: T.
        l2: Weight of the weight constraint.
        every: Steps between two models of the ensemble.
    """
    clip.logit_scale.requires_grad_(False)
    trained = {name: value for name, value in clip.named_parameters() if value.requires_grad}
    start = {name: value.detach().clone() for name, value in trained.items()}
    ensemble, members = copy.deepcopy(start), 0
    optimizer, scale = make_optimizer([*trained.values()]), clip.logit_scale.exp()
    with torch.no_grad():
        texts = unit(zero_shot.encode_text(reference_prompts))
    for number, ((images, labels), reference) in enumerate(zip(batches, references, strict=True)):
        logits = scale * unit(clip.encode_image(images)) @ unit(clip.encode_text(prompts)).T
        with torch.no_grad():
            teacher = scale * unit(zero_shot.encode_image(reference)) @ texts.T
        student = scale * unit(clip.encode_image(reference)) @ texts.T
        loss = F.cross_entropy(logits, labels) + kd(teacher, student, temperature)
        loss = loss + kd(teacher.T, student.T, temperature)
        loss = loss + l2 * sum(((value - start[name]) ** 2).sum() for name, value in trained.items())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if number % every == 0:
            members += 1
            for name, value in trained.items():
                ensemble[name] = (ensemble[name] * members + value.detach()) / (members + 1)
    return ensemble
