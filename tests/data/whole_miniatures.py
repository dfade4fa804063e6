"""Writes data sets with all their classes and few images of each, in the layouts that the standard benchmarks read."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import pickle
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import torchvision.datasets as tv
from PIL import Image

from clsuite.data.catalog import DATASETS
from clsuite.data.dataset import Folders
from clsuite.data.readers import imagenet_r as imagenet_r_reader
from clsuite.data.readers.archives import CDDB_HARD, DOMAINNET_DOMAINS, OFFICE_HOME_DOMAINS

SHOTS = 5


class Whole:
    """Writes one data set, counts its images, and gives the registry their numbers."""

    def __init__(self, root: Path, patch: pytest.MonkeyPatch) -> None:
        self.root, self.patch = root, patch
        self.random = np.random.RandomState(0)
        self.number = {False: 0, True: 0}

    def image(self, path: str, is_test: bool) -> None:
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        packed = io.BytesIO()
        Image.fromarray(self.random.randint(0, 256, (4, 4, 3)).astype(np.uint8)).save(packed, "PNG", compress_level=1)
        target.write_bytes(packed.getvalue())
        self.number[is_test] += 1

    def text(self, path: str, lines: Iterable[str]) -> None:
        (self.root / path).write_text("".join(f"{line}\n" for line in lines))

    def folders(self, home: str, labels: Iterable[str], train: int = 1) -> None:
        for label in labels:
            for number in range(train):
                self.image(f"{home}/train/{label}/{number}.jpg", False)
            self.image(f"{home}/test/{label}/{train}.jpg", True)

    def facts(self, name: str) -> None:
        """Give the registry the numbers of the images written; those of classes and domains stay the official ones."""
        known, (train, test) = DATASETS[name], (self.number[False], self.number[True])
        split = known.train is not None
        changed = {"train": train if split else None, "test": test if split else None, "total": None}
        pilot = Folders(known.pilot.home, train, test) if known.pilot else None
        zscl = dataclasses.replace(known.zscl, train=None) if known.zscl else None
        self.patch.setitem(DATASETS, name, dataclasses.replace(known, **changed, pilot=pilot, zscl=zscl))


def cifar100(whole: Whole) -> None:
    names = [f"class_{number:03d}" for number in range(100)]
    lists = {}
    for part, images in (("train", SHOTS + 1), ("test", 1)):
        labels = np.arange(100).repeat(images)
        pixels = whole.random.randint(0, 256, (len(labels), 3072)).astype(np.uint8)
        content = pickle.dumps({"data": pixels, "fine_labels": labels.tolist()})
        lists[part] = [[part, _raw(whole.root / "cifar-100-python" / part, content)]]
        whole.number[part == "test"] = len(labels)
    meta = pickle.dumps({"fine_label_names": names})
    checksum = _raw(whole.root / "cifar-100-python" / "meta", meta)
    whole.patch.setattr(tv.CIFAR100, "meta", {**tv.CIFAR100.meta, "md5": checksum})
    whole.patch.setattr(tv.CIFAR100, "train_list", lists["train"])
    whole.patch.setattr(tv.CIFAR100, "test_list", lists["test"])


def _raw(path: Path, content: bytes) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return hashlib.md5(content).hexdigest()


def imagenet_r(whole: Whole) -> None:
    """The first test image of each class of the shared list, and one training image each."""
    first = {name.split("/")[0]: name for name in sorted(imagenet_r_reader.shared_test_names(), reverse=True)}
    for wnid, name in first.items():
        whole.image(f"imagenet-r/{wnid}/art_of_training.jpg", False)
        whole.image(f"imagenet-r/{name}", True)
    whole.patch.setattr(imagenet_r_reader, "shared_test_names", lambda: frozenset(first.values()))


def imagenet_a(whole: Whole) -> None:
    whole.folders("imagenet-a", [f"n{number:08d}" for number in range(200)])


def cub200(whole: Whole) -> None:
    """The official files; PILOT's folders are `cub200_pilot`."""
    labels = [f"{number:03d}.Bird_{number}" for number in range(1, 201)]
    rows = [(label, number == SHOTS) for label in labels for number in range(SHOTS + 1)]
    for key, (label, is_test) in enumerate(rows):
        whole.image(f"CUB_200_2011/images/{label}/{key}.jpg", is_test)
    whole.text("CUB_200_2011/images.txt", (f"{key} {label}/{key}.jpg" for key, (label, _) in enumerate(rows)))
    numbers = {label: number for number, label in enumerate(labels, start=1)}
    whole.text("CUB_200_2011/image_class_labels.txt", (f"{key} {numbers[one]}" for key, (one, _) in enumerate(rows)))
    whole.text("CUB_200_2011/train_test_split.txt", (f"{key} {int(not test)}" for key, (_, test) in enumerate(rows)))
    whole.text("CUB_200_2011/classes.txt", (f"{number} {label}" for label, number in numbers.items()))


