"""Image folders: layouts, decoding, and complaints that name the culprit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clsuite.data.datasets import load_table
from clsuite.data.folder import decode, list_folder
from clsuite.data.spec import DatasetSpec
from clsuite.data.table import ImageTable, digest
from clsuite.errors import UserError

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


@pytest.mark.parametrize("name", ["test", "val", "validation"])
def test_names_of_the_test_part(png_tree: Tree, name: str) -> None:
    root = png_tree({"train/a/1.png": RED, f"{name}/a/2.png": BLUE})
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
    with pytest.raises(UserError, match=r"has a train folder but no test folder \(test, val, validation\)"):
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
    with pytest.raises(UserError, match=r"class 'bird' .* has test images but no training images"):
        list_folder(plain_tree)


def test_a_class_that_a_domain_only_tests_is_named_with_its_domain(png_tree: Tree) -> None:
    parts = {f"{domain}/{part}/a/1.png": RED for domain in ("art", "sketch") for part in ("train", "test")}
    root = png_tree({**parts, "art/train/b/1.png": RED, "sketch/test/b/1.png": RED})
    with pytest.raises(UserError, match=r"class 'b' of '.*sketch' has test images but no training images"):
        list_folder(root)


def test_a_tree_without_any_class(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    (tmp_path / "test").mkdir()
    with pytest.raises(UserError, match="no class folders"):
        list_folder(tmp_path)


@pytest.mark.parametrize("content", [b"", b"this is not an image"])
def test_an_unreadable_image_is_named(plain_tree: Path, content: bytes) -> None:
    (plain_tree / "train/dog/1.png").write_bytes(content)
    with pytest.raises(UserError, match=r"cannot decode the image '.*train/dog/1\.png'.*Mend or remove it"):
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
        load(plain_tree)


def test_an_unreadable_image_is_no_table_in_the_cache(
    plain_tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLSUITE_CACHE", str(tmp_path / "cache"))
    (plain_tree / "train/dog/1.png").write_bytes(b"broken")
    with pytest.raises(UserError, match=r"dog/1\.png"):
        load_table(DatasetSpec(name="image_folder", path=str(plain_tree)), 4)
    assert list((tmp_path / "cache" / "tables").iterdir()) == []


def test_the_centre_is_cut_out_and_the_shorter_side_fits(tmp_path: Path) -> None:
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
    ("mode", "colour", "expected"),
    [("L", 7, [7, 7, 7]), ("RGBA", (1, 2, 3, 128), [1, 2, 3]), ("1", 1, [255, 255, 255]), ("P", 0, [0, 0, 0])],
)
def test_other_modes_become_three_channels(tmp_path: Path, mode: str, colour: int, expected: list[int]) -> None:
    Image.new(mode, (4, 4), colour).save(tmp_path / "i.png")
    assert decode(tmp_path / "i.png", 4)[:, 0, 0].tolist() == expected
