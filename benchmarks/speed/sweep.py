"""Times sweeps of many runs, part by part, as people start them: ``python benchmarks/speed/sweep.py PART``.

Each part is a file beside this one (``sweep_PART.py``), says what it times, and holds the figure against its goal.
"""

from __future__ import annotations

import argparse
import json
from importlib import import_module
from pathlib import Path

PARTS = ("workers", "store", "scheduling", "status")


def main() -> None:
    """Read the command line, and time the part."""
    parser = argparse.ArgumentParser(description="Times sweeps of many runs.")
    parts = parser.add_subparsers(dest="part", required=True)
    modules = {name: import_module(f"sweep_{name}") for name in PARTS}
    for name, module in modules.items():
        purpose = (module.__doc__ or "").partition("\n")[0]
        part = parts.add_parser(name, help=purpose, description=module.__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
        part.add_argument("--scratch", type=Path, help="folder for records and caches; the system's by default")
        part.add_argument("--json", type=Path, help="file for the figures")
        module.add_arguments(part)
    arguments = parser.parse_args()
    figures = modules[arguments.part].measure(arguments)
    if arguments.json:
        arguments.json.write_text(json.dumps({"part": arguments.part, **figures}, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
