"""Every registered data set is read from a miniature of its real layout, and from a plain tree."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from data_miniatures import BUILDERS, Miniature
from PIL import Image

from clsuite.data import ImageTable, load_dataset
from clsuite.data.catalog import DATASETS
from clsuite.errors import DataWarning, UserError

FIXED_CLASSES = {"mnist", "fashion_mnist", "kmnist", "emnist", "svhn", "usps", "cifar10", "cifar100", "stl10", "gtsrb",
                 "flowers102", "eurosat", "core50", "cddb", "cddb_hard"}  # fmt: skip


@pytest.fixture(autouse=True)
def _fresh_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLSUITE_CACHE", str(tmp_path / "cache"))


def shrink(name: str, monkeypatch: pytest.MonkeyPatch, **facts: int | None) -> None:
    """Give a data set the numbers of its miniature."""
    known: dict[str, int | None] = {"train": None, "test": None, "total": None}
    monkeypatch.setitem(DATASETS, name, dataclasses.replace(DATASETS[name], **{**known, **facts}))


def make(name: str, root: Path, monkeypatch: pytest.MonkeyPatch) -> Miniature:
    mini = Miniature(root, monkeypatch)
    root.mkdir(exist_ok=True)
    BUILDERS[name](mini)
    domains = len({one.domain for one in mini.written})
    if name in FIXED_CLASSES:
        shrink(name, monkeypatch, total=len(mini.written), domains=domains)
    else:
        classes = len({one.label for one in mini.written})
        shrink(name, monkeypatch, total=len(mini.written), domains=domains, classes=classes)
    return mini


def contents(table: ImageTable) -> list[tuple[str, bool, str, int]]:
    """Class, part, domain and gray value of every row; the value is read off the middle of the image."""
    levels = table.images[:, :, 2:, 2:].mean(axis=(1, 2, 3))
    return [
        (table.classes[label], bool(is_test), table.domain_names[domain], round(float(level - 10) / 20) * 20 + 10)
        for label, is_test, domain, level in zip(table.labels, table.is_test, table.domains, levels, strict=True)
    ]


def test_every_registered_data_set_has_a_miniature() -> None:
    assert {*BUILDERS, "digits", "image_folder"} == set(DATASETS)


@pytest.mark.parametrize("name", BUILDERS)
def test_a_miniature_of_the_real_layout(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mini = make(name, tmp_path / "root", monkeypatch)
    found = contents(load_dataset(name, tmp_path / "root", image_size=16))
    assert Counter((label, domain, level) for label, _, domain, level in found) == Counter(
        (one.label, one.domain, one.level) for one in mini.written
    )
    official = [one for one in mini.written if one.is_test is not None]
    if official:
        assert Counter(found) == Counter(tuple(one) for one in official)
    else:
        groups = Counter((label, domain) for label, _, domain, _ in found)
        tested = Counter((label, domain) for label, is_test, domain, _ in found if is_test)
        assert tested == Counter({group: max(round(0.2 * number), 1) for group, number in groups.items()})


@pytest.mark.parametrize("name", [name for name in BUILDERS if DATASETS[name].homes[0] == "."])
def test_a_folder_of_its_own_name_does_too(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "root").mkdir()
    mini = make(name, tmp_path / "root" / DATASETS[name].homes[1], monkeypatch)
    assert len(load_dataset(name, tmp_path / "root", image_size=4)) == len(mini.written)


@pytest.mark.parametrize("name", [name for name in BUILDERS if DATASETS[name].tree])
@pytest.mark.parametrize("domains", [("",), ("b", "a")])
def test_a_plain_tree_of_its_name(
    name: str, domains: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for domain in domains:
        for part in ("train", "test"):
            for label in ("black_cat", "dog"):
                folder = tmp_path / "root" / name / domain / part / label
                folder.mkdir(parents=True)
                Image.new("L", (5, 5), 30).save(folder / "1.png")
    shrink(name, monkeypatch, classes=2, domains=len(domains), total=4 * len(domains))
    table = load_dataset(name, tmp_path / "root", image_size=4)
    wnids = name in ("imagenet", "tiny_imagenet", "imagenet_a")
    assert table.classes == (("black_cat", "dog") if wnids else ("black cat", "dog"))
    assert table.domain_names == tuple(sorted(domains))
    assert table.is_test.tolist() == [False, False, True, True] * len(domains)


@pytest.mark.parametrize("name", BUILDERS)
def test_an_explicit_path(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mini = make(name, tmp_path / "root", monkeypatch)
    home = next(
        home for home in DATASETS[name].homes
        if all((tmp_path / "root" / home / part).exists() for part in DATASETS[name].parts)
    )  # fmt: skip
    table = load_dataset(name, path=str(tmp_path / "root" / home), image_size=4)
    assert len(table) == len(mini.written)


@pytest.mark.parametrize("name", BUILDERS)
def test_absent_data_say_what_to_put_where(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        load_dataset(name, tmp_path)
    said = str(caught.value)
    assert "\n" not in said
    assert f"no copy of '{name}' in '{tmp_path}'" in said
    assert DATASETS[name].place in said
    assert DATASETS[name].url in said
    assert (f"{{name: {name}, download: true}}" in said) == (DATASETS[name].source is not None)
    with pytest.raises(UserError, match="--data-root FOLDER"):
        load_dataset(name)


def test_half_a_copy_says_which_half_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make("svhn", tmp_path / "root", monkeypatch)
    (tmp_path / "root" / "test_32x32.mat").unlink()
    with pytest.raises(UserError, match=r"root' lacks test_32x32\.mat"):
        load_dataset("svhn", tmp_path / "root")


def test_emnist_is_turned_upright(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The miniature's stored left column is inverted; upright, that is the top row."""
    mini = make("emnist", tmp_path / "root", monkeypatch)
    table = load_dataset("emnist", tmp_path / "root", image_size=28)
    for image, one in zip(table.images[:, 0], mini.written, strict=True):
        assert (image[0] == 255 - one.level).all()
        assert (image[1:] == one.level).all()


