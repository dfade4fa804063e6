"""CLIP: image and text tower in one backbone, built by OpenCLIP, with strictly loaded weights."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from clsuite.backbones.clip_spec import EXAMPLE, ClipName, own_configs, parse_clip
from clsuite.backbones.finite import check_finite
from clsuite.backbones.hub import hub_access
from clsuite.backbones.spec import BackboneSpec, Weights
from clsuite.backbones.templates import DEFAULT, TEMPLATES
from clsuite.backbones.vit import Backbone
from clsuite.backbones.weight_file import read_network, what_differs
from clsuite.data.transforms import Normalize
from clsuite.errors import UserError, did_you_mean
from clsuite.private_api import FORWARD_HOOKS, hooks_of

Towers = Literal["image", "text", "both"]
Tokenizer = Callable[[list[str]], Tensor]
LARGEST_SCALE = 100.0
BIG_VISION = (".npz", ".npy")
"""File extensions of big_vision's weights, which OpenCLIP reads itself."""


class ClipBackbone(Backbone):
    """A CLIP model, which maps images and texts to features in one space.

    Attributes:
        clip: OpenCLIP's model.
        model: The network of the image tower; its parameters are registered only once.
        templates: Prompt templates for class names of data sets without templates of their own.
        own_templates: Prompt templates by data set.
        width: Width of the features of both towers.
        normalize: Turns stored images into the input of the image tower.
        token_hooks: Functions that tokens pass on their way to the text tower, in order.
        text_modules: Modules that were attached to the text tower by `attach_to_text`.
    """

    def __init__(
        self,
        clip: nn.Module,
        tokenizer: Tokenizer,
        templates: Sequence[str] | Mapping[str, Sequence[str]],
        width: int,
        mean: Sequence[float],
        std: Sequence[float],
    ) -> None:
        """Wrap an OpenCLIP model."""
        nn.Module.__init__(self)
        self.clip: Any = clip
        by_dataset = templates if isinstance(templates, Mapping) else {}
        self.templates = TEMPLATES[DEFAULT] if by_dataset else tuple(templates)
        self.own_templates = {name: tuple(given) for name, given in by_dataset.items()}
        self.width = width
        self.normalize = Normalize(mean, std)
        self._tokenizer = tokenizer
        self.token_hooks: list[Callable[[Tensor], Tensor]] = []
        self.text_modules: tuple[Any, ...] = ()
        self._known_changes: tuple[Any, ...] = ()

    def forward(self, images: Tensor) -> Tensor:
        """Map normalized images ``[B, 3, H, W]`` to image features ``[B, width]``, not normalized."""
        features: Tensor = self.clip.encode_image(images)
        return features

    def templates_of(self, dataset: str) -> tuple[str, ...]:
        """The templates of the classes of a data set."""
        return self.own_templates.get(dataset) or self.templates

    def tokenize(self, texts: Sequence[str]) -> Tensor:
        """Tokens of some texts, int64 ``[N, context length]``, on the model's device."""
        return self._tokenizer(list(texts)).to(self.logit_scale.device)

    def encode_tokens(self, tokens: Tensor) -> Tensor:
        """Map tokens ``[N, context length]`` to normalized text features ``[N, width]``."""
        for change in self.token_hooks:
            tokens = change(tokens)
        features: Tensor = self.clip.encode_text(tokens, normalize=True)
        return features

    @property
    def model(self) -> Any:
        """The network of the image tower: timm's if OpenCLIP uses one, otherwise OpenCLIP's own."""
        tower: nn.Module = self.clip.visual
        trunk: nn.Module = getattr(tower, "trunk", tower)
        return trunk

    @property
    def text_model(self) -> nn.Module:
        """The network of the text tower."""
        tower: nn.Module = self.clip.text if hasattr(self.clip, "text") else self.clip.transformer
        return tower

    def attach_to_text(self, module: Any, to: nn.Module | None = None) -> None:
        """Attach a parameter-efficient module to the text tower, whose features can be kept while it does not change.

        Args:
            module: A module of `clsuite.peft`; its parameters and its `switches` say what it does.
            to: What it is attached to; by default the network of the text tower.
        """
        before = {id(change) for change in self._text_changes()}
        module.attach(self.text_model if to is None else to)
        module.on_text = True
        self.text_modules = (*self.text_modules, module)
        new = [change for change in self._text_changes() if id(change) not in before]
        self._known_changes = (*self._known_changes, *new)

    def text_is_altered(self) -> bool:
        """Whether more than `text_modules` acts on what texts pass, so that nothing here knows what features depend on.

        That is everything beside the image tower: the token embedding, the transformer and the last normalization of
        OpenCLIP's own models, and the whole text tower of others.
        """
        known = {id(change) for change in self._known_changes}
        return any(id(change) not in known for change in self._text_changes())

    def _text_changes(self) -> list[Any]:
        """Hooks and replaced forward passes of all that texts pass, and functions that change their tokens."""
        parts = [part for name, part in self.clip.named_modules() if name and not _is_visual(name)]
        beside = [value for part in parts for value in vars(part).values() if isinstance(value, nn.Module)]
        parts += [part for one in beside for part in one.modules()]
        hooks = [hook for part in parts for found in hooks_of(part, *FORWARD_HOOKS) for hook in found.values()]
        replaced = [vars(part)["forward"] for part in parts if "forward" in vars(part)]
        encode = [vars(self.clip)["encode_text"]] if "encode_text" in vars(self.clip) else []
        return [*hooks, *replaced, *encode, *self.token_hooks]

    def text_switches(self) -> tuple[object, ...] | None:
        """What decides about the features of texts besides parameters; None if only a single pass can say it."""
        of_modules = [module.switches() for module in self.text_modules]
        return None if None in of_modules else tuple(of_modules)

    @property
    def logit_scale(self) -> Tensor:
        """The factor of cosines; at most 100 (Radford et al. 2021, section 2.5)."""
        scale: Tensor = self.clip.logit_scale.exp().clamp(max=LARGEST_SCALE)
        return scale

    def logits(self, image_features: Tensor, text_features: Tensor) -> Tensor:
        """Scaled cosines ``[B, C]`` of image features ``[B, width]`` and normalized text features ``[C, width]``.

        They are computed in float32 even under autocast: at a scale of 100 the resolution of bf16 is 0.125 or worse,
        which changes predictions and leads to ties.
        """
        with torch.autocast(image_features.device.type, enabled=False):
            images, texts = F.normalize(image_features.float(), dim=1), text_features.float()
            return self.logit_scale * images @ texts.T

    def text_parameters(self) -> list[nn.Parameter]:
        """The parameters of the text features and their scale: all except those of the image tower."""
        return [parameter for name, parameter in self.clip.named_parameters() if not _is_visual(name)]

    def text_tensors(self) -> list[Tensor]:
        """The parameters and buffers of the text features and their scale, as they are now; of attached modules too."""
        named = (*self.clip.named_parameters(), *self.clip.named_buffers())
        attached = [value for module in self.text_modules for value in (*module.parameters(), *module.buffers())]
        return [*(value for name, value in named if not _is_visual(name)), *attached]

    def tune(self, towers: Towers, scale: bool = True) -> None:
        """Make the image tower, the text tower, or both trainable; the rest is frozen.

        Args:
            towers: What is trained.
            scale: Whether the scale of the cosines is trained with the text tower.
        """
        self.clip.requires_grad_(towers != "text")
        for parameter in self.text_parameters():
            parameter.requires_grad_(towers != "image")
        self.clip.logit_scale.requires_grad_(towers != "image" and scale)


