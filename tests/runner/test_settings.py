"""Fields of a benchmark that a call sets: of every kind and in every place, checked as its file is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from clsuite.cli.main import main
from clsuite.errors import UserError
from clsuite.runner.options import RunOptions
from clsuite.runner.plan import make_plan
from clsuite.runner.settings import content_of, read_assignments, with_settings
from clsuite.runner.spec import BenchmarkSpec, load_benchmark, shipped_benchmarks

CONTENT: dict[str, Any] = {
    "name": "mine",
    "dataset": {"name": "digits", "download": True},
    "scenario": "B4-inc2",
    "probes": [{"kind": "calibration"}],
    "seeds": [0, 5],
    "methods": {
        "finetune": "finetune",
        "lwf + replay": ["lwf", {"replay": {"capacity": 50}}],
        "v1.2": {"plugins": ["joint"], "training": {"epochs": 3}},
    },
    "more_methods": {"mine.py": {"./folder/own.py": {"alpha": 0.5}}},
}


def changed(*settings: str) -> BenchmarkSpec:
    return with_settings(BenchmarkSpec.model_validate(CONTENT), read_assignments(settings))


@pytest.mark.parametrize(
    ("setting", "place", "value"),
    [
        ("training.optimizer.lr=0.001", lambda s: s.training.optimizer.lr, 0.001),
        ("training.optimizer.lr=1e-4", lambda s: s.training.optimizer.lr, 1e-4),
        ("training.precision='32'", lambda s: s.training.precision, "32"),
        ("training.recreate_optimizer=false", lambda s: s.training.recreate_optimizer, False),
        ("training.gradient_clip=null", lambda s: s.training.gradient_clip, None),
        ("training.augment=flip", lambda s: [step.kind for step in s.training.augment], ["flip"]),
        ("scenario={kind: class_incremental, tasks: 2}", lambda s: s.scenario.root.tasks, 2),
        ("scenario.order={numpy: 1993}", lambda s: s.scenario.root.order.numpy, 1993),
        ("scenario.validation=0.1", lambda s: s.scenario.root.validation, 0.1),
        ("evaluation.every=5", lambda s: s.evaluation.every, 5),
        ("probes.0.bins=7", lambda s: s.probes[0].bins, 7),
        ("seeds=[3]", lambda s: s.seeds, (3,)),
        ("seeds.1=9", lambda s: s.seeds, (0, 9)),
        ("backbone.image_size=16", lambda s: s.backbone.image_size, 16),
        ("title=a = b, c", lambda s: s.title, "a = b, c"),
        (
            "methods.lwf + replay.replay.capacity=7",
            lambda s: s.methods["lwf + replay"].plugins[1].args,
            {"capacity": 7},
        ),
        ("methods.lwf + replay.lwf.alpha=2.0", lambda s: s.methods["lwf + replay"].plugins[0].args, {"alpha": 2.0}),
        ("methods.finetune.training.epochs=2", lambda s: s.methods["finetune"].training, {"epochs": 2}),
        ("methods.'v1.2'.training.epochs=4", lambda s: s.methods["v1.2"].training, {"epochs": 4}),
        ("methods.\"mine.py\".'own.py'.alpha=1", lambda s: s.more_methods["mine.py"].plugins[0].args, {"alpha": 1}),
        ("methods={only: ncm}", lambda s: list(s.methods), ["only"]),
        ("methods.new=ncm", lambda s: s.methods["new"].plugins[0].name, "ncm"),
    ],
)
def test_every_field_can_be_set(setting: str, place: Any, value: Any) -> None:
    found = place(changed(setting))
    assert found == value
    assert type(found) is type(value)


def test_several_settings_and_none() -> None:
    spec = BenchmarkSpec.model_validate(CONTENT)
    assert with_settings(spec, {}) is spec
    both = changed("training.epochs=2", "training.optimizer={lr: 0.1}", "training.optimizer.head_lr=0.2")
    assert (both.training.epochs, both.training.optimizer.lr, both.training.optimizer.head_lr) == (2, 0.1, 0.2)
    assert both.dataset is not None
    assert both.dataset.download, "what no record holds is kept too"


@pytest.mark.parametrize(
    ("setting", "complaint"),
    [
        (
            "training.optimzer.lr=1",
            "settings of this call: unknown key 'training.optimzer'. Did you mean 'optimizer' or 'recreate_optimizer'?",
        ),
        ("trainin.epochs=1", "unknown key 'trainin'. Did you mean 'training'?"),
        ("training.epochs=two", "settings of this call: training.epochs is 'two', but must be a whole number"),
        ("training.epochs=true", "training.epochs is true, but must be a whole number"),
        ("training.epochs=0", "training.epochs is 0, but must be at least 1"),
        ("training.precision=32", "training.precision is 32, but must be 'auto', '32', 'bf16' or '16'"),
        ("scenario.tasks=2", "split determines all sizes"),
        ("scenario={kind: blury}", "unknown kind of scenario 'blury'. Did you mean 'blurry'?"),
        ("seeds.2=1", "seeds.2: 'seeds' is a list of 2, from 0: it has no '2'"),
        ("seeds.x=1", "'seeds' is a list of 2, from 0: it has no 'x'"),
        ("name.x=1", "name.x: 'name' is a value and has no 'x'"),
        ("methods.finetun.training.epochs=1", "unknown method 'finetun'. Did you mean 'finetune'?"),
        ("methods.finetune.lwf.alpha=1", "unknown plugin of method 'finetune': 'lwf'. Known: finetune, training."),
        ("methods.'lwf + replay'.repaly.capacity=1", "'repaly'. Did you mean 'replay'?"),
        ("training.epochs", "cannot read the setting 'training.epochs': write KEY=VALUE, such as"),
        ("=3", "cannot read the setting '=3'"),
        (".=3", "'.' names no field"),
        ("training.epochs=[1", "the value of 'training.epochs': not YAML: "),
        ("training.epochs=!!python/name:os.system", "the tag '!!python/name:os.system' is not known here"),
    ],
)
def test_what_cannot_be_is_one_line(setting: str, complaint: str) -> None:
    with pytest.raises(UserError) as caught:
        changed(setting)
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)


def test_all_mistakes_are_told_and_no_key_twice() -> None:
    with pytest.raises(UserError, match=r"unknown key 'training\.epoch'") as caught:
        changed("training.epoch=1", "backbone.image_size=0")
    assert len(str(caught.value).splitlines()) == 2
    with pytest.raises(UserError, match=r"the setting 'seeds' is given twice"):
        read_assignments(["seeds=[1]", "seeds=[2]"])


@pytest.mark.parametrize("name", shipped_benchmarks())
@pytest.mark.parametrize("every", [False, True])
def test_the_content_of_a_benchmark_is_read_as_the_same_benchmark(name: str, every: bool) -> None:
    spec, _ = load_benchmark(name)
    assert BenchmarkSpec.model_validate(content_of(spec, every)) == spec


def test_runs_with_other_settings_are_other_runs(tmp_path: Path) -> None:
    spec, path = load_benchmark("quickstart")
    options = RunOptions(out=tmp_path, methods=("finetune",), seeds=(0,))

    def key(**settings: Any) -> str:
        given = {name.replace("__", "."): value for name, value in settings.items()}
        return make_plan(with_settings(spec, given), path.parent, options)[0].pending.key

    keys = [key(), key(training__optimizer__lr=0.001), key(scenario__tasks=2), key(training__batch_size=16)]
    assert len(set(keys)) == 4
    assert key(training__optimizer__lr=0.0005) == key(), "the benchmark's own value"
    assert key(title="another") == key()


def test_on_the_command_line_a_mistake_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "runs"
    assert main(["bench", "quickstart", "--set", "training.epoch=1", "--out", str(out)]) == 2
    assert capsys.readouterr().err == (
        "clsuite bench: settings of this call: unknown key 'training.epoch'. Did you mean 'epochs'?\n"
    )
    tune = ["tune", "quickstart", "--method", "lwf", "--space", "alpha=[1.0]", "--out", str(out)]
    assert main([*tune, "--set", "scenario.task=1"]) == 2
    assert "unknown key 'scenario.task'. Did you mean 'tasks'?" in capsys.readouterr().err
    assert not out.exists()


def test_a_mistake_of_a_setting_in_a_method_has_no_line_of_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "b.yaml"
    path.write_text(yaml.safe_dump({"name": "b", "dataset": {"name": "digits"}, "methods": {"r": "replay"}}))
    assert main(["bench", str(path), "--dry-run", "--set", "methods.r.replay.capcity=3"]) == 2
    told = capsys.readouterr().err
    assert "unknown argument of plugin 'replay': 'capcity'. Did you mean 'capacity'" in told
    assert "b.yaml" not in told