def test_rgb_channels_keep_their_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pickle

    import torchvision.datasets as tv

    mini = make("cifar100", tmp_path / "root", monkeypatch)
    red = np.zeros((1, 3, 32, 32), dtype=np.uint8)
    red[0, 0, :, :16] = 255  # the left half is red
    content = pickle.dumps({"data": red.reshape(1, -1), "fine_labels": [0]})
    monkeypatch.setattr(tv.CIFAR100, "train_list", [["train", mini.raw("cifar-100-python/train", content)]])
    shrink("cifar100", monkeypatch, total=4)
    image = load_dataset("cifar100", tmp_path / "root", image_size=32).images[0]
    assert (image[0, :, :16] == 255).all()
    assert (image[0, :, 16:] == 0).all()
    assert (image[1:] == 0).all()


def test_a_cached_table_needs_no_torchvision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make("mnist", tmp_path / "root", monkeypatch)
    load_dataset("mnist", tmp_path / "root", image_size=8)
    script = (
        "import sys, dataclasses\n"
        "from clsuite.data.catalog import DATASETS\n"
        "from clsuite.data import load_dataset\n"
        "table = load_dataset('mnist', sys.argv[1], image_size=8)\n"
        "assert len(table) == 8\n"
        "sys.exit('torch' in sys.modules)\n"
    )
    assert subprocess.run([sys.executable, "-c", script, str(tmp_path / "root")], check=False).returncode == 0


# -- broken copies --


