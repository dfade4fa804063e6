"""Names of CLIP backbones: ``open_clip:MODEL/TAG``. Needs no torch."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from clsuite.errors import UserError

PREFIX = "open_clip:"
EXAMPLE = "open_clip:ViT-B-32/laion2b_s34b_b79k"
CLIP_CATALOG: dict[str, str] = {
    "open_clip:clip_nano": "CLIP for tests: random weights or a file, 1.8 M parameters; 32 px",
    "open_clip:lit_vit_tiny": "ViT-Ti/16 with a small text tower, made by `clsuite pretrain lit_vit_tiny`; a file",
    EXAMPLE: "CLIP ViT-B/32, LAION-2B, 151 M parameters",
    "open_clip:ViT-B-16/openai": "CLIP ViT-B/16, OpenAI's weights (Continual-CLIP, MTIL), 150 M parameters",
    "open_clip:ViT-B-16/laion2b_s34b_b88k": "CLIP ViT-B/16, LAION-2B, 150 M parameters",
    "open_clip:ViT-L-14/openai": "CLIP ViT-L/14, OpenAI's weights, 428 M parameters",
}

MADE_BY_RECIPE = ("lit_vit_tiny",)
"""CLIPs of clsuite whose weights are not distributed: a recipe of the same name makes them."""


@dataclass(frozen=True)
class ClipName:
    """A model of OpenCLIP or of clsuite, and the tag of its pre-trained weights (may be empty)."""

    model: str
    tag: str

    @property
    def folder(self) -> Path | None:
        """The folder of the configuration if it is clsuite's own."""
        return own_configs().get(self.model)


def is_clip(name: str) -> bool:
    """Whether the name of a backbone is that of a CLIP."""
    return name.startswith(PREFIX)


def parse_clip(name: str) -> ClipName:
    """Parse ``open_clip:MODEL/TAG`` or ``open_clip:MODEL``.

    Raises:
        UserError: If the name has another form.
    """
    model, _, tag = name.removeprefix(PREFIX).partition("/")
    if not is_clip(name) or not model:
        raise UserError(f"backbone '{name}' is not a CLIP model: write open_clip:MODEL/TAG, for example {EXAMPLE}")
    return ClipName(model, tag)


def check_on_hub(name: str) -> None:
    """Check that the name of a CLIP says which weights to download.

    Raises:
        UserError: If it has no tag, or its configuration is clsuite's own.
    """
    parsed = parse_clip(name)
    if parsed.folder is not None:
        raise UserError(f"backbone '{name}' is not on any hub: weights can be random or a file")
    if not parsed.tag:
        raise UserError(f"backbone '{name}' names no pre-trained tag: write {name}/TAG, or weights: random or a file")


def how_made(name: str) -> str:
    """The command that makes the weights of a CLIP which nobody distributes; empty for all other backbones."""
    model = parse_clip(name).model if is_clip(name) else ""
    return f"clsuite pretrain {model} --data-root FOLDER --out FOLDER" if model in MADE_BY_RECIPE else ""


def own_configs() -> dict[str, Path]:
    """The configurations of clsuite by name: folders with an ``open_clip_config.json``."""
    folder = Path(str(files("clsuite.backbones.clip_configs")))
    return {path.parent.name: path.parent for path in sorted(folder.glob("*/open_clip_config.json"))}
