"""`--print-config`: a file that asks for the same runs, of every shipped benchmark, and wherever it is put."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from own_files import BENCHMARK, write_files

from clsuite.cli.main import main
from clsuite.config.class_use import HIDDEN
from clsuite.runner.options import BenchOptions
from clsuite.runner.plan import make_plan
from clsuite.runner.printed import _whole_file, printed_benchmark
from clsuite.runner.resolve import resolve_methods
from clsuite.runner.settings import with_settings
from clsuite.runner.spec import BenchmarkSpec, load_benchmark, shipped_benchmarks

OF_EACH_KIND = (
    "quickstart", "caltech101", "digits_domains", "cifar100_few_shot", "core50", "imagenet_r_b0_inc20", "mini_mtil",
    "vtab_b0_inc10", "clip_cars_b50_inc10", "xtail",
)  # fmt: skip
BENCHMARKS = [
    name if name in OF_EACH_KIND else pytest.param(name, marks=pytest.mark.nightly) for name in shipped_benchmarks()
]

SETTINGS: dict[str, dict[str, Any]] = {
    "as it is": {},
    "with settings": {
        "settings": {"training.optimizer.weight_decay": 1e-5, "seeds": [3], "scenario.order_seed": 7},
        "methods": ("all",),
        "training": {"threads": 2},
        "limit_tasks": 2,
        "eval_every": 9,
    },
}


def asks_for(spec: BenchmarkSpec, folder: Path, options: BenchOptions) -> list[Any]:
    """All that the keys of a benchmark's runs follow from, but data, which need not be there."""
    methods = resolve_methods(spec, options, folder)
    shared = spec.model_dump(exclude={"training", "methods", "more_methods", "title", "tier"})
    each = {name: ([(info.name, args) for info, args in one.plugins], one.training) for name, one in methods.items()}
    return [shared, each]


@pytest.mark.slow
@pytest.mark.parametrize("name", BENCHMARKS)
@pytest.mark.parametrize("given", SETTINGS)
def test_a_printed_benchmark_asks_for_the_same(name: str, given: str, tmp_path: Path) -> None:
    options = BenchOptions.model_validate(SETTINGS[given])
    loaded, path = load_benchmark(name)
    spec = with_settings(loaded, options.settings)
    (tmp_path / "printed.yaml").write_text(printed_benchmark(spec, path.parent, options))
    printed, _ = load_benchmark(str(tmp_path / "printed.yaml"))
    whole = {"limit_tasks": options.limit_tasks or spec.limit_tasks, "seeds": options.seeds or spec.seeds}
    evaluation = {**(spec.evaluation.model_dump() if spec.evaluation else {}), "every": options.eval_every}
    expected = BenchmarkSpec.model_validate(
        {**dict(spec), **whole, **({"evaluation": evaluation} if options.eval_every else {})}
    )
    mine = asks_for(printed, tmp_path, BenchOptions())
    assert mine == asks_for(expected, path.parent, options.model_copy(update={"seeds": (), "eval_every": None}))
    if given == "with settings":
        assert all(training.threads == 2 for _, training in mine[1].values())
        assert mine[0]["seeds"] == (3,)
        assert not printed.more_methods
    else:
        assert list(printed.more_methods) == list(spec.more_methods)


KEYS = [
    [],
    ["--set", "training.optimizer.lr=0.001", "--set", "scenario.tasks=2", "--set", "seeds=[4]"],
    ["--methods", "replay(capacity=[5, 7]),mine=lwf+replay", "--epochs", "2", "--training", "loss=local"],
    ["--methods", "lae,gdumb,joint", "--limit-tasks", "2", "--eval-every", "5", "--seeds", "1,2"],
    ["--methods", "./own.py(alpha=0.5)", "--set", "methods.replay.replay.capacity=9", "--precision", "32"],
]


