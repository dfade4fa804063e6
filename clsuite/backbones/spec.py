"""The backbone in a benchmark file, and where its weights are found. Nothing here needs torch."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from clsuite.backbones.clip_spec import check_on_hub, how_made, is_clip
from clsuite.backbones.templates import DEFAULT, TEMPLATES, Templates, resolve_templates
from clsuite.config.class_use import CLASS, MaybeOwn
from clsuite.config.paths import home_path
from clsuite.errors import AbsentError, UserError
from clsuite.records.canonical import sha256_of_file
from clsuite.regular_files import is_no_folder

BUNDLED = "omniglot_vit"
KEYWORDS = ("bundled", "hub", "random")


OWN = "own"
"""Kind of weights that a user-defined module loads itself, and start of the names of such backbones."""


class BackboneSpec(MaybeOwn):
    """A pre-trained backbone, or ``{class: my_package:Net, argument: value}``: a user-defined module.

    For a class, `weights`, `image_size`, `normalization` and `templates` have their usual meaning, and all other keys
    are arguments of its constructor (`clsuite.backbones.own`). A file of `weights` is loaded into it and is part of the
    run's key; weights that its constructor loads by itself are not.

    Attributes:
        name: ``omniglot_vit`` (bundled), a timm model with its full tag (``vit_tiny_patch16_224.augreg_in21k_ft_in1k``:
            ViTs, including DeiT, DINO, MAE, EVA and BEiT, and ResNets), or a CLIP
            (``open_clip:ViT-B-32/laion2b_s34b_b79k``).
        weights: ``bundled``, ``hub`` (downloaded by timm or OpenCLIP), ``random``, or a file (safetensors or a state
            dict), absolute, beside the benchmark or below the data root. By default ``bundled`` for the bundled
            backbone, else ``hub``.
        image_size: Side of the input in pixels; the position embedding is resampled if it differs.
        normalization: ``pretrained``: the mean and standard deviation of the pre-training. ``none``: values in [0, 1],
            as in the codes of L2P, DualPrompt, CODA-Prompt, LAE and PILOT.
        templates: Prompts for CLIP's text tower: a named set (``imagenet``, ``cifar``, ...) or a list of your own with
            ``{}`` for the class name; ``a photo of a {}.`` by default. ``per_dataset`` takes the published set of each
            data set, ``mtil`` those of MTIL's code (ZSCL), and a mapping such as ``{food101: food101, my_folder: ["a
            {}"]}`` says them by data set, which for your own images is the name of the folder. The text feature of a
            class is the mean over all its templates; ``training.templates`` says which ones training uses.
    """

    KEPT: ClassVar = frozenset({"name", "weights", "image_size", "normalization", "templates"})

    name: str = BUNDLED
    weights: str = ""
    image_size: int = Field(default=32, ge=1)
    normalization: Literal["pretrained", "none"] = "pretrained"
    templates: Templates = ()

    @field_validator("templates", mode="before")
    @classmethod
    def _by_name(cls, value: Any) -> Any:
        return resolve_templates(value) if isinstance(value, str | list | tuple | dict) else value

    @model_validator(mode="before")
    @classmethod
    def _named_by_its_class(cls, value: Any) -> Any:
        if isinstance(value, dict) and isinstance(value.get(CLASS), str):
            return {**value, "name": f"{OWN}:{short_name(value[CLASS])}"}
        return value

    @model_validator(mode="after")
    def _has_text_tower(self) -> BackboneSpec:
        if self.templates and not is_clip(self.name):
            raise ValueError(f"templates are prompts for a text tower, and backbone '{self.name}' has none")
        return self

    def mean_and_std(self, pretrained: Mapping[str, Any]) -> tuple[Sequence[float], Sequence[float]]:
        """Mean and standard deviation with which images in [0, 1] are normalized.

        Args:
            pretrained: Those of the pre-training, as ``mean`` and ``std``.
        """
        if self.normalization == "none":
            return (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
        return pretrained["mean"], pretrained["std"]

    @property
    def prompts(self) -> Templates:
        """The templates of a CLIP, given or by default; empty for other backbones."""
        return self.templates or (TEMPLATES[DEFAULT] if is_clip(self.name) else ())


def short_name(name: str) -> str:
    """The name of a class in records: for a file without its folders."""
    return re.split(r"[/\\]", name.strip())[-1]


@dataclass(frozen=True)
class Weights:
    """Weights that were found.

    Attributes:
        kind: ``bundled``, ``hub``, ``random``, ``file``, or ``own`` for a module that loads them itself.
        path: The file, if there is one.
        sha256: Hash of the file, if there is one.
    """

    kind: str
    path: Path | None = None
    sha256: str | None = None


@cache
def bundled_card() -> dict[str, Any]:
    """The card of the bundled backbone: architecture, normalization and how it was pre-trained."""
    text = files("clsuite.backbones.bundled").joinpath(f"{BUNDLED}.json").read_text(encoding="utf-8")
    card: dict[str, Any] = json.loads(text)
    return card


@cache
def bundled_size() -> tuple[int, int]:
    """Number of parameters of the bundled backbone, and width of its features; read from the header of its weights."""
    with Path(str(files("clsuite.backbones.bundled").joinpath(f"{BUNDLED}.safetensors"))).open("rb") as opened:
        header = json.loads(opened.read(int.from_bytes(opened.read(8), "little")))
    shapes = {name: entry["shape"] for name, entry in header.items() if name != "__metadata__"}
    return sum(math.prod(shape) for shape in shapes.values()), shapes["fc_norm.weight"][0]


def find_weights(spec: BackboneSpec, folders: list[Path]) -> Weights:
    """Find the weights of a backbone.

    Args:
        spec: The backbone.
        folders: Folders in which a relative path is looked for, in order.

    Raises:
        UserError: If a file is missing, or the keyword is not valid for the backbone.
    """
    if spec.own is not None and spec.weights in ("", OWN):
        return Weights(OWN)
    if spec.own is not None and spec.weights in KEYWORDS:
        raise UserError(f"backbone '{spec.name}' brings its weights itself, or takes those of a file")
    chosen = spec.weights or ("bundled" if spec.name == BUNDLED else "hub")
    if chosen == "bundled":
        if spec.name != BUNDLED:
            raise UserError(f"backbone '{spec.name}' is not bundled: weights can be hub, random or a file")
        path = Path(str(files("clsuite.backbones.bundled").joinpath(f"{BUNDLED}.safetensors")))
        return Weights("bundled", path, sha256_of_file(path))
    if chosen in KEYWORDS:
        if chosen == "hub" and spec.name == BUNDLED:
            raise UserError(f"backbone '{BUNDLED}' is not on any hub: weights can be bundled, random or a file")
        if chosen == "hub" and is_clip(spec.name):
            check_on_hub(spec.name)
        return Weights(chosen)
    path = _find_file(chosen, folders, how_made(spec.name))
    try:
        return Weights("file", path, sha256_of_file(path))
    except OSError as error:
        raise UserError(f"cannot read the weights '{path}': {error.strerror or error}") from error


def _find_file(name: str, folders: list[Path], command: str) -> Path:
    own = home_path(name)
    tried = [folder / name for folder in folders] + [own]
    for path in tried:
        if is_no_folder(path):
            return path
    where = ", ".join(f"'{path}'" for path in dict.fromkeys(tried))
    if command:
        raise AbsentError(f"no weights at {where}. Make them: {command}, where FOLDER is the data root")
    raise AbsentError(
        f"no weights at {where}. Put the file there, give --data-root FOLDER, or choose {', '.join(KEYWORDS)}"
    )
