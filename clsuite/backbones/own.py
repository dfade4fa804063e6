"""User-defined backbones: any `torch.nn.Module` with a method ``features``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from clsuite.backbones.spec import BackboneSpec
from clsuite.backbones.vit import Backbone
from clsuite.data.transforms import Normalize
from clsuite.errors import UserError


@runtime_checkable
class FeatureNetwork(Protocol):
    """The interface of a module used as a backbone: ``backbone: {class: my_package:Net, argument: value}``.

    The class derives from `torch.nn.Module`. It can have an attribute ``normalize``: an object with ``mean`` and
    ``std`` (such as torchvision's ``Normalize``) or a pair of both, for values in [0, 1]; without it images are floats
    in [0, 1].

    Attributes:
        width: Width of the features.
    """

    width: int

    def features(self, images: Tensor) -> Tensor:
        """Map images to features. Called in each forward pass, in training with gradients.

        Args:
            images: Normalized floats ``[B, 3, H, W]``.

        Returns:
            Features ``[B, width]``.
        """


class OwnBackbone(Backbone):
    """A user-defined module, wrapped as a backbone."""

    def __init__(self, model: nn.Module, spec: BackboneSpec) -> None:
        """Wrap a module.

        Raises:
            UserError: If it has no features or no width, or its normalization is invalid.
        """
        nn.Module.__init__(self)
        self.name = spec.name
        width = getattr(model, "width", None)
        if not callable(getattr(model, "features", None)):
            raise UserError(f"backbone '{self.name}' has no method features(images) that gives [B, width]")
        if not isinstance(width, int) or isinstance(width, bool) or width < 1:
            raise UserError(f"backbone '{self.name}' needs 'width', the length of its features; it is {width!r}")
        self.model: Any = model
        self.width = width
        self.normalize = Normalize(*spec.mean_and_std(_statistics(model, self.name)))

    def forward(self, images: Tensor) -> Tensor:
        """Map normalized images ``[B, 3, H, W]`` to features ``[B, width]``.

        Raises:
            UserError: If the module returns anything else.
        """
        features: Any = self.model.features(images)
        if not isinstance(features, Tensor) or features.shape != (len(images), self.width):
            found = list(features.shape) if isinstance(features, Tensor) else type(features).__name__
            raise UserError(
                f"features(images) of backbone '{self.name}' gives {found} for {list(images.shape)}, but must give "
                f"[{len(images)}, {self.width}]"
            )
        return features

    def check(self, image_size: int) -> None:
        """Pass two gray images through the module.

        Raises:
            UserError: If it has no parameters, or does not return features.
        """
        first = next(self.parameters(), None)
        if first is None:
            raise UserError(f"backbone '{self.name}' has no parameters")
        training = self.training
        self.eval()
        with torch.no_grad():
            self(torch.full((2, 3, image_size, image_size), 0.5, device=first.device))
        self.train(training)


def _statistics(model: nn.Module, name: str) -> dict[str, Sequence[float]]:
    """Mean and standard deviation that a module declares; 0 and 1 if it declares none."""
    stated: Any = getattr(model, "normalize", None)
    if stated is None:
        return {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
    pair: Any = stated if isinstance(stated, tuple | list) else [getattr(stated, key, None) for key in ("mean", "std")]
    try:
        mean, std = ([float(value) for value in values] for values in pair)
    except (TypeError, ValueError) as error:
        raise UserError(
            f"'normalize' of backbone '{name}' must be a pair of mean and std, such as ((0.5,), (0.25,))"
        ) from error
    if not {len(mean), len(std)} <= {1, 3} or min(std, default=0.0) <= 0:
        raise UserError(f"'normalize' of backbone '{name}' must have one or three means and stds, each std above 0")
    return {"mean": _three(mean), "std": _three(std)}


def _three(values: Sequence[float]) -> list[float]:
    """A value for each channel."""
    return list(values) if len(values) == 3 else 3 * list(values)
