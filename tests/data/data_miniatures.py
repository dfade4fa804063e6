"""Writes miniatures of data sets in the very layouts in which they are downloaded."""

from __future__ import annotations

import bz2
import hashlib
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import scipy.io
import torchvision.datasets as tv
from PIL import Image

from clsuite.data.catalog import LAND_USES, TEN, TRAFFIC_SIGNS
from clsuite.data.readers.archives import (
    CDDB_HARD,
    CORE50_SESSIONS,
    CORE50_TEST,
    DOMAINNET_DOMAINS,
    OFFICE_HOME_DOMAINS,
    PACS_DOMAINS,
)


class Written(NamedTuple):
    """One image that was written; `level` is its gray value, and how it is known again."""

    label: str
    is_test: bool | None
    domain: str
    level: int


class Miniature:
    """Writes images of one gray value each, and remembers them."""

    def __init__(self, root: Path, patch: pytest.MonkeyPatch) -> None:
        self.root, self.patch = root, patch
        self.written: list[Written] = []

    def level(self, label: str, is_test: bool | None, domain: str = "") -> int:
        level = 20 * (len(self.written) % 12) + 10
        self.written.append(Written(label, is_test, domain, level))
        return level

    def image(self, path: str, label: str, is_test: bool | None, domain: str = "") -> None:
        level = self.level(label, is_test, domain)
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (9, 7), (level, level, level)).save(self.root / path)

    def pixels(self, labels: list[str], is_test: bool, *shape: int) -> np.ndarray:
        return np.stack([np.full(shape, self.level(label, is_test), dtype=np.uint8) for label in labels])

    def text(self, path: str, *lines: str) -> None:
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text("".join(f"{line}\n" for line in lines))

    def raw(self, path: str, content: bytes) -> str:
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_bytes(content)
        return hashlib.md5(content).hexdigest()


def idx(array: np.ndarray) -> bytes:
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return b"\0\0\x08" + bytes([array.ndim]) + sizes + array.astype(np.uint8).tobytes()


def idx_set(mini: Miniature, folder: str, classes: tuple[str, ...], prefixes: tuple[str, str], transpose: bool) -> None:
    for prefix, is_test in zip(prefixes, (False, True), strict=True):
        labels = np.array([0, 1, len(classes) - 1, 1])
        images = mini.pixels([classes[i] for i in labels], is_test, 28, 28)
        if transpose:
            images[:, :, 0] = 255 - images[:, :, 0]  # the stored left column is the upright top row
        mini.raw(f"{folder}/raw/{prefix}-images-idx3-ubyte", idx(images))
        mini.raw(f"{folder}/raw/{prefix}-labels-idx1-ubyte", idx(labels))


def mnist(mini: Miniature) -> None:
    idx_set(mini, "MNIST", TEN, ("train", "t10k"), False)


def fashion_mnist(mini: Miniature) -> None:
    idx_set(mini, "FashionMNIST", tuple(tv.FashionMNIST.classes), ("train", "t10k"), False)


def kmnist(mini: Miniature) -> None:
    idx_set(mini, "KMNIST", tuple(tv.KMNIST.classes), ("train", "t10k"), False)


def emnist(mini: Miniature) -> None:
    classes = tuple(tv.EMNIST.classes_split_dict["balanced"])
    idx_set(mini, "EMNIST", classes, ("emnist-balanced-train", "emnist-balanced-test"), True)


def svhn(mini: Miniature) -> None:
    sums: dict[str, list[str]] = {}
    for part in ("train", "test"):
        images = mini.pixels(["3", "0", "9"], part == "test", 32, 32, 3)
        path = mini.root / f"{part}_32x32.mat"
        scipy.io.savemat(path, {"X": images.transpose(1, 2, 3, 0), "y": np.array([[3], [10], [9]], dtype=np.uint8)})
        sums[part] = ["", path.name, hashlib.md5(path.read_bytes()).hexdigest()]
    mini.patch.setattr(tv.SVHN, "split_list", sums)


