"""Data sets as their archives are unpacked: folders, and lists of files."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from clsuite.data.folder import folders_in, list_classes
from clsuite.data.manifest import Manifest, Sample, list_samples
from clsuite.data.naming import readable, text_lines
from clsuite.data.readers.tree import (
    by_synsets,
    by_words,
    list_named,
    nested_images,
    read_unsplit,
    read_unsplit_domains,
)
from clsuite.errors import UserError

PACS_DOMAINS = ("art_painting", "cartoon", "photo", "sketch")
DOMAINNET_DOMAINS = ("clipart", "infograph", "painting", "quickdraw", "real", "sketch")
OFFICE_HOME_DOMAINS = ("Art", "Clipart", "Product", "Real World")
CDDB_HARD = ("gaugan", "biggan", "wild", "whichfaceisreal", "san")
"""Generators of CDDB-Hard in the order of S-Prompts' code."""
CORE50_SESSIONS = tuple(f"s{number}" for number in range(1, 12))
CORE50_TEST = ("s3", "s7", "s10")
CORE50_THINGS = ("plug adapter", "mobile phone", "scissors", "light bulb", "can", "glasses", "ball", "marker", "cup",
                 "remote control")  # fmt: skip


def read_tiny_imagenet(root: Path) -> Manifest:
    """Tiny-ImageNet: ``train/WNID/images/*`` and ``val/images/*`` with ``val/val_annotations.txt``.

    The test part has no labels; as is usual, the validation part is used for testing.
    """
    samples = []
    for wnid in folders_in(root / "train"):
        samples += [Sample(path, wnid, False) for path in nested_images(root, f"train/{wnid}/images")]
    for file, wnid, *_ in read_table(root / "val" / "val_annotations.txt", 2, "\t"):
        samples.append(Sample(f"val/images/{file}", wnid, True))
    return list_named(root, samples, by_synsets)


def read_imagenet_a(root: Path) -> Manifest:
    """ImageNet-A: ``WNID/*``, split 80/20."""
    return read_unsplit(root, "ImageNet-A split", by_synsets)


def read_caltech101(base: Path, seed: int | None = None) -> Manifest:
    """Caltech-101: ``101_ObjectCategories/CLASS/*`` without the background class, split 80/20.

    Args:
        base: The folder with ``caltech101``.
        seed: Seed of PyTorch's generator for a division as a whole; by default each class is divided.
    """
    root = base / "caltech101" / "101_ObjectCategories"
    return read_unsplit(root, "Caltech101 split", by_words, without="BACKGROUND_Google", seed=seed)


def read_cub200(root: Path) -> Manifest:
    """CUB-200-2011: ``images.txt``, ``image_class_labels.txt``, ``train_test_split.txt`` and ``classes.txt``."""
    path_of = dict(_two(row) for row in read_table(root / "images.txt", 2))
    class_of = dict(_two(row) for row in read_table(root / "image_class_labels.txt", 2))
    trained = dict(_two(row) for row in read_table(root / "train_test_split.txt", 2))
    label_of = dict(_two(row) for row in read_table(root / "classes.txt", 2))
    try:
        samples = [
            Sample(f"images/{path}", label_of[class_of[key]], trained[key] == "0") for key, path in path_of.items()
        ]
    except KeyError as error:
        raise UserError(f"the lists in '{root}' do not match: {error} is in one and not in another") from error
    return list_named(root, samples, by_words)


def read_pacs(root: Path) -> Manifest:
    """PACS: ``kfold/DOMAIN/CLASS/*`` (or without ``kfold``), split 80/20.

    The included lists are for domain generalization: they hold out a whole domain.
    """
    root = root / "kfold" if (root / "kfold").is_dir() else root
    return read_unsplit_domains(root, PACS_DOMAINS, "PACS split")


def read_office_home(root: Path) -> Manifest:
    """Office-Home: ``DOMAIN/CLASS/*``, split 80/20."""
    return read_unsplit_domains(root, OFFICE_HOME_DOMAINS, "Office-Home split")


def read_domainnet(root: Path) -> Manifest:
    """DomainNet: ``DOMAIN/CLASS/*``; ``DOMAIN_train.txt`` and ``DOMAIN_test.txt`` have lines ``PATH LABEL``.

    Classes are in the order of their numbers in these lists, which is not that of the folders' names: the orders that
    papers draw are of the numbers.

    Raises:
        UserError: If the lists number a class differently, or two classes alike.
    """
    samples = []
    numbers: dict[str, int] = {}
    for domain in DOMAINNET_DOMAINS:
        for part in ("train", "test"):
            for path, number in read_table(root / f"{domain}_{part}.txt", 2):
                label = Path(path).parent.name
                samples.append(Sample(path, label, part == "test", domain))
                if not number.isdecimal() or numbers.setdefault(label, int(number)) != int(number):
                    raise UserError(f"'{domain}_{part}.txt' in '{root}' gives the class '{label}' the number {number}"
                                    f"{f', another list {numbers[label]}' if label in numbers else ''}")  # fmt: skip
    if len(set(numbers.values())) < len(numbers):
        raise UserError(f"the lists in '{root}' give two classes the same number")
    return list_named(root, samples, by_words, sorted(numbers, key=numbers.__getitem__))


