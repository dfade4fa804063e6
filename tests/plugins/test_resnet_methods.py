"""The classical methods on a ResNet: statistics of batch normalization are part of what is frozen, reset and saved."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from clsuite.backbones.spec import BackboneSpec, Weights
from clsuite.backbones.vit import build_backbone
from clsuite.errors import UserError
from clsuite.learner.learner import Learner
from clsuite.learner.options import OptimizerSpec, TrainingSpec
from clsuite.learner.rehearsal import select_parameters
from clsuite.learner.weight_swap import PretrainedState
from clsuite.plugin import Plugin
from clsuite.scenarios import Scenario, Task
from clsuite.stream.loop import Stream
from clsuite_plugins.agem import AGEM
from clsuite_plugins.der import DER
from clsuite_plugins.duct import DUCT
from clsuite_plugins.ewc import EWC
from clsuite_plugins.finetune import Finetune
from clsuite_plugins.fpf import FPF
from clsuite_plugins.gdumb import GDumb
from clsuite_plugins.hft import HFT
from clsuite_plugins.icarl import ICaRL
from clsuite_plugins.joint import Joint
from clsuite_plugins.kfpf import KFPF
from clsuite_plugins.linear_probe import LinearProbe
from clsuite_plugins.lwf import LwF
from clsuite_plugins.momentum import Momentum
from clsuite_plugins.ncm import NCM
from clsuite_plugins.pet import Pet
from clsuite_plugins.replay import Replay
from clsuite_plugins.saft import SAFT
from clsuite_plugins.wise_ft import WiSEFT

MakeResNet = Callable[..., Stream]
FLIPS: dict[str, Any] = {"augment": ["flip"]}


@pytest.fixture
def make_resnet(scenario: Scenario) -> MakeResNet:
    """Makes a stream of digits for timm's smallest ResNet, random."""

    two = scenario.first(2)

    def make(*plugins: Plugin, checkpoint: Path | None = None, **training: Any) -> Stream:
        torch.set_num_threads(1)
        torch.manual_seed(0)
        backbone = build_backbone(BackboneSpec(name="test_resnet", image_size=32), Weights("random"))
        given = {"optimizer": OptimizerSpec(lr=1e-3), "batch_size": 8, "precision": "32", **training}
        learner = Learner(backbone, TrainingSpec(**given), plugins, seed=0)
        return Stream(learner, two, torch.device("cpu"), checkpoint_path=checkpoint, identity="test")

    return make


def body(learner: Learner) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in learner.backbone.state_dict().items()}


METHODS: dict[str, Callable[[], tuple[Plugin, ...]]] = {
    "finetune": lambda: (Finetune(),),
    "replay": lambda: (Replay(capacity=8),),
    "der": lambda: (DER(capacity=8),),
    "agem": lambda: (AGEM(capacity=8),),
    "icarl": lambda: (ICaRL(capacity=12),),
    "lwf": lambda: (LwF(),),
    "ewc": lambda: (EWC(samples=8),),
    "joint": lambda: (Joint(),),
    "gdumb": lambda: (GDumb(capacity=12),),
    "saft": lambda: (SAFT(share=0.05, head_epochs=1),),
    "replay+fpf": lambda: (Replay(capacity=12), FPF(steps=3)),
    "kfpf": lambda: (KFPF(capacity=8, steps=3),),
    "ncm": lambda: (NCM(),),
    "linear_probe": lambda: (LinearProbe(),),
}


QUICK = ("finetune", "gdumb", "joint", "linear_probe", "lwf", "ncm", "replay+fpf", "saft")
NAMES = [name if name in QUICK else pytest.param(name, marks=pytest.mark.nightly) for name in sorted(METHODS)]


@pytest.mark.parametrize("name", NAMES)
def test_classical_methods_resume_bit_identically_with_their_statistics(
    name: str, make_resnet: MakeResNet, tmp_path: Path
) -> None:
    whole = make_resnet(*METHODS[name]())
    start = body(whole.learner)
    whole.run()
    moved = {key for key, value in body(whole.learner).items() if not torch.equal(value, start[key])}
    assert bool(moved) == (name not in ("ncm", "linear_probe"))
    assert any("running" in key for key in moved) == bool(moved)
    cut = make_resnet(*METHODS[name](), checkpoint=tmp_path / "c.ckpt")
    learn = cut._learn

    def stop_before_the_second(task: Any) -> None:
        if task.index == 1:
            raise KeyboardInterrupt
        learn(task)

    cut._learn = stop_before_the_second  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        cut.run()
    again = make_resnet(*METHODS[name](), checkpoint=tmp_path / "c.ckpt")
    again.run()
    np.testing.assert_array_equal(again.matrix.class_incremental, whole.matrix.class_incremental)
    theirs = whole.learner.state_dict()
    for key, value in again.learner.state_dict().items():
        assert torch.equal(value, theirs[key]), key


@pytest.mark.parametrize("training", [{}, FLIPS], ids=["from features", "augmented"])
def test_a_frozen_backbone_keeps_its_statistics(training: dict[str, Any], make_resnet: MakeResNet) -> None:
    stream = make_resnet(LinearProbe(), epochs=2, **training)
    start = body(stream.learner)
    stream.run()
    assert stream.learner.frozen
    for name, value in body(stream.learner).items():
        assert torch.equal(value, start[name]), name