def usps(mini: Miniature) -> None:
    sums: dict[str, list[str]] = {}
    for part, name in (("train", "usps.bz2"), ("test", "usps.t.bz2")):
        lines = []
        for label in (7, 0):
            value = mini.level(str(label), part == "test") / 255 * 2 - 1 + 1e-4
            lines.append(f"{label + 1} " + " ".join(f"{i + 1}:{value:.6f}" for i in range(256)))
        sums[part] = ["", name, mini.raw(name, bz2.compress("\n".join(lines).encode()))]
    mini.patch.setattr(tv.USPS, "split_list", sums)


def cifar(mini: Miniature, kind: Any, key: str, names: list[str], files: tuple[str, ...]) -> None:
    sums = []
    for file in files:
        labels = [0, len(names) - 1, 1]
        images = mini.pixels([names[i].replace("_", " ") for i in labels], file.startswith("test"), 3, 32, 32)
        content = pickle.dumps({"data": images.reshape(3, -1), key: labels})
        sums.append([file, mini.raw(f"{kind.base_folder}/{file}", content)])
    checksum = mini.raw(f"{kind.base_folder}/{kind.meta['filename']}", pickle.dumps({kind.meta["key"]: names}))
    mini.patch.setattr(kind, "meta", {**kind.meta, "md5": checksum})
    mini.patch.setattr(kind, "train_list", [one for one in sums if not one[0].startswith("test")])
    mini.patch.setattr(kind, "test_list", [one for one in sums if one[0].startswith("test")])


def cifar10(mini: Miniature) -> None:
    names = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    cifar(mini, tv.CIFAR10, "labels", names, ("data_batch_1", "data_batch_2", "test_batch"))


def cifar100(mini: Miniature) -> None:
    names = [f"aquarium_fish_{index}" for index in range(100)]
    cifar(mini, tv.CIFAR100, "fine_labels", names, ("train", "test"))


def stl10(mini: Miniature) -> None:
    names = ["airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck"]
    sums = {}
    for part in ("train", "test"):
        images = mini.pixels(["cat", "truck"], part == "test", 3, 96, 96)
        sums[f"{part}_X.bin"] = mini.raw(f"stl10_binary/{part}_X.bin", images.tobytes())
        sums[f"{part}_y.bin"] = mini.raw(f"stl10_binary/{part}_y.bin", bytes([4, 10]))
    sums["unlabeled_X.bin"] = mini.raw("stl10_binary/unlabeled_X.bin", b"")
    mini.text("stl10_binary/class_names.txt", *names)
    for name in ("train_list", "test_list"):
        known = getattr(tv.STL10, name)
        mini.patch.setattr(tv.STL10, name, [[file, sums[file]] for file, _ in known])


def gtsrb(mini: Miniature) -> None:
    for number in (0, 14, 42):
        mini.image(f"gtsrb/GTSRB/Training/{number:05d}/0_0.ppm", TRAFFIC_SIGNS[number], False)
    lines = ["Filename;Width;Height;Roi.X1;Roi.Y1;Roi.X2;Roi.Y2;ClassId"]
    for number in (14, 0):
        mini.image(f"gtsrb/GTSRB/Final_Test/Images/{number:05d}.ppm", TRAFFIC_SIGNS[number], True)
        lines.append(f"{number:05d}.ppm;9;7;0;0;9;7;{number}")
    mini.text("gtsrb/GT-final_test.csv", *lines)


def food101(mini: Miniature) -> None:
    for part, first in (("train", 1), ("test", 7)):
        lists: dict[str, list[str]] = {"apple_pie": [], "baby_back_ribs": []}
        for label, paths in lists.items():
            for number in (first, first + 1):
                paths.append(f"{label}/{number}")
                mini.image(f"food-101/images/{label}/{number}.jpg", label.replace("_", " "), part == "test")
        mini.text(f"food-101/meta/{part}.json", json.dumps(lists))


