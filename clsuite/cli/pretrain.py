"""`clsuite pretrain`: a recipe by name or from a file."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from clsuite.cli.console import make_console
from clsuite.errors import did_you_mean
from clsuite.pretrain.kinds import read_recipe


def run_pretrain(recipe: str, data_root: Path | None, out: Path) -> None:
    """Pre-train by a recipe, with a line per epoch.

    Raises:
        UserError: If the recipe or its data is missing or wrong, or the target is not reached.
    """
    path = Path(recipe) if recipe.endswith((".yaml", ".yml")) else _shipped(recipe)
    kind, spec = read_recipe(path)
    console = make_console()
    with console.status("loading torch"):
        pretrain = kind.load()
    card = pretrain(spec, data_root, out, lambda line: console.print(line))
    console.print(
        f"{card['name']}: {kind.tell(card)}, {card['parameters']} parameters, "
        f"{card['seconds']:.0f} s; written to {out}",
        highlight=False,
    )


def _shipped(name: str) -> Path:
    folder = Path(str(files("clsuite_benchmarks"))) / "pretrain"
    known = {path.stem: path for path in folder.glob("*.yaml")}
    if name not in known:
        raise did_you_mean("recipe", name, known)
    return known[name]