def read_core50(root: Path) -> Manifest:
    """CORe50: ``s1/o1/C_01_01_000.png``; sessions are domains, objects classes; sessions 3, 7 and 10 are for tests."""
    names = tuple(f"{thing} {number}" for thing in CORE50_THINGS for number in range(1, 6))
    samples = []
    for session in CORE50_SESSIONS:
        for path, folder in list_classes(root, session):
            number = folder.removeprefix("o")
            if not number.isdigit() or not 1 <= int(number) <= len(names):
                raise UserError(f"'{root / session / folder}' is not one of CORe50's folders o1 to o50")
            samples.append(Sample(path, names[int(number) - 1], session in CORE50_TEST, session))
    return list_samples(root, samples, names)


def read_cddb(root: Path, generators: Sequence[str] = ()) -> Manifest:
    """CDDB: ``GENERATOR/{train,val}/0_real/*`` and ``1_fake/*``, for some generators inside a folder of the subject.

    Args:
        root: Its folder.
        generators: Those to read; all by default.

    Raises:
        UserError: If there are none, or one of the given ones is missing.
    """
    samples = []
    for name in generators:
        if not (root / name / "train").is_dir() or not (root / name / "val").is_dir():
            raise UserError(
                f"'{root}' lacks the generator '{name}' (train/ and val/): CDDB-Hard is {', '.join(generators)}"
            )
    for domain in (root / name for name in generators or folders_in(root) if (root / name / "train").is_dir()):
        for part in ("train", "val"):
            for folder in sorted(entry for entry in (domain / part).rglob("*") if entry.name in ("0_real", "1_fake")):
                label = folder.name.partition("_")[2]
                paths = nested_images(root, folder.relative_to(root).as_posix())
                samples += [Sample(path, label, part == "val", domain.name) for path in paths]
    if not samples:
        raise UserError(f"'{root}' has no GENERATOR/train/0_real and 1_fake inside")
    return list_samples(root, samples, ("real", "fake"))


def read_gtsrb(base: Path, names: tuple[str, ...]) -> Manifest:
    """GTSRB: ``gtsrb/GTSRB/Training/00000/*.ppm``, and ``Final_Test/Images`` with ``GT-final_test.csv``."""
    root = base / "gtsrb"
    training, test = "GTSRB/Training", "GTSRB/Final_Test/Images"
    name_of = {str(number): name for number, name in enumerate(names)}
    try:
        samples = [
            Sample(path, name_of[folder.lstrip("0") or "0"], False) for path, folder in list_classes(root, training)
        ]
        for row in csv.DictReader(text_lines(root / "GT-final_test.csv"), delimiter=";", skipinitialspace=True):
            samples.append(Sample(f"{test}/{row['Filename']}", name_of[row["ClassId"]], True))
    except (KeyError, csv.Error) as error:
        raise UserError(
            f"'{root}' has other classes than 0 to {len(names) - 1}, or another GT-final_test.csv: {error}"
        ) from error
    return list_samples(root, samples, names)


def read_pets(base: Path) -> Manifest:
    """Oxford-IIIT Pet: ``images/Breed_name_1.jpg``, ``annotations/trainval.txt`` and ``test.txt``."""
    root = base / "oxford-iiit-pet"
    samples = [
        Sample(f"images/{image}.jpg", readable(image.rpartition("_")[0]), part == "test")
        for part in ("trainval", "test")
        for image, *_ in read_table(root / "annotations" / f"{part}.txt", 4)
    ]
    return list_named(root, samples, by_words)


def read_table(path: Path, columns: int, separator: str | None = None) -> list[list[str]]:
    """Read a text file of columns; empty lines and lines that begin with ``#`` are skipped.

    Raises:
        UserError: If it is missing or not UTF-8, or a line has fewer columns.
    """
    rows = []
    for number, line in enumerate(text_lines(path), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        row = line.strip().split(separator) if separator else line.split()
        if len(row) < columns:
            raise UserError(f"line {number} of '{path}' has {len(row)} columns instead of {columns}: {line!r}")
        rows.append(row)
    return rows


def _two(row: list[str]) -> tuple[str, str]:
    return row[0], row[1]