def flowers102(mini: Miniature) -> None:
    names = tv.Flowers102.classes
    labels, parts = [1, 102, 1, 50], [False, False, True, True]
    for index, (label, is_test) in enumerate(zip(labels, parts, strict=True), start=1):
        mini.image(f"flowers-102/jpg/image_{index:05d}.jpg", names[label - 1].replace("_", " "), is_test)
    folder = mini.root / "flowers-102"
    scipy.io.savemat(folder / "imagelabels.mat", {"labels": np.array([labels])})
    scipy.io.savemat(folder / "setid.mat", {"trnid": [[1, 1]], "valid": [[2, 2]], "tstid": [[3, 4]]})
    mini.written += [mini.written[0], mini.written[1]]  # a list of one number would not be a list any more
    sums = {key: hashlib.md5((folder / name).read_bytes()).hexdigest() for key, name in FLOWER_LISTS.items()}
    known = tv.Flowers102._file_dict if hasattr(tv.Flowers102, "_file_dict") else {}
    mini.patch.setattr(
        tv.Flowers102, "_file_dict", {**known, **{key: (FLOWER_LISTS[key], value) for key, value in sums.items()}}
    )


FLOWER_LISTS = {"label": "imagelabels.mat", "setid": "setid.mat"}


def dtd(mini: Miniature) -> None:
    for part in ("train", "val", "test"):
        paths = [f"{label}/{label}_{part}.jpg" for label in ("banded", "zigzagged")]
        for path in paths:
            mini.image(f"dtd/dtd/images/{path}", path.split("/")[0], part == "test")
        mini.text(f"dtd/dtd/labels/{part}1.txt", *paths)


def eurosat(mini: Miniature) -> None:
    folders = ["AnnualCrop", "Forest", "HerbaceousVegetation", "Highway", "Industrial", "Pasture", "PermanentCrop",
               "Residential", "River", "SeaLake"]  # fmt: skip
    for folder, label in zip(folders, LAND_USES, strict=True):
        for number in range(3):
            mini.image(f"eurosat/2750/{folder}/{folder}_{number}.jpg", label, None)


def stanford_cars(mini: Miniature) -> None:
    names = ["AM General Hummer SUV 2000", "Acura RL Sedan 2012"]
    kind = np.dtype([("fname", object), ("class", object)])
    for part in ("train", "test"):
        rows = []
        for number, label in enumerate((2, 1)):
            mini.image(f"stanford_cars/cars_{part}/{number}.jpg", names[label - 1], part == "test")
            rows.append((f"{number}.jpg", label))
        name = "devkit/cars_train_annos.mat" if part == "train" else "cars_test_annos_withlabels.mat"
        (mini.root / "stanford_cars/devkit").mkdir(exist_ok=True)
        scipy.io.savemat(mini.root / "stanford_cars" / name, {"annotations": np.array(rows, dtype=kind)})
    cells = np.array(names, dtype=object)
    scipy.io.savemat(mini.root / "stanford_cars/devkit/cars_meta.mat", {"class_names": cells})


def fgvc_aircraft(mini: Miniature) -> None:
    folder = "fgvc-aircraft-2013b/data"
    for part, first in (("trainval", 1), ("test", 5)):
        lines = []
        for number, label in enumerate(("707-320", "F/A-18"), start=first):
            mini.image(f"{folder}/images/{number:07d}.jpg", label, part == "test")
            lines.append(f"{number:07d} {label}")
        mini.text(f"{folder}/images_variant_{part}.txt", *lines)
    mini.text(f"{folder}/variants.txt", "707-320", "F/A-18")


def oxford_pets(mini: Miniature) -> None:
    for part, number in (("trainval", 1), ("test", 2)):
        lines = ["#Image CLASS-ID SPECIES BREED ID"] if part == "trainval" else []
        for class_id, label in enumerate(("Abyssinian", "american_bulldog"), start=1):
            mini.image(f"oxford-iiit-pet/images/{label}_{number}.jpg", label.replace("_", " "), part == "test")
            lines.append(f"{label}_{number} {class_id} 1 1")
        mini.text(f"oxford-iiit-pet/annotations/{part}.txt", *lines)


def caltech101(mini: Miniature) -> None:
    for label in ("Faces_easy", "accordion", "BACKGROUND_Google"):
        for number in range(4):
            mini.image(f"caltech101/101_ObjectCategories/{label}/image_{number:04d}.jpg", label.replace("_", " "), None)
    mini.written = [one for one in mini.written if "BACKGROUND" not in one.label]