@pytest.mark.parametrize(
    ("name", "file"),
    [("cifar10", "cifar-10-batches-py/data_batch_2"), ("cifar100", "cifar-100-python/test"),
     ("svhn", "test_32x32.mat"), ("usps", "usps.bz2"), ("stl10", "stl10_binary/train_y.bin")],
)  # fmt: skip
def test_a_changed_file_is_named_with_both_checksums(
    name: str, file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(name, tmp_path / "root", monkeypatch)
    path = tmp_path / "root" / file
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    with pytest.raises(UserError, match=rf"'.*{file}' has the MD5 [0-9a-f]{{32}}, but the official file has [0-9a-f]"):
        load_dataset(name, tmp_path / "root")


def test_the_official_checksums_are_torchvisions() -> None:
    """Without a miniature: the lists that are checked are those of torchvision."""
    from clsuite.data.catalog import _CIFAR100, _SVHN

    assert _CIFAR100._checksums() == {
        "cifar-100-python/train": "16019d7e3df5f24257cddd939b257f8d",
        "cifar-100-python/test": "f0ef6b0ae62326f3e7ffdfab6717acfc",
    }
    assert set(_SVHN._checksums()) == {"train_32x32.mat", "test_32x32.mat"}


@pytest.mark.parametrize("change", ["cut", "longer", "other", "gone"])
def test_a_broken_idx_file_is_named(change: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make("mnist", tmp_path / "root", monkeypatch)
    path = tmp_path / "root/MNIST/raw/t10k-images-idx3-ubyte"
    content = path.read_bytes()
    path.write_bytes({"cut": content[:-5], "longer": content + b"x", "other": b"\x1f\x8b", "gone": b""}[change])
    if change == "gone":
        path.unlink()
    with pytest.raises(UserError, match=r"'.*MNIST/raw/t10k-images-idx3-ubyte' (has|is)"):
        load_dataset("mnist", tmp_path / "root")


@pytest.mark.parametrize(
    ("name", "file"),
    [("food101", "food-101/meta/train.json"), ("stanford_cars", "stanford_cars/cars_test_annos_withlabels.mat"),
     ("dtd", "dtd/dtd/labels/val1.txt"), ("fgvc_aircraft", "fgvc-aircraft-2013b/data/variants.txt")],
)  # fmt: skip
def test_a_broken_list_of_torchvisions_is_one_line(
    name: str, file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(name, tmp_path / "root", monkeypatch)
    (tmp_path / "root" / file).write_bytes(b"broken\n")
    with pytest.raises(UserError, match=rf"cannot read {DATASETS[name].read.kind} in '.*root': .*again") as caught:  # type: ignore[union-attr]
        load_dataset(name, tmp_path / "root")
    assert "\n" not in str(caught.value)


def test_a_cut_line_of_a_list_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make("cub200", tmp_path / "root", monkeypatch)
    (tmp_path / "root/CUB_200_2011/train_test_split.txt").write_text("1 1\n2\n")
    with pytest.raises(UserError, match=r"line 2 of '.*train_test_split\.txt' has 1 columns instead of 2"):
        load_dataset("cub200", tmp_path / "root")


def test_lists_that_do_not_fit_together_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make("cub200", tmp_path / "root", monkeypatch)
    (tmp_path / "root/CUB_200_2011/train_test_split.txt").write_text("1 1\n2 0\n")
    with pytest.raises(UserError, match=r"do not match: '3' is in one and not in another"):
        load_dataset("cub200", tmp_path / "root")


@pytest.mark.parametrize(
    ("name", "gone", "message"),
    [("tiny_imagenet", "tiny-imagenet-200/train/n01443537/images", r"n01443537/images' is missing: unpack"),
     ("oxford_pets", "oxford-iiit-pet/annotations/test.txt", r"cannot read '.*annotations/test\.txt'")],
)  # fmt: skip
def test_a_missing_part_is_named(
    name: str, gone: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(name, tmp_path / "root", monkeypatch)
    (tmp_path / "root" / gone).rename(tmp_path / "gone")
    with pytest.raises(UserError, match=message):
        load_dataset(name, tmp_path / "root")


@pytest.mark.parametrize("line", ["00000.ppm;9;7;0;0;9;7;43", "nonsense"])
def test_a_traffic_sign_that_is_none_is_named(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make("gtsrb", tmp_path / "root", monkeypatch)
    path = tmp_path / "root/gtsrb/GT-final_test.csv"
    path.write_text(f"{path.read_text()}{line}\n" if ";" in line else "nonsense\nnonsense\n")
    with pytest.raises(UserError, match=r"gtsrb' has other classes than 0 to 42, or another GT-final_test\.csv"):
        load_dataset("gtsrb", tmp_path / "root")


def test_data_in_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("food101", "sun397", "cub200"):
        mini = make(name, tmp_path / "root", monkeypatch)
        monkeypatch.chdir(tmp_path / "root")
        assert len(load_dataset(name, image_size=4)) == len(mini.written)


def test_a_missing_image_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make("domainnet", tmp_path / "root", monkeypatch)
    (tmp_path / "root/domainnet/real/zigzag/real_test_1.jpg").unlink()
    with pytest.raises(UserError, match=r"cannot read the image '.*real/zigzag/real_test_1\.jpg'"):
        load_dataset("domainnet", tmp_path / "root")


def test_a_missing_domain_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make("pacs", tmp_path / "root", monkeypatch)
    (tmp_path / "root/PACS/kfold/sketch").rename(tmp_path / "sketch")
    with pytest.raises(UserError, match=r"kfold' has no folder 'sketch'"):
        load_dataset("pacs", tmp_path / "root")


def renumbered(root: Path, numbers: dict[str, str], lists: str = "*.txt") -> None:
    """Write other numbers of the classes into DomainNet's lists."""
    for path in (root / "domainnet").glob(lists):
        paths = [line.split()[0] for line in path.read_text().splitlines()]
        path.write_text("".join(f"{each} {numbers[each.split('/')[1]]}\n" for each in paths))


@pytest.mark.parametrize("order", [("aircraft_carrier", "zigzag"), ("zigzag", "aircraft_carrier")])
def test_classes_of_domainnet_are_in_the_order_of_its_lists(
    order: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mini = make("domainnet", tmp_path / "root", monkeypatch)
    renumbered(tmp_path / "root", {order[0]: "0", order[1]: "327"})
    table = load_dataset("domainnet", tmp_path / "root", image_size=16)
    assert table.classes == tuple(name.replace("_", " ") for name in order)
    assert Counter(contents(table)) == Counter(tuple(one) for one in mini.written)


@pytest.mark.parametrize(
    ("numbers", "lists", "said"),
    [
        ({"aircraft_carrier": "0", "zigzag": "0"}, "*.txt", "give two classes the same number"),
        (
            {"aircraft_carrier": "0", "zigzag": "7"},
            "sketch_test.txt",
            "the class 'zigzag' the number 7, another list 1",
        ),
        ({"aircraft_carrier": "0", "zigzag": "one"}, "*.txt", "the class 'zigzag' the number one"),
    ],
)
def test_lists_of_domainnet_that_disagree_are_refused(
    numbers: dict[str, str], lists: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make("domainnet", tmp_path / "root", monkeypatch)
    renumbered(tmp_path / "root", numbers, lists)
    with pytest.raises(UserError, match=said):
        load_dataset("domainnet", tmp_path / "root")


def test_a_folder_that_is_no_object_of_core50_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make("core50", tmp_path / "root", monkeypatch)
    (tmp_path / "root/core50_128x128/s2/o50").rename(tmp_path / "root/core50_128x128/s2/o51")
    with pytest.raises(UserError, match=r"s2/o51' is not one of CORe50's folders o1 to o50"):
        load_dataset("core50", tmp_path / "root")


@pytest.mark.parametrize("fact", ["classes", "domains", "total", "train", "test"])
def test_a_copy_with_other_numbers_is_refused(fact: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make("domainnet", tmp_path / "root", monkeypatch)
    what = {"total": "images", "train": "training images", "test": "test images"}.get(fact, fact)
    shrink("domainnet", monkeypatch, **{"classes": 2, "domains": 6, fact: 345})
    with pytest.raises(UserError, match=rf"'domainnet' in '.*' has \d+ {what}, but the official set has 345.*again"):
        load_dataset("domainnet", tmp_path / "root")


# -- download --


def test_a_download_goes_below_the_data_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torchvision.datasets as tv

    def fetch(self: tv.MNIST) -> None:
        if not Path(self.root, "MNIST").exists():
            make("mnist", Path(self.root), monkeypatch)

    monkeypatch.setattr(tv.MNIST, "download", fetch)
    shrink("mnist", monkeypatch, total=8)
    assert len(load_dataset("mnist", tmp_path / "new root", image_size=4, download=True)) == 8
    assert (tmp_path / "new root" / "MNIST" / "raw").is_dir()


def test_a_download_that_fails_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torchvision.datasets as tv

    def fail(self: tv.MNIST) -> None:
        raise OSError("no network")

    monkeypatch.setattr(tv.MNIST, "download", fail)
    with pytest.raises(UserError, match=r"cannot download torchvision's MNIST to '.*': no network"):
        load_dataset("mnist", tmp_path, download=True)
    with pytest.raises(UserError, match="pass --data-root FOLDER to choose where"):
        load_dataset("mnist", download=True)


def test_doubtful_images_are_told_from_the_cache_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mini = make("gtsrb", tmp_path / "data", monkeypatch)
    (untested,) = {one.label for one in mini.written} - {one.label for one in mini.written if one.is_test}
    found = []
    for _ in range(2):
        with pytest.warns(DataWarning) as caught:
            load_dataset("gtsrb", tmp_path / "data", image_size=8, workers=1)
        found.append([str(one.message) for one in caught])
    assert found[0] == found[1]
    assert f"has no test images of class '{untested}': learned, but never tested" in found[0][0]
