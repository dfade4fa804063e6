"""Builds backbones: timm's ViTs and ResNets with strictly loaded weights."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any

import timm
import torch
from timm.models import beit, eva, vision_transformer
from timm.models import load_state_dict as read_state_dict
from timm.models.resnet import ResNet
from torch import Tensor, nn

from clsuite.backbones.class_token import class_token_features, only_class_token_counts
from clsuite.backbones.families import is_resnet
from clsuite.backbones.finite import check_finite
from clsuite.backbones.hub import hub_access
from clsuite.backbones.spec import BUNDLED, BackboneSpec, Weights, bundled_card
from clsuite.backbones.weight_file import fit, read_network, what_differs
from clsuite.data.transforms import Normalize
from clsuite.errors import UserError, did_you_mean
from clsuite.private_api import batch_norm_class

FILTERS: dict[type[nn.Module], Any] = {  # functions that convert published weights to timm's, at any image size
    vision_transformer.VisionTransformer: vision_transformer.checkpoint_filter_fn,
    eva.Eva: eva.checkpoint_filter_fn,
    beit.Beit: beit.checkpoint_filter_fn,
}
HEADS = ("head.", "head_dist.", "fc.")


class Backbone(nn.Module):
    """A pre-trained network that maps images to features.

    Attributes:
        model: The timm model, without its head.
        width: Width of the features.
        normalize: Turns stored images into the input for which the network was pre-trained.
    """

    def __init__(self, model: Any, mean: Sequence[float], std: Sequence[float]) -> None:
        """Wrap a timm model whose head is the identity."""
        super().__init__()
        self.model = model
        self.width = int(model.head_hidden_size)
        self.normalize = Normalize(mean, std)

    def forward(self, images: Tensor) -> Tensor:
        """Map normalized images ``[B, 3, H, W]`` to features ``[B, width]``.

        Raises:
            UserError: If batch normalization has only one value per channel, because the batch has a single image.
        """
        if only_class_token_counts(self.model):
            return class_token_features(self.model, images)
        try:
            features: Tensor = self.model.forward_head(self.model.forward_features(images), pre_logits=True)
        except ValueError as error:
            if "more than 1 value per channel" in str(error):
                raise UserError(
                    "a batch of one image cannot be trained on: at this backbone.image_size a layer of the ResNet has "
                    "one pixel and batch normalization needs two; choose a batch_size that leaves no single image"
                ) from error
            raise
        return features

    def train(self, mode: bool = True) -> Backbone:
        """Set the mode; running statistics of frozen layers do not change in any mode."""
        super().train(mode)
        self.hold_statistics()
        return self

    def hold_statistics(self) -> None:
        """Put batch normalizations with frozen weights into eval mode, and the others into the backbone's mode."""
        for module in self.modules():
            if isinstance(module, batch_norm_class()):
                module.training = self.training and any(value.requires_grad for value in module.parameters())


def build_backbone(spec: BackboneSpec, weights: Weights) -> Backbone:
    """Build a backbone and load its weights strictly; only the old head is omitted.

    Raises:
        UserError: If the name is unknown, the image size is not supported, or the weights do not fit.
    """
    model = build_model(spec, weights, num_classes=0)
    config: Any = model.default_cfg if spec.name != BUNDLED else bundled_card()
    return Backbone(model, *spec.mean_and_std(config))


def build_model(spec: BackboneSpec, weights: Weights, num_classes: int) -> Any:
    """Build the timm model itself; with `num_classes` other than 0 it keeps the pre-trained head.

    Raises:
        UserError: As `build_backbone`.
    """
    model = _create(spec, num_classes, pretrained=weights.kind == "hub")
    if weights.path is not None:
        _load(model, spec, weights, keep_head=num_classes > 0)
    return model


def _create(spec: BackboneSpec, num_classes: int, pretrained: bool) -> Any:
    name, arguments = _architecture(spec)
    if not is_resnet(name):
        arguments = {"img_size": spec.image_size, **arguments}
    try:
        with hub_access(spec.name) if pretrained else nullcontext():
            model = timm.create_model(name, pretrained=pretrained, num_classes=num_classes, **arguments)
    except RuntimeError as error:
        if "Unknown model" in str(error) or "Invalid pretrained tag" in str(error):
            known = [BUNDLED, *timm.list_models(), *timm.list_models(pretrained=True)]
            raise did_you_mean("backbone", spec.name, known) from error
        raise UserError(f"backbone '{spec.name}': {error}") from error
    except (AssertionError, TypeError, ValueError, OSError) as error:
        raise UserError(f"cannot build backbone '{spec.name}' at {spec.image_size} px: {_first_line(error)}") from error
    _check(model, spec)
    return model


def _check(model: Any, spec: BackboneSpec) -> None:
    """Check that the features of a model are defined and that it supports the image size.

    Raises:
        UserError: If not.
    """
    if isinstance(model, ResNet):
        return
    kinds: Any = tuple(FILTERS)
    if not isinstance(model, kinds):
        raise UserError(f"backbone '{spec.name}' is a {type(model).__name__}, not a ViT and not a plain ResNet")
    if not all(isinstance(getattr(model, name, None), nn.Module) for name in ("patch_embed", "blocks")):
        raise UserError(f"backbone '{spec.name}' is a {type(model).__name__} without patches or blocks")
    patch = model.patch_embed.patch_size[0]
    if spec.image_size % patch:
        raise UserError(
            f"backbone.image_size {spec.image_size} is not a multiple of the patch size {patch} of '{spec.name}'"
        )


def _architecture(spec: BackboneSpec) -> tuple[str, dict[str, Any]]:
    if spec.name == BUNDLED:
        return bundled_card()["architecture"], bundled_card()["arguments"]
    return spec.name, {}


def _load(model: nn.Module, spec: BackboneSpec, weights: Weights, keep_head: bool) -> None:
    path = weights.path
    assert path is not None
    state, _ = read_network(path, partial(read_state_dict, weights_only=True), model.state_dict())
    convert = next((convert for kind, convert in FILTERS.items() if isinstance(model, kind)), None)
    if convert is not None:
        try:
            state = convert(state, model)
        except Exception as error:  # timm may raise anything for unexpected names and shapes
            problem = what_differs(model, state)
            raise UserError(f"the weights '{path}' do not fit backbone '{spec.name}': {problem}") from error
    if not keep_head:
        state = {name: value for name, value in state.items() if not name.startswith(HEADS)}
    fit(model, state, path, spec.name)
    check_finite(model, f"the weights file '{path}'")


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n")[0] or type(error).__name__


def forward_flops(backbone: Backbone, image_size: int) -> int:
    """Floating-point operations of the forward pass of one image (a multiply-add counts as two).

    Attention is computed step by step for this, because fused kernels are not counted on every device. The model is in
    eval mode, so that running statistics do not change.
    """
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    device, was_training = next(backbone.parameters()).device, backbone.training
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    backbone.eval()
    try:
        with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter, torch.no_grad():
            backbone(torch.zeros(1, 3, image_size, image_size, device=device))
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
        backbone.train(was_training)
    return int(counter.get_total_flops())
