"""Templates by data set: the published sets, how benchmarks say them, and text features of mixed streams."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional as F

from clsuite.backbones.class_texts import ClassTexts
from clsuite.backbones.clip import ClipBackbone, build_clip
from clsuite.backbones.spec import BackboneSpec, Weights
from clsuite.backbones.templates import BY_DATASET, TEMPLATES, TemplateError, resolve_templates
from clsuite.data.class_names import ClassName
from clsuite.learner.heads import ZeroShotHead

NAMES = [ClassName("banded", "dtd"), ClassName("apple pie", "food101"), ClassName("cat", "my_folder")]


def nano(templates: object = ()) -> ClipBackbone:
    torch.manual_seed(0)
    spec = BackboneSpec.model_validate({"name": "open_clip:clip_nano", "templates": templates})
    return build_clip(spec, Weights("random"))


def test_the_published_sets() -> None:
    own, mtil = BY_DATASET["per_dataset"], BY_DATASET["mtil"]
    numbers = {"caltech101": 34, "cifar100": 18, "dtd": 8, "eurosat": 3, "fgvc_aircraft": 2, "sun397": 2, "mnist": 1}
    assert {name: len(mtil[name]) for name in numbers} == numbers == {name: len(own[name]) for name in numbers}
    assert mtil["food101"] == ("a photo of a {}, a type of food.",)
    assert own["food101"] == ("a photo of {}, a type of food.",)
    assert mtil["stanford_cars"] == ("a photo of a {}, a type of car.", *own["stanford_cars"])
    assert len(own["ucf101"]) == len(set(own["ucf101"])) == 48
    assert "a demonstration of the person practicing {}." in own["ucf101"]
    first = {name: templates[0] for name, templates in mtil.items()}
    assert first["eurosat"] == "a centered satellite photo of {}."
    assert first["caltech101"] == first["cifar100"] == first["sun397"] == "a photo of a {}."
    assert TEMPLATES["continual_clip_cifar"] == ("a bad photo of a {}.",)


def test_a_mapping_says_templates_by_data_set() -> None:
    spec = BackboneSpec.model_validate({"name": "open_clip:clip_nano", "templates": {"dtd": "dtd", "mine": "my {}"}})
    assert spec.prompts == {"dtd": TEMPLATES["dtd"], "mine": ("my {}",)}
    for wrong, message in ((["no place"], "must be text with one"), ("dtdd", "Did you mean 'dtd'")):
        with pytest.raises(ValueError, match=message):
            BackboneSpec.model_validate({"name": "open_clip:clip_nano", "templates": {"mine": wrong}})


def test_features_are_the_normalized_means_of_each_classs_own_prompts() -> None:
    backbone = nano("per_dataset")
    texts = ClassTexts(backbone, NAMES)
    with torch.no_grad():
        found = texts.features(3)
        for row, name in enumerate(NAMES):
            templates = TEMPLATES.get(name.dataset, TEMPLATES["simple"])
            tokens = backbone.tokenize([template.replace("{}", name.text) for template in templates])
            expected = F.normalize(backbone.encode_tokens(tokens).mean(dim=0), dim=0)
            torch.testing.assert_close(found[row], expected, rtol=1e-4, atol=1e-6)
    assert [len(backbone.templates_of(name.dataset)) for name in NAMES] == [8, 1, 1]


def test_a_head_may_learn_with_the_first_template_alone() -> None:
    backbone = nano("per_dataset")
    head = ZeroShotHead(backbone, learns_with_first=True)
    head.begin(NAMES)
    head.grow(3, torch.Generator())
    images = torch.randn(2, backbone.width)
    with torch.no_grad():
        tested, trained = head.eval()(images), head.train()(images)
        first = ClassTexts(backbone, [name.text for name in NAMES], ("a photo of a {} texture.",)).features(1)
    torch.testing.assert_close(trained[:, :1], backbone.logits(images, first), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(trained[:, 1:], tested[:, 1:], rtol=1e-4, atol=1e-5)  # of one template each
    assert not torch.allclose(trained[:, 0], tested[:, 0])


@pytest.mark.parametrize("templates", [3, None, [], {"a": "b"}])
def test_what_is_no_set_is_told_with_its_data_set(templates: Any) -> None:
    with pytest.raises(TemplateError, match="the templates of 'mnist' must be a set or a list of texts"):
        resolve_templates({"mnist": templates})
