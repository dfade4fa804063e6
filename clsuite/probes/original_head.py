"""The head with which a backbone was pre-trained, and the features that it needs."""

from __future__ import annotations

from timm.models.deit import VisionTransformerDistilled
from torch import Tensor, nn

from clsuite.backbones.vit import Backbone, build_model
from clsuite.errors import UserError
from clsuite.probes.base import ProbeContext


class DistilledHead(nn.Module):
    """The two heads of a distilled DeiT: the mean of their logits (Touvron et al., ICML 2021, section 4).

    Each head reads its own token, so the mean of the tokens, which is the usual feature, is not sufficient.
    """

    def __init__(self, head: nn.Module, head_dist: nn.Module) -> None:
        """Store the heads of the class token and of the distillation token."""
        super().__init__()
        self.head, self.head_dist = head, head_dist

    def forward(self, tokens: Tensor) -> Tensor:
        """Map class and distillation token ``[B, 2 * width]`` to logits ``[B, classes]``."""
        of_class, of_distillation = tokens.chunk(2, dim=1)
        logits: Tensor = (self.head(of_class) + self.head_dist(of_distillation)) / 2
        return logits


class BothTokens(Backbone):
    """A view of a distilled DeiT whose features are the class token and the distillation token, concatenated."""

    def __init__(self, backbone: Backbone) -> None:
        """Share the model of a backbone."""
        nn.Module.__init__(self)
        self.model, self.normalize, self.width = backbone.model, backbone.normalize, 2 * backbone.width
        self.training = backbone.training

    def forward(self, images: Tensor) -> Tensor:
        """Map normalized images ``[B, 3, H, W]`` to tokens ``[B, 2 * width]``."""
        tokens: Tensor = self.model.forward_features(images)
        return tokens[:, :2].flatten(1)


def original_head(context: ProbeContext, classes: int) -> nn.Module:
    """The pre-trained head, with frozen weights.

    Raises:
        UserError: If its number of outputs differs from the number of classes in the probe set.
    """
    try:
        model = build_model(context.backbone, context.weights, num_classes=classes)
    except UserError as error:
        raise UserError(f"the probe set has {classes} classes, but the original head does not fit: {error}") from error
    heads = model.get_classifier()  # a pair if there are two heads
    head = DistilledHead(*heads) if isinstance(model, VisionTransformerDistilled) else heads
    frozen: nn.Module = head.eval().requires_grad_(False)
    return frozen
