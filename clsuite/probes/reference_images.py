"""Images and texts that a method refers to besides those of its stream, such as those of a distillation."""

from __future__ import annotations

import torch
from torch import Tensor

from clsuite.backbones.clip import ClipBackbone
from clsuite.data.datasets import locate
from clsuite.data.naming import text_lines
from clsuite.errors import UserError
from clsuite.learner.learner import Learner
from clsuite.probes.named import NamedTable, load_named_table
from clsuite.probes.spec import ZeroShotProbe


def reference_images(
    learner: Learner,
    path: str,
    names: str | None = None,
    images_per_class: int | None = None,
    fingerprint: str | None = None,
) -> NamedTable:
    """Load a folder of images with names of their classes, as the probe ``zero_shot`` does.

    The key of a run has the path and the fingerprint that a plugin was given, and not the images. Without a fingerprint
    it has the names and sizes of the folder's files, if the plugin has an argument ``fingerprint``.

    Args:
        learner: The learner, for whose backbone the images are.
        path: Folder ``CLASS/*``, absolute or below the data root.
        names: File in that folder with lines ``CLASS<tab>name``; see `clsuite.probes.spec.ZeroShotProbe`.
        images_per_class: Largest number of images of each class.
        fingerprint: What the images and names must be, by the beginning of ``NamedTable.fingerprint``; anything by
            default.

    Raises:
        UserError: If they are missing, or others.
    """
    spec = ZeroShotProbe(path=path, names=names, images_per_class=images_per_class)
    found = load_named_table(spec, learner.scenario.table.images.shape[-1], learner.data_root, distinct=False)
    if fingerprint is not None and not (fingerprint and found.fingerprint.startswith(fingerprint)):
        raise UserError(f"the images in '{path}' have the fingerprint {found.fingerprint[:12]}, not {fingerprint}")
    return found


def reference_texts(learner: Learner, path: str) -> list[str]:
    """Read texts that a method refers to, such as captions.

    Args:
        learner: The learner.
        path: A file with a text in each line, absolute or below the data root; empty lines are left out.

    Raises:
        UserError: If it is missing, or has no text.
    """
    lines = [line.strip() for line in text_lines(locate(path, learner.data_root))]
    texts = [line for line in lines if line]
    if not texts:
        raise UserError(f"there is no text in '{path}': write one in each line")
    return texts


def random_tokens(clip: ClipBackbone, texts: int, length: int, generator: torch.Generator) -> Tensor:
    """Texts of random tokens, between the tokens that begin and end a text.

    Args:
        clip: The CLIP.
        texts: Number of texts.
        length: Number of random tokens of each.
        generator: Source of the draws (on the CPU).

    Returns:
        int64 ``[texts, context length]``, on the CPU.

    Raises:
        UserError: If a text has no room for so many.
    """
    tokens = clip.tokenize(["a"] * texts).cpu()
    begin, end, room = int(tokens[0, 0]), int(tokens.max()), tokens.shape[1] - 2
    if length > room:
        raise UserError(f"a text of {length} random tokens is too long for the text tower: there is room for {room}")
    tokens[:, 1 : 1 + length] = torch.randint(1, begin, (texts, length), generator=generator)
    tokens[:, 1 + length] = end
    return tokens
