"""Streams of digits for a small CLIP with random weights, which are stopped and taken up again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from clsuite.backbones.clip import build_clip
from clsuite.backbones.spec import BackboneSpec, Weights
from clsuite.learner.learner import Learner
from clsuite.learner.options import OptimizerSpec, TrainingSpec
from clsuite.plugin import Plugin
from clsuite.scenarios import Scenario
from clsuite.stream.loop import Stream

MakeStream = Callable[..., Stream]
ZERO_SHOT: dict[str, Any] = {"head": "zero_shot", "loss": "local"}


def clip_stream(scenario: Scenario, *plugins: Plugin, checkpoint: Path | None = None, **training: Any) -> Stream:
    """A stream that is ready to run."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    backbone = build_clip(BackboneSpec(name="open_clip:clip_nano"), Weights("random"))
    given = {"optimizer": OptimizerSpec(lr=1e-3), "batch_size": 8, "precision": "32", **training}
    learner = Learner(backbone, TrainingSpec(**given), plugins, seed=0)
    return Stream(learner, scenario, torch.device("cpu"), checkpoint_path=checkpoint, identity="test")


def assert_resumes_as(whole: Stream, make: MakeStream, folder: Path) -> None:
    """A run that is stopped before its last task and taken up again ends in the same bits."""
    cut = make(checkpoint=folder / "c.ckpt")
    learn = cut._learn

    def stop_at_the_last(task: Any) -> None:
        if task.index == 2:
            raise KeyboardInterrupt
        learn(task)

    cut._learn = stop_at_the_last  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        cut.run()
    again = make(checkpoint=folder / "c.ckpt")
    again.run()
    np.testing.assert_array_equal(again.matrix.class_incremental, whole.matrix.class_incremental)
    theirs = whole.learner.state_dict()
    for key, value in again.learner.state_dict().items():
        assert torch.equal(value, theirs[key]), key
