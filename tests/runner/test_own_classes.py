"""A benchmark of classes of somebody's own: it runs, its record says what it was, and nothing is run for a record."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from own_files import BENCHMARK, DATA, NET, PROBE, STREAM, write_files

from clsuite.board.confirmed import NONE
from clsuite.board.rerun import plan_rerun
from clsuite.board.sources import find_sources
from clsuite.cli.main import main
from clsuite.errors import UserError
from clsuite.plugin.base_check import module_scope, wrong_base
from clsuite.plugin.scopes import scope_of
from clsuite.probes.probes import make_probes
from clsuite.records import RunRecord, read_record
from clsuite.runner.build import build_learner
from clsuite.runner.execute import execute, probe_context
from clsuite.runner.model_file import load_model
from clsuite.runner.options import RunOptions
from clsuite.runner.own_classes import own_files, recorded_files
from clsuite.runner.plan import RunPlan, make_plan
from clsuite.runner.recorded_inputs import Allowed
from clsuite.runner.rerun import plan_from_record
from clsuite.runner.spec import load_benchmark


def plans(path: Path, out: Path, **options: Any) -> dict[str, RunPlan]:
    spec, file = load_benchmark(str(path))
    found = make_plan(spec, file.parent, RunOptions(out=out, device="cpu", **options))
    return {plan.pending.method: plan for plan in found}


def build_all(plan: RunPlan) -> None:
    """What the check before the runs builds."""
    build_learner(plan.pending, plan.plugins, plan.weights, files=plan.files)
    make_probes(plan.probes, probe_context(plan))


def done(plan: RunPlan) -> RunRecord:
    record = execute(plan, lambda event: None)
    assert record.status == "done", record.error
    return record


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, RunPlan]]:
    """The benchmark's folder, and its runs, which are done and have their models."""
    folder = tmp_path_factory.mktemp("own")
    found = plans(write_files(folder), folder / "runs", save_model=True)
    for plan in found.values():
        done(plan)
    return folder, found


def test_methods_run_on_classes_of_ones_own(made: tuple[Path, dict[str, RunPlan]]) -> None:
    _, found = made
    assert set(found) == {"finetune", "replay", "ncm"}
    record = read_record(found["ncm"].record_path)
    assert record.main_counts.accuracy[-1].mean() == 1.0  # shades are easy for class means
    assert record.scenario.kind == "class_incremental"
    assert record.scenario.task_names == ["from 0", "from 2"]
    assert [probe.name for probe in record.probes] == ["norm"]
    assert record.probes[0].higher_is_better is False
    assert record.environment["normalization"] == {"mean": [0.5] * 3, "std": [0.25] * 3}
    trained = read_record(found["finetune"].record_path)
    first, *_, last = trained.probes[0].values
    assert first != last


def test_the_record_says_what_it_was_and_no_path(made: tuple[Path, dict[str, RunPlan]]) -> None:
    folder, found = made
    text = found["replay"].record_path.read_text()
    assert str(folder) not in text
    config = json.loads(text)["config"]
    assert config["dataset"]["class"] == "my_data.py:Shades"
    assert config["dataset"]["args"] == {"classes": 4}
    assert config["training"]["optimizer"] == {
        "class": "torch.optim:NAdam", "args": {"betas": [0.9, 0.99]}, "source": "", "lr": 0.01, "head_lr": None,
    }  # fmt: skip
    assert config["training"]["schedule"]["args"] == {"step_size": 1}
    sources = {use.name: use.source for _, use in own_files(config)}
    assert set(sources) == {"my_data.py:Shades", "my_stream.py:Pairs", "my_net.py:Net", "my_probe.py:Norm"}
    assert all(sources.values())


@pytest.mark.parametrize("part", ["my_data", "my_stream", "my_net", "my_probe"])
def test_another_source_is_another_run(part: str, made: tuple[Path, dict[str, RunPlan]], tmp_path: Path) -> None:
    texts = {"my_data": DATA, "my_stream": STREAM, "my_net": NET, "my_probe": PROBE}
    changed = plans(write_files(tmp_path, **{part: texts[part] + "\nMORE = 1\n"}), tmp_path / "runs")
    assert changed["ncm"].pending.key != made[1]["ncm"].pending.key