def _is_visual(name: str) -> bool:
    """Whether a module, parameter or buffer is of the image tower."""
    return name.split(".")[0] == "visual"


def clip_of(backbone: Backbone, what: str) -> ClipBackbone:
    """The backbone, checked to be a CLIP.

    Raises:
        UserError: If it is not; says what needs a CLIP.
    """
    if not isinstance(backbone, ClipBackbone):
        raise UserError(f"{what} needs a CLIP backbone, which has a text tower, such as {EXAMPLE}")
    return backbone


def build_clip(spec: BackboneSpec, weights: Weights) -> ClipBackbone:
    """Build a CLIP and strictly load the weights of both towers.

    Raises:
        UserError: If model or tag are unknown, the image size is not supported, or the weights do not fit.
    """
    name = parse_clip(spec.name)
    tag = _tag_config(name)
    with _quiet():
        clip, width = _create(spec, name, tag)
        path = weights.path if weights.kind != "hub" else _download(spec, tag)
        if path is not None:
            _load(clip, spec, path)
        _resize(clip, spec)
    source = tag if tag.get("mean") else clip.visual.preprocess_cfg
    return ClipBackbone(clip, _tokenizer(name), spec.prompts, width, *spec.mean_and_std(source))


def _identifier(name: ClipName) -> str:
    return name.model if name.folder is None else f"local-dir:{name.folder}"


def _tag_config(name: ClipName) -> dict[str, Any]:
    """OpenCLIP's entry for the tag of the weights: where they are, their normalization and activation."""
    import open_clip

    if name.folder is None and name.model not in open_clip.list_models():
        raise did_you_mean("CLIP model", name.model, [*open_clip.list_models(), *own_configs()])
    if not name.tag:
        return {}
    tags = open_clip.list_pretrained_tags_by_model(name.model)
    if name.tag not in tags:
        raise did_you_mean(f"pre-trained tag of CLIP model '{name.model}':", name.tag, tags)
    return dict(open_clip.get_pretrained_cfg(name.model, name.tag))


