"""Image folders: layouts, decoding, and complaints that name the culprit."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clsuite.data.datasets import load_table
from clsuite.data.folder import decode, list_folder
from clsuite.data.spec import DatasetSpec
from clsuite.data.table import ImageTable, digest
from clsuite.errors import DataWarning, UserError

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)
Tree = Callable[..., Path]


def load(root: Path, size: int = 4) -> ImageTable:
    return load_table(DatasetSpec(name="image_folder", path=str(root)), size)


def test_a_plain_tree(plain_tree: Path) -> None:
    table = load(plain_tree)
    assert table.classes == ("cat", "dog")
    assert table.domain_names == ("",)
    assert table.labels.tolist() == [0, 0, 1, 0, 1]
    assert table.is_test.tolist() == [False, False, False, True, True]
    assert table.domains.tolist() == [0] * 5
    assert [tuple(image[:, 0, 0].tolist()) for image in table.images] == [GREEN, RED, BLUE, RED, WHITE]


def test_the_id_of_a_sample_is_the_hash_of_its_file(plain_tree: Path) -> None:
    table = load(plain_tree)
    np.testing.assert_array_equal(table.digests[0], digest((plain_tree / "train/cat/a.png").read_bytes()))
    np.testing.assert_array_equal(table.digests[1], table.digests[3])


@pytest.mark.parametrize("name", ["test", "val", "validation", "valid", "Test", "VALID"])
def test_names_of_the_test_part(png_tree: Tree, name: str) -> None:
    root = png_tree({f"{'train' if name.islower() else 'Train'}/a/1.png": RED, f"{name}/a/2.png": BLUE})
    assert load(root).is_test.tolist() == [False, True]


def test_domains(png_tree: Tree) -> None:
    root = png_tree(
        {
            f"{domain}/{part}/{label}/1.png": RED
            for domain in ("sketch", "art")
            for part in ("train", "test")
            for label in ("b", "a")
        }
    )
    (root / "notes").mkdir()
    table = load(root)
    assert table.domain_names == ("art", "sketch")
    assert table.classes == ("a", "b")
    assert table.domains.tolist() == [0] * 4 + [1] * 4
    assert table.labels.tolist() == [0, 1, 0, 1] * 2
    assert table.is_test.tolist() == [False, False, True, True] * 2


def test_a_class_may_be_missing_in_a_domain(png_tree: Tree) -> None:
    root = png_tree(
        {
            "x/train/a/1.png": RED,
            "x/train/b/1.png": RED,
            "x/test/a/1.png": RED,
            "y/train/b/1.png": RED,
            "y/test/b/1.png": RED,
        }
    )
    table = load(root)
    assert list(zip(table.domains.tolist(), table.labels.tolist(), strict=True)) == [
        (0, 0),
        (0, 1),
        (0, 0),
        (1, 1),
        (1, 1),
    ]


def test_files_that_are_no_images_are_left_alone(plain_tree: Path) -> None:
    (plain_tree / "train/cat/Thumbs.db").write_text("")
    (plain_tree / "train/README.md").write_text("")
    assert len(list_folder(plain_tree)) == 5


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("hidden", [".ipynb_checkpoints", ".git", "__MACOSX"])
def test_hidden_folders_are_no_classes(plain_tree: Path, hidden: str, full: bool) -> None:
    for part in ("train", "test"):
        (plain_tree / part / hidden).mkdir()
        if full:
            Image.new("RGB", (4, 4)).save(plain_tree / part / hidden / "1.png")
    assert load(plain_tree).classes == ("cat", "dog")


def test_hidden_folders_are_no_domains(png_tree: Tree) -> None:
    parts = {f"{domain}/{part}/a/1.png": RED for domain in ("art", ".cache", "__MACOSX") for part in ("train", "test")}
    assert load(png_tree(parts)).domain_names == ("art",)


def test_what_a_mac_leaves_beside_images_is_no_image(plain_tree: Path) -> None:
    (plain_tree / "train/cat/._a.png").write_bytes(b"\0\5\x16\7")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(list_folder(plain_tree)) == 5


ENDINGS = ["avif", "bmp", "dib", "gif", "ico", "j2k", "jfif", "jp2", "jpe", "jpeg", "jpg", "pbm", "pcx", "pgm", "png",
           "pnm", "ppm", "sgi", "tga", "tif", "tiff", "webp", "xbm"]  # fmt: skip


@pytest.mark.parametrize("ending", ENDINGS)
def test_common_endings_are_read(plain_tree: Path, ending: str) -> None:
    Image.new("1" if ending in ("xbm", "pbm") else "RGB", (16, 16)).save(plain_tree / f"train/cat/z.{ending}")
    table = load(plain_tree)
    assert len(table) == 6
    assert table.is_test.sum() == 2


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            ["train/cat/a.heic"],
            "1 file or folder in '.*' left out, for example 'train/cat/a.heic': images must be in class",
        ),
        (["test/cat/b.npy", "test/cat/c.npy"], "2 files and folders in '.*' left out, for example 'test/cat/b.npy'"),
        (["train/stray.png"], "1 file or folder in '.*' left out, for example 'train/stray.png'"),
        (["train/cat/sub/1.png"], "1 file or folder in '.*' left out, for example 'train/cat/sub'"),
    ],
)
def test_what_is_left_out_is_told(plain_tree: Path, names: list[str], message: str) -> None:
    for name in names:
        (plain_tree / name).parent.mkdir(exist_ok=True)
        (plain_tree / name).write_bytes(b"x")
    with pytest.warns(DataWarning, match=message) as caught:
        assert len(list_folder(plain_tree)) == 5
    assert len(caught) == 1


def test_a_class_of_unknown_endings_is_not_called_empty(plain_tree: Path) -> None:
    (plain_tree / "train/bird").mkdir()
    (plain_tree / "train/bird/1.heic").write_bytes(b"x")
    with pytest.raises(UserError, match=r"'.*bird' holds no images by their ending, but 1 other files .*'1\.heic'"):
        list_folder(plain_tree)


def test_a_class_without_test_images_is_told(plain_tree: Path) -> None:
    (plain_tree / "test/dog/2.png").unlink()
    (plain_tree / "test/dog").rmdir()
    with pytest.warns(DataWarning, match="has no test images of class 'dog': learned, but never tested"):
        load(plain_tree)


def test_a_class_that_a_domain_does_not_test_is_told_with_it(png_tree: Tree) -> None:
    parts = {f"{d}/{part}/{c}/1.png": RED for d in ("p", "q") for part in ("train", "test") for c in ("a", "b")}
    root = png_tree({name: color for name, color in parts.items() if name != "q/test/b/1.png"})
    with pytest.warns(DataWarning, match="has no test images of class 'b' of domain 'q': learned, but never tested"):
        load(root)


def test_many_untested_classes_are_counted(png_tree: Tree) -> None:
    trained = {f"train/{label}/1.png": RED for label in "abcdef"}
    with pytest.warns(DataWarning, match="of classes 'b', 'c', 'd' and 2 more: learned"):
        load(png_tree({**trained, "test/a/1.png": BLUE}))


def test_a_file_in_both_parts_is_told(plain_tree: Path) -> None:
    """The fixture has one: red is in train and test."""
    message = "has 1 test image in the training part too, for example 'test/cat/1.png' and 'train/cat/b.png'"
    with pytest.warns(DataWarning, match=message):
        load(plain_tree)
    with pytest.warns(DataWarning, match="has 1 test image"):  # and again, when the table is there already
        load(plain_tree)


def test_an_ordinary_tree_is_told_nothing_about(png_tree: Tree) -> None:
    root = png_tree({"train/a/1.png": RED, "train/b/1.png": GREEN, "test/a/1.png": BLUE, "test/b/1.png": WHITE})
    for name in ("train/a/Thumbs.db", "train/a/.DS_Store", "train/a/desktop.ini", "README.md", "train/notes.txt"):
        (root / name).write_text("x")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load(root)


def test_suffixes_in_capitals_count(plain_tree: Path) -> None:
    (plain_tree / "train/cat/a.png").rename(plain_tree / "train/cat/a.PNG")
    assert len(list_folder(plain_tree)) == 5


def test_missing_root(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no data at .*nowhere.*train/CLASS"):
        list_folder(tmp_path / "nowhere")


def test_other_layout(tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    with pytest.raises(UserError, match=r"neither train/CLASS/\*\.png nor DOMAIN/train/CLASS"):
        list_folder(tmp_path)


def test_no_test_part(png_tree: Tree) -> None:
    with pytest.raises(UserError, match=r"has a train folder but no test folder \(test, val, valid, validation\)"):
        list_folder(png_tree({"train/cat/1.png": RED}))


def test_a_domain_without_test_part_is_named(png_tree: Tree) -> None:
    root = png_tree({"art/train/a/1.png": RED, "art/test/a/1.png": RED, "sketch/train/a/1.png": RED})
    with pytest.raises(UserError, match=r"sketch' has a train folder but no test"):
        list_folder(root)


@pytest.mark.parametrize("part", ["train", "test"])
def test_empty_class_folder(plain_tree: Path, part: str) -> None:
    (plain_tree / part / "bird").mkdir()
    with pytest.raises(UserError, match=rf"class folder '.*{part}/bird' holds no images"):
        list_folder(plain_tree)


def test_a_class_that_is_only_in_the_test_part(plain_tree: Path) -> None:
    (plain_tree / "test/bird").mkdir()
    Image.new("RGB", (4, 4)).save(plain_tree / "test/bird/1.png")
    with pytest.raises(UserError, match=r"class 'bird' has images in '.*/test', but none in '.*/train'"):
        list_folder(plain_tree)


def test_a_class_that_a_domain_only_tests_is_named_with_its_domain(png_tree: Tree) -> None:
    parts = {f"{domain}/{part}/a/1.png": RED for domain in ("art", "sketch") for part in ("train", "test")}
    root = png_tree({**parts, "art/train/b/1.png": RED, "sketch/test/b/1.png": RED})
    with pytest.raises(UserError, match=r"class 'b' has images in '.*/sketch/test', but none in '.*/sketch/train'"):
        list_folder(root)


def test_a_tree_without_any_class(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    (tmp_path / "test").mkdir()
    with pytest.raises(UserError, match="no class folders"):
        list_folder(tmp_path)


@pytest.mark.parametrize("content", [b"", b"this is not an image"])
def test_an_unreadable_image_is_named(plain_tree: Path, content: bytes) -> None:
    (plain_tree / "train/dog/1.png").write_bytes(content)
    with pytest.raises(UserError, match=r"cannot decode the image '.*train/dog/1\.png'.*Repair or delete the file"):
        load(plain_tree)


def test_a_cut_image_is_named(plain_tree: Path) -> None:
    path = plain_tree / "train/dog/1.png"
    Image.fromarray(np.random.RandomState(0).randint(0, 255, (32, 32, 3)).astype(np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:-400])
    with pytest.raises(UserError, match=r"cannot decode the image '.*dog/1\.png'"):
        load(plain_tree)


def test_a_bomb_is_named(plain_tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 4)
    with pytest.raises(UserError, match=r"cannot decode the image '.*a\.png'.*bomb"):
        load(plain_tree, 5)  # no other test has a table of this size in the cache


def test_an_unreadable_image_is_no_table_in_the_cache(
    plain_tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLSUITE_CACHE", str(tmp_path / "cache"))
    (plain_tree / "train/dog/1.png").write_bytes(b"broken")
    with pytest.raises(UserError, match=r"dog/1\.png"):
        load_table(DatasetSpec(name="image_folder", path=str(plain_tree)), 4)
    assert list((tmp_path / "cache" / "tables").iterdir()) == []


def test_the_center_is_cut_out_and_the_shorter_side_fits(tmp_path: Path) -> None:
    """Left third red, middle third green, right third blue: the middle square of a 3 : 1 image is green."""
    wide = np.zeros((4, 12, 3), dtype=np.uint8)
    for third in range(3):
        wide[:, 4 * third : 4 * third + 4, third] = 255
    Image.fromarray(wide).save(tmp_path / "wide.png")
    Image.fromarray(wide.transpose(1, 0, 2)).save(tmp_path / "high.png")
    for name in ("wide", "high"):
        decoded = decode(tmp_path / f"{name}.png", 4)
        assert decoded.shape == (3, 4, 4)
        np.testing.assert_array_equal(decoded, np.broadcast_to(np.array(GREEN)[:, None, None], (3, 4, 4)))


@pytest.mark.parametrize("size", [(8, 8), (7, 5), (3, 2), (1, 9), (100, 33)])
def test_any_size_becomes_a_square(tmp_path: Path, size: tuple[int, int]) -> None:
    Image.new("RGB", size, (10, 20, 30)).save(tmp_path / "i.png")
    decoded = decode(tmp_path / "i.png", 5)
    assert decoded.shape == (3, 5, 5)
    assert decoded.reshape(3, -1).T.tolist() == [[10, 20, 30]] * 25


@pytest.mark.parametrize(
    ("mode", "color", "expected"),
    [("L", 7, [7, 7, 7]), ("RGBA", (1, 2, 3, 255), [1, 2, 3]), ("1", 1, [255, 255, 255]), ("P", 0, [0, 0, 0])],
)
def test_other_modes_become_three_channels(tmp_path: Path, mode: str, color: int, expected: list[int]) -> None:
    Image.new(mode, (4, 4), color).save(tmp_path / "i.png")
    assert decode(tmp_path / "i.png", 4)[:, 0, 0].tolist() == expected
