"""Finds the plugin that a record names, without executing it: records are data that need not be trusted.

It may be a registered plugin, a class of an installed package, or a file in a folder that the caller names. The current
folder is not searched, no path in the record is followed, and nothing is imported: callers must compare the hash of
the source before they import the class.
"""

from __future__ import annotations

import json
import os
import re
import site
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import cache
from importlib.metadata import Distribution, distributions, packages_distributions
from pathlib import Path
from urllib.parse import unquote, urlsplit

from clsuite.errors import UserError, did_you_mean, printable
from clsuite.plugin import loading
from clsuite.plugin.catalog import catalog, described_file, read_plugin
from clsuite.plugin.introspection import PluginInfo
from clsuite.plugin.source_hash import find_module

NAME_FOLDER = "name its folder with --plugins-from FOLDER"
"""How a user allows code that a record names to be executed."""


def plain_name(name: str, what: str) -> str:
    """Check a file name from a record, which must not lead to another folder.

    Args:
        name: The name.
        what: Description of the file, for the message.

    Raises:
        UserError: If it has a separator, a drive, ``..``, a leading ``~`` or a character that cannot be printed.
    """
    if re.search(r"[/\\:]|\.\.|^~|^\.?$", name) or not name.isprintable():
        raise UserError(
            f"the record names its {what} '{printable(name[:200])}', but a record may only contain the name of a file, "
            "not a path"
        )
    return name


def recorded_plugins(name: str, folders: Sequence[Path], published: Sequence[Path] = ()) -> list[PluginInfo]:
    """Find the plugins that a name in a record may refer to; there may be several files. Nothing is imported.

    Args:
        name: Registered name, ``package.module:Class``, ``file.py`` or ``file.py:Class``.
        folders: Folders in which a file is searched by its name.
        published: Files of the plugin, with any name.

    Raises:
        UserError: If the name is a path, no such plugin is installed, or the file is not a plugin.
    """
    if name in catalog():
        info = catalog()[name]
        refuse_not_installed(info.target, [info.distribution.rpartition(" ")[0]])
        return [read_plugin(name)[0]]
    if loading.is_file(name):
        return list(_files(name, folders, published))
    if loading.is_importable(name):
        refuse_not_installed(name)
        return [read_plugin(name)[0]]
    raise did_you_mean("plugin", name, catalog())


def _files(name: str, folders: Sequence[Path], published: Sequence[Path]) -> Iterator[PluginInfo]:
    """The readable files of the plugin; if there are none, the problem of the first is raised."""
    match = loading.FILE.fullmatch(name)
    assert match is not None
    file, problem, readable = plain_name(match["path"], "plugin"), "", 0
    for path in [*(folder / file for folder in folders), *published]:
        if not path.is_file():
            continue
        try:
            info = described_file(name, *loading.read_plugin_file(path.resolve(), name))
        except UserError as error:
            problem = problem or str(error)
            continue
        if info.source is None:
            problem = problem or f"plugin '{name}' of {info.distribution} is broken: {info.problem}"
            continue
        readable += 1
        yield info
    if problem and not readable:
        raise UserError(problem)


def refuse_not_installed(target: str, owners: Sequence[str] = ()) -> None:
    """Check that the module of a class belongs to an installed distribution, and is located in its folder.

    Files beside a script, or in a working folder, are not installed, even if there are metadata beside them.

    Args:
        target: ``package.module:Class``.
        owners: The distributions that may contain it; by default those that declare its package.

    Raises:
        UserError: If it does not, or if it is a ``__main__`` module.
    """
    module = target.partition(":")[0]
    top = module.partition(".")[0]
    if not owners and top not in sys.stdlib_module_names:
        owners = packages_distributions().get(top, [])
    places = [place for name in owners for place in _places_of(name)]
    if not places:
        raise UserError(f"plugin '{target}' of the record is in no installed package: install '{top}'")
    spec = find_module(module)
    origin = Path(spec.origin).resolve() if spec is not None and spec.origin and spec.has_location else None
    if origin is None or module.endswith("__main__"):
        raise UserError(f"plugin '{target}' of the record: the installed '{owners[0]}' has no module '{module}'")
    if not any(origin.is_relative_to(place) for place in places):
        raise UserError(
            f"plugin '{target}' of the record: '{origin}' hides the module of the installed '{owners[0]}': "
            "call clsuite in another folder"
        )


def _places_of(name: str) -> Iterator[Path]:
    """The folders in which a distribution may have modules; none if it is not really installed."""
    for found in distributions(name=name):
        root = Path(str(found.locate_file(""))).resolve()
        if root in _install_folders() and root != Path().resolve():
            yield root
            if editable := _editable(found):
                yield editable


@cache
def _install_folders() -> frozenset[Path]:
    """The folders of package managers, absolute paths in ``PYTHONPATH``, and those in ``.pth`` files there."""
    named = [place for place in os.environ.get("PYTHONPATH", "").split(os.pathsep) if os.path.isabs(place)]
    places = {*named, *site.getsitepackages(), sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    if site.ENABLE_USER_SITE:
        places.add(site.getusersitepackages())
    folders = {Path(place).resolve() for place in places}
    listed = [folder / line for folder in folders for path in folder.glob("*.pth") for line in _lines(path)]
    return frozenset({*folders, *(folder.resolve() for folder in listed if folder.is_dir())})


def _lines(path: Path) -> list[str]:
    """The folders that a ``.pth`` file names."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return []
    return [line.strip() for line in lines if line.strip() and not line.startswith(("#", "import ", "import\t"))]


def _editable(found: Distribution) -> Path | None:
    """The working copy of a distribution in an editable install."""
    with suppress(ValueError, KeyError, TypeError, AttributeError):
        content = json.loads(found.read_text("direct_url.json") or "{}")
        if content["dir_info"]["editable"] is True:
            return Path(unquote(urlsplit(content["url"]).path)).resolve()
    return None
