"""Retention probes: against oracles, in real streams, and without any effect on training."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import TypeAdapter
from sklearn.neighbors import KNeighborsClassifier
from torchmetrics.functional.classification import multiclass_calibration_error

from clsuite.backbones.spec import BackboneSpec, Weights, find_weights
from clsuite.data.naming import text_lines
from clsuite.errors import UserError
from clsuite.learner.features import compute_features
from clsuite.learner.learner import Learner
from clsuite.plugin import Plugin
from clsuite.probes.base import Features, ProbeContext, Reading
from clsuite.probes.knn import weighted_knn
from clsuite.probes.probes import make_probes, predict_rows, split_index_queries
from clsuite.probes.recorder import ProbeRecorder
from clsuite.probes.spec import (
    READINGS,
    AnyProbe,
    CalibrationProbe,
    HeadProbe,
    KnnProbe,
    LeftOutProbe,
    ProbeSpec,
    check_names,
    readings_of,
)
from clsuite.scenarios import Scenario, ScenarioSpec, build_scenario
from clsuite_plugins.finetune import Finetune
from clsuite_plugins.linear_probe import LinearProbe
from clsuite_plugins.ncm import NCM
from clsuite_plugins.sema import SEMA

VIT = "vit_tiny_patch16_224.augreg_in21k_ft_in1k"


def context(root: Path | None, image_size: int = 32) -> ProbeContext:
    spec = BackboneSpec(image_size=image_size)
    return ProbeContext(spec, find_weights(spec, []), root)


@pytest.fixture
def probe_set(tmp_path: Path) -> Callable[..., str]:
    def make(classes: int = 3, images: int = 6, order: bool = False) -> str:
        random = np.random.RandomState(0)
        for label in range(classes):
            folder = tmp_path / "probe" / f"c{label}"
            folder.mkdir(parents=True)
            for index in range(images):
                pixels = np.clip(random.randint(0, 100, (16, 16)) + 70 * label, 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / f"{index}.png")
        if order:
            (tmp_path / "probe" / "classes.txt").write_text("c2 two\nc0 nought\nc1 one\n")
        return str(tmp_path / "probe")

    return make


def test_weighted_knn_is_scikit_learns_with_the_same_weights() -> None:
    generator = torch.Generator().manual_seed(0)
    index, queries = torch.randn(80, 12, generator=generator), torch.randn(50, 12, generator=generator)
    labels = torch.randint(6, (80,), generator=generator)
    oracle = KNeighborsClassifier(
        20, metric="cosine", algorithm="brute", weights=lambda distance: np.exp(-distance / 0.07)
    ).fit(index.numpy(), labels.numpy())
    answers = weighted_knn(index, labels, queries, k=20, temperature=0.07)
    np.testing.assert_array_equal(answers.numpy(), oracle.predict(queries.numpy()))


def test_knn_by_hand() -> None:
    index = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.6, 0.8]])
    labels, query = torch.tensor([1, 0, 0]), torch.tensor([[2.0, 0.0]])
    assert weighted_knn(index, labels, query, k=3, temperature=0.07).tolist() == [1]
    assert weighted_knn(index, labels, query, k=3, temperature=10.0).tolist() == [0]


def test_knn_of_a_small_temperature_answers_as_the_nearest_neighbor() -> None:
    generator = torch.Generator().manual_seed(0)
    index, queries = torch.randn(80, 12, generator=generator), torch.randn(50, 12, generator=generator)
    labels = torch.randint(6, (80,), generator=generator)
    oracle = KNeighborsClassifier(1, metric="cosine", algorithm="brute").fit(index.numpy(), labels.numpy())
    answers = weighted_knn(index, labels, queries, k=20, temperature=0.0002)
    np.testing.assert_array_equal(answers.numpy(), oracle.predict(queries.numpy()))


def test_index_and_queries_never_meet() -> None:
    labels = np.repeat(np.arange(4), 10)
    index, queries = split_index_queries(labels, 6, 3, "x")
    assert not set(index) & set(queries)
    assert np.bincount(labels[index]).tolist() == [6] * 4
    assert np.bincount(labels[queries]).tolist() == [3] * 4
    with pytest.raises(UserError, match="a class has 10 images, but the index takes 10"):
        split_index_queries(labels, 10, 1, "x")


@pytest.mark.slow
def test_probes_change_nothing_in_training_and_a_frozen_backbone_loses_nothing(
    make_stream: Any, probe_set: Any
) -> None:
    path = probe_set(images=8)
    specs = [KnnProbe(path=path, index=5, queries=3, k=3), CalibrationProbe()]
    plain, probed, frozen = make_stream(Finetune()), make_stream(Finetune()), make_stream(NCM())
    for stream in (probed, frozen):
        stream.probes = ProbeRecorder(make_probes(specs, context(None)))
    for stream in (plain, probed, frozen):
        stream.run()
    assert plain.matrix.counts() == probed.matrix.counts()
    assert plain.tasks[-1].final_loss == probed.tasks[-1].final_loss
    entries = {entry.name: entry for entry in probed.probes.entries()}
    assert set(entries) == {"knn", "calibration"}
    assert len(entries["knn"].values) == 4
    assert entries["knn"].n == 9
    assert not entries["calibration"].higher_is_better
    kept = {entry.name: entry for entry in frozen.probes.entries()}["knn"]
    assert len(set(kept.correct)) == 1


@pytest.mark.slow
def test_a_frozen_backbone_computes_probe_features_once(make_stream: Any, probe_set: Any) -> None:
    seen: list[int] = []
    counts = []
    for probes in ([], [KnnProbe(path=probe_set(images=8), index=5, queries=3, k=3)]):
        stream = make_stream(LinearProbe())
        stream.probes = ProbeRecorder(make_probes(probes, context(None)))
        seen.clear()
        stream.learner.backbone.register_forward_hook(lambda module, inputs, output: seen.append(len(output)))
        stream.run()
        counts.append(sum(seen))
    assert counts[1] - counts[0] == 2 * 3 * 8  # before the stream, where nothing is frozen yet, and once after


def test_features_are_read_again_after_a_backbone_was_trained_and_frozen(make_stream: Any, probe_set: Any) -> None:
    probe = make_probes([KnnProbe(path=probe_set(images=8), index=5, queries=3, k=3)], context(None))[0]
    learner = make_stream(Finetune()).learner
    probe(learner)
    before = probe._features._kept.clone()  # type: ignore[attr-defined]
    with torch.no_grad():
        for parameter in learner.backbone.parameters():
            parameter.add_(0.1)
    learner.backbone.requires_grad_(False)
    probe(learner)
    assert not torch.equal(before, probe._features._kept)  # type: ignore[attr-defined]


@pytest.mark.slow
def test_calibration_is_torchmetrics_on_the_streams_own_answers(make_stream: Any) -> None:
    stream = make_stream(Finetune())
    stream.probes = ProbeRecorder(make_probes([CalibrationProbe(bins=15)], context(None)))
    stream.run()
    rows = np.sort(np.concatenate([part.test for part in stream.scenario.eval_splits]))
    logits = predict_rows(stream.learner, rows)
    labels = torch.from_numpy(stream.scenario.labels[rows])
    expected = multiclass_calibration_error(logits.softmax(dim=1), labels, logits.shape[1], n_bins=15)
    assert stream.probes.entries()[0].values[-1] == pytest.approx(float(expected), abs=1e-6)


@pytest.mark.slow
def test_left_out_domains_are_those_that_no_task_trains_on(make_stream: Any, scenario: Any) -> None:
    table = dataclasses.replace(
        scenario.table, domains=np.arange(len(scenario.table)) % 3, domain_names=("one", "two", "three")
    )
    spec = ScenarioSpec.model_validate({"kind": "domain_incremental", "tasks": 2, "order": "given"})
    stream = make_stream(NCM(), on=build_scenario(table, spec, seed=0, train_per_class=8))
    stream.probes = ProbeRecorder(make_probes([LeftOutProbe(name="ood")], context(None)))
    stream.run()
    entry = stream.probes.entries()[0]
    assert entry.name == "ood"
    assert entry.n == int((table.is_test & (table.domains == 2)).sum())
    assert entry.values[-1] > 0.7


def test_nothing_left_out_is_said(make_stream: Any) -> None:
    stream = make_stream(NCM())
    stream.probes = ProbeRecorder(make_probes([LeftOutProbe()], context(None)))
    with pytest.raises(UserError, match="trains on every domain"):
        stream.run()


@pytest.mark.slow
def test_probes_survive_an_interruption(make_stream: Any, probe_set: Any, tmp_path: Path) -> None:
    spec = KnnProbe(path=probe_set(images=8), index=5, queries=3, k=3)

    def make(checkpoint: Path | None) -> Any:
        stream = make_stream(Finetune(), checkpoint=checkpoint)
        stream.probes = ProbeRecorder(make_probes([spec], context(None)))
        return stream

    class _StopError(Exception):
        pass

    def stop(event: dict[str, Any]) -> None:
        if event["task"] == 2 and "epoch" in event:
            raise _StopError

    whole, first = make(None), make(tmp_path / "c.ckpt")
    whole.run()
    first.report = stop
    with pytest.raises(_StopError):
        first.run()
    second = make(tmp_path / "c.ckpt")
    second.run()
    assert second.probes.entries() == whole.probes.entries()


def test_two_probes_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="two probes are called 'knn'"):
        check_names((KnnProbe(path="a"), KnnProbe(path="b")))
    assert len(check_names((KnnProbe(path="a"), KnnProbe(path="b", name="other")))) == 2


@pytest.mark.parametrize("name", ["head_kl", "head_change"])
def test_a_probe_does_not_take_the_name_of_anothers_reading(name: str) -> None:
    with pytest.raises(ValueError, match=f"a probe may not be called '{name}': names that end in _kl or _change"):
        check_names((HeadProbe(path="a"), CalibrationProbe(name=name)))


def test_every_kind_of_probe_says_what_it_reads() -> None:
    kinds = [kind.model_fields["kind"].default for kind in get_args(AnyProbe)]
    assert sorted(kinds) == sorted({*READINGS, "own"})
    assert readings_of("head", "h") == {"h": (True, True), "h_kl": (False, False)}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"kind": "knn"}, "path"),
        ({"kind": "nothing"}, "does not match any of the expected tags"),
        ({"kind": "head", "path": "x", "k": 3}, "Extra inputs"),
    ],
)
def test_bad_specifications(value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TypeAdapter(ProbeSpec).validate_python(value)


def test_absent_probe_sets_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no data at .*nowhere"):
        make_probes([KnnProbe(path="nowhere")], context(tmp_path))


def test_classes_are_in_the_order_of_the_file(probe_set: Any) -> None:
    from clsuite.probes.images import load_probe_images

    table = load_probe_images(probe_set(order=True), 32, None)
    assert table.classes == ("c2", "c0", "c1")
    assert table.images[table.labels == 0].mean() > table.images[table.labels == 1].mean()


@pytest.fixture
def half_probe(real_data: Path, tmp_path: Path) -> str:
    """The probe set of ImageNet with all its classes, and the images of every second one."""
    whole, half = real_data / "imagenet_probe", tmp_path / "half_probe"
    wnids = [line.split()[0] for line in text_lines(whole / "classes.txt") if line.strip()]
    for wnid in wnids:
        (half / wnid).mkdir(parents=True)
    for wnid in wnids[::2]:
        shutil.copy(next((whole / wnid).glob("*.webp")), half / wnid)
    shutil.copy(whole / "classes.txt", half)
    return str(half)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("plugin", "size", "measured"), [(NCM, 64, None), pytest.param(Finetune, 128, 0.604, marks=pytest.mark.nightly)]
)
def test_the_original_head_before_and_after(
    plugin: Any, size: int, measured: float | None, real_data: Path, half_probe: str, image_tree: Any
) -> None:
    """On ViT-Ti the head scores what it should before the stream; fine-tuning loses it, frozen features keep it."""
    from clsuite.backbones.vit import build_backbone
    from clsuite.data.datasets import load_table
    from clsuite.data.spec import DatasetSpec
    from clsuite.learner.learner import Learner
    from clsuite.learner.options import OptimizerSpec, TrainingSpec
    from clsuite.stream.loop import Stream

    spec = BackboneSpec(name=VIT, image_size=size)
    weights = Weights("file", real_data / f"{VIT}.safetensors")
    table = load_table(DatasetSpec(name="image_folder", path=str(image_tree(classes=4, train=24))), size)
    scenario = build_scenario(table, ScenarioSpec.model_validate({"kind": "class_incremental", "tasks": 1}), seed=0)
    options = TrainingSpec(optimizer=OptimizerSpec(lr=1e-3), batch_size=8, precision="32")
    stream = Stream(Learner(build_backbone(spec, weights), options, [plugin()], 0), scenario, torch.device("cpu"))
    probe = HeadProbe(path=half_probe)
    stream.probes = ProbeRecorder(make_probes([probe], ProbeContext(spec, weights, real_data)))
    stream.run()
    entries = {entry.name: entry for entry in stream.probes.entries()}
    assert entries["head"].n == 500
    if measured is not None:
        assert entries["head"].values[0] == pytest.approx(measured, abs=0.01)
    assert entries["head_kl"].values[0] == 0.0
    if plugin is NCM:
        assert len(set(entries["head"].correct or [])) == 1
        assert entries["head_kl"].values[-1] == 0.0
    else:
        assert entries["head"].values[-1] < 0.4
        assert entries["head_kl"].values[-1] > 0.5


def test_a_probe_set_that_the_head_does_not_fit(real_data: Path, probe_set: Any) -> None:
    spec = BackboneSpec(name=VIT, image_size=32)
    weights = Weights("file", real_data / f"{VIT}.safetensors")
    with pytest.raises(UserError, match="the probe set has 3 classes, but the original head does not fit"):
        make_probes([HeadProbe(path=probe_set())], ProbeContext(spec, weights, None))


class _Moves(Plugin):
    """Changes all weights before each task, in a phase of its own; they are frozen before and afterwards."""

    def before_task_training(self, learner: Learner, task: Any) -> None:
        with torch.no_grad():
            for parameter in learner.backbone.parameters():
                parameter.add_(0.02)


class _Compares:
    """Keeps the features that probes are given, beside those of the backbone as it is."""

    def __init__(self, table: Any) -> None:
        self.table, self.rows = table, np.arange(4)
        self.features = Features(table, self.rows)
        self.pairs: list[tuple[torch.Tensor, torch.Tensor]] = []

    def __call__(self, learner: Learner) -> dict[str, Reading]:
        now = compute_features(learner.backbone, self.table.images, self.rows)
        self.pairs.append((self.features.of(learner).clone(), now))
        return {"compares": Reading(0.0, True)}


@pytest.mark.parametrize("plugins", [(_Moves(), NCM()), (SEMA(size=4, code=8, threshold=0, descriptor_epochs=1),)])
def test_features_are_read_again_where_frozen_weights_changed_in_between(
    make_stream: Any, scenario: Scenario, plugins: tuple[Plugin, ...]
) -> None:
    stream, compares = make_stream(*plugins, loss="local"), _Compares(scenario.table)
    stream.probes = ProbeRecorder([compares])
    stream.run()
    assert len(compares.pairs) == 4
    for given, now in compares.pairs:
        torch.testing.assert_close(given, now)
    assert not torch.allclose(compares.pairs[1][1], compares.pairs[2][1])
