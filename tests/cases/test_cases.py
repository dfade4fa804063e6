"""What people bring: folders, weights, streams and benchmarks with one oddity each, and what must come of it.

A case is a function that makes its input in a folder of its own and looks at what comes. All run in this process and
share one cache; three need runs, which are made once.
"""

from __future__ import annotations

import os
import re
import shutil
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image, ImageOps
from safetensors.torch import load_file, save_file

import clsuite
from clsuite.backbones.spec import BackboneSpec, find_weights
from clsuite.backbones.vit import build_backbone
from clsuite.cli.main import main
from clsuite.data import load_dataset
from clsuite.data.table import ImageTable
from clsuite.errors import UserError
from clsuite.records import read_record, write_record
from clsuite.runner.execute import load_scenario
from clsuite.runner.options import RunOptions
from clsuite.runner.plan import make_plan
from clsuite.runner.spec import load_benchmark

CHANGING = "gives another stream each time"
STREAM = """
import warnings
warnings.filterwarnings("ignore")
import torch
from torch.utils.data import Dataset
from avalanche.benchmarks import nc_benchmark

class Images(Dataset):
    def __init__(self, x):
        self.x, self.targets = x, [i % 4 for i in range(len(x))]
    def __len__(self):
        return len(self.x)
    def __getitem__(self, i):
        return self.x[i], self.targets[i]

def make_benchmark(seed):
    images = IMAGES
    return nc_benchmark(Images(images), Images(images[:8]), n_experiences=2, task_labels=False SEED)
"""
FIXED = "torch.rand(24, 3, 32, 32, generator=torch.Generator().manual_seed(0))"


@dataclass
class Case:
    """A folder of a case, and what it does most.

    Attributes:
        folder: The current folder.
        capture: What is printed.
        runs: Makes the folder with runs of `finetune` and `ncm` and their models.
    """

    folder: Path
    capture: pytest.CaptureFixture[str]
    runs: Callable[[], Path]

    def bench(self, *words: str, status: int = 0, **changes: Any) -> str:
        """Plan a benchmark of the images in ``data``; returns all that is printed."""
        Path("bench.yaml").write_text(yaml.safe_dump({**BENCH, **changes}, sort_keys=False))
        return self.command("bench", "bench.yaml", "--dry-run", *words, status=status)

    def command(self, *words: str, status: int = 0) -> str:
        """Call the command line; returns all that is printed."""
        found = main([*words])
        out, err = self.capture.readouterr()
        assert found == status, out + err
        if status == 2:
            assert err.count("\n") == 1, err
        return out + err

    def load(self, name: str = "data") -> ImageTable:
        """The table of an image folder."""
        return load_dataset("image_folder", path=name, image_size=32)


BENCH: dict[str, Any] = {
    "name": "case", "dataset": {"name": "image_folder", "path": "data"}, "seeds": [0],
    "scenario": {"kind": "class_incremental", "tasks": 2, "order": "given"},
    "training": {"epochs": 1, "batch_size": 8}, "methods": {"ncm": "ncm"},
}  # fmt: skip
CASES: dict[str, Callable[[Case], None]] = {}


def case(function: Callable[[Case], None]) -> Callable[[Case], None]:
    CASES[function.__name__] = function
    return function


def picture(label: str, number: int) -> Image.Image:
    """A pattern for each class, with noise."""
    noise = np.random.default_rng(zlib.crc32(f"{label}-{number}".encode()))
    pattern = np.random.default_rng(zlib.crc32(label.encode())).integers(0, 255, (4, 4, 3))
    pixels = np.kron(pattern, np.ones((8, 8, 1))) + noise.normal(0, 12, (32, 32, 3))
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def images(root: str = "data", labels: Sequence[str] = ("cat", "dog"), ending: str = "png", **more: int) -> list[Path]:
    """An image folder: five training and two test images of each class, or as many as `more` says of one."""
    made = []
    for part, number in (("train", 5), ("test", 2)):
        for label in labels:
            folder = Path(root) / part / label
            folder.mkdir(parents=True)
            for index in range(more.get(label, number) if part == "train" else number):
                made.append(folder / f"{index}.{ending}")
                picture(label, index + 1000 * (part == "test")).save(made[-1])
    return made


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Path]:
    """Makes the runs that some cases need, at the first of them."""
    folder = tmp_path_factory.mktemp("runs")

    def make() -> Path:
        if not (folder / "out").exists():
            images(f"{folder}/data", "abcd")
            data = {"name": "image_folder", "path": f"{folder}/data"}
            methods = {"ncm": "ncm", "finetune": "finetune", "pet": "pet"}
            (folder / "bench.yaml").write_text(yaml.safe_dump({**BENCH, "dataset": data, "methods": methods}))
            assert main(["bench", f"{folder}/bench.yaml", "--out", f"{folder}/out", "--save-model"]) == 0
        return folder

    return make


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@case
def alpha_hidden_color(case: Case) -> None:
    for path in images():
        pixels = np.asarray(Image.open(path).convert("RGBA")).copy()
        pixels[..., 3] = 0
        pixels[8:24, 8:24, 3] = 255
        pixels[:8, :, :3] = (255, 0, 255)
        Image.fromarray(pixels).save(path)
    assert case.load().images[0, :, 0, 0].tolist() == [255, 255, 255]


