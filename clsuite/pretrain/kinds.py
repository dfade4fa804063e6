"""The kinds of recipes: the specification of each, the function that runs it, and a summary of its card. Torch-free."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from clsuite.config.yaml_models import load_yaml
from clsuite.config.yaml_text import read_yaml
from clsuite.errors import did_you_mean
from clsuite.pretrain.clip_spec import ClipPretrainSpec
from clsuite.pretrain.spec import PretrainSpec

Report = Callable[[str], None]
Run = Callable[[Any, Path | None, Path, Report], dict[str, Any]]


@dataclass(frozen=True)
class Kind:
    """A kind of recipe.

    Attributes:
        spec: The model of its YAML file.
        load: Imports and returns the function that runs it (this imports torch).
        describe: Summarizes the values of the card in one line.
    """

    spec: type[BaseModel]
    load: Callable[[], Run]
    describe: Callable[[dict[str, Any]], str]


def read_recipe(path: Path) -> tuple[Kind, BaseModel]:
    """Read a recipe; its field ``kind`` selects the kind (``drawings`` by default).

    Raises:
        UserError: If the kind is unknown, or the recipe is invalid.
    """
    name = _kind_of(path)
    if name not in KINDS:
        raise did_you_mean(f"kind of recipe in '{path}':", name, KINDS)
    return KINDS[name], load_yaml(path, KINDS[name].spec)


def _kind_of(path: Path) -> str:
    _, content = read_yaml(path)
    return str(content.get("kind", "drawings")) if isinstance(content, dict) else "drawings"


def _load_drawings() -> Run:
    from clsuite.pretrain.recipe import pretrain

    return pretrain


def _load_clip() -> Run:
    from clsuite.pretrain.clip_recipe import pretrain_clip

    return pretrain_clip


def _describe_drawings(card: dict[str, Any]) -> str:
    target = card["recipe"]["target"]
    return f"class-mean accuracy on the digits {card['digits_class_mean_accuracy']:.4f} (target {target})"


def _describe_clip(card: dict[str, Any]) -> str:
    parts = [
        f"{name.replace('_', ' ')} {figure['accuracy']:.4f} (chance {figure['chance']:.4f})"
        for name, figure in card["zero_shot"].items()
    ]
    return f"zero-shot accuracy: {', '.join(parts)}"


KINDS: dict[str, Kind] = {
    "drawings": Kind(PretrainSpec, _load_drawings, _describe_drawings),
    "clip": Kind(ClipPretrainSpec, _load_clip, _describe_clip),
}
