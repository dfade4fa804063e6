"""Own images: folders without a test part, lists, Hugging Face image folders."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clsuite.data import load_dataset
from clsuite.data.datasets import beside, load_table
from clsuite.data.readers.own import read_own
from clsuite.data.spec import DatasetSpec
from clsuite.data.table import ImageTable
from clsuite.errors import DataWarning, UserError

Tree = Callable[..., Path]


@pytest.fixture(autouse=True)
def _fresh_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLSUITE_CACHE", str(tmp_path / "cache"))


def make(root: Path, names: list[str]) -> Path:
    """Images of different content, the same for the same name whatever else is there."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.RandomState([*name.encode()]).randint(0, 255, (4, 4, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(path)
    return root


def load(path: Path, split: float | None = None) -> ImageTable:
    return load_table(DatasetSpec(name="image_folder", path=str(path), split=split), 4)


def held_out(table: ImageTable) -> set[bytes]:
    return {digest.tobytes() for digest in table.digests[table.is_test]}


FLAT = [f"{label}/{number}.png" for label in ("cat", "dog", "owl") for number in range(60)]


def test_of_class_folders_a_share_is_held_out_and_told(tmp_path: Path) -> None:
    with pytest.warns(DataWarning, match=r"about 20 % are held out for testing, \d+ of 180 images.*\{split: 0.2\}"):
        table = load(make(tmp_path / "flat", FLAT))
    assert table.classes == ("cat", "dog", "owl")
    for label in range(3):
        assert 0.08 < table.is_test[table.labels == label].mean() < 0.4


def test_the_share_can_be_stated(tmp_path: Path) -> None:
    root = make(tmp_path / "flat", FLAT)
    with pytest.warns(DataWarning, match="about 50 %"):
        half = load(root, 0.5)
    with pytest.warns(DataWarning, match="about 20 %"):
        fifth = load(root)
    assert 0.35 < half.is_test.mean() < 0.65
    assert held_out(fifth) < held_out(half)
    with pytest.warns(DataWarning, match="about 50 %"):
        assert held_out(load_dataset("image_folder", path=str(root), split=0.5, image_size=4)) == held_out(half)


@pytest.mark.filterwarnings("ignore::clsuite.errors.DataWarning")
def test_no_other_file_changes_the_part_of_an_image(tmp_path: Path) -> None:
    before = load(make(tmp_path / "flat", FLAT))
    more = [f"{label}/more{number}.png" for label in ("cat", "ant") for number in range(30)]
    after = load(make(tmp_path / "flat", more))
    known = {digest.tobytes() for digest in before.digests}
    assert held_out(after) & known == held_out(before)
    (tmp_path / "flat" / "cat" / "0.png").rename(tmp_path / "flat" / "cat" / "renamed.png")
    assert held_out(load(tmp_path / "flat")) == held_out(after)
    for number in range(5, 20):
        (tmp_path / "flat" / "dog" / f"{number}.png").unlink()
    assert held_out(load(tmp_path / "flat")) <= held_out(after)


@pytest.mark.filterwarnings("ignore::clsuite.errors.DataWarning")
@pytest.mark.parametrize("share", [0.001, 0.999])
def test_every_class_has_both_parts(tmp_path: Path, share: float) -> None:
    table = load(make(tmp_path / "flat", [f"{label}/{number}.png" for label in "abcdef" for number in range(2)]), share)
    for label in range(6):
        assert table.is_test[table.labels == label].tolist().count(True) == 1


@pytest.mark.filterwarnings("ignore::clsuite.errors.DataWarning")
def test_domains_of_class_folders(tmp_path: Path) -> None:
    names = [f"{domain}/{name}" for domain in ("art", "photo") for name in FLAT]
    table = load(make(tmp_path / "domains", names))
    assert table.domain_names == ("art", "photo")
    assert table.classes == ("cat", "dog", "owl")
    for domain in range(2):
        for label in range(3):
            rows = (table.domains == domain) & (table.labels == label)
            assert 0 < table.is_test[rows].sum() < rows.sum()


def test_a_single_image_cannot_be_split(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"class 'b' of '.*' has a single image: it cannot be split"):
        load(make(tmp_path / "flat", ["a/1.png", "a/2.png", "b/1.png"]))


