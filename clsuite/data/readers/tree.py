"""Folder trees: ``train/CLASS/*``, and trees of classes (and domains) without a split."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from clsuite.data.folder import list_classes, list_folder, list_images
from clsuite.data.manifest import Manifest, Sample, list_samples, with_split
from clsuite.data.naming import NAMES_FILE, check_labels, check_names, name_synsets, read_names, readable, synset_words
from clsuite.data.readers.division import random_division
from clsuite.errors import UserError

TEST_SHARE = 0.2
Naming = Callable[[Sequence[str], Path], tuple[str, ...]]


def by_words(labels: Sequence[str], root: Path) -> tuple[str, ...]:
    """Folder names, turned into words."""
    return tuple(readable(label) for label in labels)


def by_synsets(labels: Sequence[str], root: Path) -> tuple[str, ...]:
    """The first word of WordNet ids, from the ``words.txt`` of the data set or timm's list."""
    return name_synsets(labels, synset_words(root / "words.txt"))


def by_folders(labels: Sequence[str], root: Path) -> tuple[str, ...]:
    """Folder names, unchanged."""
    return tuple(labels)


def list_named(root: Path, samples: Sequence[Sample], naming: Naming, order: Sequence[str] | None = None) -> Manifest:
    """Make a manifest, with class names from ``class_names.txt`` if the tree has one.

    Args:
        root: The folder of the data set.
        samples: Its images, labeled by their folders.
        naming: Makes class names of the labels.
        order: All labels in their order; by default that of their names, as in torchvision's folders.

    Raises:
        UserError: If two classes get the same name, or ``class_names.txt`` names an unknown class.
    """
    labels = list(order or sorted({sample.label for sample in samples}))
    stated = read_names(root)
    check_labels(stated, labels, root)
    names = tuple(stated.get(label, name) for label, name in zip(labels, naming(labels, root), strict=True))
    check_names(labels, names, f"'{root}'" + (f", by its {NAMES_FILE}," if stated else ""))
    named = dict(zip(labels, names, strict=True))
    return list_samples(root, [sample._replace(label=named[sample.label]) for sample in samples], names)


def read_tree(root: Path, naming: Naming = by_folders) -> Manifest:
    """Read ``train/CLASS/*`` and ``test/CLASS/*``, or the same below one folder per domain."""
    return list_named(root, list_folder(root), naming)


def read_unsplit(root: Path, purpose: str, naming: Naming, without: str = "", seed: int | None = None) -> Manifest:
    """Read ``CLASS/*`` and split it 80/20: each class, or with a seed for PyTorch's generator all images as a whole."""
    samples = _some(root, [Sample(path, label, False) for path, label in list_classes(root) if label != without])
    if seed is not None:
        return list_named(root, random_division(samples, 1 - TEST_SHARE, seed), naming)
    return list_named(root, with_split(samples, TEST_SHARE, purpose), naming)


def read_unsplit_domains(root: Path, domains: Sequence[str], purpose: str) -> Manifest:
    """Read ``DOMAIN/CLASS/*`` and split each class of each domain 80/20.

    Raises:
        UserError: If a domain is missing.
    """
    for domain in domains:
        if not (root / domain).is_dir():
            raise UserError(f"'{root}' has no folder '{domain}': its domains are {', '.join(domains)}")
    samples = [Sample(path, label, False, domain) for domain in domains for path, label in list_classes(root, domain)]
    return list_named(root, with_split(_some(root, samples), TEST_SHARE, purpose), by_words)


def nested_images(root: Path, part: str) -> list[str]:
    """Paths, relative to `root`, of the images in one of its subfolders."""
    return [f"{part}/{name}" for name in list_images(root / part)]


def _some(root: Path, samples: list[Sample]) -> list[Sample]:
    if not samples:
        raise UserError(f"'{root}' has no images in class folders")
    return samples
