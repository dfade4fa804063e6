"""What ``clsuite cache`` prints and deletes."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from pathlib import Path

from rich.markup import escape
from rich.table import Table

from clsuite.cli.console import make_console
from clsuite.config.feature_store import LIMIT, feature_limit
from clsuite.config.paths import cache_folder
from clsuite.data.feature_files import FOLDER, trim
from clsuite.data.kept import KINDS, Kept, Kind, all_kept, clear, damage_in
from clsuite.data.space import size_text
from clsuite.errors import UserError

AGES = ((2 * 86400, 86400, "days"), (2 * 3600, 3600, "hours"), (120, 60, "minutes"))
"""The seconds from which a unit is used, its length in seconds and its name."""


def run_cache(action: str, kind: Kind | None, older_than: float | None, down_to: int | None) -> int:
    """Show, check or clear the cache.

    Args:
        action: ``show``, ``verify`` or ``clear``.
        kind: Tables or features; both by default.
        older_than: For ``clear``: delete only what was not used for this number of seconds.
        down_to: For ``clear``: delete features, those not used for the longest time first, down to this number of
            bytes.

    Returns:
        The exit status: 1 if something is damaged.

    Raises:
        UserError: If options cannot be combined, or something cannot be deleted.
    """
    if action != "clear" and (older_than is not None or down_to is not None):
        raise UserError(f"--older-than and --down-to are options of 'clear', not of '{action}'")
    if down_to is not None and (older_than is not None or kind == "tables"):
        raise UserError("--down-to is only for features, and excludes --older-than")
    root, console = cache_folder(), make_console()
    if action == "clear":
        console.print(_clear(root, kind, older_than, down_to), soft_wrap=True)
        return 0
    found = all_kept(root, KINDS if kind is None else (kind,))
    if action == "show":
        _show(root, found)
        return 0
    damaged = [line for entry in found for line in damage_in(entry)]
    for line in damaged:
        console.print(line, soft_wrap=True)
    verdict = f"{len(damaged)} damaged, to be made again when needed" if damaged else "all as written"
    console.print(f"{len(found)} looked at in '{root}': {verdict}", soft_wrap=True)
    return 1 if damaged else 0


def _show(root: Path, found: Sequence[Kept]) -> None:
    console = make_console()
    console.print(f"'{root}' (CLSUITE_CACHE)", soft_wrap=True)
    table = Table(box=None, pad_edge=False)
    for heading in ("kind", "size", "last used", "what"):
        table.add_column(heading, no_wrap=heading != "what", overflow="fold")
    for entry in found:
        table.add_row(entry.kind, size_text(entry.size), _age(entry.used), escape(entry.what))
    if found:
        console.print(table)
    for kind in KINDS:
        sizes = [entry.size for entry in found if entry.kind == kind]
        if sizes:
            most = f" of at most {size_text(feature_limit())} ({LIMIT})" if kind == "features" else ""
            console.print(f"{kind}: {size_text(sum(sizes))}{most}", soft_wrap=True)
    if not found:
        console.print("nothing is kept")


def _clear(root: Path, kind: Kind | None, older_than: float | None, down_to: int | None) -> str:
    if down_to is not None:
        return f"{size_text(trim(root / FOLDER, down_to, left=1.0))} of features deleted"
    before = math.inf if older_than is None else time.time() - older_than
    found = all_kept(root, KINDS if kind is None else (kind,))
    sizes = {name: sum(clear(entry, root, before) for entry in found if entry.kind == name) for name in KINDS}
    parts = [f"{size_text(size)} of {name}" for name, size in sizes.items() if size]
    return f"{' and '.join(parts) or 'nothing'} deleted in '{root}'"


def _age(moment: float) -> str:
    passed = time.time() - moment
    for least, unit, name in AGES:
        if passed >= least:
            return f"{passed / unit:.0f} {name} ago"
    return "just now"
