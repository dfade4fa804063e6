"""The zero-shot probe on random small CLIPs: its definition, what moves it, names, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from pydantic import TypeAdapter
from torch.nn import functional as F

from clsuite.backbones.clip import build_clip
from clsuite.backbones.spec import BackboneSpec, Weights
from clsuite.cli.main import main
from clsuite.data.spec import DatasetSpec
from clsuite.errors import UserError
from clsuite.learner.learner import Learner
from clsuite.learner.options import OptimizerSpec, TrainingSpec
from clsuite.plugin import Plugin
from clsuite.probes.base import ProbeContext
from clsuite.probes.named import NamedTable, load_named_table
from clsuite.probes.probes import make_probes
from clsuite.probes.recorder import ProbeRecorder
from clsuite.probes.spec import ProbeSpec, ZeroShotProbe
from clsuite.runner.options import RunOptions
from clsuite.runner.plan import make_plan
from clsuite.runner.spec import BenchmarkSpec
from clsuite.scenarios import Scenario
from clsuite.stream.loop import Stream
from clsuite_plugins.finetune import Finetune
from clsuite_plugins.ncm import NCM
from clsuite_plugins.zero_shot import ZeroShot

SPEC = BackboneSpec(name="open_clip:clip_nano")
CONTEXT = ProbeContext(SPEC, Weights("random"), None)


@pytest.fixture
def clip_stream(scenario: Scenario) -> Callable[..., Stream]:
    def make(*plugins: Plugin, **training: Any) -> Stream:
        torch.set_num_threads(1)
        torch.manual_seed(0)
        given = {"optimizer": OptimizerSpec(lr=3e-3), "batch_size": 8, "precision": "32", **training}
        learner = Learner(build_clip(SPEC, Weights("random")), TrainingSpec(**given), plugins, seed=0)
        return Stream(learner, scenario.first(2), torch.device("cpu"))

    return make


@pytest.fixture
def folder(image_tree: Any) -> str:
    """Five classes in their folders."""
    return str(image_tree(classes=5, train=12) / "train")


def words(named: NamedTable) -> tuple[str, ...]:
    return tuple(name.text for name in named.names)


def test_the_accuracy_is_that_of_the_nearest_text(clip_stream: Any, folder: str) -> None:
    spec = ZeroShotProbe(path=folder, templates=("a {}.", "the {} of it."))
    learner = clip_stream(NCM()).learner
    reading = make_probes([spec], CONTEXT)[0](learner)["zero_shot"]
    named, clip = load_named_table(spec, 32, None), learner.backbone.eval()
    with torch.no_grad():
        texts = [
            clip.encode_tokens(clip.tokenize([f"a {name}.", f"the {name} of it."])).mean(0) for name in words(named)
        ]
        images = clip(clip.normalize(torch.from_numpy(named.table.images)))
        answers = (F.normalize(images, dim=1) @ F.normalize(torch.stack(texts), dim=1).T).argmax(dim=1)
    assert (reading.n, reading.correct) == (60, int((answers == torch.from_numpy(named.table.labels)).sum()))
    assert words(named) == ("class0", "class1", "class2", "class3", "class4")


@pytest.mark.parametrize(
    ("plugin", "training"),
    [(NCM, {}), (ZeroShot, {}), (Finetune, {"tune": "image"}), (Finetune, {"tune": "text"})],
)
def test_tuning_a_tower_moves_it_and_a_frozen_clip_keeps_it(
    plugin: Any, training: dict[str, Any], clip_stream: Any, folder: str
) -> None:
    options = {**training, "head": "zero_shot", "epochs": 2} if training else {}
    stream = clip_stream(plugin(), **options)
    stream.probes = ProbeRecorder(make_probes([ZeroShotProbe(path=folder)], CONTEXT))
    stream.run()
    entry = stream.probes.entries()[0]
    assert (entry.name, entry.n, entry.higher_is_better, len(entry.values)) == ("zero_shot", 60, True, 3)
    assert (len(set(entry.correct or [])) == 1) == (not training)


def test_a_data_set_gives_its_test_images_and_its_names() -> None:
    dataset = DatasetSpec(name="digits", test_per_class=4)
    named = load_named_table(ZeroShotProbe(dataset=dataset), 32, None)
    assert len(named.rows) == 40
    assert named.table.is_test[named.rows].all()
    assert words(named) == tuple("0123456789")
    few = load_named_table(ZeroShotProbe(dataset=dataset, images_per_class=2), 32, None)
    assert len(few.rows) == 20


@pytest.fixture
def wnids(tmp_path: Path) -> Path:
    for label in ("n01443537", "n01641577"):
        (tmp_path / "probe" / label).mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(tmp_path / "probe" / label / "0.png")
    return tmp_path / "probe"


def test_names_of_wordnet_ids_and_of_a_file(wnids: Path) -> None:
    plain = load_named_table(ZeroShotProbe(path=str(wnids)), 32, None)
    assert words(plain) == ("goldfish", "American bullfrog")  # OpenAI's, where WordNet has "bullfrog"
    (wnids / "words.txt").write_text("n01443537\tgold fish, carassius\nn01641577\tfrog\n")
    own = load_named_table(ZeroShotProbe(path=str(wnids), names="words.txt"), 32, None)
    assert words(own) == ("gold fish", "frog")
    assert own.fingerprint != plain.fingerprint


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (None, "no file .*words.txt"),
        ("n01443537\tfish\n", "the class 'n01641577' of .* has no name"),
        ("n01443537\tfish\nn01641577\tfish\n", "two classes are called 'fish'"),
    ],
)
def test_names_that_are_not_there(words: str | None, message: str, wnids: Path) -> None:
    if words is not None:
        (wnids / "words.txt").write_text(words)
    with pytest.raises(UserError, match=message):
        load_named_table(ZeroShotProbe(path=str(wnids), names="words.txt"), 32, None)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({}, "either a path or a dataset"),
        ({"path": "x", "dataset": {"name": "digits"}}, "either a path or a dataset"),
        ({"dataset": {"name": "digits"}, "names": "w.txt"}, "'names' is a file"),
        ({"path": "x", "templates": "simpel"}, "Did you mean 'simple'"),
        ({"path": "x", "templates": ["a photo"]}, "must be text with one {}"),
        ({"path": "x", "images_per_class": 0}, "greater than or equal to 1"),
    ],
)
def test_bad_specifications(value: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TypeAdapter(ProbeSpec).validate_python({"kind": "zero_shot", **value})


def benchmark(folder: str, **backbone: Any) -> dict[str, Any]:
    return {
        "name": "mine",
        "dataset": {"name": "digits", "train_per_class": 8, "test_per_class": 4},
        "scenario": {"tasks": 5},
        "backbone": backbone,
        "probes": [{"kind": "zero_shot", "path": folder}],
        "seeds": [0],
        "methods": {"ncm": "ncm"},
    }


def test_the_key_knows_images_names_and_prompts_and_no_path(folder: str, tmp_path: Path) -> None:
    content = benchmark(folder, name="open_clip:clip_nano", weights="random")
    plans = [
        make_plan(BenchmarkSpec.model_validate({**content, "probes": [probe]}), tmp_path, RunOptions(out=tmp_path))[0]
        for probe in (
            {"kind": "zero_shot", "path": folder},
            {"kind": "zero_shot", "path": folder, "templates": "imagenet7"},
            {"kind": "zero_shot", "dataset": {"name": "digits", "test_per_class": 3}},
        )
    ]
    assert len({plan.pending.key for plan in plans}) == 3
    assert all(folder not in str(plan.pending.config) for plan in plans)


def test_a_backbone_without_text_tower_is_refused(
    folder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import yaml

    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(benchmark(folder, name="omniglot_vit")))
    assert main(["bench", str(tmp_path / "mine.yaml"), "--out", str(tmp_path / "out")]) == 2
    complaint = capsys.readouterr().err.strip()
    assert complaint.startswith("clsuite bench: probe 'zero_shot' needs CLIP, and backbone 'omniglot_vit' has no text")
    assert "\n" not in complaint
