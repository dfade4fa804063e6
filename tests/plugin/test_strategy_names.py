"""Avalanche's strategies by name: read from their source, checked, and refused with a reason; nothing is imported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from clsuite.errors import UserError
from clsuite.plugin import strategies as module
from clsuite.plugin.arguments import resolve_arguments
from clsuite.plugin.catalog import find_plugin
from clsuite.plugin.compatibility import check_method
from clsuite.plugin.strategies import strategies, unfit

AT_LEAST = {
    "Naive", "Replay", "EWC", "SynapticIntelligence", "MAS", "LwF", "GEM", "AGEM", "GSS_greedy", "MIR", "ER_ACE", "DER",
    "GDumb", "ICaRL", "CoPE", "SCR", "StreamingLDA", "LFL",
}  # fmt: skip
FUNCTION = "def make_strategy(model, optimizer, sizes, size: int = 3):\n    '''Mine.\n\n    More.\n    '''\n"


def test_the_strategies_are_listed_without_importing_avalanche() -> None:
    code = (
        "import sys; from clsuite.plugin.strategies import strategies; "
        "print(sorted(info.name for info in strategies()), 'torch' in sys.modules, 'avalanche' in sys.modules)"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.endswith("False False\n")
    assert {info.name for info in strategies()} >= {f"avalanche:{name}" for name in AT_LEAST}
    assert unfit().keys() >= {"BiC", "JointTraining"}
    assert not unfit().keys() & AT_LEAST


def test_arguments_are_those_of_the_constructor_that_no_benchmark_knows() -> None:
    info, source = find_plugin("avalanche:EWC")
    assert (info.name, info.target) == ("avalanche:EWC", "clsuite.avalanche.method:EWC")
    assert info.distribution.startswith("avalanche-lib ")
    given = {"ewc_lambda": 3, "mode": "online", "decay_factor": 0.5}
    assert resolve_arguments("EWC", source, given) == {**given, "keep_importance_data": False}
    assert [one.name for one in find_plugin("avalanche:StreamingLDA")[1].parameters] == [
        "shrinkage_param", "streaming_update_sigma",
    ]  # fmt: skip
    assert resolve_arguments("SCR", find_plugin("avalanche:SCR")[1], {"temperature": 0.07})["temperature"] == 0.07


@pytest.mark.parametrize(
    ("name", "args", "message"),
    [
        ("avalanche:SynapticInteligence", {}, "Did you mean 'SynapticIntelligence'"),
        ("avalanche:", {}, "unknown strategy of Avalanche ''. Known: .* All: clsuite list strategies"),
        ("avalanche:SynapticIntelligence", {"si_lamda": 1.0}, "Did you mean 'si_lambda'"),
        ("avalanche:SynapticIntelligence", {}, "needs the argument 'si_lambda'"),
        ("avalanche:LwF", {"alpha": "a", "temperature": 2.0}, "must be a number or a list of numbers"),
        ("avalanche:Replay", {"model": 1}, "unknown argument"),
        ("avalanche:PackNet", {}, "cannot be a method: it needs a network that Avalanche has wrapped"),
        ("avalanche:BiC", {}, r"PyTorch has removed \(Avalanche 0\.6\.0\)"),
    ],
)
def test_mistakes_are_one_line_with_the_nearest_name(name: str, args: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        resolve_arguments(name, find_plugin(name)[1], args)


def test_a_strategy_is_combined_with_nothing_and_learns_what_it_can() -> None:
    si, replay, icarl = (find_plugin(name)[1] for name in ("avalanche:MAS", "replay", "avalanche:ICaRL"))
    check_method([("MAS", si)], "domain_incremental")
    check_method([("ICaRL", icarl)], "few_shot")
    with pytest.raises(UserError, match="'MAS' and 'replay' cannot be combined: it trains in a loop of its own"):
        check_method([("MAS", si), ("replay", replay)], "class_incremental")
    with pytest.raises(UserError, match="cannot learn online streams: Avalanche's strategies may read"):
        check_method([("MAS", si)], "online")
    with pytest.raises(UserError, match="cannot learn domain_incremental streams: it needs new classes"):
        check_method([("ICaRL", icarl)], "domain_incremental")


def test_the_source_is_the_version_and_for_a_function_its_file_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.py").write_text(FUNCTION)
    name = "mine.py:make_strategy"
    info, own = find_plugin(name, (tmp_path,))
    now = module._version()
    assert info.distribution == f"mine.py with avalanche-lib {now}"
    assert (own.summary, [(one.name, one.default) for one in own.parameters]) == ("Mine.", [("size", 3)])
    before = {text: find_plugin(text, (tmp_path,))[1].sha256 for text in ("avalanche:MAS", name)}
    (tmp_path / "mine.py").write_text(FUNCTION + "    return 1\n")
    after = {text: find_plugin(text, (tmp_path,))[1].sha256 for text in before}
    assert (before["avalanche:MAS"] == after["avalanche:MAS"], before[name] == after[name]) == (True, False)
    monkeypatch.setattr(module, "version", lambda _: "0.7.0")
    other = {text: find_plugin(text, (tmp_path,))[1].sha256 for text in before}
    assert all(other[text] != after[text] for text in before)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def make_strategy(net):\n    pass\n", "line 1: a function that makes an Avalanche strategy has the argument"),
        ("def make_strategy(model, size=[].copy()):\n    pass\n", "line 1: the default of 'size' is not a literal"),
        (
            "SCORES = 'grades'\ndef make_strategy(model):\n    pass\n",
            "SCORES is 'grades', but must be one of logits, cosine",
        ),
    ],
)
def test_a_function_that_cannot_make_a_strategy_is_refused(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(text)
    with pytest.raises(UserError, match=message):
        find_plugin("mine.py:make_strategy", (tmp_path,))
