"""Arguments that a constructor refuses are refused by its text, before anything is imported."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from typing import Any

import pytest

from clsuite.errors import UserError
from clsuite.plugin.arguments import resolve_arguments
from clsuite.plugin.catalog import catalog, find_plugin, load_class
from clsuite.plugin.introspection import PluginSource, read_source

REFUSED = [
    ("replay", {"capacity": 0}, "replay: capacity is 0, but must be at least 1"),
    ("replay", {"capacity": -1}, "replay: capacity is -1, but must be at least 1"),
    ("replay", {"capacity": None}, "replay: give either capacity"),
    ("replay", {"capacity_bytes": 10}, "replay: give either capacity"),
    ("replay", {"batch_size": 0}, "replay: batch_size is 0, but must be at least 1"),
    ("gdumb", {"capacity": 0}, "gdumb: capacity is 0"),
    ("gdumb", {"capacity": None, "capacity_bytes": 0}, "gdumb: capacity_bytes is 0"),
    ("icarl", {"capacity": 0}, "icarl: capacity is 0"),
    ("agem", {"batch_size": 0}, "agem: batch_size is 0"),
    ("der", {"alpha": -1.0}, "der: alpha is -1.0, but must be at least 0"),
    ("der", {"beta": float("nan")}, "der: beta is nan"),
    ("fpf", {"capacity": 0}, "fpf: capacity is 0"),
    ("fpf", {"momentum": 1.0}, "fpf: momentum is 1.0, but must be at least 0 and below 1"),
    ("kfpf", {"lr": 0.0}, "kfpf: lr is 0.0, but must be above 0"),
    ("ewc", {"gamma": 1.5}, "ewc: gamma is 1.5"),
    ("lwf", {"temperature": 0.0}, "lwf: temperature is 0.0"),
    ("momentum", {"tau": 1.0}, "momentum: tau is 1.0"),
    ("mix_cd", {"floor": 0.0}, "mix_cd: floor is 0.0"),
    ("block_expansion", {"blocks": 0}, "block_expansion: blocks is 0"),
    ("coda_prompt", {"length": 3}, "coda_prompt: length is 3, but must be even"),
    ("dual_prompt", {"expert_length": 0}, "dual_prompt: expert_length is 0, but must be at least 1"),
    ("dual_prompt", {"matching": -0.5}, "dual_prompt: matching is -0.5"),
    ("ease", {"alpha": -1.0}, "ease: alpha is -1.0"),
    ("fecam", {"tukey": 0.0}, "fecam: tukey is 0.0, but must be positive, or null"),
    ("l2p", {"top_k": 50}, "l2p: top_k is 50, but must be between 1 and the 10 entries of the pool"),
    ("l2p", {"pool": 0}, "l2p: top_k is"),
    ("lae", {"decay": 2.0}, "lae: decay is 2.0"),
    ("lda", {"shrinkage": 0.0}, "lda: shrinkage is 0.0"),
    ("lda", {"target": "added"}, "lda: target is 'added'"),
    ("pet", {"kind": "prompt", "after_task": "merge"}, "pet: a prompt cannot be merged"),
    ("ranpac", {"projection": 0}, "ranpac: projection is 0"),
    ("s_pet", {"clusters": 0}, "s_pet: clusters is 0"),
    ("saft", {"share": 0.0}, "saft: share is 0.0"),
    ("slca", {"samples": 0}, "slca: samples is 0, but must be at least 1"),
    ("wise_ft", {"alpha": 1.5}, "wise_ft: alpha is 1.5"),
    ("pet", {"size": 0}, "plugin 'pet': size is 0, but must be at least 1"),
    ("lae", {"size": -2}, "plugin 'lae': size is -2"),
    ("first_session", {"size": 0}, "plugin 'first_session': size is 0"),
]


@pytest.mark.parametrize(("name", "given", "words"), REFUSED)
def test_an_argument_out_of_its_range_is_refused_unread(name: str, given: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError) as caught:
        resolve_arguments(name, find_plugin(name)[1], given)
    assert words in str(caught.value)


@pytest.mark.parametrize(("name", "given", "words"), [case for case in REFUSED if "plugin '" not in case[2]])
def test_the_constructor_itself_says_the_same(name: str, given: dict[str, Any], words: str) -> None:
    info, source = find_plugin(name)
    values = {one.name: one.default for one in source.parameters} | given
    with pytest.raises(UserError) as caught:
        load_class(info)(**values)
    assert words in str(caught.value)


def test_no_plugin_refuses_its_own_defaults() -> None:
    for name, info in catalog().items():
        if info.source is not None:
            assert resolve_arguments(name, info.source, {}) is not None


@pytest.mark.slow
def test_no_library_is_imported_for_it() -> None:
    code = (
        "import sys; from clsuite.cli.main import main\n"
        "assert main(['bench', 'quickstart', '--methods', 'replay(capacity=0)', '--dry-run']) == 2\n"
        "assert not {'torch', 'lightning', 'clsuite_plugins.replay'} & {*sys.modules}"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "replay: capacity is 0, but must be at least 1" in done.stderr


FILE = """
from clsuite.errors import UserError
from clsuite.plugin import Plugin, check_range as within