@case
def bits16_png(case: Case) -> None:
    gray = {}
    for path in images():
        gray[path] = np.asarray(Image.open(path).convert("L"))
        Image.fromarray(gray[path].astype(np.uint16) * 257).save(path)
    assert np.array_equal(case.load().images[0, 0], next(iter(gray.values())))


@case
def cache_other_folder(case: Case) -> None:
    for path in images("a", ending="bmp"):
        copy = Path("b", *path.parts[1:])
        copy.parent.mkdir(parents=True, exist_ok=True)
        ImageOps.invert(Image.open(path)).save(copy)
        shutil.copystat(path, copy)
    assert not np.array_equal(case.load("a").images, case.load("b").images)


@case
def capacity_0(case: Case) -> None:
    assert "replay: capacity is 0, but must be at least 1" in case.command("check", "replay(capacity=0)", status=2)


@case
def capacity_negative(case: Case) -> None:
    assert "gdumb: capacity is -3, but must be at least 1" in case.command("check", "gdumb(capacity=-3)", status=2)


@case
def class_names_latin1(case: Case) -> None:
    images()
    Path("data/class_names.txt").write_bytes(b"cat\tcaf\xe9\n")
    assert "'data/class_names.txt' is not UTF-8 (byte 7): save it in UTF-8" in case.bench(status=2)


@case
def class_names_typo(case: Case) -> None:
    images()
    Path("data/class_names.txt").write_text("cta\tfeline\n")
    assert "'data/class_names.txt' names the class 'cta', but there is no folder of that name: did" in case.bench(
        status=2
    )


@case
def class_without_test(case: Case) -> None:
    images(labels="abcd")
    shutil.rmtree("data/test/b")
    assert re.search(r"warning: 'data' has no test images of class 'b'", case.bench())


@case
def dangling_link(case: Case) -> None:
    images()
    Path("data/train/cat/z.png").symlink_to("/gone/x.png")
    assert "cannot read the image 'data/train/cat/z.png': No such file or directory (it is a link)" in case.bench(
        status=2
    )


@case
def domain_without_test_class(case: Case) -> None:
    for domain in "pq":
        images(f"data/{domain}", "ab")
    shutil.rmtree("data/q/test/b")
    assert re.search(
        r"warning: 'data' has no test images of class 'b' of domain 'q'", case.bench(scenario="domain_incremental")
    )


@case
def exif_orientation(case: Case) -> None:
    pixels, exif = np.zeros((32, 32, 3), np.uint8), Image.Exif()
    pixels[:16], exif[0x0112] = 255, 6
    for path in images():
        Image.fromarray(pixels).save(path.with_suffix(".jpg"), exif=exif, quality=100)
        path.unlink()
    upright = case.load().images[0, 0]
    assert [int(upright[place]) for place in ((4, 4), (4, 28), (28, 4), (28, 28))] == [0, 255, 0, 255]


@case
def hidden_folder_class(case: Case) -> None:
    images(labels=["cat", "dog", ".ipynb_checkpoints"])
    assert case.load().classes == ("cat", "dog")


@case
def icarl_few_exemplars(case: Case) -> None:
    images(labels="abcdef")
    told = case.bench("--methods", "icarl(capacity=2)", scenario={"kind": "class_incremental", "tasks": 6}, status=2)
    assert "icarl: a herding buffer of 2 has fewer exemplars" in told


@case
def latin1_file_name(case: Case) -> None:
    images()
    os.rename("data/train/cat/0.png", os.fsencode("data/train/cat/") + b"caf\xe9.png")
    assert "1 run, 0 done, 1 to do" in case.bench()


@case
def link_loop(case: Case) -> None:
    images()
    Path("data/train/cat/up").symlink_to("..")
    assert "1 run, 0 done, 1 to do" in case.bench()


