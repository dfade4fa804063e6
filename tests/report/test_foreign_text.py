"""Names that somebody else chose, in everything that is made for other programs: no command, no formula, no line."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from clsuite.records import RunRecord
from clsuite.report.export import csv_table, latex_table, markdown_table
from clsuite.report.plots import plot_curves, plot_forgetting, plot_matrices

COMMANDS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")
NAMES = (
    "a\rb=1", "\r=1", "a\nb", "a\u2028b", "\t=1", "@x", "+1", "-1", "=HYPERLINK('x')", "\x1b[31mred", "\x9b2J", "\x07",
    "\u202eevil", "\u2066x", "\ufffe", "\ud800", "\\input{/etc/passwd}", "$\\frac{$", "%", "a&b\\\\ \\hline", "x\\",
    "<script>alert(1)</script>", "]]><!--", "`x`|y|", "![x](javascript:1)",
)  # fmt: skip
AT_ONCE = 5
"""Names in one plot; of many methods, plots name only the best."""
TABLES = {"csv": csv_table, "markdown": markdown_table, "latex": latex_table}


def named(records: list[RunRecord], name: str) -> list[RunRecord]:
    joint = [record for record in records if record.method == "joint"]
    return [record.model_copy(update={"method": name, "benchmark": name}) for record in joint]


@pytest.mark.parametrize("name", NAMES)
def test_tables(name: str, records: list[RunRecord]) -> None:
    evil, plain = named(records, name), named(records, "plain")
    made = {form: write(evil, ["final_accuracy_macro"]) for form, write in TABLES.items()}
    for form, text in made.items():
        assert not COMMANDS.search(text), form
        assert len(text.splitlines()) == len(TABLES[form](plain, ["final_accuracy_macro"]).splitlines()), form
    (line,) = csv.DictReader(made["csv"].splitlines())
    assert not line["method"].startswith(("=", "+", "-", "@", "\t", "\r"))
    assert not re.search(r"<|(?<!\\)[`|\[]", made["markdown"].splitlines()[-1].strip("| ").partition(" | ")[0])
    row = made["latex"].splitlines()[-4]
    assert not re.search(r"(?<!\\)[$%#_&]", row.split(" & ")[0])
    assert "\\input" not in made["latex"]


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, len(NAMES), AT_ONCE))
def test_plots(first: int, records: list[RunRecord], tmp_path: Path) -> None:
    evil, path = {name: named(records, name) for name in NAMES[first : first + AT_ONCE]}, tmp_path / "a.svg"
    together, title = [record for each in evil.values() for record in each], " ".join(evil)
    plot_curves(together, path, title)
    _check_svg(path)
    plot_forgetting(together, path, title)
    _check_svg(path)
    plot_matrices(evil, path)
    _check_svg(path)


def _check_svg(path: Path) -> None:
    """Whether a plot is one that readers take, without commands and elements of somebody else."""
    root = ElementTree.parse(path).getroot()
    assert not [one.tag for one in root.iter() if str(one.tag).endswith("script")]
    assert not COMMANDS.search(path.read_text(encoding="utf-8"))