def test_a_stated_share_where_there_is_a_test_part_is_refused(tmp_path: Path) -> None:
    root = make(tmp_path / "tree", ["train/a/1.png", "test/a/2.png"])
    with pytest.raises(UserError, match="has a test part, so that nothing is held out: remove 'split'"):
        load(root, 0.2)
    with pytest.raises(UserError, match="only an 'image_folder' takes a split"):
        load_table(DatasetSpec(name="digits", split=0.2), 8)


def test_a_split_that_is_not_stated_is_in_no_configuration() -> None:
    assert "split" not in DatasetSpec(name="sequence", parts=(DatasetSpec(name="digits"),)).model_dump_json()
    assert DatasetSpec(name="image_folder", split=0.3).model_dump()["split"] == 0.3


def test_what_lies_in_no_known_way_is_told_all_ways(tmp_path: Path) -> None:
    (tmp_path / "other" / "cat" / "deep" / "deeper").mkdir(parents=True)
    with pytest.raises(UserError) as caught:
        load(tmp_path / "other")
    for layout in ("train/CLASS/*.png", "test/CLASS", "valid", "CLASS/*.png", "DOMAIN/CLASS", "files.csv",
                   "files.json", "metadata.jsonl", "path and label", "split and domain"):  # fmt: skip
        assert layout in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("names", [("Train", "Test"), ("train", "valid"), ("TRAIN", "VALIDATION"), ("train", "val")])
@pytest.mark.parametrize("domain", ["", "art/"])
def test_parts_are_called_by_many_names(tmp_path: Path, names: tuple[str, str], domain: str) -> None:
    table = load(make(tmp_path / "tree", [f"{domain}{names[0]}/a/1.png", f"{domain}{names[1]}/a/2.png"]))
    assert table.is_test.tolist() == [False, True]


PICTURES = ["pictures/1.png", "pictures/2.png", "pictures/3.png", "pictures/4.png"]
ROWS = [
    {"path": "pictures/1.png", "label": "cat", "split": "train", "domain": "art"},
    {"path": "pictures/2.png", "label": "dog", "split": "train", "domain": "photo"},
    {"path": "pictures/3.png", "label": "cat", "split": "test", "domain": "art"},
    {"path": "pictures/4.png", "label": "dog", "split": "test", "domain": "photo"},
]


