"""ResNets: built by name, weights without the head, statistics that stay while frozen, operations counted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.models._registry import _model_to_module
from torch import Tensor, nn

from clsuite.backbones.families import is_resnet
from clsuite.backbones.spec import BackboneSpec, Weights
from clsuite.backbones.vit import Backbone, build_backbone, build_model, forward_flops
from clsuite.errors import UserError
from clsuite.peft import transformer_blocks
from clsuite.probes.base import ProbeContext
from clsuite.probes.original_head import original_head

FAMILIES = ("resnet", "sknet", "resnest", "res2net")


def resnet(name: str = "test_resnet", size: int = 32, weights: Weights | None = None) -> Backbone:
    torch.manual_seed(0)
    return build_backbone(BackboneSpec(name=name, image_size=size), weights or Weights("random"))


def statistics(backbone: Backbone) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in backbone.named_buffers() if "running" in name}


def test_names_tell_resnets_from_all_others() -> None:
    for name in timm.list_models():
        if _model_to_module[name] in FAMILIES:
            assert is_resnet(name), name
        elif name.startswith(("vit", "deit", "eva", "beit", "aimv2", "flexivit")):
            assert not is_resnet(name), name
    assert is_resnet("resnet18.a1_in1k")
    assert is_resnet("open_clip:RN50/openai")
    assert not is_resnet("open_clip:ViT-B-32/openai")
    assert not is_resnet("omniglot_vit")


@pytest.mark.parametrize("size", [32, 50, 96])
def test_any_image_size(size: int) -> None:
    backbone = resnet(size=size).eval()
    images = torch.randn(2, 3, size, size)
    expected = backbone.model.forward_features(images).mean(dim=(2, 3))
    torch.testing.assert_close(backbone(images), expected)
    assert backbone.width == expected.shape[1]


@pytest.mark.slow
def test_weights_load_strictly_but_for_the_head(tmp_path: Path) -> None:
    torch.manual_seed(1)
    theirs: Any = timm.create_model("resnet18.a1_in1k", num_classes=1000).eval()
    for module in theirs.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-0.1, 0.1)  # type: ignore[union-attr, operator]
    path = tmp_path / "resnet.safetensors"
    save_file(theirs.state_dict(), path)
    images = torch.randn(2, 3, 64, 64)
    ours = resnet("resnet18.a1_in1k", 64, Weights("file", path)).eval()
    with torch.no_grad():
        expected = theirs.forward_head(theirs.forward_features(images), pre_logits=True)
        torch.testing.assert_close(ours(images), expected)
        whole = build_model(BackboneSpec(name="resnet18", image_size=64), Weights("file", path), num_classes=1000)
        torch.testing.assert_close(whole.eval()(images), theirs(images))
        context = ProbeContext(BackboneSpec(name="resnet18", image_size=64), Weights("file", path), None)
        torch.testing.assert_close(original_head(context, 1000)(ours(images)), theirs(images))
    assert ours.width == 512
    state = theirs.state_dict()
    del state["layer1.0.bn1.running_var"]
    save_file(state, path)
    with pytest.raises(UserError, match=r"do not fit backbone 'resnet18.a1_in1k'.*layer1.0.bn1.running_var"):
        resnet("resnet18.a1_in1k", 64, Weights("file", path))


def test_normalization_is_the_models_own() -> None:
    mean, std = timm.get_pretrained_cfg("resnet18.a1_in1k").mean, timm.get_pretrained_cfg("resnet18.a1_in1k").std
    gray = torch.full((1, 1, 2, 2), 51, dtype=torch.uint8)
    expected = (0.2 - torch.tensor(mean)) / torch.tensor(std)
    torch.testing.assert_close(resnet("resnet18.a1_in1k").normalize(gray)[0, :, 0, 0], expected)


def test_statistics_of_frozen_layers_stay_in_any_mode() -> None:
    backbone = resnet()
    first = backbone.model.bn1
    images = torch.randn(4, 3, 32, 32)
    before = statistics(backbone)
    backbone.train()(images)
    assert all(not torch.equal(value, before[name]) for name, value in statistics(backbone).items())
    backbone.requires_grad_(False)
    before = statistics(backbone)
    backbone.train()(images)
    assert all(torch.equal(value, before[name]) for name, value in statistics(backbone).items())
    first.requires_grad_(True)
    backbone.hold_statistics()
    backbone(images)
    moved = {name for name, value in statistics(backbone).items() if not torch.equal(value, before[name])}
    assert moved == {"model.bn1.running_mean", "model.bn1.running_var"}
    backbone.eval()
    assert not first.training


def test_flops_are_counted_without_moving_statistics() -> None:
    """Against the convolutions' shapes: two operations for each weight and place it is applied at."""
    backbone = resnet("resnet18", 64).train()
    before, places = statistics(backbone), []

    def count(module: nn.Conv2d, inputs: Any, output: Tensor) -> None:
        places.append(2 * module.weight.numel() * output.shape[-1] * output.shape[-2])

    handles = [m.register_forward_hook(count) for m in backbone.modules() if isinstance(m, nn.Conv2d)]  # type: ignore[arg-type]
    flops = forward_flops(backbone, 64)
    assert flops == sum(places)
    assert len(places) == len(handles) == 20
    assert backbone.training
    assert all(torch.equal(value, before[name]) for name, value in statistics(backbone).items())


def test_what_a_resnet_cannot_do() -> None:
    with pytest.raises(UserError, match=r"\(ResNet\) has no transformer blocks.*needs a ViT"):
        transformer_blocks(resnet().model)
    with pytest.raises(UserError, match="a batch of one image cannot be trained on"):
        resnet("resnet18")(torch.zeros(1, 3, 32, 32))
    with pytest.raises(UserError, match=r"unknown backbone 'resnet19'\. Did you mean"):
        resnet("resnet19")
