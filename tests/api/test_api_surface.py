"""The public surface changes on purpose only, and its reference is up to date."""

from __future__ import annotations

import ast
import difflib
import importlib
import inspect
from pathlib import Path

import pytest

from clsuite.api import surface
from clsuite.api.surface import FILES, PUBLIC, Entry

CLONE = Path(__file__).parents[2]


@pytest.mark.parametrize("name", FILES)
def test_the_files_are_up_to_date(name: str) -> None:
    kept, now = (CLONE / name).read_text(encoding="utf-8"), FILES[name]()
    changes = difflib.unified_diff(
        kept.splitlines(), now.splitlines(), "as published", "as it is now", n=0, lineterm=""
    )
    fix = (
        "the public surface or its docstrings changed. If older plugins and scripts still work, run `python -m "
        "clsuite.api.surface` and commit; if not, raise API_VERSION too, or keep the old form."
    )
    assert kept == now, "\n".join([fix, *changes])


def test_what_is_listed_is_there() -> None:
    for module, names in PUBLIC.items():
        for name in names:
            found = getattr(importlib.import_module(module), name)
            assert inspect.isclass(found) or callable(found) or found, f"{module}.{name}"


@pytest.mark.slow
def test_everything_public_has_a_docstring() -> None:
    fields = {entry.name for entry in surface.surface() if ": " in entry.signature or " = " in entry.signature}
    assert [e.name for e in surface.surface() if not e.doc and e.name not in fields and "__init__" not in e.name] == []


def test_a_changed_signature_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "one.py").write_text("def f(a: int, *, b: str = 'x') -> None:\n    '''Does.'''\nLIMIT: int = 3\n")
    (tmp_path / "two.py").write_text("if True:\n    from one import f, LIMIT\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(surface, "PUBLIC", {"two": ("f", "LIMIT")})
    assert surface.render_signatures() == "two f(a: int, *, b: str='x') -> None\ntwo LIMIT: int\n"
    (tmp_path / "one.py").write_text("def f(a: float): ...\nLIMIT = 3\n")
    assert surface.render_signatures() == "two f(a: float)\ntwo LIMIT = 3\n"
    monkeypatch.setattr(surface, "PUBLIC", {"two": ("g",)})
    with pytest.raises(LookupError, match="'two' has no 'g'"):
        surface.render_signatures()


def test_members_and_docstrings_as_markdown() -> None:
    node = ast.parse(
        'class C(B):\n  x: int = 1\n  _y: int\n  @property\n  def p(self) -> int: "The p."\n  def _q(self): 0\n'
    )
    members = [e for part in node.body[0].body for e in surface._members("m", "C", part)]  # type: ignore[attr-defined]
    assert members == [Entry("m", "C.x", "C.x: int = 1", ""), Entry("m", "C.p", "C.p: int", "The p.")]
    doc = "Does ``it``.\n\nArgs:\n    a: The a,\n        at length.\n\nRaises:\n    E: If.\n"
    assert (
        surface._as_markdown(doc) == "Does `it`.\n\n*Args:*\n\n- `a`: The a,\n  at length.\n\n*Raises:*\n\n- `E`: If."
    )