@pytest.mark.slow
def test_finetuning_learns_digits(make_resnet: MakeResNet) -> None:
    stream = make_resnet(Finetune(), epochs=12, loss="local", optimizer=OptimizerSpec(lr=3e-4, head_lr=3e-3))
    stream.run()
    assert stream.matrix.counts().of("task_aware").accuracy.diagonal().mean() > 0.8


def test_beginning_anew_brings_the_statistics_back(make_resnet: MakeResNet, scenario: Scenario) -> None:
    learner = make_resnet().learner
    learner.start(scenario)
    learner.begin_task(scenario.tasks[0])
    before, images = body(learner), torch.randn(8, 3, 32, 32)
    pretrained = PretrainedState(learner)
    learner.train()
    learner.backbone(images)
    assert not torch.equal(body(learner)["model.bn1.running_mean"], before["model.bn1.running_mean"])
    pretrained.restore(learner)
    for name, value in body(learner).items():
        assert torch.equal(value, before[name]), name


def test_fpf_tunes_batch_normalizations_with_their_statistics_and_gives_them_back(make_resnet: MakeResNet) -> None:
    """The paper's choice on ResNets: batch normalizations and the last layer; all else stays, statistics included."""
    fpf = FPF(modules="norm+head", steps=4)
    stream = make_resnet(Replay(capacity=12), fpf)
    states: list[dict[str, torch.Tensor]] = []
    end, leave = fpf.on_task_end, fpf.on_task_exit

    def on_task_end(learner: Learner, task: Any) -> None:
        states.append(body(learner))
        end(learner, task)
        states.append(body(learner))

    def on_task_exit(learner: Learner, task: Any) -> None:
        leave(learner, task)
        states.append(body(learner))

    fpf.on_task_end, fpf.on_task_exit = on_task_end, on_task_exit  # type: ignore[method-assign]
    stream.run()
    learned, tuned, back = states[:3]
    chosen = {name.removeprefix("backbone.") for name in select_parameters(stream.learner, "norm")}
    owners = {name.rpartition(".")[0] for name in chosen}
    for name, value in tuned.items():
        assert torch.equal(value, learned[name]) == (name.rpartition(".")[0] not in owners), name
        assert torch.equal(back[name], learned[name]), name
    assert any("running_mean" in name for name in tuned if name.rpartition(".")[0] in owners)


def test_wise_ft_brings_the_statistics_back_with_the_weights(make_resnet: MakeResNet) -> None:
    stream = make_resnet(WiSEFT(alpha=0.0))
    before = body(stream.learner)
    stream.run()
    assert all(torch.equal(value, before[name]) for name, value in body(stream.learner).items() if "num_b" not in name)


def test_momentum_follows_statistics_as_it_follows_weights(make_resnet: MakeResNet) -> None:
    fast: list[dict[str, torch.Tensor]] = []

    class Fast(Plugin):
        def on_task_end(self, learner: Learner, task: Any) -> None:
            fast.append(body(learner))

    slow = make_resnet(Fast(), Momentum(tau=1 - 1e-6))
    before = body(slow.learner)
    slow.run()
    name = "model.bn1.running_mean"
    torch.testing.assert_close(body(slow.learner)[name], before[name], atol=1e-3, rtol=0)
    assert (fast[-1][name] - before[name]).abs().max() > 1e-2


def test_duct_merges_statistics_to_means_whose_variances_stay_above_zero(make_resnet: MakeResNet) -> None:
    class Narrows(Plugin):
        """Leaves a tenth of all variances, as features that a task makes narrow do."""

        def on_task_end(self, learner: Learner, task: Task) -> None:
            for name, value in learner.backbone.named_buffers():
                if name.endswith("running_var"):
                    value.mul_(0.1)

    training = {"loss": "local", "head": "cosine", "head_init": 0.02, "optimizer": OptimizerSpec(name="sgd", lr=1e-3)}
    stream = make_resnet(Narrows(), DUCT(lr=1e-4, scale=1.0, epochs=0), **training)
    start = body(stream.learner)
    stream.run()
    variances = 0
    for name, value in body(stream.learner).items():
        if name.endswith("running_var"):
            assert (value >= 0.09 * start[name].clamp(max=0.1)).all(), name
            variances += 1
        if name.endswith("num_batches_tracked"):
            assert not value.is_floating_point()
    assert variances
    assert stream.matrix.counts().of("class_incremental").accuracy.min() >= 0  # finite answers, or the run would end


def test_kinds_of_modules_are_found_by_structure(make_resnet: MakeResNet, scenario: Scenario) -> None:
    learner = make_resnet().learner
    learner.start(scenario)
    learner.begin_task(scenario.tasks[0])
    first = next(name for name, value in learner.named_modules() if isinstance(value, torch.nn.Conv2d))
    assert set(select_parameters(learner, "patch_embed")) == {f"{first}.weight"}
    norms = [value for value in learner.modules() if isinstance(value, torch.nn.BatchNorm2d)]
    assert len(select_parameters(learner, "norm")) == 2 * len(norms) > 0


@pytest.mark.parametrize("plugin", [lambda: Pet(), lambda: HFT()])
def test_methods_for_vits_say_what_they_need(plugin: Any, make_resnet: MakeResNet) -> None:
    with pytest.raises(UserError, match=r"\(ResNet\) has no transformer blocks"):
        make_resnet(plugin()).run()
