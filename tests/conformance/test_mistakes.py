"""Planted mistakes: the right check names each, with the right line and mend, and nothing else is blamed."""

from __future__ import annotations

from pathlib import Path

import pytest
from mistakes import MISTAKES

from clsuite.conformance import check_method
from clsuite.conformance.subject import subject_of
from clsuite.plugin.catalog import find_plugin, load_class


@pytest.mark.parametrize("name", MISTAKES)
def test_each_mistake_is_named_rightly(name: str, tmp_path: Path) -> None:
    mistake = MISTAKES[name]
    path = tmp_path / "method.py"
    path.write_text(mistake.text)
    cls = load_class(find_plugin(f"{path}:Method")[0])
    report = check_method([subject_of(cls, cls, "method.py")], partners={})
    shown = "\n".join(map(str, report.findings))
    named = [one for one in report.of(mistake.check).findings if mistake.message in one.message]
    assert named, shown
    assert {one.check for one in report.findings} == {mistake.check, *mistake.also}, shown
    assert (named[0].file, named[0].line) == ("method.py", mistake.line), shown
    assert mistake.mend in named[0].mend, shown
