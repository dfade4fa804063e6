"""The original head of models with one and with two heads, against timm's own forward pass."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch

from clsuite.backbones.spec import BackboneSpec, Weights
from clsuite.backbones.vit import build_backbone
from clsuite.data.folder import SUFFIXES
from clsuite.learner.learner import Learner
from clsuite.learner.options import TrainingSpec
from clsuite.probes.base import ProbeContext
from clsuite.probes.images import load_probe_images
from clsuite.probes.probes import make_probes
from clsuite.probes.spec import HeadProbe


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "training"), [("deit_tiny_distilled_patch16_224", True), ("deit_tiny_patch16_224", False)]
)
def test_the_answers_are_timms(name: str, training: bool, image_tree: Any, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model: Any = timm.create_model(name, num_classes=4, img_size=32).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    torch.save(model.state_dict(), tmp_path / "weights.pth")
    spec = BackboneSpec(name=name, image_size=32, weights="weights.pth")
    context = ProbeContext(spec, Weights("file", tmp_path / "weights.pth"), None)
    learner = Learner(build_backbone(spec, context.weights), TrainingSpec(precision="32"), [], seed=0).train(training)
    folder = image_tree(classes=4, train=3) / "train"
    probe: Any = make_probes([HeadProbe(path=str(folder))], context)[0]
    reading = probe(learner)["head"]
    table = load_probe_images(str(folder), 32, None)
    with torch.no_grad():
        logits = model(learner.backbone.normalize(torch.from_numpy(table.images.copy())))
    torch.testing.assert_close(probe.before.float(), logits.log_softmax(dim=1), rtol=1e-4, atol=1e-5)
    assert reading.correct == int((logits.argmax(dim=1).numpy() == table.labels).sum())
    assert reading.n == sum(path.suffix in SUFFIXES for path in folder.rglob("*")) == 12
    assert learner.backbone.training == training
    assert np.ptp(logits.numpy()) > 0.1
