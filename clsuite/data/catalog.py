"""The registry of data sets: which there are, where they come from, and how they are read."""

from __future__ import annotations

from functools import partial

from clsuite.data.dataset import OUR_SPLIT, Dataset, Division, Folders, Statistics
from clsuite.data.readers import archives
from clsuite.data.readers.imagenet_r import read_imagenet_r
from clsuite.data.readers.tree import by_folders, by_synsets
from clsuite.data.readers.vision import Vision, VisionFiles, VisionPixels
from clsuite.data.subsets import SUBSETS

TEN = tuple(str(digit) for digit in range(10))
TRAIN, TEST = {"train": True}, {"train": False}
SPLIT_TRAIN, SPLIT_VAL, SPLIT_TEST = {"split": "train"}, {"split": "val"}, {"split": "test"}
IDX = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
IMAGENET_TERMS = "non-commercial research (ImageNet's terms)"
TRAFFIC_SIGNS = (
    "20 km/h speed limit", "30 km/h speed limit", "50 km/h speed limit", "60 km/h speed limit", "70 km/h speed limit",
    "80 km/h speed limit", "end of 80 km/h speed limit", "100 km/h speed limit", "120 km/h speed limit", "no passing",
    "no passing for lorries", "right of way at the next crossing", "priority road", "give way", "stop", "no vehicles",
    "no lorries", "no entry", "general caution", "dangerous curve to the left", "dangerous curve to the right",
    "double curve", "bumpy road", "slippery road", "road narrows on the right", "road works", "traffic signals",
    "pedestrians", "children crossing", "bicycles crossing", "beware of ice or snow", "wild animals crossing",
    "end of all limits", "turn right ahead", "turn left ahead", "ahead only", "go straight or right",
    "go straight or left", "keep right", "keep left", "roundabout", "end of no passing",
    "end of no passing for lorries",
)  # fmt: skip
LAND_USES = ("annual crop", "forest", "herbaceous vegetation", "highway", "industrial", "pasture", "permanent crop",
             "residential", "river", "sea or lake")  # fmt: skip


def _idx_set(kind: str, classes: tuple[str, ...] = ()) -> VisionPixels:
    return VisionPixels(kind, TRAIN, TEST, classes, headers=tuple(f"{kind}/raw/{name}" for name in IDX))


_MNIST, _FASHION, _KMNIST = _idx_set("MNIST", TEN), _idx_set("FashionMNIST"), _idx_set("KMNIST")
_EMNIST = VisionPixels(
    "EMNIST", {"split": "balanced", **TRAIN}, {"split": "balanced", **TEST}, axes=(0, 2, 1),
    headers=tuple(f"EMNIST/raw/emnist-balanced-{part}-{kind}-ubyte" for part in ("train", "test")
                  for kind in ("images-idx3", "labels-idx1")),
)  # fmt: skip
_SVHN = VisionPixels("SVHN", SPLIT_TRAIN, SPLIT_TEST, TEN, labels="labels", axes=(0, 2, 3, 1))
_USPS = VisionPixels("USPS", TRAIN, TEST, TEN)
_CIFAR10, _CIFAR100 = VisionPixels("CIFAR10", TRAIN, TEST), VisionPixels("CIFAR100", TRAIN, TEST)
_STL10 = VisionPixels("STL10", SPLIT_TRAIN, SPLIT_TEST, labels="labels", axes=(0, 2, 3, 1))
_FOOD101 = VisionFiles("Food101", SPLIT_TRAIN, SPLIT_TEST)
_FLOWERS102 = VisionFiles("Flowers102", SPLIT_TRAIN, SPLIT_TEST, more_train=SPLIT_VAL)
_DTD = VisionFiles("DTD", SPLIT_TRAIN, SPLIT_TEST, more_train=SPLIT_VAL)
_EUROSAT = VisionFiles("EuroSAT", {}, None, LAND_USES)
_SUN397 = VisionFiles("SUN397", {}, None)
_ZSCL = {  # seed 42 in split_dataset of mtil/src/datasets/collections.py
    "flowers102": Division(VisionFiles("Flowers102", SPLIT_TRAIN, SPLIT_TEST), 1020),
    "dtd": Division(VisionFiles("DTD", SPLIT_TRAIN, SPLIT_TEST), 1880),
    "fgvc_aircraft": Division(VisionFiles("FGVCAircraft", SPLIT_TRAIN, SPLIT_TEST), 3334),
    "eurosat": Division(VisionFiles("EuroSAT", {}, None, LAND_USES, seed=42), 21600),
    "sun397": Division(VisionFiles("SUN397", {}, None, seed=42), 87003),
    "caltech101": Division(partial(archives.read_caltech101, seed=42), 6941),
}
_CARS = VisionFiles("StanfordCars", SPLIT_TRAIN, SPLIT_TEST)
_AIRCRAFT = VisionFiles("FGVCAircraft", {"split": "trainval"}, SPLIT_TEST)

