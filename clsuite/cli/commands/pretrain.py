"""``clsuite pretrain``: pre-train a backbone."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from clsuite.cli.commands.base import PATH, PATH_OR_NAME, Command
from clsuite.errors import did_you_mean


def _arguments(parser: ArgumentParser) -> None:
    parser.add_argument("recipe", type=PATH_OR_NAME, help="name of a recipe of clsuite, or a YAML file")
    parser.add_argument("--data-root", type=PATH, help="folder of the drawings and of the teacher's weights")
    parser.add_argument("--out", type=PATH, default="pretrained", help="folder for the weights and the card")


def _run(arguments: Namespace) -> int:
    run_pretrain(arguments.recipe, arguments.data_root, arguments.out)
    return 0


def run_pretrain(recipe: str, data_root: Path | None, out: Path) -> None:
    """Pre-train according to a recipe, and print a line per epoch.

    Raises:
        UserError: If the recipe or its data are missing or invalid, or the target is not reached.
    """
    from clsuite.cli.console import make_console
    from clsuite.pretrain.kinds import read_recipe

    path = Path(recipe) if recipe.endswith((".yaml", ".yml")) else _shipped(recipe)
    kind, spec = read_recipe(path)
    console = make_console()
    with console.status("loading torch"):
        pretrain = kind.load()
    card = pretrain(spec, data_root, out, lambda line: console.print(line))
    console.print(
        f"{card['name']}: {kind.describe(card)}, {card['parameters']} parameters, "
        f"{card['seconds']:.0f} s; written to {out}",
        highlight=False,
    )


def _shipped(name: str) -> Path:
    from importlib.resources import files

    folder = Path(str(files("clsuite_benchmarks"))) / "pretrain"
    known = {path.stem: path for path in folder.glob("*.yaml")}
    if name not in known:
        raise did_you_mean("recipe", name, known)
    return known[name]


COMMAND = Command(
    "Pre-train a small backbone according to a recipe; writes its weights and its card.",
    ("clsuite pretrain omniglot_vit --data-root data", "clsuite pretrain my_recipe.yaml --out pretrained"),
    _arguments,
    _run,
)
