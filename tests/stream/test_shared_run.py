"""A run ends in the same predictions, to the byte, with features of the store and without, whoever computed them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clsuite.data.feature_files import FeatureFiles, blocks_below
from clsuite.learner.shared_features import SharedFeatures
from clsuite.plugin import Plugin
from clsuite.probes.base import Features, Reading
from clsuite.probes.recorder import ProbeRecorder
from clsuite.scenarios import Scenario
from clsuite.stream.loop import Stream
from clsuite.stream.within_task_spec import EvaluationSpec
from clsuite_plugins.aper import APER
from clsuite_plugins.coda_prompt import CodaPrompt
from clsuite_plugins.dual_prompt import DualPrompt
from clsuite_plugins.ease import EASE
from clsuite_plugins.fecam import FeCAM
from clsuite_plugins.finetune import Finetune
from clsuite_plugins.first_session import FirstSession
from clsuite_plugins.l2p import L2P
from clsuite_plugins.lda import LDA
from clsuite_plugins.linear_probe import LinearProbe
from clsuite_plugins.lwf import LwF
from clsuite_plugins.ncm import NCM
from clsuite_plugins.pet import Pet
from clsuite_plugins.ranpac import RanPAC
from clsuite_plugins.replay import Replay
from clsuite_plugins.s_pet import SPet

Make = Callable[[], list[Plugin]]
FROZEN: dict[str, Make] = {
    "ncm": lambda: [NCM()],
    "ranpac": lambda: [RanPAC(projection=50)],
    "fecam": lambda: [FeCAM()],
    "lda": lambda: [LDA()],
    "linear_probe": lambda: [LinearProbe()],
    "linear_probe+replay": lambda: [LinearProbe(), Replay(capacity=12)],
    "l2p": lambda: [L2P(pool=4, top_k=2, size=2)],
    "coda_prompt": lambda: [CodaPrompt(blocks="all")],
    "dual_prompt": lambda: [DualPrompt(general_blocks="0", expert_blocks="1")],
    "s_pet": lambda: [SPet()],
    "aper": lambda: [APER()],
}
"""Methods that ask for features of the backbone as it was loaded."""
OTHERS: dict[str, Make] = {
    "finetune": lambda: [Finetune()],
    "lwf": lambda: [LwF()],
    "ease": lambda: [EASE()],
    "first_session+ncm": lambda: [FirstSession(), NCM()],
    "pet (merged)": lambda: [Pet(after_task="merge")],
}
"""Methods whose features are another network's; a probe reads those of the backbone as it was."""
LONG = ("coda_prompt", "dual_prompt", "s_pet", "ease", "lwf")
"""Of these, what takes long: others of their kind are quick."""


class Sum:
    """A probe that is another for each bit of its features."""

    def __init__(self, scenario: Scenario) -> None:
        self._features = Features(scenario.table, scenario.tasks[0].test)

    def __call__(self, learner: Any) -> dict[str, Reading]:
        return {"sum": Reading(float(self._features.of(learner).double().sum()), True)}


def run(make_stream: Any, scenario: Scenario, make: Make, cache: Path | None, **training: Any) -> tuple[Any, Stream]:
    stream: Stream = make_stream(*make(), **training)
    if cache is not None:
        store = SharedFeatures(stream.learner.backbone, FeatureFiles(10**9, cache), "a")
        stream = Stream(stream.learner, scenario, stream.device, shared=store)
    stream.probes = ProbeRecorder([Sum(scenario)], [False])
    stream.run()
    arrays = {name: array.tobytes() for name, array in stream.matrix.arrays().items()}
    return (arrays, [entry.model_dump() for entry in stream.probes.entries()]), stream


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.nightly) if name in LONG else name for name in (*FROZEN, *OTHERS)]
)
def test_predictions_are_the_same_off_cold_and_warm(
    name: str, make_stream: Any, scenario: Scenario, tmp_path: Path
) -> None:
    make = {**FROZEN, **OTHERS}[name]
    off, _ = run(make_stream, scenario, make, None)
    cold, first = run(make_stream, scenario, make, tmp_path)
    blocks = len(blocks_below(tmp_path / "features"))
    warm, second = run(make_stream, scenario, make, tmp_path)
    assert off == cold == warm
    assert len(blocks_below(tmp_path / "features")) == blocks > 0
    assert second.taken.images > first.taken.images
    assert second.taken.seconds > first.taken.seconds
    if name in FROZEN:
        assert min(second.taken_seconds) > 0
    else:
        assert second.taken_seconds[0] == 0


