"""Pre-trains the bundled backbone: from a recipe to weights and a card about their training."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from safetensors.torch import load_file, save
from timm.models.vision_transformer import VisionTransformer, checkpoint_filter_fn
from torch import Tensor
from torch.nn import functional as F

from clsuite.backbones.weight_file import read_network, what_differs
from clsuite.data.datasets import locate
from clsuite.errors import UserError
from clsuite.pretrain.digits_probe import class_mean_accuracy
from clsuite.pretrain.drawings import read_drawings
from clsuite.pretrain.spec import PretrainSpec
from clsuite.pretrain.strokes import augment_strokes
from clsuite.records import atomic_path
from clsuite.records.canonical import sha256_of_file

DRAWING_SIZE = 64
MEAN = STD = (0.5, 0.5, 0.5)
History = list[dict[str, float]]


def pretrain(spec: PretrainSpec, data_root: Path | None, out: Path, report: Callable[[str], None]) -> dict[str, Any]:
    """Pre-train, and write ``NAME.safetensors`` (half precision, without head) and ``NAME.json`` (the card).

    Args:
        spec: The recipe.
        data_root: Folder of the archives and of the teacher.
        out: Folder for the two files.
        report: Called with a line of progress per epoch.

    Returns:
        The card.

    Raises:
        UserError: If data are missing, or the target is not reached (then nothing is written).
    """
    torch.set_num_threads(spec.threads)
    torch.manual_seed(spec.seed)
    archives = [locate(name, data_root) for name in spec.archives]
    teacher = locate(spec.teacher, data_root)
    ink, labels = _samples(spec, archives)
    model = _student(spec, teacher, classes=int(labels.max()) + 1)
    started = time.perf_counter()
    history = _train(spec, model, ink, labels, report)
    seconds = time.perf_counter() - started
    state = {name: value.half() for name, value in model.state_dict().items() if not name.startswith("head.")}
    model.load_state_dict(state, strict=False)
    accuracy = class_mean_accuracy(model)
    if accuracy < spec.target:
        raise UserError(f"'{spec.name}' reaches {accuracy:.4f} on the digits, below its target of {spec.target}")
    with atomic_path(out / f"{spec.name}.safetensors") as temporary:
        temporary.write_bytes(save(state))
    card = _card(spec, [*archives, teacher], history, accuracy, seconds, sum(v.numel() for v in state.values()))
    card["sha256"] = sha256_of_file(out / f"{spec.name}.safetensors")
    with atomic_path(out / f"{spec.name}.json") as temporary:
        temporary.write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")
    return card


def _samples(spec: PretrainSpec, archives: list[Path]) -> tuple[Tensor, Tensor]:
    """uint8 ink ``[N, 1, S, S]`` and class ``[N]``: each rotation of a character is a separate class."""
    ink, characters = read_drawings(archives, DRAWING_SIZE)
    names = sorted(set(characters))
    labels = np.array([names.index(name) for name in characters])
    turned = np.concatenate([np.rot90(ink, quarter, (1, 2)) for quarter in range(spec.rotations)])
    classes = np.concatenate([labels + quarter * len(names) for quarter in range(spec.rotations)])
    return torch.from_numpy(turned[:, None].copy()), torch.from_numpy(classes)


def _student(spec: PretrainSpec, teacher: Path, classes: int) -> VisionTransformer:
    """The small network: patch embedding, positions and blocks from the teacher, norm and head newly initialized."""
    arguments: dict[str, Any] = dict(spec.arguments)
    try:
        model = timm.create_model(spec.architecture, num_classes=classes, **arguments)
    except (RuntimeError, AssertionError, TypeError, ValueError) as error:
        raise UserError(f"cannot build the architecture '{spec.architecture}' with {arguments}: {error}") from error
    if not isinstance(model, VisionTransformer):
        raise UserError(f"architecture '{spec.architecture}' is not a ViT")
    weights, _ = read_network(teacher, load_file, model.state_dict())
    try:
        if not model.has_class_token:
            weights["pos_embed"] = weights["pos_embed"][:, 1:]
        weights = checkpoint_filter_fn(weights, model)
        names = [name for name in model.state_dict() if name in weights and not name.startswith(("head", "norm"))]
        model.load_state_dict({name: weights[name] for name in names}, strict=False)
    except Exception as error:  # timm may raise anything for unexpected names and shapes
        problem = what_differs(model, weights)
        raise UserError(f"the weights '{teacher}' do not fit architecture '{spec.architecture}': {problem}") from error
    return model


def _train(
    spec: PretrainSpec, model: VisionTransformer, ink: Tensor, labels: Tensor, report: Callable[[str], None]
) -> History:
    generator = torch.Generator().manual_seed(spec.seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=spec.lr, weight_decay=spec.weight_decay, fused=True)
    steps = len(ink) // spec.batch_size
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, spec.lr, total_steps=spec.epochs * steps)
    history: History = [{"epoch": 0, "digits_accuracy": class_mean_accuracy(model)}]
    for epoch in range(1, spec.epochs + 1):
        order = torch.randperm(len(ink), generator=generator)[: steps * spec.batch_size]
        losses, right = [], 0
        for rows in torch.split(order, spec.batch_size):
            size = int(model.patch_embed.img_size[0])
            views = augment_strokes(ink[rows].float() / 255, size, spec.coarse, generator)
            logits = model(((views - MEAN[0]) / STD[0]).expand(-1, 3, -1, -1))
            loss = F.cross_entropy(logits, labels[rows], label_smoothing=spec.label_smoothing)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
            right += int((logits.argmax(dim=1) == labels[rows]).sum())
        history.append(
            {
                "epoch": epoch,
                "loss": round(float(np.mean(losses)), 4),
                "training_accuracy": round(right / len(order), 4),
                "digits_accuracy": round(class_mean_accuracy(model), 4),
            }
        )
        report(", ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in history[-1].items()))
    return history


def _card(
    spec: PretrainSpec, inputs: list[Path], history: History, accuracy: float, seconds: float, parameters: int
) -> dict[str, Any]:
    return {
        "name": spec.name,
        "architecture": spec.architecture,
        "arguments": {name: value for name, value in spec.arguments.items() if name != "img_size"},
        "mean": MEAN,
        "std": STD,
        "parameters": parameters,
        "digits_class_mean_accuracy": round(accuracy, 4),
        "recipe": spec.model_dump(mode="json"),
        "inputs": {path.name: sha256_of_file(path) for path in inputs},
        "history": history,
        "seconds": round(seconds, 1),
        "versions": {name: version(name) for name in ("torch", "timm", "numpy")},
    }
