"""ImageNet-R in the split that papers share."""

from __future__ import annotations

import gzip
from collections import Counter
from functools import cache
from importlib.resources import files
from pathlib import Path

from clsuite.data.folder import is_tree, list_classes, list_folder
from clsuite.data.manifest import Manifest, Sample
from clsuite.data.readers.tree import by_synsets, list_named
from clsuite.errors import UserError, warn_of

TEST_LIST = "splits/imagenet_r_test.txt.gz"
"""Names ``WNID/FILE`` of the 6,000 test images, one a line, in the package ``clsuite.data``."""


@cache
def shared_test_names() -> frozenset[str]:
    """Names of the test images of the split that CODA-Prompt, InfLoRA and Mammoth share."""
    packed = files("clsuite.data").joinpath(TEST_LIST).read_bytes()
    return frozenset(gzip.decompress(packed).decode("ascii").split())


def read_imagenet_r(root: Path) -> Manifest:
    """ImageNet-R: ``WNID/*``, or ``train/WNID/*`` and ``test/WNID/*``; the test part is always the shared one.

    Raises:
        UserError: If an image of the shared test part is missing, or one is there twice; names it.
    """
    found = list_folder(root) if is_tree(root) else [Sample(path, label, False) for path, label in list_classes(root)]
    names = [f"{sample.label}/{Path(sample.path).name}" for sample in found]
    tested = shared_test_names()
    _check_names(root, names, tested)
    elsewhere = [name for name, sample in zip(names, found, strict=True) if sample.is_test and name not in tested]
    if elsewhere:
        warn_of(
            f"'{root}' has {len(elsewhere):,} images in its test folder that are not in the shared test part, for "
            f"example '{elsewhere[0]}': the shared part is used. {{name: imagenet_r, layout: pilot}} uses the folders"
        )
    samples = [sample._replace(is_test=name in tested) for name, sample in zip(names, found, strict=True)]
    return list_named(root, samples, by_synsets)


def _check_names(root: Path, names: list[str], tested: frozenset[str]) -> None:
    missing = sorted(tested.difference(names))
    if missing:
        raise UserError(
            f"'{root}' lacks {len(missing):,} of the {len(tested):,} test images of the shared split, for example "
            f"'{missing[0]}': the copy is incomplete or different. Unpack imagenet-r.tar again; {{name: imagenet_r, "
            "layout: pilot}} uses train and test folders with other names"
        )
    double = next((name for name, number in Counter(names).items() if number > 1), None)
    if double is not None:
        raise UserError(f"'{root}' has '{double}' in two folders: remove one")