@pytest.mark.slow
def test_predictions_are_the_same_whoever_was_first(make_stream: Any, scenario: Scenario, tmp_path: Path) -> None:
    def all_of(names: list[str], cache: Path | None) -> dict[str, Any]:
        return {name: run(make_stream, scenario, FROZEN[name], cache)[0] for name in names}

    names = ["ncm", "lda", "linear_probe", "dual_prompt"]
    off = all_of(names, None)
    assert all_of(names, tmp_path / "one") == all_of(names[::-1], tmp_path / "other") == off


@pytest.mark.slow
def test_methods_take_from_each_other(make_stream: Any, scenario: Scenario, tmp_path: Path) -> None:
    run(make_stream, scenario, FROZEN["ncm"], tmp_path)
    for name in ("ranpac", "fecam", "lda", "linear_probe"):
        _, stream = run(make_stream, scenario, FROZEN[name], tmp_path)
        rows = sum(len(task.train) + len(task.test) for task in scenario.tasks)
        assert stream.taken.images >= rows


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ncm", pytest.param("coda_prompt", marks=pytest.mark.nightly)])
def test_bf16_is_the_same_too(name: str, make_stream: Any, scenario: Scenario, tmp_path: Path) -> None:
    off, _ = run(make_stream, scenario, FROZEN[name], None, precision="bf16")
    found = [run(make_stream, scenario, FROZEN[name], tmp_path, precision="bf16")[0] for _ in range(2)]
    assert found == [off, off]


@pytest.mark.slow
def test_what_was_taken_survives_an_interruption(make_stream: Any, scenario: Scenario, tmp_path: Path) -> None:
    expected, _ = run(make_stream, scenario, FROZEN["ncm"], tmp_path)
    cache, checkpoint = FeatureFiles(10**9, tmp_path), tmp_path / "run.ckpt"

    def stream() -> Stream:
        learner = make_stream(*FROZEN["ncm"]()).learner
        store = SharedFeatures(learner.backbone, cache, "a")
        made = Stream(learner, scenario, store_device, checkpoint_path=checkpoint, identity="a", shared=store)
        made.probes = ProbeRecorder([Sum(scenario)], [False])
        return made

    store_device = make_stream().device
    broken = stream()
    usual = broken._learn
    broken._learn = lambda task: usual(task) if task.index < 2 else _stop()  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        broken.run()
    resumed = stream()
    resumed.run()
    arrays = {name: array.tobytes() for name, array in resumed.matrix.arrays().items()}
    assert (arrays, [entry.model_dump() for entry in resumed.probes.entries()]) == expected
    assert resumed.taken.images > broken.taken.images > 0
    assert resumed.taken.seconds > broken.taken.seconds
    assert all(now > then > 0 for now, then in zip(resumed.taken_seconds, broken.taken_seconds, strict=True))


def _stop() -> None:
    raise KeyboardInterrupt


@pytest.mark.slow
def test_curves_within_tasks_count_as_evaluation(make_stream: Any, scenario: Scenario, tmp_path: Path) -> None:
    before: list[float] = []

    def learned() -> Stream:
        learner = make_stream(LinearProbe()).learner
        store = SharedFeatures(learner.backbone, FeatureFiles(10**9, tmp_path), "a")
        made = Stream(learner, scenario, make_stream().device, evaluation=EvaluationSpec(every=1), shared=store)
        read_before = made._read_before

        def read() -> None:
            read_before()
            before.append(made.taken.seconds)

        made._read_before = read  # type: ignore[method-assign]
        made.run()
        return made

    learned()
    stream = learned()
    assert min(stream.taken_seconds) > 0
    assert before[-1] > 0  # row -1, which is part of no column of time
    assert sum(stream.taken_seconds) + before[-1] == pytest.approx(stream.taken.seconds)
    assert all(task.train_seconds > 0 and task.eval_seconds > 0 for task in stream.tasks)
