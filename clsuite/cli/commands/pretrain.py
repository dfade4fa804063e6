"""``clsuite pretrain``: pre-train a backbone."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from clsuite.cli.commands.base import PATH, PATH_OR_NAME, Command


def _arguments(parser: ArgumentParser) -> None:
    parser.add_argument("recipe", type=PATH_OR_NAME, help="name of a recipe that comes with clsuite, or a YAML file")
    parser.add_argument("--data-root", type=PATH, help="folder of the drawings and of the teacher's weights")
    parser.add_argument("--out", type=PATH, default="pretrained", help="folder for the weights and the card")


def _run(given: Namespace) -> int:
    from clsuite.cli.pretrain import run_pretrain

    run_pretrain(given.recipe, given.data_root, given.out)
    return 0


COMMAND = Command(
    "Pre-train a small backbone by a recipe; writes its weights and its card.",
    ("clsuite pretrain omniglot_vit --data-root data", "clsuite pretrain my_recipe.yaml --out pretrained"),
    _arguments,
    _run,
)
