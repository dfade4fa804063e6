"""Seven known methods, written from the page for authors alone: short, right, and resumable.

Lines of each, beside the file of the same method elsewhere, all lines counted as they stand:

============  ====  ========================================  ============  ================
method        here  Avalanche 0.6.0                           Mammoth       PILOT
============  ====  ========================================  ============  ================
LwF             43  34, on 356 of ``regularization.py``       94            none
EWC             49  233                                       81            none
MAS             48  174                                       none          none
SI              59  399                                       63            none
A-GEM           50  144                                       75            none
DER++           57  337 (DER and DER++)                       64            none
SimpleCIL       32  none                                      none          79
ER (the page)   33  123                                       67            none
============  ====  ========================================  ============  ================

Mammoth is aimagelab/mammoth (er.py at 2de9523, lwf.py and agem.py at 0d727a7, ewc_on.py at 20ff873, si.py and derpp.py
at 0151ba0); PILOT is sun-hailong/LAMDA-PILOT (simplecil.py at 3450184). Their files hold no state for a resume and
count no stored bytes; ours do.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from clsuite.learner.options import OptimizerSpec
from clsuite.plugin import Plugin
from clsuite.plugin.catalog import find_plugin, load_class
from clsuite.scenarios import Scenario
from clsuite_plugins.agem import AGEM
from clsuite_plugins.ewc import EWC
from clsuite_plugins.finetune import Finetune
from clsuite_plugins.lwf import LwF
from clsuite_plugins.ncm import NCM

FOLDER = Path(__file__).parent / "methods"
HEAD = "head.groups.0.weight"
SMALL: dict[str, dict[str, Any]] = {
    "agem": {"capacity": 12, "batch_size": 8},
    "derpp": {"capacity": 12},
    "ewc": {"samples": 8},
    "lwf": {},
    "mas": {"samples": 8},
    "si": {},
    "simplecil": {},
}


def make(name: str, **arguments: Any) -> Any:
    return load_class(find_plugin(str(FOLDER / f"{name}.py"))[0])(**{**SMALL[name], **arguments})


@pytest.mark.parametrize("name", SMALL)
def test_each_is_short_and_declares_itself(name: str) -> None:
    text = (FOLDER / f"{name}.py").read_text()
    assert len(text.splitlines()) < 100
    info, source = find_plugin(str(FOLDER / f"{name}.py"))
    assert source.summary
    assert source.traits.paper
    assert info.problem == ""
    assert "clsuite_plugins" not in text
    label = {"lwf": "LwF", "agem": "A-GEM", "derpp": "DER++", "simplecil": "SimpleCIL"}.get(name, name.upper())
    assert re.search(rf"^{re.escape(label)} +{len(text.splitlines())}  ", str(__doc__), re.MULTILINE)


class _Stop(Exception):  # noqa: N818
    pass


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_each_learns_and_a_resumed_run_equals_the_whole_one(name: str, make_stream: Any, tmp_path: Path) -> None:
    whole = make_stream(make(name))
    whole.run()
    stored = whole.learner.plugins[0].stored_bytes()
    assert set(stored) == set(find_plugin(str(FOLDER / f"{name}.py"))[1].traits.memory)
    assert all(size > 0 for size in stored.values())
    first = make_stream(make(name), checkpoint=tmp_path / "run.ckpt")
    learn = first._learn

    def stop_at_the_last(task: Any) -> None:
        if task.index == 2:
            raise _Stop
        learn(task)

    first._learn = stop_at_the_last
    with pytest.raises(_Stop):
        first.run()
    resumed = make_stream(make(name), checkpoint=tmp_path / "run.ckpt")
    resumed.run()
    for key, array in whole.matrix.arrays().items():
        np.testing.assert_array_equal(array, resumed.matrix.arrays()[key], err_msg=key)
    for key, value in whole.learner.state_dict().items():
        assert torch.equal(value, resumed.learner.state_dict()[key]), key
    assert resumed.learner.plugins[0].stored_bytes() == stored


def predictions(make_stream: Any, plugin: Plugin, **training: Any) -> Any:
    stream = make_stream(plugin, **training)
    stream.run()
    return stream


@pytest.mark.slow
def test_simplecil_and_lwf_answer_as_the_reference_plugins_do(make_stream: Any) -> None:
    for mine, reference in ((make("simplecil"), NCM()), (make("lwf", alpha=0.25), LwF(warmup_epochs=0))):
        one, other = (predictions(make_stream, plugin).matrix.arrays() for plugin in (mine, reference))
        for key, array in one.items():
            np.testing.assert_array_equal(array, other[key], err_msg=f"{type(mine).__name__} {key}")


def test_ewc_has_the_fisher_information_of_the_reference_plugin(make_stream: Any, scenario: Scenario) -> None:
    fishers = []
    for plugin, name in ((make("ewc", samples=16), "fisher"), (EWC(samples=16), "_importances")):
        learner = make_stream(plugin).learner
        learner.start(scenario)
        learner.begin_task(scenario.tasks[0])
        learner.end_task(scenario.tasks[0])
        fishers.append(plugin.state_dict()[name])
    assert fishers[0].keys() == fishers[1].keys()
    for name, value in fishers[0].items():
        torch.testing.assert_close(value, fishers[1][name], rtol=1e-3, atol=1e-10)


@pytest.mark.slow
def test_agem_projects_as_the_reference_plugin_does(make_stream: Any) -> None:
    options = {"optimizer": OptimizerSpec(name="sgd", lr=3e-3, momentum=0.0)}
    plugins = (make("agem"), AGEM(capacity=12, batch_size=8), Finetune())
    mine, reference, without = (predictions(make_stream, plugin, **options) for plugin in plugins)
    for name, value in mine.learner.state_dict().items():
        torch.testing.assert_close(value, reference.learner.state_dict()[name], rtol=1e-3, atol=1e-5)
    assert not torch.equal(mine.learner.state_dict()[HEAD], without.learner.state_dict()[HEAD])
    assert [task.gradient_samples for task in mine.tasks] == [task.gradient_samples for task in reference.tasks]


@pytest.mark.slow
def test_derpp_stores_each_sample_once_with_the_logits_of_its_moment(make_stream: Any, scenario: Scenario) -> None:
    plugin = make("derpp", capacity=1000)
    stream = predictions(make_stream, plugin, epochs=2)
    rows = np.concatenate([task.train for task in scenario.tasks])
    np.testing.assert_array_equal(np.sort(plugin.buffer.indices.numpy()), np.sort(rows))
    known = (~plugin.buffer.logits.isnan()).sum(dim=1)
    np.testing.assert_array_equal(known.numpy(), 2 * (plugin.buffer.labels.numpy() // 2 + 1))
    assert stream.tasks[0].gradient_samples > 2 * len(scenario.tasks[0].train)


@pytest.mark.slow
def test_si_adds_up_how_far_the_loss_fell(make_stream: Any, scenario: Scenario) -> None:
    """Along small steps of plain gradient descent the path integral is the fall of the loss (equation 3)."""
    losses: list[float] = []

    class Watch(Plugin):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, *_: Any) -> None:
            losses.append(float(outputs["loss"]))

    plugin = make("si")
    first = Scenario(scenario.kind, scenario.table, scenario.labels, scenario.classes, scenario.tasks[:1])
    options = {"epochs": 60, "batch_size": 1000, "optimizer": OptimizerSpec(name="sgd", lr=3e-3, momentum=0.0)}
    stream = make_stream(plugin, Watch(), on=first, **options)
    stream.run()
    fallen = sum(float(path.sum()) for path in plugin.path.values())
    assert fallen == pytest.approx(losses[0] - losses[-1], rel=0.1)
    assert all(bool((omega >= 0).all()) for omega in plugin.omega.values())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ewc", "mas", "si"])
def test_what_is_important_is_held(name: str, make_stream: Any) -> None:
    moved = {}
    for strength in (0.0, 1e5):
        argument = {"si": "c"}.get(name, "penalty")
        plugin = make(name, **{argument: strength})
        stream = make_stream(plugin, loss="local", epochs=2)
        anchors: list[torch.Tensor] = []
        end = stream.learner.end_task

        def watch(task: Any, end: Any = end, stream: Any = stream, anchors: Any = anchors) -> None:
            end(task)
            anchors.append(stream.learner.backbone.model.blocks[0].mlp.fc1.weight.detach().clone())

        stream.learner.end_task = watch
        stream.run()
        moved[strength] = float((anchors[-1] - anchors[0]).norm())
    assert moved[1e5] < 0.9 * moved[0.0]


@pytest.mark.nightly
@pytest.mark.parametrize("name", SMALL)
def test_each_passes_every_check(name: str) -> None:
    from clsuite.conformance import check_method

    report = check_method([lambda: make(name)])
    assert [str(finding) for outcome in report.outcomes for finding in outcome.findings] == []
