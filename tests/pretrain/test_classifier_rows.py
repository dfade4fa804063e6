"""An image tower's classifier as a teacher of names: rows, captions, what is left out, and what it adds to a recipe."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from colored_squares import quiet, recipe
from colored_squares import root as root  # a fixture
from safetensors.torch import load_file
from timm.data.imagenet_info import ImageNetInfo
from torch import Tensor

from clsuite.backbones.clip import ClipBackbone, build_clip
from clsuite.backbones.spec import BackboneSpec, Weights
from clsuite.errors import UserError
from clsuite.pretrain.classifier_rows import ClassifierRows
from clsuite.pretrain.clip_recipe import pretrain_clip
from clsuite.pretrain.clip_spec import ClassifierSpec

INFO = ImageNetInfo("imagenet-1k")


@pytest.fixture(scope="module")
def backbone() -> ClipBackbone:
    torch.manual_seed(0)
    return build_clip(BackboneSpec(name="open_clip:lit_vit_tiny", image_size=32), Weights("random"))


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    return {"head.weight": torch.randn(1000, 192, generator=torch.Generator().manual_seed(1))}


@pytest.mark.slow
def test_rows_are_those_of_the_kept_classes(backbone: ClipBackbone, state: dict[str, Tensor]) -> None:
    rows = ClassifierRows(backbone, state, ClassifierSpec(), {"n01440764"}).rows  # tench, the first class
    assert rows.shape == (999, 192)
    torch.testing.assert_close(rows.norm(dim=1), torch.ones(999))
    torch.testing.assert_close(rows[0], state["head.weight"][1] / state["head.weight"][1].norm())


def test_the_loss_by_hand(backbone: ClipBackbone, state: dict[str, Tensor]) -> None:
    """Two classes are left, with a single caption each: curated names come first, lemmas of the same name are one."""
    kept = {INFO.index_to_label_name(0): "tench", INFO.index_to_label_name(6): "stingray"}
    without = {INFO.index_to_label_name(index) for index in range(1000)} - set(kept)
    spec = ClassifierSpec(batch_size=2, templates=("a {}.",), definitions=0)
    loss = ClassifierRows(backbone, state, spec, without).loss(backbone, torch.Generator().manual_seed(0))
    names = [["tench", "Tinca tinca"], ["stingray"]]
    texts = [backbone.encode_tokens(backbone.tokenize([f"a {name}." for name in own])) for own in names]
    cosines = [texts[i] @ (row / row.norm()) for i, row in enumerate(state["head.weight"][[0, 6]])]
    either = [1 - (first + cosines[1][0]) / 2 for first in cosines[0]]
    assert any(torch.isclose(loss, value, atol=1e-6) for value in either)


@pytest.mark.parametrize("given", [{}, {"head.weight": torch.zeros(21843, 192)}])
def test_weights_without_that_classifier_are_refused(backbone: ClipBackbone, given: dict[str, Tensor]) -> None:
    with pytest.raises(UserError, match=r"must have 'head\.weight' for the 1000 classes of imagenet-1k"):
        ClassifierRows(backbone, given, ClassifierSpec(), set())


@pytest.mark.slow
def test_a_recipe_with_a_classifier(root: Path) -> None:
    spec = recipe(epochs=2, classifier={"batch_size": 8, "weight": 2.0})
    card = pretrain_clip(spec, root, root / "out", quiet)
    assert json.loads((root / "out" / "small.json").read_text())["recipe"]["classifier"]["weight"] == 2.0
    plain = pretrain_clip(recipe(epochs=2), root, root / "plain", quiet)
    assert card["history"] != plain["history"]
    name = "visual.trunk.blocks.0.mlp.fc1.weight"
    assert torch.equal(*(load_file(root / out / "small.safetensors")[name] for out in ("out", "plain")))
