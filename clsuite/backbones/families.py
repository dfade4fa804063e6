"""What the name of a backbone says about its structure. Needs no torch."""

from __future__ import annotations

import re

from clsuite.backbones.clip_spec import is_clip, parse_clip

RESNET = re.compile(r"(test_|wide_)?(eca|se|sk)?res(net|next|nest|2net|2next)|senet154")
CLIP_RESNET = re.compile(r"RN\d")


def is_resnet(name: str) -> bool:
    """Whether a backbone's name is that of a ResNet, which has no transformer blocks; of CLIPs, the image tower."""
    return bool(CLIP_RESNET.match(parse_clip(name).model) if is_clip(name) else RESNET.match(name))