@case
def lwf_arguments(case: Case) -> None:
    assert "lwf: temperature is 0.0, but must be above 0" in case.command("check", "lwf(temperature=0.0)", status=2)
    assert "lwf: alpha is -1.0, but must be " in case.command("check", "lwf(alpha=-1.0)", status=2)


@case
def method_empty(case: Case) -> None:
    told = case.bench(methods={"replay": None}, status=2)
    assert re.search(r"bench\.yaml:\d+: methods\.replay: it is empty: name its plugin, as replay, replay\(", told)


@case
def older_record_edited(case: Case) -> None:
    path = next(case.runs().glob("out/case/ncm/*.json"))
    record = read_record(path)
    key = record.make_key(record.config, record.plugins, record.seed, record.scenario.fingerprint, 1)
    shutil.copy(path.with_suffix(".npz"), "old.npz")
    write_record(record.model_copy(update={"key": key, "predictions": "old.npz"}), Path("old.json"))
    told = case.command("show", "old.json")
    assert "made by an older version of clsuite (results version 1" in told
    assert "edited" not in told


@case
def one_class_increments(case: Case) -> None:
    images(labels="abcdef")
    methods = {"l2p": {"plugins": ["l2p"], "training": {"loss": "local"}}}
    told = case.bench(scenario="B4-inc1", methods=methods, status=2)
    assert re.search(r"method 'l2p': task 1 \(.\) has one class, and under training\.loss: local", told)


@case
def one_class_local_loss(case: Case) -> None:
    images(labels="abcdef")
    methods = {"lora": {"plugins": ["pet"], "training": {"loss": "local"}}}
    told = case.bench(scenario="class_incremental", methods=methods, status=2)
    assert re.search(r"method 'lora': task 0 \(.\) has one class, and under training\.loss: local", told)


@case
def order_of_numbers(case: Case) -> None:
    images(labels="0123")
    assert "1 run" in case.bench(scenario={"kind": "class_incremental", "tasks": 2, "order": [3, 1, 0, 2]})


@case
def predict_floats(case: Case) -> None:
    model = clsuite.load_model(next(case.runs().glob("out/case/ncm/*.json")))
    table = load_dataset("image_folder", path=f"{case.runs()}/data", image_size=32)
    pixels, labels = np.array(table.images[table.is_test]), table.labels[table.is_test]
    named = [table.classes.index(model.classes[answer]) for answer in model.predict(pixels)]
    assert np.mean(np.array(named) == labels) > 0.7
    with pytest.raises(UserError, match=r"type float32 in 0\.\.1, but must be uint8 in 0\.\.255"):
        model.predict((pixels / 255).astype(np.float32))


@case
def rest_of_one(case: Case) -> None:
    images(labels="abcdef", **dict.fromkeys("abcde", 8), f=9)
    scenario = {"kind": "class_incremental", "tasks": 3, "order": "given"}
    backbone = {"name": "resnet18", "weights": "random", "image_size": 32}
    told = case.bench(scenario=scenario, backbone=backbone, methods={"finetune": "finetune"}, status=2)
    assert re.search(r"method 'finetune': the last batch of task 2 \(.*\) has one image \(17 images", told)


@case
def runs_in_data_folder(case: Case) -> None:
    images()
    before = tables()
    for number in range(3):
        Path("data/runs").mkdir(exist_ok=True)
        Path(f"data/runs/{number}.json").write_text("{}")
        case.load()
    assert tables() - before <= 1


def tables() -> int:
    folder = Path(os.environ["CLSUITE_CACHE"]) / "tables"
    return len(list(folder.iterdir())) if folder.exists() else 0


@case
def seeds_one_number(case: Case) -> None:
    told = case.bench(seeds=3, status=2)
    assert re.search(r"bench\.yaml:\d+: seeds is 3, but must be a list, such as \[3\]$", told.strip())


def stream(pixels: str, seed: str = ", seed=seed") -> None:
    """Make the stream of a file and make it again, as the worker of a run does."""
    Path("stream.py").write_text(STREAM.replace("IMAGES", pixels).replace(" SEED", seed))
    spec, path = load_benchmark("stream.py")
    for plan in make_plan(spec, path.parent, RunOptions(out=Path("out"), methods=["ncm"], seeds=[0, 1, 2])):
        load_scenario(plan)


@case
def stream_0_to_255(case: Case) -> None:
    with pytest.raises(UserError, match=r"they must be uint8, or floats in 0\.\.1; divide them by 255"):
        stream(f"255 * {FIXED}")
    for kind in ("int64", "int32"):
        with pytest.raises(UserError, match=rf"\({kind}\): they must be uint8, or floats in 0\.\.1; convert"):
            stream(f"(255 * {FIXED}).to(torch.{kind})")


