"""What a strategy of Avalanche's cannot do is refused before any run; YAML and command line name it alike."""

from __future__ import annotations

from importlib import util
from pathlib import Path
from typing import Any

import pytest

from clsuite.errors import UserError
from clsuite.runner import strategies
from clsuite.runner.options import RunOptions
from clsuite.runner.resolve import resolve_methods
from clsuite.runner.spec import load_benchmark

WRITTEN = "avalanche:SynapticIntelligence(si_lambda=0.5)"


def resolved(methods: tuple[str, ...] = (WRITTEN,), **options: Any) -> Any:
    spec, _ = load_benchmark("quickstart")
    return resolve_methods(spec, RunOptions(methods=methods, **options), Path())


def test_a_benchmark_names_strategies_as_the_command_line_does(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def make_strategy(model, size: int = 3):\n    pass\n")
    (tmp_path / "mine.yaml").write_text(
        "name: mine\ndataset: {name: digits}\nmethods:\n"
        "  si: {'avalanche:SynapticIntelligence': {si_lambda: 0.5}}\n"
        f"  again: '{WRITTEN}'\n"
        "  own: {'./mine.py:make_strategy': {size: 4}}\n"
        "  grid: {'avalanche:MAS': {alpha: [0.1, 0.5]}}\n"
    )
    spec, _ = load_benchmark(str(tmp_path / "mine.yaml"))
    found = resolve_methods(spec, RunOptions(), tmp_path)
    arguments = {name: method.plugins[0][1] for name, method in found.items()}
    assert arguments["si"] == arguments["again"] == {"si_lambda": 0.5, "eps": 1e-7}
    assert arguments["own"] == {"size": 4}
    assert [arguments[f"grid(alpha={alpha})"]["alpha"] for alpha in (0.1, 0.5)] == [0.1, 0.5]
    assert resolved().keys() == {WRITTEN}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"devices": 2}, "cannot do --devices 2: it trains on one device"),
        ({"save_model": True}, "cannot do --save-model: a strategy cannot be saved"),
        ({"keep_states": True}, "cannot do --keep-states: it cannot be continued between two tasks"),
        ({"training": {"head": "cosine"}}, "cannot do training.head: cosine"),
        ({"training": {"loss": "local"}}, "cannot do training.loss: local"),
        ({"training": {"precision": "16"}}, "cannot do training.precision: 16"),
        ({"training": {"accumulate": 2}}, "cannot do training.accumulate: 2"),
    ],
)
def test_what_avalanches_loop_cannot_do_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        resolved(**options)


def test_a_package_that_avalanche_does_not_install_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strategies, "find_spec", lambda name: None if name == "quadprog" else util.find_spec(name))
    assert resolved()
    with pytest.raises(UserError, match="needs quadprog, which Avalanche does not install: pip install quadprog"):
        resolved(("avalanche:GEM(patterns_per_exp=3)",))