@pytest.mark.parametrize("given", KEYS, ids=lambda one: " ".join(one))
def test_the_keys_and_records_are_the_same(
    given: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("own.py").write_text(
        "from clsuite.plugin import Plugin\n\n\nclass Own(Plugin):\n"
        "    def __init__(self, alpha: float = 0.1) -> None:\n        super().__init__()\n"
    )
    assert main(["bench", "quickstart", *given, "--dry-run"]) == 0
    before = capsys.readouterr().out
    assert main(["bench", "quickstart", *given, "--print-config"]) == 0
    Path("printed.yaml").write_text(capsys.readouterr().out)
    assert main(["bench", "printed.yaml", "--dry-run"]) == 0
    assert capsys.readouterr().out == before
    assert main(["bench", "printed.yaml", "--print-config"]) == 0
    assert capsys.readouterr().out == Path("printed.yaml").read_text(), "printed again it is the same"
    assert sorted(path.name for path in Path().iterdir()) == ["own.py", "printed.yaml"]


def test_paths_beside_the_file_become_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    (home / "images").mkdir(parents=True)
    elsewhere.mkdir()
    (home / "own.py").write_text("from clsuite.plugin import Plugin\n\n\nclass Own(Plugin):\n    pass\n")
    (home / "weights.pth").write_text("x")
    content = {
        "name": "b",
        "dataset": {"name": "image_folder", "path": "images"},
        "backbone": {"name": "vit_tiny_patch16_224", "weights": "weights.pth", "image_size": 224},
        "probes": [{"kind": "knn", "path": "images"}],
        "methods": {"own": "./own.py"},
    }
    (home / "b.yaml").write_text(yaml.safe_dump(content))
    monkeypatch.chdir(elsewhere)
    assert main(["bench", str(home / "b.yaml"), "--print-config"]) == 0
    printed = yaml.safe_load(capsys.readouterr().out)
    assert printed["dataset"]["path"] == printed["probes"][0]["path"] == str(home / "images")
    assert printed["backbone"]["weights"] == str(home / "weights.pth")
    assert printed["methods"] == {"own": {str(home / "own.py"): {}}}


@pytest.mark.parametrize("name", ["my.python/own.py:Own", "~/own.py", "own.py"])
def test_a_file_that_is_found_from_here_keeps_its_name(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for path in (tmp_path / "my.python/own.py", tmp_path / "own.py"):
        path.parent.mkdir(exist_ok=True)
        path.touch()
    assert _whole_file(name, tmp_path / "elsewhere") == name


def test_the_file_of_a_stream_is_named_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "stream.py").write_text("def make_benchmark(seed):\n    raise NotImplementedError\n")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert main(["bench", str(tmp_path / "stream.py"), "--print-config"]) == 0
    printed = yaml.safe_load(capsys.readouterr().out)
    assert printed["scenario"]["path"] == str(tmp_path / "stream.py")
    assert printed["scenario"]["source"] is None, "an edited file stays the benchmark's"


def test_texts_that_look_like_numbers_stay_texts(tmp_path: Path) -> None:
    content = {
        "name": "b",
        "dataset": {"name": "digits"},
        "methods": {"a": {"dual_prompt": {"general_blocks": "0", "expert_blocks": "1"}}, "1e-3": "ncm"},
        "training": {"precision": "32", "optimizer": {"lr": 1e-05}},
        "title": "1e-3",
    }
    spec = BenchmarkSpec.model_validate(content)
    path = tmp_path / "printed.yaml"
    path.write_text(printed_benchmark(spec, tmp_path, BenchOptions()))
    printed, _ = load_benchmark(str(path))
    assert (printed.title, list(printed.methods), printed.training) == ("1e-3", ["a", "1e-3"], spec.training)
    options = BenchOptions(out=tmp_path, seeds=(0,), methods=("1e-3",))
    first, second = (make_plan(one, tmp_path, options)[0].record_path for one in (spec, printed))
    assert first == second


def keys_in(node: Any) -> Iterator[str]:
    """All keys of a content of YAML."""
    for one in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from keys_in(one)
    yield from node if isinstance(node, dict) else ()


@pytest.mark.parametrize("name", BENCHMARKS)
def test_no_field_is_printed_that_nobody_can_write(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", name, "--print-config"]) == 0
    keys = {*keys_in(yaml.safe_load(capsys.readouterr().out))}
    assert {"dataset", "schedule", "gradient_clip"} <= keys
    assert not keys & {*HIDDEN}


@pytest.mark.slow
def test_classes_are_printed_as_they_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    home.mkdir()
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    (home / "my_decay.py").write_text("from torch.optim import SGD\n\n\nclass Decay(SGD):\n    pass\n")
    method = "{plugins: [finetune], training: {optimizer: {class: my_decay.py:Decay, momentum: 0.5}}}"
    benchmark = BENCHMARK.replace("finetune: finetune", f"finetune: {method}")
    mine = str(write_files(home, benchmark=benchmark))
    given = ["--set", "training.optimizer.betas=[0.8, 0.9]", "--seeds", "3"]
    assert main(["bench", mine, *given, "--print-config"]) == 0
    text = capsys.readouterr().out
    printed = yaml.safe_load(text)
    assert printed["dataset"]["class"] == str(home / "my_data.py:Shades")
    assert (printed["scenario"]["class"], printed["probes"][0]["class"]) == (
        str(home / "my_stream.py:Pairs"),
        str(home / "my_probe.py:Norm"),
    )
    assert printed["training"]["schedule"] == {
        "interval": "epoch", "class": "torch.optim.lr_scheduler:StepLR", "args": {"step_size": 1},
    }  # fmt: skip
    assert printed["training"]["optimizer"]["args"] == {"betas": [0.8, 0.9]}
    decay = printed["methods"]["finetune"]["training"]["optimizer"]
    assert decay == {"class": str(home / "my_decay.py:Decay"), "momentum": 0.5}
    Path("printed.yaml").write_text(text)
    assert main(["bench", mine, *given, "--dry-run"]) == 0
    before = capsys.readouterr().out
    assert main(["bench", "printed.yaml", "--dry-run"]) == 0
    assert capsys.readouterr().out == before
    assert main(["bench", "printed.yaml", "--print-config"]) == 0
    assert capsys.readouterr().out == text
    assert main(["bench", "printed.yaml", "--set", "training.schedule=cosine", "--print-config"]) == 0
    assert yaml.safe_load(capsys.readouterr().out)["training"]["schedule"] == "cosine"


def test_a_mistake_is_told_in_place_of_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "quickstart", "--methods", "reply", "--print-config"]) == 2
    told = capsys.readouterr()
    assert (told.out, "unknown plugin 'reply'. Did you mean 'replay'" in told.err) == ("", True)
