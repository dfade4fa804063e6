"""Prompt templates for class names, by data set, as published by OpenAI with CLIP (Radford et al. 2021). Torch-free.

What prompts call a class is in `clsuite.data.class_names`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from clsuite.errors import UserError, did_you_mean

DEFAULT = "simple"
Templates = tuple[str, ...] | dict[str, tuple[str, ...]]
"""Templates for all classes, or by data set; data sets that are not listed have the default."""
_ARTICLES = ("a", "the")
_CALTECH = (
    "a photo of {} {{}}.", "a painting of {} {{}}.", "{} plastic {{}}.", "a sculpture of {} {{}}.",
    "a sketch of {} {{}}.", "a tattoo of {} {{}}.",
    "{} toy {{}}.", "a rendition of {} {{}}.", "{} embroidered {{}}.", "{} cartoon {{}}.",
    "{} {{}} in a video game.", "{} plushie {{}}.", "{} origami {{}}.", "art of {} {{}}.", "graffiti of {} {{}}.",
    "a drawing of {} {{}}.", "a doodle of {} {{}}.",
)  # fmt: skip
_CIFAR = (
    "a photo of {} {{}}.", "a blurry photo of {} {{}}.", "a black and white photo of {} {{}}.",
    "a low contrast photo of {} {{}}.", "a high contrast photo of {} {{}}.", "a bad photo of {} {{}}.",
    "a good photo of {} {{}}.", "a photo of {} small {{}}.", "a photo of {} big {{}}.",
)  # fmt: skip
_MEDIA = ("photo", "video", "example", "demonstration")
_DOING = ("", " using", " doing", " during", " performing", " practicing")
_IMAGENET = (
    "a bad photo of a {}.", "a photo of many {}.", "a sculpture of a {}.", "a photo of the hard to see {}.",
    "a low resolution photo of the {}.", "a rendering of a {}.", "graffiti of a {}.", "a bad photo of the {}.",
    "a cropped photo of the {}.", "a tattoo of a {}.", "the embroidered {}.", "a photo of a hard to see {}.",
    "a bright photo of a {}.", "a photo of a clean {}.", "a photo of a dirty {}.", "a dark photo of the {}.",
    "a drawing of a {}.", "a photo of my {}.", "the plastic {}.", "a photo of the cool {}.",
    "a close-up photo of a {}.", "a black and white photo of the {}.", "a painting of the {}.", "a painting of a {}.",
    "a pixelated photo of the {}.", "a sculpture of the {}.", "a bright photo of the {}.", "a cropped photo of a {}.",
    "a plastic {}.", "a photo of the dirty {}.", "a jpeg corrupted photo of a {}.", "a blurry photo of the {}.",
    "a photo of the {}.", "a good photo of the {}.", "a rendering of the {}.", "a {} in a video game.",
    "a photo of one {}.", "a doodle of a {}.", "a close-up photo of the {}.", "a photo of a {}.", "the origami {}.",
    "the {} in a video game.", "a sketch of a {}.", "a doodle of the {}.", "a origami {}.",
    "a low resolution photo of a {}.", "the toy {}.", "a rendition of the {}.", "a photo of the clean {}.",
    "a photo of a large {}.", "a rendition of a {}.", "a photo of a nice {}.", "a photo of a weird {}.",
    "a blurry photo of a {}.", "a cartoon {}.", "art of a {}.", "a sketch of the {}.", "a embroidered {}.",
    "a pixelated photo of a {}.", "itap of the {}.", "a jpeg corrupted photo of the {}.", "a good photo of a {}.",
    "a plushie {}.", "a photo of the nice {}.", "a photo of the small {}.", "a photo of the weird {}.",
    "the cartoon {}.", "art of the {}.", "a drawing of the {}.", "a photo of the large {}.",
    "a black and white photo of a {}.", "the plushie {}.", "a dark photo of a {}.", "itap of a {}.",
    "graffiti of the {}.", "a toy {}.", "itap of my {}.", "a photo of a cool {}.", "a photo of a small {}.",
    "a tattoo of the {}.",
)  # fmt: skip


def _with_articles(templates: Sequence[str]) -> tuple[str, ...]:
    return tuple(template.format(article) for article in _ARTICLES for template in templates)


TEMPLATES: dict[str, tuple[str, ...]] = {
    "simple": ("a photo of a {}.",),
    "imagenet7": (
        "itap of a {}.", "a bad photo of the {}.", "a origami {}.", "a photo of the large {}.", "a {} in a video game.",
        "art of the {}.", "a photo of the small {}.",
    ),
    "imagenet": _IMAGENET,
    "cifar": _with_articles(_CIFAR),
    "caltech101": _with_articles(_CALTECH),
    "dtd": (
        "a photo of a {} texture.", "a photo of a {} pattern.", "a photo of a {} thing.", "a photo of a {} object.",
        "a photo of the {} texture.", "a photo of the {} pattern.", "a photo of the {} thing.",
        "a photo of the {} object.",
    ),
    "eurosat": ("a centered satellite photo of {}.", "a centered satellite photo of a {}.",
                "a centered satellite photo of the {}."),
    "fgvc_aircraft": ("a photo of a {}, a type of aircraft.", "a photo of the {}, a type of aircraft."),
    "flowers102": ("a photo of a {}, a type of flower.",),
    "food101": ("a photo of {}, a type of food.",),
    "oxford_pets": ("a photo of a {}, a type of pet.",),
    "mnist": ('a photo of the number: "{}".',),
    "svhn": ('a photo of the number: "{}".',),
    "gtsrb": (
        'a zoomed in photo of a "{}" traffic sign.', 'a centered photo of a "{}" traffic sign.',
        'a close up photo of a "{}" traffic sign.',
    ),
    "stanford_cars": (
        "a photo of a {}.", "a photo of the {}.", "a photo of my {}.", "i love my {}!", "a photo of my dirty {}.",
        "a photo of my clean {}.", "a photo of my new {}.", "a photo of my old {}.",
    ),
    "sun397": ("a photo of a {}.", "a photo of the {}."),
    "stl10": ("a photo of a {}.", "a photo of the {}."),
    "ucf101": tuple(
        f"a {medium} of {article} person{doing} {{}}." for doing in _DOING for article in _ARTICLES for medium in _MEDIA
    ),
    "cub200": ("a photo of a {}, a type of bird.",),
    "continual_clip_cifar": ("a bad photo of a {}.",),
    "continual_clip_imagenet": ("a good photo of a {}.",),
    "mtil_food101": ("a photo of a {}, a type of food.",),
}  # fmt: skip
"""OpenAI's sets by data set (prompts.md of CLIP's repository); ``cub200`` is C3Box's, ``continual_clip_*`` are those of
Continual-CLIP's configurations, and ``mtil_*`` those of ZSCL's code."""
TEMPLATES["mtil_stanford_cars"] = ("a photo of a {}, a type of car.", *TEMPLATES["stanford_cars"])
_SAME = ("caltech101", "dtd", "eurosat", "fgvc_aircraft", "flowers102", "food101", "oxford_pets", "mnist", "svhn",
         "gtsrb", "stanford_cars", "sun397", "stl10", "imagenet", "ucf101", "cub200")  # fmt: skip
_PER_DATASET = {name: name for name in _SAME} | {
    "cifar10": "cifar", "cifar100": "cifar", "tiny_imagenet": "imagenet", "imagenet_a": "imagenet7",
    "imagenet_r": "imagenet7", "objectnet": "imagenet7", "cars_100": "stanford_cars", "aircraft_100": "fgvc_aircraft",
    "food_100": "food101", "ucf_100": "ucf101", "sun_300": "sun397",
}  # fmt: skip
_MTIL = {**_PER_DATASET, "food101": "mtil_food101", "stanford_cars": "mtil_stanford_cars"}
BY_DATASET: dict[str, dict[str, tuple[str, ...]]] = {
    name: {dataset: TEMPLATES[given] for dataset, given in sets.items()}
    for name, sets in (("per_dataset", _PER_DATASET), ("mtil", _MTIL))
}
"""Each data set's own templates: ``per_dataset`` as OpenAI and C3Box have them, ``mtil`` as ZSCL's code has them."""


class TemplateError(UserError, ValueError):
    """Invalid templates; because it is a `ValueError` too, pydantic reports it with its line in a YAML file."""


def resolve_templates(given: str | Iterable[str] | Mapping[str, str | Iterable[str]]) -> Templates:
    """The templates for a benchmark: ``per_dataset``, ``mtil``, one set for all classes, or a set for each data set.

    Raises:
        TemplateError: As `resolve_set`, or if a data set has no templates.
    """
    if isinstance(given, Mapping):
        for name, templates in given.items():
            if not isinstance(templates, str | list | tuple) or not templates:
                raise TemplateError(f"the templates of '{name}' must be a set or a list of texts: {templates!r}")
        return {str(name): resolve_set(templates) for name, templates in given.items()}
    return dict(BY_DATASET[given]) if isinstance(given, str) and given in BY_DATASET else resolve_set(given)


def resolve_set(given: str | Iterable[str]) -> tuple[str, ...]:
    """The templates of one set: a named one, or a user's own.

    Raises:
        TemplateError: If the set is unknown, or a template does not have exactly one ``{}`` for the class name.
    """
    if isinstance(given, str) and "{}" not in given:
        if given not in TEMPLATES:
            raise TemplateError(str(did_you_mean("template set", given, {*TEMPLATES, *BY_DATASET})))
        return TEMPLATES[given]
    templates = (given,) if isinstance(given, str) else tuple(given)
    for template in templates:
        if not isinstance(template, str) or template.count("{}") != 1:
            raise TemplateError(f"the template {template!r} must be text with one {{}} where the class name goes")
    return templates


def fill(templates: Sequence[str], class_name: str) -> list[str]:
    """Insert a class name into templates."""
    words = readable(class_name)
    return [template.replace("{}", words) for template in templates]


def readable(class_name: str) -> str:
    """A class name in usual spelling: underscores and repeated spaces become single spaces."""
    return " ".join(class_name.replace("_", " ").split())