def _create(spec: BackboneSpec, name: ClipName, tag: dict[str, Any]) -> tuple[Any, int]:
    """The model with random weights, at the requested image size unless a timm tower is resized after loading."""
    import open_clip

    config = open_clip.get_model_config(_identifier(name))
    on_timm = "timm_model_name" in config["vision_cfg"]
    try:
        clip: Any = open_clip.create_model(
            _identifier(name),
            load_weights=False,
            force_quick_gelu=bool(tag.get("quick_gelu")),
            force_image_size=None if on_timm else spec.image_size,
            pretrained_image=False,
            pretrained_text=False,
        )
    except (RuntimeError, AssertionError, TypeError, OSError, ImportError) as error:
        raise UserError(f"cannot build backbone '{spec.name}' at {spec.image_size} px: {_line(error)}") from error
    side = _patch_side(clip.visual)
    if spec.image_size % side:
        raise UserError(
            f"backbone.image_size {spec.image_size} is not a multiple of the patch size {side} of '{spec.name}'"
        )
    return clip, int(config["embed_dim"])


def _patch_side(visual: Any) -> int:
    """Side of a patch in pixels; 32 for ResNets, which halve the image five times."""
    patch = getattr(getattr(visual, "trunk", None), "patch_embed", visual)
    size = getattr(patch, "patch_size", 32)
    return int(size if isinstance(size, int) else size[0])


def _download(spec: BackboneSpec, tag: dict[str, Any]) -> Path:
    import open_clip

    try:
        with hub_access(spec.name, None if tag.get("hf_hub") else tag.get("url")):
            return Path(open_clip.download_pretrained(tag))
    except UserError:
        raise
    except Exception as error:  # all network errors are treated alike
        raise UserError(
            f"cannot download the weights of '{spec.name}': {_line(error)}. "
            "Without a network, set backbone.weights to a FILE, or to random"
        ) from error


def _load(clip: Any, spec: BackboneSpec, path: Path) -> None:
    """Load weights in OpenCLIP's format, which resamples the position embedding of OpenCLIP's own towers."""
    from open_clip.factory import load_checkpoint, load_state_dict

    with TemporaryDirectory() as folder:
        file = path
        if path.suffix not in BIG_VISION:
            state, prefix = read_network(path, load_state_dict, clip.state_dict())
            if prefix:  # OpenCLIP reads only files
                file = Path(folder) / "weights.pt"
                torch.save(state, file)
        try:
            load_checkpoint(clip, str(file), strict=True)
        except Exception as error:  # OpenCLIP's conversion may raise anything for unexpected names and shapes
            problem = what_differs(clip, state) if path.suffix not in BIG_VISION else _line(error)
            raise UserError(f"the weights '{path}' do not fit backbone '{spec.name}': {problem}") from error
    check_finite(clip, f"the weights file '{path}'")


def _resize(clip: Any, spec: BackboneSpec) -> None:
    """Resample the position embedding of a timm tower."""
    if hasattr(clip.visual, "trunk"):
        clip.visual.set_input_size(spec.image_size)


def _tokenizer(name: ClipName) -> Tokenizer:
    import open_clip

    identifier, config = _identifier(name), open_clip.get_model_config(_identifier(name)).get("text_cfg", {})
    from_hub = "hf_tokenizer_name" in config
    tokenizer: Tokenizer
    try:
        with hub_access(f"open_clip:{name.model}") if from_hub else nullcontext():
            tokenizer = open_clip.get_tokenizer(identifier) if from_hub else _own_tokenizer(identifier, str(config))
    except UserError:
        raise
    except Exception as error:  # the tokenizer of some models is downloaded
        raise UserError(f"cannot get the tokenizer of CLIP model '{name.model}': {_line(error)}") from error
    return tokenizer


@cache
def _own_tokenizer(identifier: str, config: str) -> Tokenizer:
    """OpenCLIP's own tokenizer for a configuration; reading its words takes longer than building a small CLIP."""
    import open_clip

    tokenizer: Tokenizer = open_clip.get_tokenizer(identifier)
    return tokenizer


def _line(error: BaseException) -> str:
    return str(error).strip().split("\n")[0] or type(error).__name__


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence OpenCLIP's warnings on random weights and on the activation, which is checked here by the tag."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


@torch.no_grad()
def clip_state(backbone: ClipBackbone, native_size: int) -> dict[str, Tensor]:
    """The weights in OpenCLIP's format, with a timm tower's position embedding resampled to its native size."""
    clip: Any = backbone.clip
    if hasattr(clip.visual, "trunk") and clip.visual.image_size[0] != native_size:
        clip.visual.set_input_size(native_size)
    return {name: value.detach().contiguous() for name, value in clip.state_dict().items()}