def sun397(mini: Miniature) -> None:
    labels = ["abbey", "apartment_building/outdoor"]
    for label in labels:
        for number in range(3):
            mini.image(f"SUN397/a/{label}/sun_a{number}.jpg", label.replace("_", " "), None)
    mini.text("SUN397/ClassName.txt", *(f"/a/{label}" for label in labels))


def imagenet(mini: Miniature) -> None:
    for wnid, label in (("n01440764", "tench"), ("n02012849", "crane (n02012849)"), ("n03126707", "crane (n03126707)")):
        mini.image(f"imagenet/train/{wnid}/{wnid}_1.JPEG", label, False)
        mini.image(f"imagenet/val/{wnid}/ILSVRC2012_val_1.JPEG", label, True)


def tiny_imagenet(mini: Miniature) -> None:
    folder = "tiny-imagenet-200"
    lines = []
    for number, (wnid, label) in enumerate((("n01443537", "goldfish"), ("n01629819", "European fire salamander"))):
        mini.image(f"{folder}/train/{wnid}/images/{wnid}_0.JPEG", label, False)
        mini.text(f"{folder}/train/{wnid}/{wnid}_boxes.txt", f"{wnid}_0.JPEG\t0\t0\t62\t63")
        mini.image(f"{folder}/val/images/val_{number}.JPEG", label, True)
        lines.append(f"val_{number}.JPEG\t{wnid}\t0\t32\t44\t62")
    mini.image(f"{folder}/test/images/test_0.JPEG", "unknown", None)
    mini.written.pop()
    mini.text(f"{folder}/val/val_annotations.txt", *lines)
    mini.text(f"{folder}/words.txt", "n01443537\tgoldfish, Carassius auratus", "n01629819\tEuropean fire salamander, x")
    mini.text(f"{folder}/wnids.txt", "n01629819", "n01443537")


SYNSETS = (("n01443537", "goldfish"), ("n01498041", "stingray"))


def imagenet_r(mini: Miniature) -> None:
    for wnid, label in SYNSETS:
        for number in range(5):
            mini.image(f"imagenet-r/{wnid}/art_{number}.jpg", label, number == 3)
    mini.text("imagenet-r/README.txt", "read me")
    share_split(mini, {f"{wnid}/art_3.jpg" for wnid, _ in SYNSETS})


def share_split(mini: Miniature, names: set[str]) -> None:
    """Replace the shared list of test images by that of a miniature."""
    mini.patch.setattr("clsuite.data.readers.imagenet_r.shared_test_names", lambda: frozenset(names))


def imagenet_a(mini: Miniature) -> None:
    for wnid, label in SYNSETS:
        for number in range(5):
            mini.image(f"imagenet-a/{wnid}/art_{number}.jpg", label, None)
    mini.text("imagenet-a/README.txt", "read me")


def pilot_folders(mini: Miniature, home: str) -> None:
    for part, numbers in (("train", range(3)), ("test", range(3, 5))):
        for wnid, label in SYNSETS:
            for number in numbers:
                mini.image(f"{home}/{part}/{wnid}/art_{number}.jpg", label, part == "test")


def folders_of_words(mini: Miniature, home: str) -> None:
    for part in ("train", "test"):
        for label in ("air_freshener", "alarm clock"):
            mini.image(f"{home}/{part}/{label}/1.jpg", label.replace("_", " "), part == "test")


def objectnet(mini: Miniature) -> None:
    folders_of_words(mini, "objectnet")


def omnibenchmark(mini: Miniature) -> None:
    folders_of_words(mini, "omnibenchmark")


def vtab(mini: Miniature) -> None:
    folders_of_words(mini, "vtab-cil/vtab")


def aircraft_100(mini: Miniature) -> None:
    folders_of_words(mini, "aircraft_100")


def cars_100(mini: Miniature) -> None:
    folders_of_words(mini, "cars_100")


def food_100(mini: Miniature) -> None:
    folders_of_words(mini, "food_100")


def sun_300(mini: Miniature) -> None:
    folders_of_words(mini, "sun_300")


def ucf_100(mini: Miniature) -> None:
    folders_of_words(mini, "ucf_100")