def cub200_pilot(whole: Whole) -> None:
    whole.folders("cub", [f"{number:03d}.Bird_{number}" for number in range(1, 201)])


def stanford_cars(whole: Whole) -> None:
    kind = np.dtype([("fname", object), ("class", object)])
    home = whole.root / "stanford_cars"
    (home / "devkit").mkdir(parents=True)
    for part in ("train", "test"):
        for label in range(1, 197):
            whole.image(f"stanford_cars/cars_{part}/{label}.jpg", part == "test")
        rows = np.array([(f"{label}.jpg", label) for label in range(1, 197)], dtype=kind)
        name = "devkit/cars_train_annos.mat" if part == "train" else "cars_test_annos_withlabels.mat"
        scipy.io.savemat(home / name, {"annotations": rows})
    names = np.array([f"Car {label:03d}" for label in range(1, 197)], dtype=object)
    scipy.io.savemat(home / "devkit/cars_meta.mat", {"class_names": names})


def objectnet(whole: Whole) -> None:
    whole.folders("objectnet", [f"thing_{number:03d}" for number in range(200)])


def omnibenchmark(whole: Whole) -> None:
    whole.folders("omnibenchmark", [str(number) for number in range(300)])


def vtab(whole: Whole) -> None:
    whole.folders("vtab-cil/vtab", [str(number) for number in range(50)])


def domainnet(whole: Whole) -> None:
    for domain in DOMAINNET_DOMAINS:
        for part in ("train", "test"):
            paths = [f"{domain}/thing_{number:03d}/{part}.jpg" for number in range(345)]
            for path in paths:
                whole.image(f"domainnet/{path}", part == "test")
            whole.text(f"domainnet/{domain}_{part}.txt", (f"{path} {number}" for number, path in enumerate(paths)))


def office_home(whole: Whole) -> None:
    for domain in OFFICE_HOME_DOMAINS:
        for number in range(65):
            for name in ("one", "two"):
                whole.image(f"OfficeHomeDataset_10072016/{domain}/Thing_{number:02d}/{name}.jpg", False)


def cddb_hard(whole: Whole) -> None:
    for domain in CDDB_HARD:
        for part in ("train", "val"):
            for folder in ("0_real", "1_fake"):
                whole.image(f"CDDB/{domain}/{part}/{folder}/1.png", part == "val")


WRITERS: dict[str, Callable[[Whole], None]] = {
    function.__name__: function
    for function in (
        cifar100, imagenet_r, imagenet_a, cub200, cub200_pilot, stanford_cars, objectnet, omnibenchmark, vtab,
        domainnet, office_home, cddb_hard,
    )
}  # fmt: skip


def write_whole(name: str, root: Path, patch: pytest.MonkeyPatch) -> None:
    """Write a data set below a data root; `patch` gives the registry its numbers of images."""
    whole = Whole(root, patch)
    WRITERS[name](whole)
    whole.facts(name.removesuffix("_pilot"))
