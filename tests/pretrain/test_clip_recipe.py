"""The small CLIP: splits, loss by hand, and a whole recipe on colored squares that loads like any OpenCLIP weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from colored_squares import COLORS, quiet, recipe
from colored_squares import root as root  # a fixture
from safetensors.torch import load_file

from clsuite.backbones.clip import build_clip
from clsuite.backbones.spec import BackboneSpec, find_weights
from clsuite.errors import UserError
from clsuite.pretrain.captions import class_contrastive_loss
from clsuite.pretrain.clip_recipe import pretrain_clip, zero_shot_accuracy
from clsuite.pretrain.kinds import read_recipe
from clsuite.pretrain.named_images import hold_out, read_named_images
from clsuite.pretrain.spec import PretrainSpec


@pytest.mark.slow
@pytest.mark.parametrize("lock", [True, False])
def test_a_recipe_end_to_end(root: Path, lock: bool) -> None:
    spec = recipe(lock=lock, epochs=12 if lock else 6, lr=1e-3 if lock else 1e-4)
    card = pretrain_clip(spec, root, root / "out", quiet)
    assert json.loads((root / "out" / "small.json").read_text()) == json.loads(json.dumps(card))
    ours = BackboneSpec(name=spec.model, weights="small.safetensors", image_size=32)
    found = find_weights(ours, [root / "out"])
    assert found.sha256 == card["sha256"]
    backbone = build_clip(ours, found)
    data = read_named_images(root / "squares", "words.txt", 32, quiet)
    parts = hold_out(data.labels, 2, 2, spec.seed)
    again = zero_shot_accuracy(backbone, data, parts.test, parts.classes.tolist())
    assert again == card["zero_shot"]["held_out_images"]
    assert card["history"][-1]["loss"] < card["history"][0]["loss"]
    written, tower = load_file(root / "out" / "small.safetensors"), load_file(root / "tower.safetensors")
    same = torch.equal(written["visual.trunk.blocks.0.mlp.fc1.weight"], tower["blocks.0.mlp.fc1.weight"].half())
    assert same == lock
    assert torch.equal(written["visual.trunk.pos_embed"], tower["pos_embed"].half()) == lock
    if lock:
        assert again["accuracy"] > 0.8  # three colors


@pytest.mark.slow
def test_a_missed_target_writes_nothing(root: Path) -> None:
    with pytest.raises(UserError, match="below its target of 1"):
        pretrain_clip(recipe(target=1.0, epochs=1, lr=1e-9), root, root / "out", quiet)
    assert not (root / "out").exists()


def test_the_parts_are_apart(root: Path) -> None:
    data = read_named_images(root / "squares", "words.txt", 16, quiet)
    assert data.first_names == list(COLORS.values())
    assert data.names[0] == ("red", "red color")
    parts = hold_out(data.labels, 2, 2, seed=3)
    rows = np.concatenate([parts.train, parts.test, parts.unseen])
    np.testing.assert_array_equal(np.sort(rows), np.arange(30))
    assert set(data.labels[parts.unseen]) == set(parts.unseen_classes)
    assert set(data.labels[parts.train]) == set(data.labels[parts.test]) == set(parts.classes)
    np.testing.assert_array_equal(np.bincount(data.labels[parts.test])[parts.classes], 2)
    assert set(parts.unseen_classes) != set(hold_out(data.labels, 2, 2, seed=4).unseen_classes)


def test_the_loss_by_hand() -> None:
    logits, labels = torch.tensor([[2.0, 0.0, 1.0], [1.0, 1.0, 0.0], [0.0, 3.0, 0.0]]), torch.tensor([0, 0, 1])
    rows, columns = logits.softmax(dim=1).log(), logits.softmax(dim=0).log()
    to_texts = -(rows[0, 0] + rows[1, 0] + rows[2, 1]) / 3
    to_images = -((columns[0, 0] + columns[1, 0]) / 2 + columns[2, 1]) / 2
    torch.testing.assert_close(class_contrastive_loss(logits, labels), (to_texts + to_images) / 2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "open_clip:clip_nano"}, "has no timm image tower"),
        ({"image_tower": "squares/words.txt"}, "cannot read the weights"),
        ({"images": "nowhere"}, "no data at"),
        ({"held_out_classes": 4}, "two must be left"),
        ({"held_out_images": 6}, "has only 6 images"),
        ({"names": "no.txt"}, r"cannot read .*no\.txt"),
    ],
)
def test_bad_recipes_are_refused(root: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        pretrain_clip(recipe(**changes), root, root / "out", quiet)


def test_the_kind_decides_how_a_recipe_is_read(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(yaml.safe_dump(recipe().model_dump(mode="json")))
    assert read_recipe(path)[1] == recipe()
    drawings = {"name": "x", "archives": ["a.zip"], "architecture": "v", "arguments": {}, "teacher": "t"}
    path.write_text(yaml.safe_dump(drawings))
    assert isinstance(read_recipe(path)[1], PretrainSpec)
    path.write_text("kind: clipp\n")
    with pytest.raises(UserError, match="Did you mean 'clip'"):
        read_recipe(path)
    path.write_text(yaml.safe_dump({**recipe().model_dump(mode="json"), "epoch": 3}))
    with pytest.raises(UserError, match=r"unknown key 'epoch'. Did you mean 'epochs'"):
        read_recipe(path)


@pytest.mark.nightly
def test_real_image_tower_learns_names(real_data: Path, tmp_path: Path) -> None:
    """LiT on 12 real classes with the ImageNet tower: held-out images are named far above chance."""
    (tmp_path / "few").mkdir()
    source = real_data / "tinyimagenet_val"
    for folder in sorted(path for path in source.iterdir() if path.is_dir())[:12]:
        (tmp_path / "few" / folder.name).symlink_to(folder)
    (tmp_path / "few" / "words.txt").symlink_to(source / "words.txt")
    tower = real_data / "vit_tiny_patch16_224.augreg_in21k_ft_in1k.safetensors"
    spec = recipe(image_tower=str(tower), images="few", held_out_images=10, image_size=96, probes={}, batch_size=32)
    figures = pretrain_clip(spec, tmp_path, tmp_path / "out", quiet)["zero_shot"]["held_out_images"]
    assert figures["classes"] == 10
    assert figures["images"] == 100
    assert figures["accuracy"] > 0.5
