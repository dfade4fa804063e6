"""The gate that all images pass on their way into the network, whoever sends them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from clsuite.errors import UserError

if TYPE_CHECKING:
    from clsuite.learner.learner import Learner
    from clsuite.plugin.base import Plugin


class ImageGate:
    """Lets plugins transform images in front of every pass: training, evaluation, features, queries and probes.

    It is a hook on the backbone, so that features shared on disk are known to be of another network.
    """

    def __init__(self, learner: Learner, plugins: Sequence[Plugin]) -> None:
        """Close the gate of a learner's backbone.

        Args:
            learner: The learner.
            plugins: Who transforms images, in order.
        """
        self._learner, self._plugins = learner, tuple(plugins)
        self._handle = learner.backbone.register_forward_pre_hook(self._pass)

    def open(self) -> None:
        """Let images pass as they are again."""
        self._handle.remove()

    def _pass(self, backbone: nn.Module, inputs: Any) -> Any:
        """Transform the images of a pass.

        Raises:
            UserError: If a plugin gives others of another shape.
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
