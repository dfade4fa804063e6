"""Paths as users write them, with ``~`` for the home folder."""

from __future__ import annotations

import fnmatch
import os
from pathlib import Path

from clsuite.errors import InputWarning, UserError, nearest, printable, shortened, warn_of

LONGEST_PART = 255
"""Largest number of bytes of a file name on usual file systems."""
LONGEST = 4096
"""Largest number of bytes of a whole path."""


def home_path(text: str | Path) -> Path:
    """A path with ``~`` and ``~user`` expanded to home folders.

    Shells expand them only at the start of a word, and so not in ``--out=~/runs`` or in YAML files.

    Raises:
        UserError: If there is no such user, or no file can have such a path.
    """
    written = str(text)
    if not written or "\0" in written:
        raise UserError(f"'{shortened(written)}' is not a path: it is empty or has a zero byte")
    name = _encoded(written)
    if len(name) > LONGEST or any(len(part) > LONGEST_PART for part in name.split(b"/")):
        raise UserError(
            f"the path '{shortened(written)}' is too long: a name has at most {LONGEST_PART} bytes, a path {LONGEST}"
        )
    try:
        return Path(written).expanduser()
    except RuntimeError as error:
        user = written.partition("/")[0].removeprefix("~")
        raise UserError(f"there is no home folder of '{user}' for the path '{shortened(written)}'") from error


def home_or_name(text: str) -> str:
    """A path as for `home_path`; a name that is not a path is returned unchanged."""
    return str(home_path(text)) if text.startswith("~") else text


def cache_folder() -> Path:
    """The folder for costly results such as decoded tables: ``$CLSUITE_CACHE``, or the user's cache folder."""
    from platformdirs import user_cache_path

    chosen = os.environ.get("CLSUITE_CACHE")
    return Path(chosen) if chosen else user_cache_path("clsuite")


def near_paths(path: Path) -> str:
    """A "Did you mean" with the nearest names in the folder of a path; empty if there are none.

    Args:
        path: A path that does not exist. Only names with the same extension are suggested.
    """
    try:
        names = [name for name in os.listdir(path.parent) if Path(name).suffix == path.suffix and name[0] != "."]
    except (OSError, ValueError):
        return ""
    near = nearest(path.name, names, 3)
    others = " or ".join(repr(printable(str(path.with_name(other)))) for other in near)
    return f" Did you mean {others}?" if others else ""


def files_below(folder: Path, pattern: str = "*") -> list[Path]:
    """Files anywhere below a folder whose names match a pattern, including links; links to folders are not followed.

    Folders that cannot be read are left out with a warning; those that vanish meanwhile, such as some of ``/proc``,
    without.
    """
    found, unread, todo = list[Path](), list[str](), [folder]
    while todo:
        place = todo.pop()
        try:
            with os.scandir(place) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        todo.append(Path(entry.path))
                    elif fnmatch.fnmatchcase(entry.name, pattern):
                        found.append(Path(entry.path))
        except OSError as error:
            unread += [f"'{place}': {error.strerror}"] if os.path.lexists(place) else []
    if unread:
        more = f" (and {len(unread) - 1} more)" if len(unread) > 1 else ""
        warn_of(f"left out, a folder that cannot be read, {unread[0]}{more}", InputWarning)
    return sorted(found)


def _encoded(text: str) -> bytes:
    """The bytes of a path.

    Raises:
        UserError: If it has unpaired surrogates that do not come from a file name.
    """
    try:
        return os.fsencode(text)
    except UnicodeEncodeError as error:
        raise UserError(f"'{shortened(text)}' is not a path: it cannot be written in UTF-8") from error