class Mine(Plugin):
    def __init__(self, size: int = 4, rate: float = 0.5, kind: str = "a", names: list[str] | None = None) -> None:
        super().__init__()
        {}
"""


def source_of(body: str) -> PluginSource:
    return read_source(FILE.format(textwrap.indent(textwrap.dedent(body), " " * 8).strip()), "Mine")


FOLLOWED = {
    "under another name": "within('mine', at_least=1, size=size)",
    "after what cannot be followed": "open('a')\nrate = open('b')\nwithin('mine', at_least=1, size=size)",
    "in a loop": (
        "for name, one in [('size', size), ('rate', rate)]:\n"
        "    if one <= 0:\n        raise UserError(f'mine: {name} is {one!r}, but must be above 0')"
    ),
    "in a branch": "if kind == 'a' and names is None:\n    within('mine', at_least=1, size=size)",
    "computed": "half = size // 2\nself.half = -(-half)\nif not self.half:\n    raise UserError('mine: size is 0')",
    "of a table": "least = {'a': 1, 'b': 2}[kind]\nif size < least:\n    raise UserError(f'mine: size is {size}')",
    "with a function": "if min(size, 3) < 1:\n    raise UserError('mine: size is {}')",
    "after a raise that nobody can tell": (
        "if open('a'):\n    raise UserError('no')\nwithin('mine', at_least=1, size=size)"
    ),
}


@pytest.mark.parametrize("way", FOLLOWED)
def test_checks_that_follow_from_the_arguments_are_done(way: str) -> None:
    source = source_of(FOLLOWED[way].replace("{}", "0"))
    assert resolve_arguments("mine", source, {})["size"] == 4
    with pytest.raises(UserError, match="mine: size is 0"):
        resolve_arguments("mine", source, {"size": 0})


PASSED = {
    "another value of the name": "size = open('a')\nwithin('mine', at_least=1, size=size)",
    "set in what cannot be followed": "with open('a') as size:\n    pass\nwithin('mine', at_least=1, size=size)",
    "after a return that may come": "if open('a'):\n    return\nwithin('mine', at_least=1, size=size)",
    "an error that fails alone": "if size < 1:\n    raise ValueError('size')\nwithin('mine', at_least=1, size=size)",
    "a dictionary that may have changed": "given = {'size': size}\ngiven.update(size=3)\nif given['size'] < 1:\n"
    "    raise UserError('no')",
    "a message without an end": "if size < 1:\n    raise UserError(f'{size:999999999}')",
    "a number without an end": "big = 9 * 10\nbig = big ** big ** big\nif size < big:\n    raise UserError('no')",
    "steps without an end": "for a in range(9):\n    pass\n" + "".join(
        f"{'    ' * depth}for x{depth} in (0, 1, 2, 3, 4, 5, 6, 7, 8, 9):\n" for depth in range(9)) + "    " * 9
    + "within('mine', at_least=1, size=1)\nwithin('mine', at_least=1, size=size)",
    "terms without an end": "deep = " + "+".join(["size"] * 700) + "\nif deep < 1:\n    raise UserError('no')",
    "a function of the same name": "def within(*_, **__):\n    return 0\nwithin('mine', at_least=1, size=size)",
}  # fmt: skip


@pytest.mark.parametrize("way", PASSED)
def test_what_does_not_follow_from_them_is_left_to_the_constructor(way: str) -> None:
    assert resolve_arguments("mine", source_of(PASSED[way]), {"size": 0})["size"] == 0
