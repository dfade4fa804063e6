"""Writes the data sets of CLIP's streams with all their classes and few images of each, in their official layouts."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import torchvision.datasets as tv
from whole_miniatures import WRITERS, Whole, write_whole

from clsuite.data.catalog import MTIL_ORDERS

UNDIVIDED = 5
"""Images of a class that is not divided: as a whole, most classes then have images in both parts."""
LAND = ("AnnualCrop", "Forest", "HerbaceousVegetation", "Highway", "Industrial", "Pasture", "PermanentCrop",
        "Residential", "River", "SeaLake")  # fmt: skip
FLOWER_LISTS = {"label": "imagelabels.mat", "setid": "setid.mat"}
SUBSETS = {"aircraft_100": 100, "cars_100": 100, "food_100": 100, "ucf_100": 100, "sun_300": 300}


def numbered(word: str, count: int) -> list[str]:
    return [f"{word}_{number:03d}" for number in range(count)]


def mnist(whole: Whole) -> None:
    home = whole.root / "MNIST" / "raw"
    home.mkdir(parents=True)
    for part, prefix, shots in (("train", "train", 2), ("test", "t10k", 1)):
        labels = np.arange(10, dtype=np.uint8).repeat(shots)
        pixels = whole.random.randint(0, 256, (len(labels), 28, 28)).astype(np.uint8)
        (home / f"{prefix}-images-idx3-ubyte").write_bytes(struct.pack(">IIII", 2051, *pixels.shape) + pixels.tobytes())
        (home / f"{prefix}-labels-idx1-ubyte").write_bytes(struct.pack(">II", 2049, len(labels)) + labels.tobytes())
        whole.number[part == "test"] = len(labels)


def dtd(whole: Whole) -> None:
    for part in ("train", "val", "test"):
        paths = [f"{label}/{label}_{part}.jpg" for label in numbered("texture", 47)]
        for path in paths:
            whole.image(f"dtd/dtd/images/{path}", part == "test")
        (whole.root / "dtd/dtd/labels").mkdir(exist_ok=True)
        whole.text(f"dtd/dtd/labels/{part}1.txt", paths)


def eurosat(whole: Whole) -> None:
    undivided(whole, [f"eurosat/2750/{name}/{name}" for name in LAND])


def caltech101(whole: Whole) -> None:
    names = ["Faces", "Faces_easy", *numbered("thing", 99)]
    undivided(whole, [f"caltech101/101_ObjectCategories/{name}/image" for name in (*names, "BACKGROUND_Google")])


def sun397(whole: Whole) -> None:
    undivided(whole, [f"SUN397/s/{name}/sun_a" for name in numbered("scene", 397)])
    whole.text("SUN397/ClassName.txt", [f"/s/{name}" for name in numbered("scene", 397)])


def undivided(whole: Whole, beginnings: Sequence[str]) -> None:
    for beginning in beginnings:
        for number in range(UNDIVIDED):
            whole.image(f"{beginning}_{number:04d}.jpg", False)


def flowers102(whole: Whole) -> None:
    folder = whole.root / "flowers-102"
    labels = np.arange(1, 103).repeat(3)
    for index in range(len(labels)):
        whole.image(f"flowers-102/jpg/image_{index + 1:05d}.jpg", index % 3 == 2)
    scipy.io.savemat(folder / "imagelabels.mat", {"labels": labels[None]})
    parts = {name: [np.arange(1 + first, len(labels) + 1, 3)] for first, name in enumerate(("trnid", "valid", "tstid"))}
    scipy.io.savemat(folder / "setid.mat", parts)
    sums = {key: (name, hashlib.md5((folder / name).read_bytes()).hexdigest()) for key, name in FLOWER_LISTS.items()}
    whole.patch.setattr(tv.Flowers102, "_file_dict", {**tv.Flowers102._file_dict, **sums})


def food101(whole: Whole) -> None:
    for part in ("train", "test"):
        lists = {label: [f"{label}/{part}"] for label in numbered("dish", 101)}
        for label in lists:
            whole.image(f"food-101/images/{label}/{part}.jpg", part == "test")
        (whole.root / "food-101/meta").mkdir(exist_ok=True)
        whole.text(f"food-101/meta/{part}.json", [json.dumps(lists)])


def fgvc_aircraft(whole: Whole) -> None:
    lines: dict[str, list[str]] = {"train": [], "val": [], "test": []}
    variants = [f"7{number:02d}-{number}00" for number in range(100)]
    for label in variants:
        for part, listed in lines.items():
            name = f"{len(lines['train']) * 3 + len(listed):07d}{part[0]}"
            whole.image(f"fgvc-aircraft-2013b/data/images/{name}.jpg", part == "test")
            listed.append(f"{name} {label}")
    for part, listed in {**lines, "trainval": lines["train"] + lines["val"]}.items():
        whole.text(f"fgvc-aircraft-2013b/data/images_variant_{part}.txt", listed)
    whole.text("fgvc-aircraft-2013b/data/variants.txt", variants)


def oxford_pets(whole: Whole) -> None:
    for part in ("trainval", "test"):
        names = [f"breed_{number:02d}_{part}" for number in range(37)]
        for name in names:
            whole.image(f"oxford-iiit-pet/images/{name}.jpg", part == "test")
        (whole.root / "oxford-iiit-pet/annotations").mkdir(exist_ok=True)
        whole.text(
            f"oxford-iiit-pet/annotations/{part}.txt", (f"{name} {row + 1} 1 1" for row, name in enumerate(names))
        )


def imagenet_r_pilot(whole: Whole) -> None:
    whole.folders("imagenet-r", [f"n{number:08d}" for number in range(200)])


def write_subset(name: str, count: int) -> Callable[[Whole], None]:
    """A writer of C3Box's folders; those of UCF101 have names of several words in one."""
    labels = [f"DoThing{chr(65 + number // 26)}x{chr(65 + number % 26)}" for number in range(count)]

    def write(whole: Whole) -> None:
        for label in labels if name == "ucf_100" else numbered("thing", count):
            whole.image(f"{name}/train/{label}/0.jpg", False)
            whole.image(f"{name}/val/{label}/1.jpg", True)

    return write


CLIP_WRITERS: dict[str, Callable[[Whole], None]] = {
    **{name: write_subset(name, count) for name, count in SUBSETS.items()},
    **{
        function.__name__: function
        for function in (
            mnist, dtd, eurosat, caltech101, sun397, flowers102, food101, fgvc_aircraft, oxford_pets, imagenet_r_pilot,
        )
    },
}  # fmt: skip


def write_for_clip(root: Path, patch: pytest.MonkeyPatch, *names: str) -> None:
    """Write data sets below a data root; ``mtil`` stands for its eleven."""
    patch.setattr("whole_miniatures.WRITERS", {**WRITERS, **CLIP_WRITERS})
    for name in names:
        for one in MTIL_ORDERS["mtil_i"] if name == "mtil" else (name,):
            write_whole(one, root, patch)
