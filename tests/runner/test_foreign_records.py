"""Records and model files from elsewhere are data: no line of theirs runs, and nobody is asked on the network."""

from __future__ import annotations

import hashlib
import json
import shutil
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import clsuite
from clsuite.cli.main import main
from clsuite.errors import UserError
from clsuite.plugin.catalog import find_plugin
from clsuite.records import RunRecord, read_record
from clsuite.runner.model_file import load_model
from clsuite.runner.recorded_inputs import Allowed, refuse_request, restored_dataset, restored_stream
from clsuite.runner.rerun import plan_from_record
from clsuite.stream.sealed_state import read_state, write_state

MARKS = "\nfrom pathlib import Path\nPath('{mark}').write_text('ran')\n"
PLUGIN = '''"""A method."""

from clsuite.plugin import Plugin


class Mine(Plugin):
    """Mine."""

    def __init__(self, strength: float = 1.0) -> None:
        super().__init__()
        self.strength = strength
'''
STREAM = """
def make_benchmark(seed):
    raise RuntimeError("made")
"""
BENCHMARK = {
    "name": "mine",
    "dataset": {"name": "digits", "train_per_class": 8, "test_per_class": 4},
    "scenario": {"tasks": 2},
    "training": {"epochs": 1},
    "seeds": [0],
    "methods": {"mine": "./mine.py(strength=0.5)"},
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The record of a run of a method that is a file, whose model lies beside it."""
    folder = tmp_path_factory.mktemp("saved")
    (folder / "mine.yaml").write_text(yaml.safe_dump(BENCHMARK))
    (folder / "mine.py").write_text(PLUGIN)
    assert main(["bench", str(folder / "mine.yaml"), "--out", str(folder / "o"), "--save-model", "--jobs", "1"]) == 0
    return next((folder / "o/mine/mine").glob("*.json"))


@pytest.fixture
def sent(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A record with its model and predictions as somebody else gets them; the current folder is theirs."""
    (tmp_path / "dl").mkdir()
    for path in (saved, saved.with_suffix(".pt"), saved.with_suffix(".npz")):
        shutil.copy(path, tmp_path / "dl")
    monkeypatch.chdir(tmp_path / "dl")
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    return tmp_path / "dl" / saved.name


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    """The file that code of a sender writes."""
    return tmp_path / "RAN"


def forge(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change a record with care: its key follows, and so does the model's."""
    content = json.loads(path.read_text())
    change(content)
    content["key"] = RunRecord.model_validate(content).recomputed_key()
    path.write_text(json.dumps(content))
    write_state({**state_of(path), "key": content["key"]}, path.with_suffix(".pt"))


def state_of(path: Path) -> dict[str, Any]:
    """The model of a record without its seal."""
    state = read_state(path.with_suffix(".pt"))
    return {name: value for name, value in state.items() if name != "sha256"}


def attempts(path: Path, board: Path) -> list[Callable[[], Any]]:
    """All that reads a record and runs code."""
    return [
        lambda: load_model(path),
        lambda: plan_from_record(path),
        lambda: raised(["analyze", "sensitivity", str(path), "--data-root", str(path.parent)]),
        lambda: raised(["leaderboard", "add", str(path), "--folder", str(board)]),
    ]


def raised(words: list[str]) -> None:
    if main(words):
        raise UserError("refused")


def test_a_model_needs_the_folder_of_its_plugin(sent: Path, saved: Path) -> None:
    with pytest.raises(UserError, match=r"'mine\.py', whose code would run: name its folder with load_model"):
        clsuite.load_model(sent)
    shutil.copy(saved.parents[3] / "mine.py", sent.parent)
    with pytest.raises(UserError, match=r"'mine\.py', whose code would run"):
        clsuite.load_model(sent)
    model = clsuite.load_model(sent, folders=["."])
    assert model.learner.plugins[0].strength == 0.5
    (sent.parent / "mine.py").write_text(PLUGIN + "        self.more = 1\n")
    with pytest.raises(UserError, match=r"has changed since the run.*allow_changed=True"):
        clsuite.load_model(sent, folders=["."])
    assert clsuite.load_model(sent, folders=["."], allow_changed=True).classes == model.classes


@pytest.mark.parametrize("name", ["{}/evil.py", "evil.py", "../dl/evil.py", "./evil.py", "~/evil.py", "sub/evil.py"])
def test_no_file_that_a_record_names_runs(
    name: str, sent: Path, mark: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(sent.parent))
    (sent.parent / "sub").mkdir()
    for place in (sent.parent, sent.parent / "sub"):
        (place / "evil.py").write_text(PLUGIN + MARKS.format(mark=mark))
    entry = {"name": name.format(sent.parent), "source": find_plugin("./evil.py")[1].sha256}
    forge(sent, lambda content: content["plugins"][0].update(entry))
    for attempt in attempts(sent, tmp_path / "board"):
        with pytest.raises(UserError):
            attempt()
    assert not mark.exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["nicepkg.mod:Mine", "nicepkg:Mine", "antigravity.x:Mine", "antigravity:fly"])
def test_no_package_that_is_not_installed_runs(name: str, sent: Path, mark: Path, tmp_path: Path) -> None:
    (sent.parent / "nicepkg").mkdir()
    for file in ("__init__.py", "mod.py"):
        (sent.parent / "nicepkg" / file).write_text(PLUGIN + MARKS.format(mark=mark))
    forge(sent, lambda content: content["plugins"][0].update(name=name, source="0" * 64))
    for attempt in attempts(sent, tmp_path / "board")[:3]:
        with pytest.raises(UserError):
            attempt()
    assert not mark.exists()
    assert "antigravity" not in sys.modules


@pytest.mark.parametrize("source", ["right", "wrong", None])
@pytest.mark.parametrize("name", ["{}/stream.py", "stream.py", "../dl/stream.py", "~/stream.py"])
def test_no_stream_file_that_a_record_names_runs(
    name: str, source: str | None, sent: Path, mark: Path, tmp_path: Path
) -> None:
    from clsuite.runner.streams import find_stream_file
    from clsuite.scenarios import ScenarioSpec

    (sent.parent / "stream.py").write_text(STREAM + MARKS.format(mark=mark))
    spec = ScenarioSpec.model_validate({"kind": "avalanche", "path": "stream.py"})
    found = find_stream_file(spec, [sent.parent]).root
    hashed = {"right": found.source, "wrong": "0" * 64, None: None}[source]  # type: ignore[union-attr]
    scenario = {"kind": "avalanche", "path": name.format(sent.parent), "function": "make_benchmark", "source": hashed}

    def change(content: dict[str, Any]) -> None:
        content["config"].update(scenario=scenario, dataset=None)
        content["plugins"][0].update(name="finetune", args={}, source=find_plugin("finetune")[1].sha256)

    forge(sent, change)
    for attempt in attempts(sent, tmp_path / "board")[1:]:
        with pytest.raises(UserError):
            attempt()
    assert not mark.exists()
    if source == "right" and name == "stream.py":
        with pytest.raises(UserError, match="ends in line 3 with RuntimeError: made"):
            plan_from_record(sent, allowed=Allowed([sent.parent]))
        assert mark.exists()


def test_a_record_whose_key_does_not_follow_is_not_looked_at_further(sent: Path) -> None:
    content = json.loads(sent.read_text())
    content["plugins"][0]["args"]["strength"] = 0.75
    sent.write_text(json.dumps(content))
    for attempt in (lambda: load_model(sent), lambda: plan_from_record(sent)):
        with pytest.raises(UserError, match="was edited: its key does not follow from its content"):
            attempt()


@pytest.mark.parametrize(
    "change",
    [
        lambda config: config["backbone"].update(name="hf-hub:no/such"),
        lambda config: config["backbone"].update(name="hf_hub:no/such"),
        lambda config: config["backbone"].update(name="local-dir:/elsewhere"),
        lambda config: config["backbone"].update(name="open_clip:hf-hub:no/such"),
        lambda config: config["backbone"].update(name="open_clip:roberta-ViT-B-32"),
        lambda config: config["backbone"].update(name="vit_tiny_patch16_224", weights="hub", sha256=None),
        lambda config: config["backbone"].update(name="open_clip:ViT-B-32/openai", weights="hub", sha256=None),
        lambda config: config.update(dataset={"name": "cifar10", "download": True}),
        lambda config: config.update(dataset={"name": "sequence", "parts": [{"name": "mnist", "download": True}]}),
    ],
)
def test_nobody_is_asked_on_the_network(
    change: Callable[[dict[str, Any]], None], sent: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def refuse(*given: Any, **_: Any) -> Any:
        asked.append(given)
        raise OSError("no network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)

    def forged(content: dict[str, Any]) -> None:
        change(content["config"])
        content["plugins"][0].update(name="finetune", args={}, source=find_plugin("finetune")[1].sha256)

    forge(sent, forged)
    told = 0
    for attempt in attempts(sent, tmp_path / "board"):
        try:
            attempt()
        except UserError:
            told += 1
    assert asked == []
    assert told >= 2
    assert sorted(path.name for path in sent.parent.iterdir()) == sorted(
        sent.with_suffix(s).name for s in (".json", ".npz", ".pt")
    )


def test_a_caller_may_let_something_be_fetched() -> None:
    content = {"name": "sequence", "parts": [{"name": "mnist", "download": True}, {"name": "digits"}]}
    for allowed in (True, False):
        spec = restored_dataset(content, allowed)
        assert spec is not None
        assert [spec.download, *(part.download for part in spec.parts)] == [allowed] * 3
    refuse_request({"name": "hf-hub:some/body"}, True)
    refuse_request({"name": "open_clip:ViT-B-32/openai"}, False)
    with pytest.raises(UserError, match="is described on the network: give --download"):
        refuse_request({"name": "hf-hub:some/body"}, False)


@pytest.mark.parametrize("download", [False, True])
@pytest.mark.parametrize(
    "name",
    ["local-dir:/elsewhere", "LOCAL-DIR:/elsewhere", "Local-Dir:x", " local-dir:x", "local_dir:x", "file:///etc",
     "C:/x", "https://example.org/x", "OPEN_CLIP:ViT-B-32/openai", ":x"],
)  # fmt: skip
def test_a_record_names_a_backbone_of_known_schemes_alone(name: str, download: bool) -> None:
    with pytest.raises(UserError, match="is not on any hub, and a record may not give a path"):
        refuse_request({"name": name}, download)


def test_schemes_of_hubs_are_known_in_any_letters() -> None:
    refuse_request({"name": "HF-HUB:some/body"}, True)
    with pytest.raises(UserError, match="is described on the network: give --download"):
        refuse_request({"name": "HF-HUB:some/body"}, False)


@pytest.mark.parametrize("path", ["/etc", "../up", "~/pictures", "a/b"])
def test_a_record_gives_no_folder_of_data(path: str) -> None:
    with pytest.raises(UserError, match="the record names its folder of data"):
        restored_dataset({"name": "image_folder", "path": path})


def test_folders_below_others_are_those_of_the_shipped_benchmark() -> None:
    """A record has the last part of a path alone: that of the benchmark leads to the data of the whole stream."""
    published = Path(__file__).parents[2] / "leaderboard" / "records" / "mini_mtil" / "zero_shot"
    record = read_record(next(published.glob("*.json")))
    assert record.config["dataset"]["parts"][2]["path"] == "mnist"
    for benchmark, place in {"mini_mtil": "digits_domains/mnist", "digits_domains": "mnist", "own": "mnist"}.items():
        dataset, _ = restored_stream(record.model_copy(update={"benchmark": benchmark}))
        assert dataset is not None
        assert dataset.parts[2].path == place


@pytest.mark.slow
def test_the_published_source_of_a_method_goes_with_its_row(
    saved: Path, sent: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    board, home = tmp_path / "board", saved.parents[3]
    add = ["leaderboard", "add", str(sent), "--folder", str(board)]
    assert main(add) == 1
    assert "the run was made with the plugin file 'mine.py'" in capsys.readouterr().err
    assert main([*add, "--plugins-from", str(home)]) == 0
    record = next((board / "records").rglob("*.json"))
    source = record.with_name(f"{record.stem}.1.py")
    assert source.read_text() == PLUGIN
    folder = ["--folder", str(board)]
    assert main(["leaderboard", "build", *folder]) == 0
    assert main(["leaderboard", "check", *folder]) == 0
    page = "".join(path.read_text() for path in (board / "site").rglob("*.*") if path.is_file())
    assert "clsuite leaderboard rerun mine/mine/0 --folder . --data-root DATA --plugins-from ." in page
    assert f"is published as records/mine/mine/{source.name}: a rerun runs it, so read it first" in page
    capsys.readouterr()
    assert main(["leaderboard", "rerun", "mine/mine/0", *folder]) == 2
    assert (
        f"it is published as '{source}': read it, and then give --plugins-from {source.parent}"
        in capsys.readouterr().err
    )
    assert main(["leaderboard", "rerun", "mine/mine/0", *folder, "--plugins-from", str(board)]) == 0
    assert "identical: mine/mine/0" in capsys.readouterr().out
    source.write_text(PLUGIN + "# more\n")
    assert main(["leaderboard", "check", *folder]) == 1
    assert f"{source.name}: it is not the source that add wrote" in capsys.readouterr().err
    source.unlink()
    assert main(["leaderboard", "build", *folder]) == 2
    assert f"{source.name}: it is gone" in capsys.readouterr().err


def test_a_method_of_several_files_is_not_published(
    sent: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (sent.parent / "helper_of_mine.py").write_text("WEIGHT = 1\n")
    (sent.parent / "mine.py").write_text("import helper_of_mine\n" + PLUGIN)
    source = find_plugin("./mine.py")[1].sha256
    forge(sent, lambda content: content["plugins"][0].update(source=source))
    words = ["leaderboard", "add", str(sent), "--folder", str(tmp_path / "board"), "--plugins-from", str(sent.parent)]
    assert main(words) == 1
    assert "'mine.py' imports 'helper_of_mine', which no installed package brings" in capsys.readouterr().err


# -- damaged pairs of record and model --

STATE: dict[str, Callable[[Any], Any]] = {
    "a list": lambda state: [1, 2],
    "a number": lambda state: 5,
    "nothing": lambda state: {},
    **{f"no {name}": (lambda state, name=name: {k: v for k, v in state.items() if k != name}) for name in
       ("key", "classes", "task_classes", "image_shape", "domains", "learner", "planned_tasks")},
    **{f"{name} is a text": (lambda state, name=name: {**state, name: "x"}) for name in
       ("classes", "task_classes", "image_shape", "domains", "learner", "planned_tasks")},
    "more classes than there are": lambda state: {**state, "task_classes": [[0, 999999]]},
    "negative classes": lambda state: {**state, "task_classes": [[-1, 0]] * 2},
    "a huge shape": lambda state: {**state, "image_shape": [10**9] * 3},
    "a negative shape": lambda state: {**state, "image_shape": [-1, -1, -1]},
    "an empty shape": lambda state: {**state, "image_shape": []},
    "wrong shapes": lambda state: {**state, "learner": tensors(state["learner"], lambda t: t.reshape(-1)[:1])},
    "no weights": lambda state: {**state, "learner": tensors(state["learner"], lambda t: t * float("nan"))},
    "infinite weights": lambda state: {**state, "learner": tensors(state["learner"], lambda t: t / 0)},
    "texts for weights": lambda state: {**state, "learner": tensors(state["learner"], lambda t: "x")},
    "nothing learned": lambda state: {**state, "learner": {}},
}  # fmt: skip
RECORD: dict[str, Callable[[dict[str, Any]], Any]] = {
    "no backbone": lambda content: content["config"].pop("backbone"),
    "no training": lambda content: content["config"].pop("training"),
    "no plugins": lambda content: content.update(plugins=[]),
    "unknown arguments": lambda content: content["plugins"][0]["args"].update(nobody=1),
    "failed": lambda content: content.update(status="failed", error="x"),
    "edited class names": lambda content: content["scenario"].update(classes=[f"c{i}" for i in range(10)]),
    "fewer classes": lambda content: content["scenario"].update(classes=["a"]),
    "no classes": lambda content: content["scenario"].update(classes=[]),
    "fewer tasks": lambda content: content["scenario"].update(task_names=["a"]),
    "another kind": lambda content: content["scenario"].update(kind="nonsense"),
    "a text for a backbone": lambda content: content["config"].update(backbone="x"),
    "no name": lambda content: content["config"]["backbone"].pop("name"),
    "an unknown backbone": lambda content: content["config"]["backbone"].update(name="omniglot_vi"),
    "a number for a backbone": lambda content: content["config"]["backbone"].update(name=5),
    "a huge image": lambda content: content["config"]["backbone"].update(image_size=33),
    "a text for training": lambda content: content["config"].update(training="x"),
    "unknown training": lambda content: content["config"]["training"].update(nobody=1),
    "another head": lambda content: content["config"]["training"].update(head="zero_shot"),
}  # fmt: skip


def tensors(value: Any, change: Callable[[torch.Tensor], Any]) -> Any:
    """Nested state with each tensor of floats changed."""
    if isinstance(value, dict):
        return {key: tensors(item, change) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [tensors(item, change) for item in value]
    return change(value) if isinstance(value, torch.Tensor) and value.is_floating_point() else value


def only_a_user_error(path: Path, saved: Path) -> None:
    try:
        load_model(path, folders=[saved.parents[3]])
    except UserError as error:
        text = str(error)
        assert text
        assert "\n" not in text
        assert len(text) < 600
        return
    raise AssertionError("a damaged pair was loaded")


@pytest.mark.parametrize("name", STATE)
def test_damaged_models(name: str, sent: Path, saved: Path) -> None:
    state = STATE[name](state_of(sent))
    if isinstance(state, dict) and name != "nothing":
        write_state(state, sent.with_suffix(".pt"))
    else:
        torch.save(state, sent.with_suffix(".pt"))
    if name == "no planned_tasks":
        assert load_model(sent, folders=[saved.parents[3]]).classes
    else:
        only_a_user_error(sent, saved)


@pytest.mark.parametrize("name", RECORD)
def test_damaged_records(name: str, sent: Path, saved: Path) -> None:
    def change(content: dict[str, Any]) -> None:
        RECORD[name](content)

    forge(sent, change)
    if name in ("edited class names", "fewer classes", "no classes"):
        assert state_of(sent)["classes"] != read_record(sent).scenario.classes
    only_a_user_error(sent, saved)


@pytest.mark.parametrize("part", [".json", ".pt"])
def test_cut_and_altered_bytes(part: str, sent: Path, saved: Path) -> None:
    path = sent.with_suffix(part)
    content = path.read_bytes()
    places = [int(len(content) * share) for share in (0, 0.01, 0.3, 0.6, 0.99)]
    damaged = [content[:place] for place in places] + [hashlib.sha256(content).digest() * 50]
    for one in damaged:
        path.write_bytes(one)
        only_a_user_error(sent, saved)
