"""Class names: readable, unique, and from the tree's own file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from clsuite.data import load_dataset
from clsuite.data.naming import name_synsets, read_names, readable, synset_words
from clsuite.errors import UserError

RED = (255, 0, 0)
Tree = Callable[..., Path]


@pytest.mark.parametrize(
    ("label", "expected"),
    [("aquarium_fish", "aquarium fish"), ("001.Black_footed_Albatross", "Black footed Albatross"), ("7", "7"),
     ("3.5", "3.5"), ("F/A-18", "F/A-18"), ("a__b ", "a b"), ("T-shirt/top", "T-shirt/top")],
)  # fmt: skip
def test_readable(label: str, expected: str) -> None:
    assert readable(label) == expected


def test_synsets_have_their_first_word() -> None:
    words = synset_words()
    assert len(words) > 20_000
    assert words["n01443537"] == "goldfish"
    assert words["n02124075"] == "Egyptian cat"


def test_the_words_of_the_data_set_come_first(tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("n01443537\tred fish, another word\n")
    assert synset_words(tmp_path / "words.txt") == {"n01443537": "red fish"}
    assert synset_words(tmp_path / "none.txt")["n01443537"] == "goldfish"


def test_one_word_for_two_synsets_gets_the_id() -> None:
    names = name_synsets(["n1", "n2", "n3", "n4"], {"n1": "crane", "n2": "dog", "n3": "crane"})
    assert names == ("crane (n1)", "dog", "crane (n3)", "n4")


@pytest.fixture
def tree(png_tree: Tree) -> Path:
    return png_tree({f"{part}/{label}/1.png": RED for part in ("train", "test") for label in ("c1", "c2", "c3")})


def test_names_from_the_file_of_the_tree(tree: Path) -> None:
    (tree / "class_names.txt").write_text("c3\tmy dog\n\nc1\tmy cat\n", encoding="utf-8")
    table = load_dataset("image_folder", path=str(tree), image_size=4)
    assert table.classes == ("my cat", "c2", "my dog")
    assert table.labels.tolist() == [0, 1, 2] * 2


@pytest.mark.parametrize(("first", "second"), [("cat", "cat"), ("a cat", "a_cat"), ("a-cat", "a  cat"), ("c2", "cat")])
def test_two_classes_with_one_name_are_named(tree: Path, first: str, second: str) -> None:
    (tree / "class_names.txt").write_text(f"c1\t{first}\nc3\t{second}\n")
    if first == "c2":
        first_label, second_label = "c1", "c2"
    else:
        first_label, second_label = "c1", "c3"
    said = rf"two classes of '.*tree', by its class_names.txt, have one name, .*'{first_label}' and '{second_label}'"
    with pytest.raises(UserError, match=said):
        load_dataset("image_folder", path=str(tree), image_size=4)


def test_two_folders_that_a_registered_set_reads_alike(png_tree: Tree) -> None:
    root = png_tree({f"cub200/{part}/{label}/1.png": RED for part in ("train", "test") for label in ("a_b", "001.a b")})
    with pytest.raises(UserError, match=r"one name, 'a b': '001\.a b' and 'a_b'\. Rename one or merge them"):
        load_dataset("cub200", root, image_size=4)


def test_upper_and_lower_case_are_two_names(png_tree: Tree) -> None:
    root = png_tree({f"{part}/{label}/1.png": RED for part in ("train", "test") for label in ("a", "A")})
    assert load_dataset("image_folder", path=str(root), image_size=4).classes == ("A", "a")


@pytest.mark.parametrize("line", ["c1 cat", "c1\t", "\tcat"])
def test_a_line_of_another_form_is_named(tree: Path, line: str) -> None:
    (tree / "class_names.txt").write_text(f"c2\tdog\n{line}\n")
    with pytest.raises(UserError, match=r"line 2 of '.*class_names\.txt' is .*must be LABEL, a tab, NAME"):
        read_names(tree)


def test_a_label_that_is_no_class_is_refused_with_the_nearest(tree: Path) -> None:
    (tree / "class_names.txt").write_text("c33\tmy dog\n")
    with pytest.raises(UserError, match=r"class_names\.txt' names the class 'c33', but .*: did you mean 'c3'\?"):
        load_dataset("image_folder", path=str(tree), image_size=4)


def test_a_label_that_comes_twice_is_refused(tree: Path) -> None:
    (tree / "class_names.txt").write_text("c3\tmy dog\nc3\tmy cat\n")
    with pytest.raises(UserError, match=r"line 2 of '.*class_names\.txt' names 'c3' for the second time"):
        load_dataset("image_folder", path=str(tree), image_size=4)


def test_names_that_are_not_utf_8_name_the_file(tree: Path) -> None:
    (tree / "class_names.txt").write_bytes(b"c3\tcaf\xe9\n")
    with pytest.raises(UserError, match=r"'.*class_names\.txt' is not UTF-8 \(byte 6\): save it in UTF-8"):
        load_dataset("image_folder", path=str(tree), image_size=4)
    (tree / "words.txt").write_bytes(b"n01443537\tcaf\xe9\n")
    with pytest.raises(UserError, match=r"'.*words\.txt' is not UTF-8"):
        synset_words(tree / "words.txt")


def test_a_byte_order_mark_is_no_part_of_a_label(tree: Path) -> None:
    (tree / "class_names.txt").write_text("c1\tmy cat\n", encoding="utf-8-sig")
    assert load_dataset("image_folder", path=str(tree), image_size=4).classes == ("my cat", "c2", "c3")