@case
def stream_of_new_images(case: Case) -> None:
    with pytest.raises(UserError, match=f"'stream.py' {CHANGING}: let all that it draws .* follow from its argument"):
        stream("torch.rand(24, 3, 32, 32)")


@case
def stream_without_seed(case: Case) -> None:
    with pytest.raises(UserError, match=f"'stream.py' {CHANGING}"):
        stream(FIXED, seed="")
    stream(FIXED)


@case
def suffix_skipped(case: Case) -> None:
    for path in images()[:4]:
        Image.open(path).save(path.with_suffix(".jpg"))
        path.with_suffix(".jpg").rename(path.with_suffix(".jfif"))
        path.unlink()
    assert int((~case.load().is_test).sum()) == 10
    for path in images("gray"):
        Image.open(path).convert("L").save(path.with_suffix(".pgm"))
        path.unlink()
    assert len(case.load("gray")) == 14


@case
def thin_image(case: Case) -> None:
    images()
    Image.new("RGB", (20_000, 1)).save("data/train/cat/0.png")
    assert case.load().images.shape == (14, 3, 32, 32)


@case
def tilde_data_root(case: Case) -> None:
    images("home/data")
    assert "1 run, 0 done, 1 to do" in case.bench("--data-root=~", "--out=~/runs")
    assert not Path("~").exists()


def with_weights(path: str, **changes: Any) -> Any:
    spec = BackboneSpec(weights=path, **changes)
    return build_backbone(spec, find_weights(spec, [Path()]))


def bundled() -> dict[str, torch.Tensor]:
    path = find_weights(BackboneSpec(), []).path
    assert path is not None
    return load_file(path)


@case
def weights_lfs_pointer(case: Case) -> None:
    Path("w.pth").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 22883512\n")
    with pytest.raises(UserError, match=r"'w\.pth' holds no weights: it is a Git LFS pointer of 70 bytes"):
        with_weights("w.pth")


@case
def weights_lightning_ckpt(case: Case) -> None:
    state = {f"model.{name}": value for name, value in bundled().items()}
    torch.save({"state_dict": state, "pytorch-lightning_version": "2.5"}, "w.ckpt")
    assert torch.equal(with_weights("w.ckpt").model.pos_embed, bundled()["pos_embed"].float())


@case
def weights_nan(case: Case) -> None:
    state = bundled()
    save_file({**state, "pos_embed": state["pos_embed"] * float("nan")}, "w.safetensors")
    with pytest.raises(UserError, match=r"w\.safetensors'.*pos_embed"):
        with_weights("w.safetensors")


@case
def weights_own_model(case: Case) -> None:
    (trained,) = case.runs().glob("out/case/finetune/*.pt")
    going_on = with_weights(str(trained)).model.state_dict()
    saved = torch.load(trained, weights_only=True)["learner"]["parameters"]
    assert all(torch.equal(value, saved[f"backbone.model.{name}"]) for name, value in going_on.items())
    assert not torch.equal(going_on["pos_embed"], bundled()["pos_embed"].float())
    (with_modules,) = case.runs().glob("out/case/pet/*.pt")
    with pytest.raises(UserError, match=r"are a model with modules besides its backbone \(plugin_modules\."):
        with_weights(str(with_modules))


@case
def yaml_1e_1(case: Case) -> None:
    images()
    Path("bench.yaml").write_text(
        yaml.safe_dump({**BENCH, "methods": {"a": {"lwf": {"alpha": "X"}}, "b": "lwf(alpha=0.1)"}})
    )
    Path("bench.yaml").write_text(Path("bench.yaml").read_text().replace("alpha: X", "alpha: 1e-1"))
    first, second, *_ = case.command("bench", "bench.yaml", "--dry-run").splitlines()
    assert first.rpartition("seed0-")[2] == second.rpartition("seed0-")[2]


@pytest.fixture
def _its_home(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(here / "home"))


@pytest.mark.slow
@pytest.mark.usefixtures("_its_home")
@pytest.mark.parametrize("name", CASES)
@pytest.mark.filterwarnings("ignore::clsuite.errors.InputWarning")
def test_case(name: str, here: Path, capsys: pytest.CaptureFixture[str], runs: Callable[[], Path]) -> None:
    CASES[name](Case(here, capsys, runs))
    assert Path.cwd() == here


def test_all_cases_are_there() -> None:
    assert len(CASES) == 36