def test_a_helper_beside_the_file_is_part_of_the_key(tmp_path: Path) -> None:
    (tmp_path / "helper.py").write_text("NOISE = 10\n")
    text = DATA.replace("import numpy as np\n", "import numpy as np\nfrom helper import NOISE\n", 1)
    path = write_files(tmp_path, my_data=text.replace("from helper import NOISE", "import importlib.util"))
    before = plans(path, tmp_path / "runs")["ncm"].pending.config["dataset"]["source"]
    imports = "import sys\nsys.path.insert(0, __file__.rpartition('/')[0])\nfrom helper import NOISE\n"
    write_files(tmp_path, my_data=imports + DATA)
    first = plans(path, tmp_path / "runs")["ncm"].pending.config["dataset"]["source"]
    (tmp_path / "helper.py").write_text("NOISE = 11\n")
    second = plans(path, tmp_path / "runs")["ncm"].pending.config["dataset"]["source"]
    assert len({before, first, second}) == 3


@pytest.mark.slow
def test_the_same_run_again_gives_the_same_counts(made: tuple[Path, dict[str, RunPlan]], tmp_path: Path) -> None:
    folder, found = made
    record = read_record(found["replay"].record_path)
    allowed = Allowed(plugins_from=[folder])
    again = plan_rerun(record, tmp_path / "again.json", None, "cpu", None, NONE, allowed)
    assert done(again).counts == record.counts
    watched = plan_from_record(found["replay"].record_path, device="cpu", allowed=allowed)
    assert set(watched.files) == {use.source for _, use in own_files(record.config)}


def test_a_record_runs_nothing_without_a_folder(made: tuple[Path, dict[str, RunPlan]], tmp_path: Path) -> None:
    folder, found = made
    path = found["finetune"].record_path
    record = read_record(path)
    with pytest.raises(UserError, match=r"the data set comes from the file 'my_data\.py', whose code would run"):
        plan_rerun(record, tmp_path / "again.json", None, "cpu", None)
    with pytest.raises(UserError, match=r"whose code would run: name its folder with --plugins-from FOLDER"):
        plan_from_record(path)
    with pytest.raises(UserError, match=r"backbone comes from the file 'my_net\.py', .* load_model\(record, folders"):
        load_model(path)
    for name in ("my_data.py", "my_stream.py", "my_probe.py", "my_net.py"):
        shutil.copy(folder / name, tmp_path / name)
    mine = tmp_path / "my_net.py"
    mine.write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n{NET}")
    with pytest.raises(UserError, match=r"my_net\.py' is not the one that the run was made with"):
        load_model(path, folders=[tmp_path])
    assert not (tmp_path / "ran").exists()


@pytest.mark.slow
def test_a_model_is_loaded_with_its_folder(made: tuple[Path, dict[str, RunPlan]]) -> None:
    folder, found = made
    model = load_model(found["ncm"].record_path, folders=[folder])
    shades = np.full((2, 1, 16, 16), 10, np.uint8)
    shades[1] = 215
    assert [model.classes[label] for label in model.predict(shades)] == ["shade0", "shade3"]