def cub200(mini: Miniature) -> None:
    classes = ["001.Black_footed_Albatross", "002.Laysan_Albatross"]
    rows = [(1, classes[0], "1"), (2, classes[0], "0"), (3, classes[1], "1"), (4, classes[1], "0")]
    for key, label, trained in rows:
        name = label.partition(".")[2].replace("_", " ")
        mini.image(f"CUB_200_2011/images/{label}/{key}.jpg", name, trained == "0")
    mini.text("CUB_200_2011/images.txt", *(f"{key} {label}/{key}.jpg" for key, label, _ in rows))
    mini.text("CUB_200_2011/image_class_labels.txt", *(f"{key} {classes.index(label) + 1}" for key, label, _ in rows))
    mini.text("CUB_200_2011/train_test_split.txt", *(f"{key} {trained}" for key, _, trained in rows))
    mini.text("CUB_200_2011/classes.txt", *(f"{number} {label}" for number, label in enumerate(classes, start=1)))


def unsplit_domains(mini: Miniature, folder: str, domains: tuple[str, ...], labels: tuple[str, ...]) -> None:
    for domain in domains:
        for label in labels:
            for number in range(4):
                mini.image(f"{folder}/{domain}/{label}/pic_{number}.jpg", label.replace("_", " "), None, domain)


def pacs(mini: Miniature) -> None:
    unsplit_domains(mini, "PACS/kfold", PACS_DOMAINS, ("dog", "guitar"))
    mini.text("PACS/splits/photo_train_kfold.txt", "photo/dog/pic_0.jpg 1")


def office_home(mini: Miniature) -> None:
    unsplit_domains(mini, "OfficeHomeDataset_10072016", OFFICE_HOME_DOMAINS, ("Alarm_Clock", "Bed"))
    mini.text("OfficeHomeDataset_10072016/imagelist.txt", "x")


def domainnet(mini: Miniature) -> None:
    for domain in DOMAINNET_DOMAINS:
        for part in ("train", "test"):
            lines = []
            for number, label in enumerate(("aircraft_carrier", "zigzag")):
                path = f"{domain}/{label}/{domain}_{part}_{number}.jpg"
                mini.image(f"domainnet/{path}", label.replace("_", " "), part == "test", domain)
                lines.append(f"{path} {number}")
            mini.text(f"domainnet/{domain}_{part}.txt", *lines)


def core50(mini: Miniature) -> None:
    for session in CORE50_SESSIONS:
        for folder, label in (("o1", "plug adapter 1"), ("o12", "scissors 2"), ("o50", "remote control 5")):
            mini.image(f"core50_128x128/{session}/{folder}/C_1.png", label, session in CORE50_TEST, session)


def cddb(mini: Miniature) -> None:
    for domain, subjects in (("biggan", [""]), ("cyclegan", ["apple/", "horse/"])):
        for part in ("train", "val"):
            for subject in subjects:
                for folder, label in (("0_real", "real"), ("1_fake", "fake")):
                    path = f"CDDB/{domain}/{part}/{subject}{folder}/1.png"
                    mini.image(path, label, part == "val", domain)


def cddb_hard(mini: Miniature) -> None:
    for domain in (*CDDB_HARD, "glow"):
        for part in ("train", "val"):
            for folder, label in (("0_real", "real"), ("1_fake", "fake")):
                mini.image(f"CDDB/{domain}/{part}/{folder}/1.png", label, part == "val", domain)
    mini.written = [one for one in mini.written if one.domain != "glow"]


BUILDERS: dict[str, Callable[[Miniature], None]] = {
    function.__name__: function
    for function in (
        mnist, fashion_mnist, kmnist, emnist, svhn, usps, cifar10, cifar100, stl10, gtsrb, food101, flowers102, dtd,
        eurosat, stanford_cars, fgvc_aircraft, oxford_pets, caltech101, sun397, imagenet, tiny_imagenet, imagenet_r,
        imagenet_a, objectnet, omnibenchmark, vtab,
        aircraft_100, cars_100, food_100, sun_300, ucf_100, cub200, pacs, office_home,
        domainnet, core50, cddb, cddb_hard,
    )
}  # fmt: skip
