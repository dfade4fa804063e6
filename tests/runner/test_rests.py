"""A rest of one image, where batch normalization cannot work, is told before the start, with its task."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clsuite.errors import UserError
from clsuite.runner.options import RunOptions
from clsuite.runner.plan import make_plan
from clsuite.runner.spec import BenchmarkSpec


def planned(tree: Path, method: str, batch_size: int, **backbone: Any) -> int:
    spec = BenchmarkSpec.model_validate({
        "name": "b", "dataset": {"name": "image_folder", "path": str(tree)}, "seeds": [0],
        "scenario": {"kind": "class_incremental", "tasks": 2, "order": "given"},
        "backbone": {"name": "resnet18", "weights": "random", "image_size": 32, **backbone},
        "training": {"batch_size": batch_size}, "methods": {"own": method},
    })  # fmt: skip
    return len(make_plan(spec, Path(), RunOptions(out=Path())))


@pytest.mark.parametrize(
    ("method", "batch_size", "where"),
    [
        ("finetune", 5, r"task 0 \(.*\) has one image \(16 images, training.batch_size 5\), and at 32 px the last"),
        ("lwf", 15, r"task 0 \(.*\) has one image \(16 images"),
        ("joint", 31, r"task 1 \(.*\) has one image \(32 images"),
    ],
)
def test_a_rest_of_one_is_refused(method: str, batch_size: int, where: str, image_tree: Callable[..., Path]) -> None:
    with pytest.raises(UserError, match=f"method 'own': the last batch of {where}"):
        planned(image_tree(), method, batch_size)


@pytest.mark.parametrize(
    ("method", "batch_size", "backbone"),
    [
        ("finetune", 8, {}), ("finetune", 1000, {}), ("replay", 5, {}), ("ncm", 5, {}), ("linear_probe", 5, {}),
        ("joint", 5, {"image_size": 64}), ("finetune", 5, {"name": "omniglot_vit", "weights": "bundled"}),
        ("finetune", 5, {"image_size": 64}), ("joint", 15, {"image_size": 33}),
    ],
)  # fmt: skip
def test_what_works_is_not_refused(
    method: str, batch_size: int, backbone: dict[str, Any], image_tree: Callable[..., Path]
) -> None:
    assert planned(image_tree(), method, batch_size, **backbone) == 1