def test_published_sources_are_those_of_the_classes(made: tuple[Path, dict[str, RunPlan]]) -> None:
    folder, found = made
    record = read_record(found["ncm"].record_path)
    sources = find_sources(record, [folder])
    assert [sources[f".class{number}.py"].decode() for number in (1, 2, 3, 4)] == [DATA, STREAM, NET, PROBE]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("part", "entry", "message"),
    [
        ("backbone", {"class": "os.path:join", "source": "0"}, "is in no installed package"),
        ("dataset", {"class": "../my_data.py:Shades", "source": "0"}, "a record may only contain the name of a file"),
        ("dataset", {"class": "my_data.py", "source": "0"}, "names only the file 'my_data.py' of its data set and no"),
        ("dataset", {"class": "clsuite.data.own_data:ImageData", "source": "0"}, "has changed since the run"),
        ("scenario", {"class": "my_stream.py:Pairs", "source": None}, "does not know the source"),
        ("optimizer", {"class": "nowhere_at_all:Thing", "source": ""}, "is in no installed package"),
        ("optimizer", {"class": "torch.optim:SGD", "source": "12"}, "has changed since the run"),
        ("schedule", {"class": 3, "source": ""}, "must be text"),
    ],
)
def test_a_record_that_names_what_it_may_not(part: str, entry: dict[str, Any], message: str, tmp_path: Path) -> None:
    config = {"training": {part: entry}} if part in ("optimizer", "schedule") else {part: entry}
    with pytest.raises(UserError, match=message):
        recorded_files(config, [tmp_path])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('NAdam"', 'Nadam"', r"unknown class of optimizer 'torch\.optim:Nadam': 'Nadam'\. Did you mean 'NAdam'"),
        ("betas:", "bets:", r"optimizer 'torch\.optim:NAdam' does not accept its arguments: .*'bets'"),
        (
            "lr: 0.01",
            "lr: 0.01, momentum_decay: -1",
            r"NAdam' ends in line \d+ of 'nadam\.py' with ValueError",
        ),
        ("width: 24", "size: 24", r"backbone 'my_net\.py:Net' does not accept its arguments"),
        ("scale: 2.0", "scales: 2.0", r"probe 'my_probe\.py:Norm' does not accept its arguments"),
    ],
)
def test_what_is_wrong_with_a_class_is_told_before_it_trains(old: str, new: str, message: str, tmp_path: Path) -> None:
    plan = plans(write_files(tmp_path, benchmark=BENCHMARK.replace(old, new)), tmp_path / "runs")["finetune"]
    with pytest.raises(UserError, match=message):
        build_all(plan)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("./my_data.py:Shades", "./my_dota.py:Shades", r"data set '\./my_dota\.py:Shades': no file at 'my_dota\.py'"),
        ("./my_data.py:Shades", "./my_data.py", r"name the class of the file too, as in \./my_data\.py:MyClass"),
        ("my_data.py:Shades", "my_data.py:Shade", r"unknown class of data set .*Did you mean 'Shades'"),
        ("my_stream.py:Pairs", "nowhere.at:All", r"no module named 'nowhere\.at' is installed"),
        ("my_stream.py:Pairs", "pears", r"unknown class of the scenario: 'pears'\. write package\.module:Class"),
        ("classes: 4", "clases: 4", r"data set 'my_data\.py:Shades' does not accept its arguments: .*'clases'"),
        ("my_stream.py:Pairs, per_task: 2", "my_data.py:Shades", r"is not a subclass of .*ScenarioBuilder"),
        ("epochs: 2", "epochs: 2\n  warmup_steps: 3", r"warmup_steps belong to constant, cosine"),
        ("{class: \"torch.optim.lr_scheduler:StepLR\", step_size: 1}", "{step_size: 1}", "or a mapping with class"),
        ("ncm: ncm", "ncm: ncm\n  l2p: l2p", r"plugin 'l2p' needs a ViT: backbone 'my_net\.py:Net' is a user"),
        ("scale: 2.0, name: norm}", "name: norm}, {kind: head, path: x}", "needs the head that the backbone was pre"),
    ],
)  # fmt: skip
def test_what_a_plan_cannot_find_is_told_in_a_line(old: str, new: str, message: str, tmp_path: Path) -> None:
    path = write_files(tmp_path, benchmark=BENCHMARK.replace(old, new))
    with pytest.raises(UserError, match=message) as caught:
        plans(path, tmp_path / "runs")
    assert len(str(caught.value).splitlines()) == 1


KINDS = [
    ("torch.optim:NAdam", "torch.nn:Linear", 10, "optimizer 'torch.nn:Linear' is not a subclass of torch.optim."),
    ("torch.optim:NAdam", "torch.nn.functional:relu", 10, "optimizer 'torch.nn.functional:relu' is not a subclass of"),
    ("torch.optim.lr_scheduler:StepLR", "torch.optim:Adam", 11, "schedule 'torch.optim:Adam' is not a subclass of"),
    ("StepLR", "ReduceLROnPlateau", 11, "ReduceLROnPlateau' needs a metric, which training does not provide"),
    ("torch.optim.lr_scheduler:StepLR", "./my_net.py:Net", 11, "schedule './my_net.py:Net' is not a subclass of torch"),
    ("my_net.py:Net", "my_data.py:Shades", 5, "backbone 'my_data.py:Shades' is not a subclass of torch.nn.Module"),
    ("my_probe.py:Norm", "my_net.py:Net", 6, "probe 'my_net.py:Net' is not a subclass of clsuite.probes.own.Probe"),
    ("my_probe.py:Norm", "my_probe.py:Norms", 6, "unknown class of probe 'my_probe.py:Norms': 'Norms'. Did you mean"),
    ("ncm: ncm", "ncm: ncm\n  mine: {plugins: [finetune],\n    training: {optimizer: {class: 'torch.nn:Linear'}}}", 18,
     "methods.mine: optimizer 'torch.nn:Linear' is not a subclass of torch.optim.Optimizer"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "line", "message"), KINDS, ids=lambda one: str(one)[:30])
