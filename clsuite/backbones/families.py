"""The structure of a backbone, derived from its name. Needs no torch."""

from __future__ import annotations

import re

from clsuite.backbones.clip_spec import is_clip, parse_clip

RESNET = re.compile(r"(test_|wide_)?(eca|se|sk)?res(net|next|nest|2net|2next)|senet154")
CLIP_RESNET = re.compile(r"RN\d")


def is_resnet(name: str) -> bool:
    """Whether a backbone (or the image tower of a CLIP) is by its name a ResNet, which has no transformer blocks."""
    return bool(CLIP_RESNET.match(parse_clip(name).model) if is_clip(name) else RESNET.match(name))
