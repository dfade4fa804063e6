"""Each plugin has its own time to be imported, however many plugins a process imports."""

from __future__ import annotations

import pytest

from clsuite.plugin import import_check
from clsuite.plugin.introspection import PluginInfo

SLOW = """
import json, sys, time
for name, seconds in json.loads(sys.argv[1]):
    time.sleep(float(seconds))
    print("\\nclsuite answers " + json.dumps(["", name]), flush=True)
"""


@pytest.mark.slow
def test_only_the_plugin_that_takes_too_long_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_check, "SCRIPT", SLOW)
    monkeypatch.setattr(import_check, "PATIENCE", 2)
    seconds = {"one": "0.8", "two": "0.8", "three": "0.8", "endless": "600", "last": "0"}
    plugins = [PluginInfo(name, target, "", None) for name, target in seconds.items()]
    found = import_check._import_all(plugins)
    assert found == [("importing it takes more than 2 s", "") if name == "endless" else ("", name) for name in seconds]