def test_a_class_of_another_kind_is_refused_by_the_dry_run(
    old: str, new: str, line: int, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_files(tmp_path, benchmark=BENCHMARK.replace(old, new))
    assert main(["bench", str(path), "--dry-run", "--out", str(tmp_path / "runs")]) == 2
    shown = capsys.readouterr().err
    assert f"{path}:{line}: " in shown
    assert message in shown
    assert len(shown.splitlines()) == 1


def test_a_call_may_replace_a_class_of_another_kind(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = BENCHMARK.replace("torch.optim.lr_scheduler:StepLR", "torch.optim:Adam").replace("NAdam", "Nothing")
    words = ["bench", str(write_files(tmp_path, benchmark=text)), "--dry-run", "--out", str(tmp_path / "runs")]
    assert main([*words, "--training", "schedule=cosine,optimizer.name=adam"]) == 0
    assert main([*words, "--set", "training.schedule={class: 'torch.nn:Linear'}"]) == 2
    assert capsys.readouterr().err.startswith("clsuite bench: schedule 'torch.nn:Linear' is not a subclass of")


SUBCLASSES = """
from functools import partial

import torch
import torch.optim as optim
from torch.optim import lr_scheduler


class Plain(torch.optim.SGD):
    pass


class ByAlias(optim.Optimizer):
    pass


Base = optim.AdamW


class Renamed(Base):
    pass


class Falling(lr_scheduler.LambdaLR):
    pass


class Made(partial(type, "Made", (optim.SGD,))({})):
    pass


class Waiting(lr_scheduler.ReduceLROnPlateau):
    pass
"""


@pytest.mark.parametrize(
    ("name", "part", "reason"),
    [
        ("Plain", "optimizer", ""),
        ("ByAlias", "optimizer", ""),
        ("Renamed", "optimizer", ""),
        ("Falling", "schedule", ""),
        ("Made", "optimizer", ""),
        ("Waiting", "schedule", "needs a metric, which training does not provide: use another schedule"),
        ("Falling", "optimizer", "is not a subclass of torch.optim.Optimizer"),
        ("Plain", "schedule", "is not a subclass of torch.optim.lr_scheduler.LRScheduler"),
        ("Plain", "backbone", "is not a subclass of torch.nn.Module"),
    ],
)
def test_bases_are_read_from_files(name: str, part: str, reason: str) -> None:
    assert wrong_base(scope_of(SUBCLASSES), name, part) == reason


@pytest.mark.parametrize("part", ["optimizer", "schedule"])
def test_every_class_of_pytorch_is_of_the_kind_that_its_file_says(part: str) -> None:
    module, base = (
        (torch.optim, torch.optim.Optimizer)
        if part == "optimizer"
        else (torch.optim.lr_scheduler, torch.optim.lr_scheduler.LRScheduler)
    )
    scope = module_scope(module.__name__)
    assert scope is not None
    classes = {name: one for name, one in vars(module).items() if isinstance(one, type) and issubclass(one, base)}
    refused = [name for name in classes if wrong_base(scope, name, part)]
    assert len(classes) > 10
    assert refused == (["ReduceLROnPlateau"] if part == "schedule" else [])


def test_an_error_inside_a_class_is_a_line_on_the_screen_and_a_traceback_in_the_record(tmp_path: Path) -> None:
    broken = PROBE.replace("return self.scale *", "return {}['gone'] *")
    plan = plans(write_files(tmp_path, my_probe=broken), tmp_path / "runs")["ncm"]
    record = execute(plan, lambda event: None)
    assert record.status == "failed"
    assert "KeyError: 'gone'" in (record.error or "")
    assert "in read" in (record.error or "")
    path = write_files(tmp_path, my_data=DATA.replace("random = np.random", "random = nump.random"))
    with pytest.raises(UserError, match=r"^data set 'my_data\.py:Shades' ends in line 11 of 'my_data\.py' with Name"):
        plans(path, tmp_path / "runs")


def test_a_stream_says_of_itself_which_methods_can_learn_it(tmp_path: Path) -> None:
    path = write_files(tmp_path, my_stream=STREAM.replace("class_incremental", "online"))
    with pytest.raises(UserError, match=r"training\.epochs is 2, but a stream of kind 'online' passes once"):
        plans(path, tmp_path / "runs")
    path = write_files(tmp_path, my_stream=STREAM.replace("class_incremental", "mine"))
    with pytest.raises(UserError, match="kind is not known: unknown kind 'mine'"):
        plans(path, tmp_path / "runs")
    path = write_files(tmp_path, my_stream=STREAM.replace("return make_scenario(", "make_scenario("))
    with pytest.raises(UserError, match=r"of scenario 'my_stream\.py:Pairs' gives NoneType, but must return a clsuite"):
        plans(path, tmp_path / "runs")


def test_a_method_may_take_another_optimizer(tmp_path: Path) -> None:
    method = "finetune: {plugins: [finetune], training: {optimizer: {name: sgd, momentum: 0.5}, schedule: cosine}}"
    path = write_files(tmp_path, benchmark=BENCHMARK.replace("finetune: finetune", method))
    training = plans(path, tmp_path / "runs")["finetune"].pending.config["training"]
    assert training["optimizer"]["name"] == "sgd"
    assert training["optimizer"]["lr"] == 0.01
    assert "class" not in training["optimizer"]
    assert training["schedule"] == "cosine"
    mine = {"optimizer": {"class": "torch.optim:RMSprop", "alpha": 0.9}}
    training = plans(path, tmp_path / "runs", training=mine)["ncm"].pending.config["training"]
    assert training["optimizer"]["args"] == {"alpha": 0.9}


def test_the_weights_of_a_module_may_be_a_file(tmp_path: Path) -> None:
    with_weights = BENCHMARK.replace("width: 24,", "width: 24, weights: net.pt,")
    path = write_files(tmp_path, benchmark=with_weights)
    model = torch.nn.ModuleDict({"conv": torch.nn.Conv2d(3, 24, 3)})
    torch.save(model.state_dict(), tmp_path / "net.pt")
    plan = plans(path, tmp_path / "runs")["ncm"]
    assert plan.pending.config["backbone"]["weights"] == "file"
    built = build_learner(plan.pending, plan.plugins, plan.weights, files=plan.files).backbone
    assert torch.equal(built.model.conv.weight, model["conv"].weight)
    torch.save({"conv.bias": torch.zeros(24)}, tmp_path / "net.pt")
    plan = plans(path, tmp_path / "runs")["ncm"]
    with pytest.raises(UserError, match=r"do not fit backbone 'own:my_net\.py:Net': it misses conv\.weight"):
        build_learner(plan.pending, plan.plugins, plan.weights, files=plan.files)


def test_features_of_another_shape_are_refused(tmp_path: Path) -> None:
    path = write_files(tmp_path, my_net=NET.replace(".mean(dim=(2, 3))", ".mean(dim=2)"))
    plan = plans(path, tmp_path / "runs")["ncm"]
    with pytest.raises(UserError, match=r"features\(images\) of backbone .* gives \[2, 24, 7\] .* must give \[2, 24\]"):
        build_learner(plan.pending, plan.plugins, plan.weights, files=plan.files)


@pytest.mark.slow
def test_planning_imports_no_torch(tmp_path: Path) -> None:
    path = write_files(tmp_path)
    words = ["bench", str(path), "--dry-run", "--out", str(tmp_path / "runs")]
    code = f"import sys; from clsuite.cli.main import main; print(main({words!r}), 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)
    assert done.stdout.splitlines()[-1] == "0 False", done.stderr
