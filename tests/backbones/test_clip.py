"""CLIP backbones: strict loading in OpenCLIP's format, normalization, image sizes, prompts against OpenCLIP's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional as F

from clsuite.backbones.class_texts import ClassTexts
from clsuite.backbones.clip import ClipBackbone, build_clip
from clsuite.backbones.clip_spec import own_configs
from clsuite.backbones.spec import BackboneSpec, Weights, find_weights
from clsuite.backbones.templates import TEMPLATES, fill, readable
from clsuite.backbones.vit import forward_flops
from clsuite.errors import UserError
from clsuite.peft import transformer_blocks

NANO = "open_clip:clip_nano"
NAMES = ["sea_horse", "cup", "grand  piano"]


def nano(seed: int = 0, weights: Weights | None = None, **spec: Any) -> ClipBackbone:
    torch.manual_seed(seed)
    return build_clip(BackboneSpec(name=NANO, **spec), weights or Weights("random"))


@pytest.mark.parametrize("suffix", ["safetensors", "pt"])
def test_weights_written_by_open_clip_load_strictly(suffix: str, tmp_path: Path) -> None:
    """OpenCLIP's own model, saved as OpenCLIP's training saves it, gives the same features here."""
    theirs = open_clip.create_model(f"local-dir:{own_configs()['clip_nano']}", load_weights=False)
    path = tmp_path / f"clip.{suffix}"
    if suffix == "pt":
        state = {f"module.{name}": value for name, value in theirs.state_dict().items()}
        torch.save({"epoch": 1, "state_dict": state}, path)
    else:
        save_file(theirs.state_dict(), path)
    found = find_weights(BackboneSpec(name=NANO, weights=path.name), [tmp_path])
    assert found.kind == "file"
    assert found.sha256 is not None
    ours = nano(seed=1, weights=found).eval()
    images, tokens = torch.rand(2, 3, 32, 32), ours.tokenize(["a cup", "a horse"])
    torch.testing.assert_close(ours(images), theirs.eval().encode_image(images))
    torch.testing.assert_close(ours.encode_tokens(tokens), theirs.encode_text(tokens, normalize=True))
    assert ours.width == 32
    torch.testing.assert_close(ours.logit_scale, theirs.logit_scale.exp())


def test_normalization_is_clips_own() -> None:
    gray = torch.full((1, 1, 2, 2), 51, dtype=torch.uint8)
    expected = (0.2 - torch.tensor(open_clip.OPENAI_DATASET_MEAN)) / torch.tensor(open_clip.OPENAI_DATASET_STD)
    torch.testing.assert_close(nano().normalize(gray)[0, :, 0, 0], expected)


@pytest.mark.parametrize("model", ["clip_nano", "lit_vit_tiny"])
def test_another_image_size_resamples_the_position_embedding(model: str, tmp_path: Path) -> None:
    native = {"clip_nano": 32, "lit_vit_tiny": 224}[model]
    first = build_clip(BackboneSpec(name=f"open_clip:{model}", image_size=native), Weights("random"))
    save_file(first.clip.state_dict(), tmp_path / "clip.safetensors")
    found = Weights("file", tmp_path / "clip.safetensors")
    same = build_clip(BackboneSpec(name=f"open_clip:{model}", image_size=native), found).eval()
    other = build_clip(BackboneSpec(name=f"open_clip:{model}", image_size=native // 2), found).eval()
    with torch.no_grad():
        large = same(torch.ones(1, 3, native, native))
        small = other(torch.ones(1, 3, native // 2, native // 2))
    torch.testing.assert_close(large, first.eval()(torch.ones(1, 3, native, native)))
    assert small.shape == large.shape
    assert F.cosine_similarity(small, large) > 0.9  # a white image looks much the same at half the size


@pytest.mark.parametrize("templates", ["simple", "cifar"])
def test_class_texts_equal_open_clips_classifier(templates: str) -> None:
    backbone = nano(templates=templates)
    tokenizer = open_clip.get_tokenizer(f"local-dir:{own_configs()['clip_nano']}")
    words = [readable(name) for name in NAMES]
    oracle = open_clip.build_zero_shot_classifier(backbone.clip, tokenizer, words, TEMPLATES[templates])
    texts = ClassTexts(backbone, NAMES)
    with torch.no_grad():
        torch.testing.assert_close(texts.features(3), oracle.T, rtol=1e-4, atol=1e-6)
        features = torch.randn(4, 32)
        expected = backbone.clip.logit_scale.exp() * F.normalize(features, dim=1) @ oracle
        torch.testing.assert_close(texts.logits(features, 3), expected, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(texts.features(2), texts.features(3)[:2], rtol=0, atol=0)


def test_class_texts_are_kept_until_the_text_tower_changes() -> None:
    backbone = nano()
    backbone.tune("text")
    texts = ClassTexts(backbone, NAMES)
    with torch.inference_mode():
        before = texts.features(3)
    with torch.no_grad():
        assert torch.equal(texts.features(3), before)
    optimizer = torch.optim.AdamW(backbone.text_parameters(), lr=0.01, fused=True)
    trained = texts.features(3)
    torch.testing.assert_close(trained.detach(), before.clone(), rtol=1e-4, atol=1e-6)
    trained[0, 0].backward()
    optimizer.step()
    with torch.no_grad():
        after = texts.features(3)
        assert not torch.allclose(after, before)
        backbone.clip.load_state_dict(nano(seed=5).clip.state_dict())
        assert not torch.allclose(texts.features(3), after)
        after = texts.features(3)
    with torch.no_grad():
        torch.testing.assert_close(after, ClassTexts(backbone, NAMES).features(3), rtol=0, atol=0)


def test_flops_of_the_image_tower() -> None:
    """Patches, two blocks with attention over 17 tokens, and the projection of the class token."""
    backbone = nano().train()
    tokens, width = 17, 64
    blocks = 2 * (2 * tokens * width * 12 * width + 2 * 2 * tokens * tokens * width)
    assert forward_flops(backbone, 32) == 2 * 16 * 8 * 8 * 3 * width + blocks + 2 * width * 32
    assert backbone.training


def test_the_network_of_each_tower() -> None:
    backbone = nano()
    assert backbone.model is backbone.clip.visual
    assert backbone.text_model is backbone.clip.transformer
    assert not any(name.startswith("model.") for name in backbone.state_dict())
    timms = build_clip(BackboneSpec(name="open_clip:lit_vit_tiny", image_size=32), Weights("random"))
    assert timms.model is timms.clip.visual.trunk
    assert len(transformer_blocks(timms.model)) == 12


@pytest.mark.parametrize(("towers", "image", "text"), [("image", True, False), ("text", False, True), ("both",) * 3])
def test_towers_are_chosen(towers: Any, image: Any, text: Any) -> None:
    backbone = nano()
    backbone.tune(towers)
    for name, parameter in backbone.clip.named_parameters():
        assert parameter.requires_grad == bool(image if name.startswith("visual.") else text), name


def test_templates() -> None:
    theirs = tuple(template("{}") for template in open_clip.OPENAI_IMAGENET_TEMPLATES)
    assert TEMPLATES["imagenet"] == theirs
    for name, templates in TEMPLATES.items():
        assert len(set(templates)) == len(templates), name
        assert all(template.count("{}") == 1 and "{{" not in template for template in templates), name
    assert fill(("a {}.", "the {}!"), "sea_horse") == ["a sea horse.", "the sea horse!"]
    assert BackboneSpec(name=NANO).prompts == ("a photo of a {}.",)
    assert BackboneSpec(name=NANO, templates=["my {}"]).prompts == ("my {}",)
    assert BackboneSpec().prompts == ()


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"name": NANO, "templates": "cifarr"}, "unknown template set 'cifarr'. Did you mean 'cifar'"),
        (
            {"name": NANO, "templates": ["a photo"]},
            "must be text with one {} where the class name goes|unknown template",
        ),
        ({"templates": "cifar"}, "backbone 'omniglot_vit' has none"),
    ],
)
def test_templates_that_cannot_be(spec: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BackboneSpec(**spec)


@pytest.mark.parametrize(
    ("name", "size", "message"),
    [
        ("open_clip:ViT-B-33", 224, "unknown CLIP model 'ViT-B-33'. Did you mean 'ViT-B-32'"),
        ("open_clip:clip_nanno", 32, "Did you mean 'clip_nano'"),
        ("open_clip:ViT-B-32/laion2b_s34b_b79", 224, "unknown pre-trained tag .*Did you mean 'laion2b_s34b_b79k'"),
        ("open_clip:", 32, "write open_clip:MODEL/TAG"),
        (NANO, 36, "backbone.image_size 36 is not a multiple of the patch size 8"),
        ("open_clip:lit_vit_tiny", 100, "backbone.image_size 100 is not a multiple of the patch size 16"),
    ],
)
def test_what_cannot_be_built_is_named(name: str, size: int, message: str) -> None:
    with pytest.raises(UserError, match=message):
        build_clip(BackboneSpec(name=name, image_size=size), Weights("random"))


@pytest.mark.parametrize(
    ("name", "message"), [(NANO, "is not on any hub"), ("open_clip:ViT-B-32", "names no pre-trained tag")]
)
def test_nothing_on_the_hub(name: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        find_weights(BackboneSpec(name=name), [])


def test_weights_that_do_not_fit(tmp_path: Path) -> None:
    path = tmp_path / "clip.safetensors"
    state = nano().clip.state_dict()
    del state["visual.proj"]
    save_file(state, path)
    with pytest.raises(UserError, match=r"do not fit backbone 'open_clip:clip_nano'.*visual.proj"):
        nano(weights=Weights("file", path))
    save_file({"other": torch.zeros(1)}, path)
    with pytest.raises(UserError, match="do not fit"):
        nano(weights=Weights("file", path))
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(UserError, match="cannot read the weights"):
        nano(weights=Weights("file", path))


def test_half_precision_files_load(tmp_path: Path) -> None:
    path = tmp_path / "clip.safetensors"
    whole = nano().clip.state_dict()
    save_file({name: value.half() for name, value in whole.items()}, path)
    loaded = nano(seed=1, weights=Weights("file", path)).clip.state_dict()
    assert load_file(path)["visual.proj"].dtype == torch.float16
    for name, value in whole.items():
        torch.testing.assert_close(loaded[name], value.half().float(), rtol=0, atol=0, msg=name)
