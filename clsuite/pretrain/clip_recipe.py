"""Trains a small CLIP in the style of LiT: from a recipe to weights in OpenCLIP's format and a card about them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from safetensors.torch import save, save_file
from timm.models import load_state_dict as read_state_dict
from timm.models.vision_transformer import checkpoint_filter_fn
from torch import Tensor

from clsuite.backbones.class_texts import ClassTexts
from clsuite.backbones.clip import ClipBackbone, build_clip, clip_state
from clsuite.backbones.spec import BackboneSpec, Weights
from clsuite.data.datasets import locate
from clsuite.errors import UserError
from clsuite.learner.features import compute_features
from clsuite.pretrain.captions import Captions, class_contrastive_loss
from clsuite.pretrain.classifier_rows import ClassifierRows
from clsuite.pretrain.clip_spec import ClipPretrainSpec
from clsuite.pretrain.named_images import HeldOut, NamedImages, Rows, hold_out, read_named_images
from clsuite.records import atomic_path
from clsuite.records.canonical import sha256_of_file

Report = Callable[[str], None]
History = list[dict[str, float]]


def pretrain_clip(spec: ClipPretrainSpec, data_root: Path | None, out: Path, report: Report) -> dict[str, Any]:
    """Train, and write ``NAME.safetensors`` (OpenCLIP's format, half precision) and ``NAME.json`` (the card).

    All values in the card are measured with the weights as written and loaded in the usual way.

    Args:
        spec: The recipe.
        data_root: Folder of the images and of the image tower's weights.
        out: Folder for the two files.
        report: Called with a line of progress now and then.

    Returns:
        The card.

    Raises:
        UserError: If data are missing, the weights do not fit, or the target is not reached (then nothing is written).
    """
    torch.set_num_threads(spec.threads)
    torch.manual_seed(spec.seed)
    tower = locate(spec.image_tower, data_root)
    given = _read(tower)
    backbone, untouched = _start(spec, tower, given)
    data = read_named_images(locate(spec.images, data_root), spec.names, spec.image_size, report)
    parts = hold_out(data.labels, spec.held_out_images, spec.held_out_classes, spec.seed)
    started = time.perf_counter()
    rows = None
    if spec.classifier is not None:
        rows = ClassifierRows(backbone, given, spec.classifier, {data.folders[label] for label in parts.unseen_classes})
    history = _train(spec, backbone, data, parts, rows, report)
    seconds = time.perf_counter() - started
    state = {name: value.half() for name, value in {**clip_state(backbone, _native(backbone)), **untouched}.items()}
    trained = _as_written(spec, state)
    figures = _measure(spec, trained, data, parts, data_root, report)
    reached = figures["held_out_images"]["accuracy"]
    if reached < spec.target:
        raise UserError(f"'{spec.name}' reaches {reached:.4f} on held-out images, below its target of {spec.target}")
    with atomic_path(out / f"{spec.name}.safetensors") as temporary:
        temporary.write_bytes(save(state))
    card = _card(spec, trained, tower, figures, history, seconds)
    card["sha256"] = sha256_of_file(out / f"{spec.name}.safetensors")
    with atomic_path(out / f"{spec.name}.json") as temporary:
        temporary.write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")
    return card


def _backbone_spec(spec: ClipPretrainSpec) -> BackboneSpec:
    return BackboneSpec(name=spec.model, weights="random", image_size=spec.image_size)


def _as_written(spec: ClipPretrainSpec, state: dict[str, Tensor]) -> ClipBackbone:
    """The CLIP that results from loading a file of these weights."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "clip.safetensors"
        save_file(state, path)
        return build_clip(_backbone_spec(spec), Weights("file", path))


def _native(backbone: ClipBackbone) -> int:
    """Side of the images for which the image tower was trained."""
    return int(backbone.clip.visual.trunk.default_cfg["input_size"][-1])


def _read(tower: Path) -> dict[str, Tensor]:
    try:
        return dict(read_state_dict(str(tower), weights_only=True))
    except Exception as error:  # the file may be anything
        raise UserError(f"cannot read the weights '{tower}': {' '.join(str(error).split())[:300]}") from error


def _start(spec: ClipPretrainSpec, tower: Path, given: dict[str, Tensor]) -> tuple[ClipBackbone, dict[str, Tensor]]:
    """The CLIP with its image tower loaded, at the recipe's image size; and the tower's weights if it is locked."""
    backbone = build_clip(_backbone_spec(spec), Weights("random"))
    visual: Any = backbone.clip.visual
    if not hasattr(visual, "trunk"):
        raise UserError(f"model '{spec.model}' has no timm image tower: take one such as open_clip:lit_vit_tiny")
    visual.set_input_size(_native(backbone))
    try:
        state = checkpoint_filter_fn(dict(given), visual.trunk)
        visual.trunk.load_state_dict({name: v for name, v in state.items() if not name.startswith("head.")})
    except Exception as error:  # the file may be anything
        detail = " ".join(str(error).split())[:300]
        raise UserError(f"the weights '{tower}' do not fit the image tower of '{spec.model}': {detail}") from error
    untouched = {f"visual.trunk.{name}": v.clone() for name, v in visual.trunk.state_dict().items()}
    visual.set_input_size(spec.image_size)
    backbone.tune("text" if spec.lock else "both")
    return backbone, untouched if spec.lock else {}


def _train(
    spec: ClipPretrainSpec,
    backbone: ClipBackbone,
    data: NamedImages,
    parts: HeldOut,
    rows: ClassifierRows | None,
    report: Report,
) -> History:
    """Minimize the contrastive loss, and that of the classifier's rows if there are any.

    Features of images are computed only once if the image tower is locked.
    """
    generator = torch.Generator().manual_seed(spec.seed)
    captions = Captions(backbone, [data.names[label] for label in parts.classes], spec.templates)
    position = {int(label): index for index, label in enumerate(parts.classes)}
    targets = torch.tensor([position[int(label)] for label in data.labels[parts.train]])
    trained = [parameter for parameter in backbone.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=spec.lr, weight_decay=spec.weight_decay, fused=True)
    steps = -(-len(targets) // spec.batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, spec.lr, total_steps=spec.epochs * steps)
    fixed = compute_features(backbone, data.images, parts.train) if spec.lock else None
    backbone.train()
    history: History = []
    for epoch in range(1, spec.epochs + 1):
        total = 0.0
        for batch in torch.split(torch.randperm(len(targets), generator=generator), spec.batch_size):
            images = fixed[batch] if fixed is not None else _encode(backbone, data, parts.train[batch.numpy()])
            texts = backbone.encode_tokens(captions.draw(generator))
            loss = class_contrastive_loss(backbone.logits(images, texts), targets[batch])
            if rows is not None and spec.classifier is not None:
                loss = loss + spec.classifier.weight * rows.loss(backbone, generator)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            torch.nn.utils.clip_grad_norm_(trained, 1.0)
            optimizer.step()
            schedule.step()
            total += loss.item() * len(batch)
        history.append({"epoch": epoch, "loss": round(total / len(targets), 4)})
        report(f"epoch {epoch}, loss {history[-1]['loss']:g}")
    return history


def _encode(backbone: ClipBackbone, data: NamedImages, rows: Rows) -> Tensor:
    features: Tensor = backbone(backbone.normalize(torch.from_numpy(data.images[rows])))
    return features


def _measure(
    spec: ClipPretrainSpec,
    backbone: ClipBackbone,
    data: NamedImages,
    parts: HeldOut,
    data_root: Path | None,
    report: Report,
) -> dict[str, dict[str, float]]:
    """Measure zero-shot accuracy: held-out images, held-out classes (alone, and among all), and the probes."""
    everything = list(range(len(data.names)))
    figures = {
        "held_out_images": zero_shot_accuracy(backbone, data, parts.test, parts.classes.tolist()),
        "held_out_classes": zero_shot_accuracy(backbone, data, parts.unseen, parts.unseen_classes.tolist()),
        "held_out_classes_among_all": zero_shot_accuracy(backbone, data, parts.unseen, everything),
    }
    for name, folder in spec.probes.items():
        probe = read_named_images(locate(folder, data_root), spec.probe_names.get(name), spec.image_size, report)
        rows = torch.arange(len(probe.labels)).numpy()
        figures[name] = zero_shot_accuracy(backbone, probe, rows, list(range(len(probe.names))))
    report("zero-shot accuracy: " + ", ".join(f"{name} {figure['accuracy']:.4f}" for name, figure in figures.items()))
    return figures


def zero_shot_accuracy(
    backbone: ClipBackbone, data: NamedImages, rows: Rows, candidates: list[int]
) -> dict[str, float]:
    """Zero-shot accuracy on some rows, with the first name of each candidate class.

    Returns:
        Accuracy, its chance level, and the numbers of images and classes.
    """
    texts = ClassTexts(backbone, [data.names[label][0] for label in candidates])
    with torch.no_grad():
        logits = texts.logits(compute_features(backbone, data.images, rows), len(candidates))
    predicted = torch.tensor(candidates)[logits.argmax(dim=1)]
    accuracy = (predicted == torch.from_numpy(data.labels[rows])).float().mean().item()
    chance = 1 / len(candidates)
    return {
        "accuracy": round(accuracy, 4),
        "chance": round(chance, 4),
        "images": len(rows),
        "classes": len(candidates),
    }


def _card(
    spec: ClipPretrainSpec,
    backbone: ClipBackbone,
    tower: Path,
    figures: dict[str, dict[str, float]],
    history: History,
    seconds: float,
) -> dict[str, Any]:
    return {
        "name": spec.name,
        "model": spec.model,
        "image_size": spec.image_size,
        "zero_shot": figures,
        "zero_shot_templates": list(backbone.templates),
        "parameters": sum(parameter.numel() for parameter in backbone.parameters()),
        "recipe": spec.model_dump(mode="json"),
        "inputs": {tower.name: sha256_of_file(tower)},
        "history": history,
        "seconds": round(seconds, 1),
        "versions": {name: version(name) for name in ("torch", "timm", "open_clip_torch", "numpy")},
    }
