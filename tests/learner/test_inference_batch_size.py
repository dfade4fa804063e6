"""How many images pass through a network together."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from clsuite.backbones.spec import BackboneSpec, find_weights
from clsuite.backbones.vit import build_backbone
from clsuite.learner import features
from clsuite.learner.batch_size import inference_batch_size
from clsuite.scenarios import Scenario


@pytest.mark.parametrize(("size", "expected"), [(8, 128), (32, 128), (64, 97), (128, 24), (224, 8), (448, 8)])
def test_on_a_cpu_larger_images_go_in_smaller_chunks(size: int, expected: int) -> None:
    assert inference_batch_size((1000, 3, size, size), torch.device("cpu")) == expected


def test_an_accelerator_is_kept_busy() -> None:
    assert inference_batch_size((1000, 3, 224, 224), torch.device("cuda")) == 256


@pytest.mark.parametrize("at_once", [1, 7, 64])
def test_features_do_not_depend_on_the_chunks(
    scenario: Scenario, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    backbone = build_backbone(BackboneSpec(), find_weights(BackboneSpec(), []))
    rows = np.arange(20)[::-1].copy()
    whole = features.compute_features(backbone, scenario.table.images, rows)
    monkeypatch.setattr(features, "inference_batch_size", lambda shape, device: at_once)
    torch.testing.assert_close(features.compute_features(backbone, scenario.table.images, rows), whole)
