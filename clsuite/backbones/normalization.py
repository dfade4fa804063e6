"""The normalization with which networks were pre-trained, found without building them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from clsuite.backbones.clip_spec import is_clip, parse_clip
from clsuite.backbones.spec import BUNDLED, bundled_card

MeanAndStd = dict[str, Sequence[float]]


def pretrained_normalization(name: str) -> MeanAndStd | None:
    """Mean and standard deviation of the pre-training, for values in [0, 1].

    Args:
        name: The backbone; except for the bundled one, its library is imported.

    Returns:
        ``mean`` and ``std``; None if they are not known on this machine, as for a network that only a hub describes.
    """
    if name == BUNDLED:
        return _named(bundled_card())
    if is_clip(name):
        return _of_clip(name)
    if ":" in name:
        return None
    from timm.models import get_pretrained_cfg

    found = get_pretrained_cfg(name)
    return None if found is None else _named({"mean": found.mean, "std": found.std})


def _of_clip(name: str) -> MeanAndStd | None:
    import open_clip

    parsed = parse_clip(name)
    if parsed.folder is not None:
        return _named(json.loads((parsed.folder / "open_clip_config.json").read_text("utf-8"))["preprocess_cfg"])
    if parsed.model not in open_clip.list_models():
        return None
    tag = open_clip.get_pretrained_cfg(parsed.model, parsed.tag) if parsed.tag else {}
    return _named({"mean": open_clip.OPENAI_DATASET_MEAN, "std": open_clip.OPENAI_DATASET_STD, **tag})


def _named(content: dict[str, Any]) -> MeanAndStd:
    return {key: list(content[key]) for key in ("mean", "std")}