DATASETS: dict[str, Dataset] = {
    "digits": Dataset(
        "scikit-learn's handwritten digits, offline", 10, "8 x 8 gray", "CC BY 4.0 (UCI)",
        url="https://archive.ics.uci.edu/dataset/80", total=1797, split="70/30 of each class, ours", tree=False,
        fingerprint="bf772a907fd64665e4d5b5c655b5b625",
    ),
    "mnist": Dataset(
        "handwritten digits", 10, "28 x 28 gray", "CC BY-SA 3.0", url="https://yann.lecun.com/exdb/mnist",
        place="MNIST/raw/ with the four unpacked idx files", homes=(".", "mnist"), parts=("MNIST/raw",),
        read=_MNIST, source=_MNIST, train=60000, test=10000, statistics=Statistics((0.1307,), (0.3081,)),
    ),
    "fashion_mnist": Dataset(
        "articles of clothing", 10, "28 x 28 gray", "MIT",
        url="https://github.com/zalandoresearch/fashion-mnist",
        place="FashionMNIST/raw/ with the four unpacked idx files", homes=(".", "fashion_mnist"),
        parts=("FashionMNIST/raw",), read=_FASHION, source=_FASHION, train=60000, test=10000,
        statistics=Statistics((0.2860,), (0.3530,)),
    ),
    "kmnist": Dataset(
        "cursive Japanese characters (Kuzushiji)", 10, "28 x 28 gray", "CC BY-SA 4.0",
        url="https://github.com/rois-codh/kmnist", place="KMNIST/raw/ with the four unpacked idx files",
        homes=(".", "kmnist"), parts=("KMNIST/raw",), read=_KMNIST, source=_KMNIST, train=60000, test=10000,
        statistics=Statistics((0.1918,), (0.3483,)),
    ),
    "emnist": Dataset(
        "handwritten digits and letters ('balanced', turned upright)", 47, "28 x 28 gray", "none stated (NIST SD 19)",
        url="https://www.nist.gov/itl/products-and-services/emnist-dataset",
        place="EMNIST/raw/ with the unpacked emnist-balanced-*-ubyte files", homes=(".", "emnist"),
        parts=("EMNIST/raw",), read=_EMNIST, source=_EMNIST, train=112800, test=18800,
    ),
    "svhn": Dataset(
        "house numbers in street views", 10, "32 x 32", "non-commercial use",
        url="http://ufldl.stanford.edu/housenumbers", place="train_32x32.mat and test_32x32.mat",
        homes=(".", "svhn"), parts=("train_32x32.mat", "test_32x32.mat"), read=_SVHN, source=_SVHN,
        train=73257, test=26032, statistics=Statistics((0.4377, 0.4438, 0.4728), (0.1980, 0.2010, 0.1970)),
    ),
    "usps": Dataset(
        "handwritten digits of ZIP codes", 10, "16 x 16 gray", "none stated",
        url="https://www.csie.ntu.edu.tw/~cjlin/libsvmtools/datasets/multiclass.html#usps",
        place="usps.bz2 and usps.t.bz2", homes=(".", "usps"), parts=("usps.bz2", "usps.t.bz2"),
        read=_USPS, source=_USPS, train=7291, test=2007,
    ),
    "cifar10": Dataset(
        "small photographs of things and animals", 10, "32 x 32", "none stated",
        url="https://www.cs.toronto.edu/~kriz/cifar.html",
        place="cifar-10-batches-py/ (unpacked cifar-10-python.tar.gz)", homes=(".", "cifar10"),
        parts=("cifar-10-batches-py",), read=_CIFAR10, source=_CIFAR10, train=50000, test=10000,
        statistics=Statistics((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    ),
    "cifar100": Dataset(
        "small photographs in fine classes", 100, "32 x 32", "none stated",
        url="https://www.cs.toronto.edu/~kriz/cifar.html",
        place="cifar-100-python/ (unpacked cifar-100-python.tar.gz)", homes=(".", "cifar100"),
        parts=("cifar-100-python",), read=_CIFAR100, source=_CIFAR100, train=50000, test=10000,
        statistics=Statistics((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
    ),
    "gtsrb": Dataset(
        "German traffic signs", 43, "15 x 15 to 250 x 250", "free, with citation",
        url="https://benchmark.ini.rub.de/gtsrb_dataset.html",
        place="gtsrb/GTSRB/Training/, gtsrb/GTSRB/Final_Test/Images/ and gtsrb/GT-final_test.csv",
        homes=(".", "gtsrb"), parts=("gtsrb/GTSRB/Training", "gtsrb/GTSRB/Final_Test/Images",
        "gtsrb/GT-final_test.csv"), read=partial(archives.read_gtsrb, names=TRAFFIC_SIGNS),
        source=Vision("GTSRB", SPLIT_TRAIN, SPLIT_TEST), train=26640, test=12630,
    ),
    "food101": Dataset(
        "dishes", 101, "up to 512 x 512", "none stated (pictures from the web)",
        url="https://data.vision.ee.ethz.ch/cvl/datasets_extra/food-101",
        place="food-101/ (unpacked food-101.tar.gz)", homes=(".", "food101"), parts=("food-101",),
        read=_FOOD101, source=_FOOD101, train=75750, test=25250,
    ),
    "flowers102": Dataset(
        "flowers", 102, "shorter side 500", "none stated (pictures from the web)",
        url="https://www.robots.ox.ac.uk/~vgg/data/flowers/102",
        place="flowers-102/ with jpg/, imagelabels.mat and setid.mat", homes=(".", "flowers102"),
        parts=("flowers-102/jpg", "flowers-102/imagelabels.mat", "flowers-102/setid.mat"),
        read=_FLOWERS102, source=_FLOWERS102, train=2040, test=6149, split="official, validation with training",
        zscl=_ZSCL["flowers102"],
    ),
    "dtd": Dataset(
        "textures described by words", 47, "300 to 640", "research",
        url="https://www.robots.ox.ac.uk/~vgg/data/dtd", place="dtd/dtd/ (dtd-r1.0.1.tar.gz unpacked in dtd/)",
        homes=(".", "dtd"), parts=("dtd/dtd/labels", "dtd/dtd/images"), read=_DTD, source=_DTD, train=3760, test=1880,
        split="official (first of ten), validation with training", zscl=_ZSCL["dtd"],
    ),
    "eurosat": Dataset(
        "land use from satellites (RGB)", 10, "64 x 64", "MIT", url="https://github.com/phelber/EuroSAT",
        place="eurosat/2750/ (EuroSAT.zip unpacked in eurosat/)", homes=(".", "eurosat"), parts=("eurosat/2750",),
        read=_EUROSAT, source=_EUROSAT, total=27000, split=OUR_SPLIT, zscl=_ZSCL["eurosat"],
    ),
    "stanford_cars": Dataset(
        "cars by make, model and year", 196, "varies", "non-commercial research",
        url="https://github.com/pytorch/vision/issues/7545",
        place="stanford_cars/ with devkit/, cars_train/, cars_test/ and cars_test_annos_withlabels.mat",
        homes=(".", "stanford_cars"), parts=("stanford_cars/devkit", "stanford_cars/cars_train",
        "stanford_cars/cars_test", "stanford_cars/cars_test_annos_withlabels.mat"), read=_CARS,
        train=8144, test=8041,
    ),
    "fgvc_aircraft": Dataset(
        "aircraft by variant", 100, "about 1,200 x 800", "non-commercial research",
        url="https://www.robots.ox.ac.uk/~vgg/data/fgvc-aircraft",
        place="fgvc-aircraft-2013b/ (unpacked fgvc-aircraft-2013b.tar.gz)", homes=(".", "fgvc_aircraft"),
        parts=("fgvc-aircraft-2013b/data",), read=_AIRCRAFT, source=_AIRCRAFT, train=6667, test=3333,
        split="official, validation with training", zscl=_ZSCL["fgvc_aircraft"],
    ),
    "oxford_pets": Dataset(
        "breeds of cats and dogs", 37, "varies", "CC BY-SA 4.0", url="https://www.robots.ox.ac.uk/~vgg/data/pets",
        place="oxford-iiit-pet/ with images/ and annotations/", homes=(".", "oxford_pets"),
        parts=("oxford-iiit-pet/images", "oxford-iiit-pet/annotations"), read=archives.read_pets,
        source=Vision("OxfordIIITPet", {"split": "trainval"}, SPLIT_TEST), train=3680, test=3669,
    ),
    "caltech101": Dataset(
        "objects, without the background class", 101, "about 300 x 200", "CC BY 4.0",
        url="https://data.caltech.edu/records/mzrjq-6wc02",
        place="caltech101/101_ObjectCategories/ (unpacked 101_ObjectCategories.tar.gz)",
        homes=(".", "caltech101"), parts=("caltech101/101_ObjectCategories",), read=archives.read_caltech101,
        source=Vision("Caltech101", {}, None), total=8677, split=OUR_SPLIT, zscl=_ZSCL["caltech101"],
    ),
    "sun397": Dataset(
        "scenes", 397, "at least 120 x 120", "research", url="https://vision.princeton.edu/projects/2010/SUN",
        place="SUN397/ (unpacked SUN397.tar.gz)", homes=(".", "sun397"), parts=("SUN397",), read=_SUN397,
        source=_SUN397, total=108754, split=OUR_SPLIT, zscl=_ZSCL["sun397"],
    ),
    "stl10": Dataset(
        "photographs of things and animals, the labeled part", 10, "96 x 96", IMAGENET_TERMS,
        url="https://cs.stanford.edu/~acoates/stl10", place="stl10_binary/ (unpacked stl10_binary.tar.gz)",
        homes=(".", "stl10"), parts=("stl10_binary",), read=_STL10, source=_STL10, train=5000, test=8000,
        statistics=Statistics((0.4467, 0.4398, 0.4066), (0.2603, 0.2566, 0.2713)),
    ),
    "imagenet": Dataset(
        "ImageNet-1k; tested on its validation part", 1000, "varies, about 500 x 375", IMAGENET_TERMS,
        url="https://image-net.org/download.php",
        place="imagenet/train/WNID/*.JPEG and imagenet/val/WNID/*.JPEG (torchvision.datasets.ImageNet unpacks the "
        "official archives so)", homes=("imagenet",), train=1281167, test=50000, naming=by_synsets,
    ),
    "tiny_imagenet": Dataset(
        "200 classes of ImageNet, small; tested on its validation part", 200, "64 x 64", IMAGENET_TERMS,
        url="http://cs231n.stanford.edu/tiny-imagenet-200.zip",
        place="tiny-imagenet-200/ (unpacked tiny-imagenet-200.zip)", homes=("tiny-imagenet-200", "tiny_imagenet"),
        parts=("train", "val", "val/val_annotations.txt"), read=archives.read_tiny_imagenet, train=100000, test=10000,
        naming=by_synsets,
    ),
    "imagenet_r": Dataset(
        "renditions (art, cartoons, toys) of 200 classes of ImageNet", 200, "varies", "none stated (pictures from the "
        "web)", url="https://github.com/hendrycks/imagenet-r", place="imagenet-r/ (unpacked imagenet-r.tar)",
        homes=("imagenet-r", "imagenet_r"), read=read_imagenet_r, train=24000, test=6000, naming=by_synsets,
        split="shared by CODA-Prompt, InfLoRA and Mammoth", shared=True, tree=False,
        pilot=Folders("imagenet-r", 24000, 6000),
    ),
    "imagenet_a": Dataset(
        "photographs of 200 classes of ImageNet that ResNet-50 gets wrong", 200, "varies", "none stated (pictures "
        "from the web)", url="https://github.com/hendrycks/natural-adv-examples",
        place="imagenet-a/ (unpacked imagenet-a.tar)", homes=("imagenet-a",), read=archives.read_imagenet_a,
        total=7500, split=OUR_SPLIT, naming=by_synsets, pilot=Folders("imagenet-a", 5981, 1519, certain=False),
    ),
    **SUBSETS,
    "cub200": Dataset(
        "birds (CUB-200-2011)", 200, "about 500 x 400", "non-commercial research",
        url="https://www.vision.caltech.edu/datasets/cub_200_2011",
        place="CUB_200_2011/ (unpacked CUB_200_2011.tgz)", homes=("CUB_200_2011", "cub200/CUB_200_2011", "cub200"),
        parts=("images", "images.txt", "image_class_labels.txt", "train_test_split.txt", "classes.txt"),
        read=archives.read_cub200, train=5994, test=5794, pilot=Folders("cub", 9430, 2358),
    ),
    "pacs": Dataset(
        "photographs, art, cartoons and sketches of 7 things", 7, "227 x 227", "none stated",
        url="https://domaingeneralization.github.io", place="PACS/kfold/DOMAIN/CLASS/ (or pacs/DOMAIN/CLASS/)",
        homes=("pacs", "PACS"), read=archives.read_pacs, total=9991, domains=4, split=OUR_SPLIT,
    ),
    "office_home": Dataset(
        "things of office and home in 4 domains", 65, "varies", "non-commercial research",
        url="https://www.hemanthdv.org/officeHomeDataset.html",
        place="OfficeHomeDataset_10072016/ with Art/, Clipart/, Product/ and 'Real World/'",
        homes=("OfficeHomeDataset_10072016", "office_home"), read=archives.read_office_home, total=15588, domains=4,
        split=OUR_SPLIT,
    ),
    "domainnet": Dataset(
        "things in 6 domains (cleaned version)", 345, "varies", "non-commercial research",
        url="http://ai.bu.edu/M3SDA", place="domainnet/ with the six unpacked DOMAIN.zip and the lists "
        "DOMAIN_train.txt and DOMAIN_test.txt", homes=("domainnet", "DomainNet"),
        parts=tuple(f"{domain}{ending}" for domain in archives.DOMAINNET_DOMAINS
                    for ending in ("", "_train.txt", "_test.txt")),
        read=archives.read_domainnet, train=409832, test=176743, domains=6,
    ),
    "core50": Dataset(
        "50 household objects filmed in 11 sessions (domains; s3, s7, s10 are only tested)", 50, "128 x 128",
        "CC BY 4.0", url="https://vlomonaco.github.io/core50",
        place="core50_128x128/ with s1/ to s11/ (unpacked core50_128x128.zip)",
        homes=("core50_128x128", "core50/core50_128x128", "core50"), parts=archives.CORE50_SESSIONS,
        read=archives.read_core50, train=119894, test=44972, domains=11,
    ),
    "cddb": Dataset(
        "real or generated faces and scenes, one domain per generator", 2, "varies", "research",
        url="https://github.com/Coral79/CDDB", place="CDDB/GENERATOR/train/ and CDDB/GENERATOR/val/ with 0_real/ and "
        "1_fake/ inside", homes=("CDDB", "cddb"), read=archives.read_cddb, domains=12, tree=False,
    ),
    "cddb_hard": Dataset(
        "the five generators of CDDB-Hard, one domain each", 2, "varies", "research",
        url="https://github.com/Coral79/CDDB", place="CDDB/GENERATOR/train/ and CDDB/GENERATOR/val/ with 0_real/ and "
        "1_fake/ inside", homes=("CDDB", "cddb"), read=partial(archives.read_cddb, generators=archives.CDDB_HARD),
        domains=5, tree=False,
    ),
    "image_folder": Dataset(
        "your own: train/CLASS/* + test/CLASS/*, CLASS/*, both also below DOMAIN/, or a list; needs path", None, "any",
        "yours", split="the folders', or 80/20 of each class, ours", naming=by_folders,
    ),
}  # fmt: skip
"""All registered data sets, with published facts; torchvision's folder layouts where torchvision reads them."""
MTIL_ORDERS: dict[str, tuple[str, ...]] = {
    "mtil_i": (
        "fgvc_aircraft", "caltech101", "cifar100", "dtd", "eurosat", "flowers102", "food101", "mnist", "oxford_pets",
        "stanford_cars", "sun397",
    ),
    "mtil_ii": (
        "stanford_cars", "food101", "mnist", "oxford_pets", "flowers102", "sun397", "fgvc_aircraft", "caltech101",
        "dtd", "eurosat", "cifar100",
    ),
}  # fmt: skip
"""Orders I and II of MTIL: Zheng et al., "Preventing zero-shot transfer degradation ..." (ICCV 2023), section 5.1."""

SEQUENCES: dict[str, str] = {
    "sequence": "several data sets, one domain each: {name: sequence, parts: [{name: mnist}, {name: svhn}]}",
    "mtil": "the eleven data sets of MTIL (Zheng, ICCV 2023) as a sequence in order I",
}
HUGGING_FACE: dict[str, str] = {
    "hf:OWNER/NAME": "a data set of Hugging Face's hub, or of its package `datasets` in a folder: hf:PATH",
}
