"""Learned context vectors in front of a text: prompts of a text tower."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from clsuite.backbones.clip import ClipBackbone
from clsuite.errors import UserError
from clsuite.peft.base import PET


class TextContext(PET):
    """Learned vectors among the token embeddings of every text, between its first token and its words.

    Zhou et al., "Learning to prompt for vision-language models" (IJCV 2022), CoOp: with the template ``{}.`` a prompt
    is the start of the text, the vectors, the class name, a period and the end of the text. The vectors are shared by
    all classes, also by those that are not learned yet. Texts that become longer than the tower's context lose their
    last words, as in the tokenizer.
    """

    role = "prompts"

    def __init__(
        self, backbone: ClipBackbone, length: int, generator: torch.Generator, std: float = 0.02, words: str = ""
    ) -> None:
        """Create the vectors for a CLIP.

        Args:
            backbone: The CLIP; it is not modified.
            length: Number of vectors.
            generator: Source of the initial values.
            std: Standard deviation of the initial values (CoOp: 0.02).
            words: Words whose token embeddings are the first values, of the first vectors; the rest are drawn.

        Raises:
            UserError: If the text tower is not one of OpenCLIP's own, or too short for so many vectors or words.
        """
        super().__init__()
        network = _network(backbone)
        table: Tensor = network.token_embedding.weight
        context = int(network.positional_embedding.shape[0])
        if length > context - 3:
            raise UserError(f"prompt: {length} vectors leave no room for names in a text of {context} tokens")
        values = torch.empty(length, table.shape[1]).normal_(0.0, std, generator=generator)
        if words:
            tokens = backbone.tokenize([words])[0]
            own = tokens[1 : int(tokens.argmax())]
            if len(own) > length:
                raise UserError(f"prompt: '{words}' has {len(own)} tokens, more than the {length} vectors")
            values[: len(own)] = table[own].detach().float().cpu()
        self.tokens = nn.Parameter(values)

    def attach(self, model: nn.Module) -> None:
        """Attach to a CLIP: to its tokens and to their embedding."""
        if not isinstance(model, ClipBackbone):
            raise TypeError("a text context is attached to the whole CLIP, whose tokens it moves")
        model.token_hooks.append(self.make_room)
        self._handles.append(_Undo(model.token_hooks, self.make_room))
        self._handles.append(_network(model).token_embedding.register_forward_hook(self._insert))

    def make_room(self, tokens: Tensor) -> Tensor:
        """Move the words of texts ``[N, context length]`` back, so that there is room for the vectors."""
        if not self.enabled:
            return tokens
        length = len(self.tokens)
        room = tokens.new_zeros(len(tokens), length)  # what stands there is replaced, and is no end of a text
        moved = torch.cat([tokens[:, :1], room, tokens[:, 1:-length]], dim=1)
        end = tokens.argmax(dim=1, keepdim=True)
        cut = end + length >= tokens.shape[1]
        moved[:, -1:] = torch.where(cut, tokens.gather(1, end), moved[:, -1:])
        return moved

    def _insert(self, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
        if not self.enabled:
            return None
        own = self.tokens.to(output.dtype).expand(len(output), -1, -1)
        return torch.cat([output[:, :1], own, output[:, 1 + len(self.tokens) :]], dim=1)


class _Undo:
    """A handle that takes a function out of a list."""

    def __init__(self, functions: Sequence[Any], function: Any) -> None:
        self._functions, self._function = functions, function

    def remove(self) -> None:
        """Take it out."""
        assert isinstance(self._functions, list)
        self._functions.remove(self._function)


def _network(backbone: ClipBackbone) -> Any:
    """The module with the token embedding of OpenCLIP's own text tower.

    Raises:
        UserError: If the tower is another one, or does not read a text at its end token.
    """
    clip = backbone.clip
    found = clip.text if hasattr(clip, "text") else clip
    pool = getattr(found, "text_pool_type", getattr(found, "pool_type", ""))
    if not isinstance(getattr(found, "token_embedding", None), nn.Embedding) or pool != "argmax":
        raise UserError(
            "prompt: learned vectors among the words of a text need OpenCLIP's own text tower, read at its end token"
        )
    return found
