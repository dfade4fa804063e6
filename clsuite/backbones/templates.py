"""Prompt templates for class names, by data set, as published by OpenAI with CLIP (Radford et al. 2021). Torch-free.

The templates are OpenAI's; the class names are the data set's own. OpenAI's results on ImageNet are with a curated list
of names (``IMAGENET_CLASSNAMES`` in OpenCLIP), of which three in ten differ from WordNet's.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from clsuite.errors import UserError, did_you_mean

DEFAULT = "simple"
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
}  # fmt: skip


class TemplateError(UserError, ValueError):
    """Invalid templates; because it is a `ValueError` too, pydantic reports it with its line in a YAML file."""


def resolve_templates(given: str | Iterable[str]) -> tuple[str, ...]:
    """The templates for a benchmark: a named set, or a user's own.

    Raises:
        TemplateError: If the set is unknown, or a template does not have exactly one ``{}`` for the class name.
    """
    if isinstance(given, str) and "{}" not in given:
        if given not in TEMPLATES:
            raise TemplateError(str(did_you_mean("template set", given, TEMPLATES)))
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
