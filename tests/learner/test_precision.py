"""Precision: what is asked for and what a run gets."""

from __future__ import annotations

import pytest
import torch

from clsuite.errors import UserError
from clsuite.learner import precision
from clsuite.learner.precision import autocast, has_slow_kernels, native_bf16, resolve_precision

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("asked", "device", "got"),
    [("32", "cpu", "32-true"), ("bf16", "cpu", "bf16-mixed"), ("16", "cuda", "16-mixed"), ("32", "cuda", "32-true")],
)
def test_what_is_asked_for_by_name(asked: str, device: str, got: str) -> None:
    assert resolve_precision(asked, torch.device(device)) == got


def test_half_precision_needs_a_gpu() -> None:
    with pytest.raises(UserError, match="precision 16 needs a GPU: use bf16, 32 or auto"):
        resolve_precision("16", CPU)


@pytest.mark.parametrize(("native", "got"), [(True, "bf16-mixed"), (False, "32-true")])
def test_auto_is_bf16_where_the_hardware_has_it(native: bool, got: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "native_bf16", lambda device: native)
    assert resolve_precision("auto", CPU) == got


def test_the_probe_answers_yes_or_no() -> None:
    assert native_bf16(CPU) in (True, False)
    assert native_bf16(torch.device("mps")) in (True, False)


@pytest.mark.parametrize(("asked", "kind"), [("32", torch.float32), ("bf16", torch.bfloat16)])
def test_work_outside_the_trainer_has_the_same_precision(asked: str, kind: torch.dtype) -> None:
    matrix = torch.ones(2, 2)
    with autocast(asked, CPU):
        assert (matrix @ matrix).dtype == kind
    assert (matrix @ matrix).dtype == torch.float32


@pytest.mark.parametrize(
    ("asked", "device", "plain"), [("32", "cpu", False), ("bf16", "cpu", True), ("bf16", "cuda", False)]
)
def test_kernels_are_slow_in_bf16_on_the_cpu(asked: str, device: str, plain: bool) -> None:
    assert has_slow_kernels(asked, torch.device(device)) is plain
