"""Command lines that hypothesis writes, of all commands; none of them may run or write anything."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence

import pytest
from criterion import broken_promises, fuzzed
from hypothesis import example, given
from hypothesis import strategies as some


def words_of(text: str) -> list[str]:
    return text.split()


COMMANDS = (
    "bench quickstart --dry-run --seeds 0 --methods ncm", "bench --dry-run", "check ./none.py", "list", "show", "table",
    "plot", "tune quickstart --method nothing-of-this-name", "compare", "new Not_A_Name", "pretrain",
    "leaderboard check", "leaderboard build", "leaderboard rerun", "analyze sensitivity", "leaderboard", "",
)  # fmt: skip
OPTIONS = some.sampled_from(
    words_of("""
    --methods --seeds --out --data-root --device --precision --epochs --training --limit-tasks --eval-every --jobs
    --timeout --save-model --dry-run --force --columns --format --kind --runs --folder --space --trials --head --loss
    --weights -o --help --version -- -x --config --print-completion --set --print-config
""")
)
WORDS = some.sampled_from(
    [
        "",
        "a b",
        "alpha=[0.1, 0.2]",
        "alpha=uniform(0, 1)",
        *words_of("""
    ncm lwf+replay replay(capacity=5) replay(capacity=-1) ./none.py none.py:X os:system a.b:C quickstart digits 0 0,1 -1
    1e3 99999999999999999999 nan inf ~ ~nobody-here/x / . file folder loss=local optimizer.lr=1e-3 lr= auto cuda:99 meta
    training.epochs=2 seeds.9=1 methods.replay.replay.capacity=3 a={ bash
    plugins md {} %s $HOME [/red] *
"""),
    ]
)
LETTERS = some.text(some.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=15)
METHODS = some.lists(
    some.sampled_from(
        ["ncm", "replay", "lwf", "(", ")", "capacity", "=", ",", "+", "[", "]", "'", '"', "1", "-", ".", "x"]
    ),
    max_size=12,
).map("".join)


@some.composite
def command_lines(draw: some.DrawFn) -> list[str]:
    words = words_of(draw(some.sampled_from(COMMANDS)))
    for _ in range(draw(some.integers(0, 4))):
        kind = draw(some.sampled_from(["option", "pair", "pair", "joined", "word"]))
        value = draw(WORDS | METHODS | LETTERS)
        option = draw(OPTIONS)
        words += {"option": [option], "pair": [option, value], "joined": [f"{option}={value}"], "word": [value]}[kind]
    return words


MISSING = [
    "say what to do",
    *words_of("BENCHMARK PLUGIN LIST RECORD RECORDS --method --space FIRST SECOND NAME RECIPE ANALYSIS ROWS"),
]
"""What a complaint names where it is not there: the command, and what commands must have."""


def culprits_of(words: Sequence[str]) -> list[str]:
    """What a complaint may name: the words of a call, an option and its value apart, and names within a value.

    Of the root folder also what lies in it: that is what a complaint is about.
    """
    parts = [part for word in words for part in (word, *word.split("=", 1))]
    parts += [f"/{name}" for name in os.listdir("/") if "/" in parts]
    parts += [os.path.expanduser(part) for part in parts if part.startswith("~")]
    return [*MISSING, *parts, *(name for part in parts for name in re.findall(r"\w[\w./:~-]+", part))]


@pytest.fixture(scope="module")
def called(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Sequence[str]], list[str]]:
    """Calls the command line in a folder of its own; the answer is what is not as promised.

    Matplotlib keeps a list of fonts where it is told to when it is first imported: that is none of clsuite's files.
    """
    folder, fonts = tmp_path_factory.mktemp("words"), tmp_path_factory.mktemp("fonts")
    (folder / "here").mkdir()
    (folder / "home").mkdir()
    (folder / "here" / "file").write_text("x")
    (folder / "here" / "folder").mkdir()

    def run(words: Sequence[str]) -> list[str]:
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder / "here")
            patch.setenv("HOME", str(folder / "home"))
            patch.setenv("COLUMNS", "200")
            patch.setenv("MPLCONFIGDIR", str(fonts))
            return broken_promises(words, folder, culprits_of(words))

    return run


@pytest.mark.slow
@fuzzed(0.25)
@given(words=command_lines())
@example(["show", "/"])
@example(["table", "/"])
@example(["table", "/dev/full"])
@example(["analyze", "sensitivity", "--", "--"])
@example(["check", "./none.py", "--", ""])
@example(["check", "./none.py", "--="])
@example(["bench", "quickstart", "--dry-run", "--seeds", "0", "--methods", "ncm", "--out", ""])
@example(["bench", "quickstart", "--dry-run", "--methods", "ncm", "--limit-tasks", "9" * 5000])
@example(["show", "a\nb"])
@example(["leaderboard", "'"])
def test_command_lines(called: Callable[[Sequence[str]], list[str]], words: list[str]) -> None:
    assert called(words) == []