def write(path: Path, rows: list[dict[str, str]], separator: str = ",") -> Path:
    if path.suffix == ".csv":
        lines = [separator.join(rows[0]), *(separator.join(row.values()) for row in rows)]
    else:
        lines = [json.dumps(rows)] if path.suffix == ".json" else [json.dumps(row) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8-sig")
    return path


@pytest.mark.parametrize("name", ["files.csv", "files.json", "files.jsonl", "metadata.csv", "metadata.jsonl"])
@pytest.mark.parametrize("named", ["the list", "its folder"])
def test_lists(tmp_path: Path, name: str, named: str) -> None:
    root = make(tmp_path / "mine", PICTURES)
    path = write(root / name, ROWS)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table = load(path if named == "the list" else root)
    assert table.classes == ("cat", "dog")
    assert table.domain_names == ("art", "photo")
    assert table.labels.tolist() == [0, 1, 0, 1]
    assert table.domains.tolist() == [0, 1, 0, 1]
    assert table.is_test.tolist() == [False, False, True, True]


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_a_list_of_any_name_with_usual_separators(tmp_path: Path, separator: str) -> None:
    path = write(make(tmp_path / "mine", PICTURES) / "anything.csv", ROWS, separator)
    assert load(path).is_test.tolist() == [False, False, True, True]


def test_a_list_without_split_and_domain(tmp_path: Path) -> None:
    rows = [{"path": name, "label": name.partition("/")[0]} for name in FLAT]
    path = write(make(tmp_path / "mine", FLAT) / "files.csv", rows)
    with pytest.warns(DataWarning, match=r"'.*files.csv' has no test part: of each class about 30 %"):
        table = load(path, 0.3)
    assert table.domain_names == ("",)
    assert 0.15 < table.is_test.mean() < 0.45
    folder = make(tmp_path / "flat", FLAT)
    with pytest.warns(DataWarning, match="30 %"):
        assert held_out(load(folder, 0.3)) == held_out(table)


def test_paths_of_a_list_may_lie_elsewhere_and_come_from_windows(tmp_path: Path) -> None:
    make(tmp_path, ["elsewhere/1.png", "mine/sub/2.png"])
    rows = [
        {"path": str(tmp_path / "elsewhere" / "1.png"), "label": "a", "split": "train"},
        {"path": "sub\\2.png", "label": "a", "split": "test"},
    ]
    table = load(write(tmp_path / "mine" / "files.csv", rows))
    assert table.is_test.tolist() == [False, True]
    rows[0]["path"] = "../elsewhere/1.png"
    assert len(load(write(tmp_path / "mine" / "files.csv", rows))) == 2


def test_whole_numbers_are_labels(tmp_path: Path) -> None:
    root = make(tmp_path / "mine", PICTURES)
    entries = [{"file_name": name, "label": number % 2, "split": "train" if number < 2 else "test"}
               for number, name in enumerate(PICTURES)]  # fmt: skip
    (root / "metadata.jsonl").write_text("\n".join(json.dumps(entry) for entry in entries))
    assert load(root).classes == ("0", "1")


def test_an_image_folder_of_hugging_face_with_metadata_in_each_part(tmp_path: Path) -> None:
    root = make(tmp_path / "hf", ["train/1.png", "train/2.png", "validation/3.png", "validation/4.png"])
    for part, numbers in (("train", (1, 2)), ("validation", (3, 4))):
        rows = [{"file_name": f"{number}.png", "label": "ab"[number % 2]} for number in numbers]
        write(root / part / "metadata.jsonl", rows)
    table = load(root)
    assert table.is_test.tolist() == [False, False, True, True]
    assert table.labels.tolist() == [1, 0, 1, 0]


def test_an_image_folder_of_hugging_face_with_one_metadata_for_all_parts(tmp_path: Path) -> None:
    names = ["train/1.png", "train/2.png", "test/3.png", "test/4.png"]
    root = make(tmp_path / "hf", names)
    write(root / "metadata.csv", [{"file_name": name, "label": "ab"[int(name[-5]) % 2]} for name in names])
    assert load(root).is_test.tolist() == [False, False, True, True]


def test_a_part_that_is_neither_trained_nor_tested_is_told(tmp_path: Path) -> None:
    rows = [*ROWS, {"path": "pictures/5.png", "label": "cat", "split": "valid", "domain": "art"}]
    path = write(make(tmp_path / "mine", [*PICTURES, "pictures/5.png"]) / "files.csv", rows)
    with pytest.warns(DataWarning, match="has the parts valid besides train and test: they are left out"):
        assert len(load(path)) == 4


def test_a_list_beside_a_tree_is_not_read_and_that_is_told(tmp_path: Path) -> None:
    root = make(tmp_path / "tree", ["train/a/1.png", "test/a/2.png"])
    (root / "files.csv").write_text("path,label\n")
    with pytest.warns(DataWarning, match=r"'.*files.csv' is not read because there is a train folder"):
        assert len(load(root)) == 2


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("f.csv", "", "f.csv' is empty: its first line names the columns"),
        ("f.csv", "path,label\n", "f.csv' lists no images"),
        ("f.csv", "a/1.png,cat\n", r"f.csv', line 1 has no column path or file_name: .* path,label,split,domain"),
        ("f.csv", "path,class\n1.png,a\n", "f.csv', line 1 has no column label"),
        ("f.csv", "path,label\n1.png,a\nnowhere.png,a\n", r"f.csv', line 3 names 'nowhere.png', but there is no such"),
        ("f.csv", "path,label\n1.png,a\n,a\n", "f.csv', line 3 has no path or file_name"),
        ("f.csv", "path,label\n1.png\n", "f.csv', line 2 has no 'label', which must be text or an integer"),
        ("f.csv", "path,label\n1.png,a,b,c\n", "f.csv', line 2 has 4 columns, but line 1 names 2"),
        ("f.csv", "path,label\n1.png,a\n1.png,b\n", "f.csv', line 3 names '1.png' again, as .*line 2 does"),
        ("f.csv", "path,label,split\n1.png,a,train\n2.png,a,later\n", "line 3 has the split 'later', but it must be"),
        ("f.csv", "path,label,split\n1.png,a,train\n2.png,a,\n", "line 3 has no 'split'"),
        ("f.csv", 'path,label\n"1.png"x,a\n', "f.csv', line 2 is not CSV"),
        ("f.csv", "path,label,split\n1.png,a,train\n2.png,b,test\n", "class 'b' of .* has test images but no training"),
        ("f.jsonl", '{"file_name": "1.png", "text": "a"}', "line 1 has no 'label', .*; it has file_name, text$"),
        ("f.json", "[", "f.json', line 1 is not JSON"),
        ("f.json", "{}", "f.json' must be a list of entries"),
        ("f.json", "[3]", "f.json', entry 1 must be an object"),
        ("f.json", '[{"path": "1.png", "label": true}]', "f.json', entry 1 has no 'label'"),
        ("f.json", '[{"path": ["1.png"], "label": "a"}]', "f.json', entry 1 has no path"),
        ("f.json", '[{"path": "1.png", "label": "a", "split": "train"}, {"path": "2.png", "label": "a"}]',
         "f.json', entry 2 has no split, but others have"),
        ("f.json", "[" * 100_000, "f.json'.* is not JSON"),
        ("f.jsonl", '{"path": "1.png", "label": "a"}\n{"path"\n', "f.jsonl', line 2 is not JSON"),
        ("f.jsonl", "\n\n7\n", "f.jsonl', line 3 must be an object"),
        ("f.txt", "1.png a\n", "f.txt' is not a list of images: it must be a folder, or end in .csv"),
    ],
)  # fmt: skip
def test_a_broken_list_is_one_line_with_file_and_line(tmp_path: Path, name: str, content: str, message: str) -> None:
    root = make(tmp_path / "mine", ["1.png", "2.png"])
    (root / name).write_text(content)
    with pytest.raises(UserError, match=message) as caught:
        load(root / name)
    assert "\n" not in str(caught.value)


