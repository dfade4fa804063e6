"""Files that arguments of plugins name: their content decides results, so its hash is part of the run key."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from clsuite.config.paths import home_path
from clsuite.errors import UserError, shortened
from clsuite.plugin.annotations import read_annotation
from clsuite.plugin.introspection import PluginInfo
from clsuite.records import PluginEntry
from clsuite.records.canonical import sha256_of, sha256_of_file
from clsuite.regular_files import is_regular

FINGERPRINT = "fingerprint"
"""The argument by which a plugin says that it reads a folder; its value is what the folder must contain."""


def named_files(info: PluginInfo, args: Mapping[str, Any], data_root: Path | None) -> dict[str, str] | None:
    """The hashes of the files that a plugin's arguments name, by the argument; None if they name none.

    A text names a file if there is one below the data root, below the current folder, or at the path itself: plugins
    find theirs in some order of these places (`clsuite.plugin.helpers.reference_texts`, ``SecondNetwork``). If they
    hold different files of that name, the hash is that of all. A plugin with the argument ``fingerprint`` reads a
    folder, in which other arguments may name files. Without a fingerprint the names and sizes of the folder's files
    are hashed, and not their content.

    Args:
        info: The plugin.
        args: All its arguments.
        data_root: The data root, if any.

    Raises:
        UserError: If a file cannot be read.
    """
    texts = _own_texts(info, args)
    places = [*([data_root] if data_root else []), Path()]
    folders = _named_folders(texts, places) if FINGERPRINT in args else {}
    inside = [folder for found in folders.values() for folder in found]
    hashes: dict[str, str] = {}
    for place, text in texts.items():
        try:
            parts = [sha256_of_file(path) for path in _found(text, [*places, *inside], _is_file)]
            if args.get(FINGERPRINT) is None:
                parts += [_listing(folder) for folder in folders.get(place, [])]
        except OSError as error:
            what = f"'{place}' of plugin '{info.name}' names '{shortened(text)}'"
            raise UserError(f"{what}, which cannot be read: {error.strerror or error}") from error
        if parts := list(dict.fromkeys(parts)):
            hashes[place] = parts[0] if len(parts) == 1 else sha256_of(parts)
    return hashes or None


def refuse_changed_files(plugins: Sequence[PluginInfo], entries: Sequence[PluginEntry], data_root: Path | None) -> None:
    """Check that the files that arguments name are those of the run key.

    Args:
        plugins: The plugins.
        entries: Their entries in the record; those of older records have no hashes of files.
        data_root: The data root, if any.

    Raises:
        UserError: If one is missing or has changed.
    """
    for info, entry in zip(plugins, entries, strict=True):
        now = named_files(info, entry.args, data_root) if entry.files else None
        for place, known in (entry.files or {}).items():
            if (now or {}).get(place) != known:
                text = shortened(str(dict(_texts(entry.args)).get(place)))
                raise UserError(
                    f"'{text}', which argument '{place}' of plugin '{entry.name}' names, is missing or not what the "
                    "run was planned with: restore it, or run the benchmark again"
                )


def _own_texts(info: PluginInfo, args: Mapping[str, Any]) -> dict[str, str]:
    """The texts in a plugin's arguments that may be paths.

    A default such as ``classes`` or ``all`` is a word, even beside a file or a folder of that name; one such as
    ``captions.txt`` or ``lists/captions`` is a path.
    """
    parameters = info.source.parameters if info.source else ()
    words = {one.name for one in parameters if _is_word(one.annotation, one.aliases)}
    defaults = {one.name: one.default for one in parameters if not {*"./"} & {*str(one.default)}}
    return {
        place: text
        for place, text in _texts(args)
        if place.partition(".")[0] not in words and text != defaults.get(place)
    }


def _named_folders(texts: Mapping[str, str], places: Sequence[Path]) -> dict[str, list[Path]]:
    """The folders that texts name."""
    return {place: found for place, text in texts.items() if (found := _found(text, places, os.path.isdir))}


def _texts(value: Any, place: str = "") -> Iterator[tuple[str, str]]:
    """All texts in arguments, with their places as ``networks.NAME`` or ``paths.0``."""
    if isinstance(value, str):
        yield place, value
    elif isinstance(value, Mapping | list | tuple):
        items = value.items() if isinstance(value, Mapping) else enumerate(value)
        for name, part in items:
            yield from _texts(part, f"{place}.{name}" if place else str(name))


def _is_word(annotation: str, aliases: Mapping[str, str]) -> bool:
    """Whether an argument is one of a few words, and so never a path."""
    kind = read_annotation(annotation, aliases)
    parts = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    return all(part is type(None) or get_origin(part) is Literal for part in parts)


def _found(text: str, places: Sequence[Path], fits: Callable[[Path], bool]) -> list[Path]:
    """What a text names in some folders and by itself, as far as it fits; each only once."""
    try:
        tried = [*(place / text for place in places), home_path(text)]
        return list({os.path.realpath(path): path for path in tried if fits(path)}.values())
    except (UserError, ValueError):  # no path: empty, too long, with a zero byte
        return []


def _is_file(path: Path) -> bool:
    try:
        return is_regular(os.stat(path))
    except OSError:
        return False


def _listing(folder: Path) -> str:
    """Hash of the relative names and sizes of all files below a folder, also through links; hidden ones do not count.

    Raises:
        OSError: If a file vanishes meanwhile.
    """
    sizes, seen = dict[str, int](), set[str]()
    for place, folders, files in os.walk(folder, followlinks=True):
        folders[:] = (
            [] if (real := os.path.realpath(place)) in seen else sorted(name for name in folders if name[0] != ".")
        )
        seen.add(real)
        for name in files:
            path = Path(place, name)
            if name[0] != "." and _is_file(path):
                sizes[path.relative_to(folder).as_posix()] = path.stat().st_size
    return sha256_of(sizes)
