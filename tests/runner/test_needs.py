"""CLIP in benchmarks: what the plan refuses and what the record says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from clsuite.errors import UserError
from clsuite.runner.plan import RunOptions, RunPlan, make_plan
from clsuite.runner.spec import BenchmarkSpec

NANO = {"name": "open_clip:clip_nano", "weights": "random"}


def plans(tmp_path: Path, method: Any, **sections: Any) -> list[RunPlan]:
    base = {"name": "mine", "dataset": {"name": "digits"}, "scenario": {"tasks": 5}, "seeds": [0]}
    spec = BenchmarkSpec.model_validate({**base, **sections, "methods": {"m": method}})
    return make_plan(spec, tmp_path, RunOptions(out=tmp_path))


@pytest.mark.parametrize(
    ("method", "sections", "message"),
    [
        ("zero_shot", {}, "plugin 'zero_shot' needs CLIP, and backbone 'omniglot_vit' has no text tower"),
        ("finetune", {"training": {"head": "zero_shot"}}, "training.head: zero_shot needs CLIP"),
        ("finetune", {"training": {"tune": "text"}}, "training.tune: text needs CLIP"),
        ("finetune", {"backbone": NANO, "training": {"tune": "both"}}, "needs training.head: zero_shot"),
        ("zero_shot+replay", {"backbone": NANO}, "'zero_shot' takes no gradient steps"),
    ],
)
def test_refused_before_any_run(tmp_path: Path, method: Any, sections: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        plans(tmp_path, method, **sections)


def test_templates_are_in_the_record_and_its_key(tmp_path: Path) -> None:
    default, named = (
        plans(tmp_path, "zero_shot", backbone={**NANO, **extra})[0].pending for extra in ({}, {"templates": "mnist"})
    )
    assert default.config["backbone"]["templates"] == ["a photo of a {}."]
    assert named.config["backbone"]["templates"] == ['a photo of the number: "{}".']
    assert default.key != named.key
    assert "templates" not in plans(tmp_path, "finetune")[0].pending.config["backbone"]
