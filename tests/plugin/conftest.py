"""Fake distributions: entry points whose modules are written into a folder of the test's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from types import SimpleNamespace

import pytest

from clsuite.plugin import catalog as module

Offer = Callable[..., None]


@pytest.fixture
def offer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Offer]:
    """Call it with ``name="module:Class"`` pairs and the modules' texts; only those are then offered as plugins."""
    monkeypatch.syspath_prepend(tmp_path)

    def install(targets: dict[str, str], modules: dict[str, str], distribution: str = "fakes") -> None:
        for name, text in modules.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        dist = SimpleNamespace(name=distribution, version="1.2")
        entries.extend(EntryPoint(name, target, module.GROUP)._for(dist) for name, target in targets.items())
        module.catalog.cache_clear()

    entries: list[EntryPoint] = []

    def entry_points(group: str) -> EntryPoints:
        assert group == "clsuite.plugins"
        return EntryPoints(entries)

    monkeypatch.setattr(module, "entry_points", entry_points)
    module.catalog.cache_clear()
    yield install
    module.catalog.cache_clear()