def test_a_list_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    (tmp_path / "files.csv").write_bytes(b"path,label\n1.png,K\xe4se\n")
    with pytest.raises(UserError, match=r"files.csv' is not UTF-8 \(byte 18\)"):
        read_own(tmp_path / "files.csv", None)


def test_data_beside_the_benchmark_are_found_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path / "project" / "images", ["a/1.png", "a/2.png"])
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    spec = DatasetSpec(name="sequence", parts=(DatasetSpec(name="image_folder", path="images"),))
    found = beside(spec, None, tmp_path / "project").parts[0].path
    assert found == str((tmp_path / "project" / "images").resolve())
    assert beside(spec, None, tmp_path / "nowhere") == spec
    make(elsewhere / "images", ["a/1.png"])
    assert beside(spec, None, tmp_path / "project").parts[0].path == "images"


@pytest.mark.parametrize("part", ["test", "Test", "val", "VALID", "validation"])
@pytest.mark.parametrize(
    "others",
    [
        ["train"],
        [],
        ["cat/0.png", "cat/1.png"],
        ["photo/cat/0.png", "photo/cat/1.png"],
        ["p/train/a/0.png", "p/test/a/1.png"],
    ],
)
def test_a_part_is_taken_for_no_class_and_no_domain(part: str, others: list[str], tmp_path: Path) -> None:
    root = make(tmp_path / "data", [f"{part}/{label}/{number}.png" for label in ("a", "b") for number in range(3)])
    make(root, [name for name in others if name.endswith(".png")])
    if others == ["train"]:
        (root / "train").write_text("a Git link")
    why = "'train' is a file" if others == ["train"] else "there is no train folder beside it"
    with pytest.raises(UserError, match=f"'{root / part}' has the name of a part, but {why}"):
        load(root)


@pytest.mark.parametrize("names", [["test/0.png", "test/1.png", "cat/0.png"], ["photo/val/0.png", "photo/cat/0.png"]])
def test_a_part_with_images_is_no_class(names: list[str], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has the name of a part, but there is no train folder"):
        load(make(tmp_path / "data", names))


def test_a_domain_with_a_test_part_alone_is_not_left_out_in_silence(tmp_path: Path) -> None:
    sound = [f"photo/{part}/cat/{number}.png" for part in ("train", "test") for number in range(3)]
    root = make(tmp_path / "data", [*sound, "sketch/test/cat/0.png"])
    with pytest.raises(UserError, match=f"'{root / 'sketch' / 'test'}' has the name of a part"):
        load(root)


def test_a_class_may_be_called_as_a_part_inside_of_one(tmp_path: Path) -> None:
    names = [
        f"{part}/{label}/{number}.png" for part in ("train", "test") for label in ("test", "train") for number in (0, 1)
    ]
    assert load(make(tmp_path / "data", names)).classes == ("test", "train")


def test_a_long_name_in_a_list_is_not_repeated_whole(tmp_path: Path) -> None:
    (tmp_path / "files.csv").write_text("path,label\n" + "x" * 9000 + ",a\n")
    with pytest.raises(UserError, match=r"files\.csv', line 2 names 'xxx") as caught:
        load(tmp_path)
    assert len(str(caught.value)) < 1000
