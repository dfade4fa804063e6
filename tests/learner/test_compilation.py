"""`torch.compile` as an option: the same results, within rounding, and a clear word where there is no compiler."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from clsuite.errors import UserError
from clsuite.learner.compilation import check_compiler, compile_blocks
from clsuite.learner.options import TrainingSpec
from clsuite.stream.loop import Stream
from clsuite_plugins.finetune import Finetune


def is_compiled(module: nn.Module) -> bool:
    return module._compiled_call_impl is not None


@pytest.mark.slow
def test_blocks_are_compiled_and_names_stay() -> None:
    model = nn.Sequential()
    model.stem, model.blocks = nn.Linear(2, 2), nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    names = list(model.state_dict())
    compile_blocks(model)
    assert [is_compiled(module) for module in (model, model.stem, *model.blocks)] == [False, False, True, True]
    assert list(model.state_dict()) == names


@pytest.mark.slow
def test_a_network_without_blocks_is_compiled_as_a_whole() -> None:
    model = nn.Linear(2, 2)
    compile_blocks(model)
    assert is_compiled(model)


def test_without_a_compiler_it_says_what_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(function: Callable[..., object], **_: object) -> Callable[..., object]:
        def call(*_: object) -> object:
            raise RuntimeError("no g++ found\nand a long story")

        return call

    monkeypatch.setattr(torch, "compile", fails)
    with pytest.raises(UserError) as caught:
        check_compiler(torch.device("cpu"))
    assert str(caught.value) == (
        "training.compile needs a C++ compiler such as g++, which does not work here (no g++ found): install it, "
        "or leave compile out"
    )


def test_off_by_default_and_then_nothing_is_compiled(make_stream: Callable[..., Stream]) -> None:
    assert TrainingSpec().compile is False
    stream = make_stream(Finetune())
    stream.run()
    assert not any(is_compiled(module) for module in stream.learner.modules())


def test_a_run_that_asks_for_it_is_compiled(
    make_stream: Callable[..., Stream], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Compiling itself is replaced by a mark here; the long test does it."""
    marked: list[nn.Module] = []
    monkeypatch.setattr(nn.Module, "compile", lambda module: marked.append(module))
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)
    stream = make_stream(Finetune(), compile=True)
    stream.run()
    assert marked == list(stream.learner.backbone.model.blocks)


@pytest.mark.nightly
@pytest.mark.parametrize("precision", ["32", "bf16"])
def test_a_compiled_stream_learns_the_same(make_stream: Callable[..., Stream], precision: str) -> None:
    plain, compiled = (make_stream(Finetune(), compile=wanted, precision=precision) for wanted in (False, True))
    plain.run()
    compiled.run()
    assert compiled.learner.head.classes == 6
    same = (plain.matrix.class_incremental == compiled.matrix.class_incremental).mean()
    assert same > 0.97
    assert compiled.tasks[-1].final_loss == pytest.approx(plain.tasks[-1].final_loss, rel=0.05)
