"""``clsuite new``: create a new plugin."""

from __future__ import annotations

import keyword
import os
import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path
from string import Template

from clsuite.cli.commands.base import PATH, Command, add_word
from clsuite.cli.console import make_console
from clsuite.errors import UserError, shortened

LONGEST = 60
"""Largest number of letters in the name of a method, which tables show."""
KINDS = ("loss", "buffer", "peft", "weights", "predict")


def _arguments(parser: ArgumentParser) -> None:
    parser.add_argument("name", type=str, help="name of the method, such as my_method")
    add_word(
        parser,
        "--kind",
        KINDS,
        default="loss",
        help="loss: a term of the loss; buffer: exemplars in the batch; peft: a small module in a frozen backbone; "
        "weights: a change of weights after each task; predict: predictions instead of the head's",
    )
    parser.add_argument("--out", type=PATH, default=".", help="folder to write to")


def _run(arguments: Namespace) -> int:
    write_new(arguments.name, arguments.kind, arguments.out)
    return 0


def write_new(name: str, kind: str, folder: Path) -> None:
    """Write ``NAME.py`` and ``test_NAME.py``.

    Args:
        name: Name of the method: an identifier that no plugin has yet.
        kind: ``loss``, ``buffer``, ``peft``, ``weights`` or ``predict``.
        folder: Folder for the files.

    Raises:
        UserError: If the name is invalid, a file exists already, or the folder cannot be written.
    """
    _check_name(name)
    paths = {folder / f"{name}.py": f"{kind}.py.txt", folder / f"test_{name}.py": f"{kind}_test.py.txt"}
    for path in paths:
        if os.path.lexists(path):  # including a dangling link, which writing would follow
            raise UserError(f"'{path}' already exists and is not overwritten: choose another name or --out folder")
    for path, template in paths.items():
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with path.open("x", encoding="utf-8") as opened:
                opened.write(_fill(template, name))
        except OSError as error:
            raise UserError(f"cannot write '{path}': {error.strerror}") from error
    plugin, test = map(str, paths)
    console = make_console()
    console.print(f"wrote {plugin} and {test}; next:", soft_wrap=True)
    plugin = plugin if "/" in plugin else f"./{plugin}"
    for command in (f"clsuite check {plugin}", f"pytest {test}", f"clsuite bench quickstart --methods {plugin}"):
        console.print(f"  {command}", soft_wrap=True)


def _check_name(name: str) -> None:
    from clsuite.plugin.catalog import catalog

    if len(name) > LONGEST:
        raise UserError(f"'{shortened(name)}' is not a name for a method: it has more than {LONGEST} letters")
    if not (name.isascii() and name.isidentifier()) or keyword.iskeyword(name) or name.startswith("_"):
        raise UserError(
            f"'{shortened(name)}' is not a name for a method: use lower-case letters, digits and '_', as in my_method"
        )
    if name != name.lower():
        raise UserError(f"'{name}' has capitals: methods are named in lower case, such as '{name.lower()}'")
    if name in catalog():
        taken = catalog()[name].distribution
        raise UserError(f"the name '{name}' is taken by a plugin of {taken}: choose another, such as 'my_{name}'")
    if name in sys.stdlib_module_names or _is_installed(name):
        raise UserError(
            f"'{name}' is the name of an installed module, which '{name}.py' would shadow: choose another name, "
            f"such as 'my_{name}'"
        )


def _is_installed(name: str) -> bool:
    """Whether ``import NAME`` finds a module outside the current folder; imports nothing."""
    from importlib.machinery import PathFinder
    from importlib.metadata import packages_distributions

    if name in packages_distributions():  # editable installations are found by a hook, and on no path
        return True
    spec = PathFinder.find_spec(name)  # not those of plugins' files that this process has read
    return spec is not None and spec.origin is not None and Path(spec.origin).resolve().parent != Path.cwd()


def _fill(template: str, name: str) -> str:
    from importlib.resources import files

    text = (files("clsuite.cli") / "templates" / template).read_text(encoding="utf-8")
    words = [word for word in name.split("_") if word]
    cls = "".join(word[0].upper() + word[1:] for word in words)
    cls = cls if cls not in {"Plugin", "Scale", "Learner", "Batch", "Task", "Scenario", "Step", "Tensor", "Any", "Path",
                             "Traits", "ExemplarBuffer", "None", "True", "False"} else f"{cls}Method"  # fmt: skip
    return Template(text).substitute(name=name, cls=cls, title=" ".join(words).capitalize())


COMMAND = Command(
    "Create a new method: a short plugin file that can be run, and its test.",
    ("clsuite new my_method", "clsuite new my_method --kind buffer"),
    _arguments,
    _run,
)
