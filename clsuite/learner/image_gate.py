"""A hook through which all images enter the network, in every kind of pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from clsuite.errors import UserError

if TYPE_CHECKING:
    from clsuite.learner.learner import Learner
    from clsuite.plugin.base import Plugin


class ImageGate:
    """Lets plugins transform the images of every pass: training, evaluation, features, queries and probes.

    It is a hook on the backbone, so that shared features on disk are not used for the changed network.
    """

    def __init__(self, learner: Learner, plugins: Sequence[Plugin]) -> None:
        """Register the hook on a learner's backbone.

        Args:
            learner: The learner.
            plugins: The plugins that transform images, in order.
        """
        self._learner, self._plugins = learner, tuple(plugins)
        self._handle = learner.backbone.register_forward_pre_hook(self._pass)

    def open(self) -> None:
        """Remove the hook, so that images pass unchanged."""
        self._handle.remove()

    def _pass(self, backbone: nn.Module, inputs: Any) -> Any:
        """Transform the images of a pass.

        Raises:
            UserError: If a plugin returns another shape.
        """
        images: Tensor = inputs[0]
        for plugin in self._plugins:
            before, images = images, plugin.transform_images(self._learner, images)
            if not isinstance(images, Tensor) or images.shape != before.shape:
                given = list(images.shape) if isinstance(images, Tensor) else type(images).__name__
                raise UserError(
                    f"transform_images of {type(plugin).__name__} returns {given}, but must return images of the shape "
                    f"{list(before.shape)}"
                )
        return (images, *inputs[1:])
