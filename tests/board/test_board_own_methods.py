"""What the board says of methods that are files: read from the source that is published beside the record."""

from __future__ import annotations

from pathlib import Path

import pytest

from clsuite.board.build import SUMMARY, _plugin
from clsuite.records import PluginEntry

SOURCE = '''
from clsuite.plugin import Plugin, Traits

raise SystemExit("nothing of it is run")


class ErAce(Plugin):
    """Asymmetric cross-entropy for new classes.

    More words.
    """

    traits = Traits(paper="Nobody, ICLR 2022 (ER-ACE)", memory=("exemplars",))
'''


def entry(name: str) -> PluginEntry:
    return PluginEntry(name=name, args={}, source="ab", distribution=name.partition(":")[0])


@pytest.mark.parametrize("name", ["er_ace.py", "er_ace.py:ErAce"])
def test_docstring_and_paper_are_those_of_the_published_source(tmp_path: Path, name: str) -> None:
    path = tmp_path / "key.1.py"
    path.write_text(SOURCE)
    shown = _plugin(entry(name), path)
    assert shown.summary == "Asymmetric cross-entropy for new classes."
    assert shown.papers == {"Nobody, ICLR 2022 (ER-ACE)": ""}


@pytest.mark.parametrize(
    "text", ["", "class A:", "x = 1", "class A(Plugin):\n    traits = 3\n", "\xff" * 9, "(" * 9999]
)
def test_a_source_that_says_nothing_is_no_error(tmp_path: Path, text: str) -> None:
    path = tmp_path / "key.1.py"
    path.write_bytes(text.encode("latin-1"))
    shown = _plugin(entry("er_ace.py"), path)
    assert (shown.summary, shown.papers) == ("", {})
    assert _plugin(entry("er_ace.py"), tmp_path / "gone.py").summary == ""


def test_a_long_summary_is_shortened_and_cannot_command_a_terminal(tmp_path: Path) -> None:
    path = tmp_path / "key.1.py"
    path.write_text(SOURCE.replace("Asymmetric", f"\\x1b[2J {'word ' * 500}"))
    summary = _plugin(entry("er_ace.py"), path).summary
    assert len(summary) <= SUMMARY
    assert "\x1b" not in summary


def test_a_plugin_of_ours_is_known_without_a_source(tmp_path: Path) -> None:
    assert _plugin(entry("ncm"), tmp_path / "gone.py").summary
