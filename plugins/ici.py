"""Tuning in the input space: a frozen network and a learned transformation of its images (ICI)."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from clsuite.plugin import Learner, Plugin, Scenario, Traits, UserError, check_range, fill_defaults


class ICI(Plugin):
    """Trains the head and a transformation of the images, shared by all tasks; the network is frozen.

    Marullo et al., "Continual learning with pretrained backbones by tuning in the input space" (2023). The abstract
    says that new parameters transform the input data beside a classification head; their form is not known here. It is
    one of three, each of which changes nothing at first:

    * ``delta``: a learned picture is added to every image (150,528 parameters for 224 pixels).
    * ``frame``: the same in a border alone, as in visual prompting (Bahng et al., 2022).
    * ``convolution``: ``x + conv(x)`` with one layer, or two and a ReLU between them; the last begins with zero.

    Images are transformed after augmentation and normalization, in every pass. The cross-entropy is over the current
    task's classes, as in the other methods that freeze the network (a guess). There are no exemplars; the control is
    ``linear_probe``.

    Args:
        kind: ``delta``, ``frame`` or ``convolution``.
        border: For a frame only: its width in pixels.
        layers: For a convolution only: number of layers, 1 or 2.
        channels: For a convolution only: channels between two layers.
        kernel: For a convolution only: size of the kernel, odd.
    """

    traits = Traits(
        freezes_backbone=True,
        requires=("gradient",),
        memory=("modules",),
        training={"loss": "local"},
        defaults_by={
            "kind": {
                "delta": {},
                "frame": {"border": 4},
                "convolution": {"layers": 2, "channels": 16, "kernel": 3},
            }
        },
        paper="Marullo, 2023 (ICI)",
    )

    def __init__(
        self,
        kind: Literal["delta", "frame", "convolution"] = "delta",
        border: int | None = None,
        layers: int | None = None,
        channels: int | None = None,
        kernel: int | None = None,
    ) -> None:
        super().__init__()
        self.kind = kind
        self._build = fill_defaults(
            "ici", self.traits, kind=kind, border=border, layers=layers, channels=channels, kernel=kernel
        )
        check_range("ici", at_least=1, **{name: self._build.get(name) for name in ("border", "layers", "channels")})
        check_range("ici", at_most=2, layers=self._build.get("layers"))
        if int(self._build.get("kernel") or 1) % 2 == 0:
            raise UserError(f"ici: kernel is {kernel}, but must be odd, so that images keep their size")

    def on_stream_start(self, learner: Learner, scenario: Scenario) -> None:
        """Freeze the backbone and create the transformation.

        Raises:
            UserError: If a frame is wider than half of an image.
        """
        learner.backbone.requires_grad_(False)
        height, width = scenario.table.images.shape[-2:]
        if self.kind == "convolution":
            sizes = {name: int(self._build[name]) for name in ("layers", "channels", "kernel")}
            self.part: nn.Module = ResidualConvolution(learner.generator("ici"), **sizes)
        elif self.kind == "frame":
            border = int(self._build["border"])
            if 2 * border > min(height, width):
                raise UserError(f"ici: border is {border}, but images have {height} x {width} pixels: at most half")
            self.part = Picture(height, width, border)
        else:
            self.part = Picture(height, width)
        learner.register_plugin_module(self, "transformation", self.part, role="inputs")

    def transform_images(self, learner: Learner, images: Tensor) -> Tensor:
        """Transform images ``[B, 3, H, W]``."""
        transformed: Tensor = self.part(images)
        return transformed


class Picture(nn.Module):
    """Adds a learned picture, zero at first, to all images: everywhere, or in a border."""

    places: Tensor

    def __init__(self, height: int, width: int, border: int | None = None) -> None:
        """Create it for images of a size, of which a border of some pixels is learned; by default all of it."""
        super().__init__()
        inside = torch.zeros(height, width, dtype=torch.bool)
        if border is not None:
            inside[border : height - border, border : width - border] = True
        self.register_buffer("places", (~inside).flatten().nonzero().flatten(), persistent=False)
        self.size = (height, width)
        self.values = nn.Parameter(torch.zeros(3, len(self.places)))

    def forward(self, images: Tensor) -> Tensor:
        """The sum."""
        height, width = self.size
        picture = self.values.new_zeros(3, height * width).index_copy(1, self.places, self.values)
        return images + picture.view(3, height, width).to(images.dtype)


class ResidualConvolution(nn.Module):
    """Adds a convolution of one or two layers, whose last kernel begins with zero."""

    def __init__(self, generator: torch.Generator, layers: int, channels: int, kernel: int) -> None:
        """Create it; the first of two kernels has PyTorch's first values, drawn from the generator."""
        super().__init__()
        sizes = [3, 3] if layers == 1 else [3, channels, 3]
        self.kernels, self.biases = nn.ParameterList(), nn.ParameterList()
        for place, (inputs, outputs) in enumerate(pairwise(sizes)):
            last, bound = place == layers - 1, 1 / math.sqrt(inputs * kernel**2)
            first = torch.empty(outputs, inputs, kernel, kernel).uniform_(-bound, bound, generator=generator)
            self.kernels.append(nn.Parameter(torch.zeros_like(first) if last else first))
            self.biases.append(nn.Parameter(torch.zeros(outputs)))

    def forward(self, images: Tensor) -> Tensor:
        """The sum."""
        hidden = images
        for place, (kernel, bias) in enumerate(zip(self.kernels, self.biases, strict=True)):
            hidden = F.conv2d(hidden.relu() if place else hidden, kernel, bias, padding=kernel.shape[-1] // 2)
        return images + hidden
