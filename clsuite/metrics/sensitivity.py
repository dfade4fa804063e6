"""How far the modules of a network change between epochs and between tasks. Needs no torch."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

Between = Literal["epochs", "tasks", "models"]
Site = tuple[str, str]
"""A block (its number; ``text 3`` in the text tower of a CLIP; empty outside all blocks) and a kind of module."""
OUTSIDE = ""
BLOCK = re.compile(r"blocks\.(\d+)\.|\blayer(\d+)\.|\bparts\.(\d+)")
KINDS = {
    "head": r"^head\.",
    "added modules": r"^plugin_modules\.",
    "attention qkv": r"\battn\.(qkv|in_proj|[qkv]_proj|[qkv]_bias|q_norm|k_norm)",
    "attention projection": r"\battn\.(proj|out_proj)\b",
    "MLP fc1": r"\bmlp\.(fc1|c_fc|w12)",
    "MLP fc2": r"\bmlp\.(fc2|c_proj|w3)\b",
    "LayerNorms": r"norm\d?\.|\bln_\w+\.",
    "batch norms": r"\bbn\d?\.",
    "patch embedding": r"patch_embed\.|\bvisual\.conv1\.",
    "tokens and positions": r"token|pos_embed|(positional|class)_embedding|relative_position",
    "convolutions": r"\bconv\d?\.|downsample",
}
"""Kinds of modules with patterns for the names of their parameters; the first match is used."""


@dataclass(frozen=True)
class Move:
    """The change of one module between two moments, or its distance in two models.

    Attributes:
        between: The two moments: ends of consecutive epochs of a task, or of consecutive tasks; or two trained models.
        task: The later moment's task; of models, the number of the pair.
        epoch: Its epoch; of models 0.
        site: Block and kind.
        distance: ``||theta - theta before||_1``.
        size: Number of parameters.
    """

    between: Between
    task: int
    epoch: int
    site: Site
    distance: float
    size: int

    @property
    def sensitivity(self) -> float:
        """The mean distance per parameter: ``(1 / |theta|) ||theta - theta before||_1``."""
        return self.distance / self.size


def site_of(name: str) -> Site:
    """Block and kind of the module that a learner's parameter belongs to."""
    kind = next((kind for kind, pattern in KINDS.items() if re.search(pattern, name)), "others")
    found = BLOCK.search(name)
    if found is None:
        return OUTSIDE, kind
    block = next(number for number in found.groups() if number is not None)
    text = name.startswith("backbone.") and "transformer.resblocks" in name and "visual." not in name
    return f"text {block}" if text else block, kind


def moves_of(distances: Mapping[str, tuple[float, int]], between: Between, task: int, epoch: int) -> list[Move]:
    """Combine the changes of parameters to those of their modules.

    Args:
        distances: L1 distance and number of entries of each parameter, by name.
        between: Whether the moments are ends of epochs or of tasks.
        task: Task of the later moment.
        epoch: Epoch of the later moment.
    """
    sums: dict[Site, tuple[float, int]] = {}
    for name, (distance, size) in distances.items():
        site = site_of(name)
        before = sums.get(site, (0.0, 0))
        sums[site] = before[0] + distance, before[1] + size
    return [Move(between, task, epoch, site, *total) for site, total in sums.items()]


def mean_sensitivity(moves: Iterable[Move], between: Between) -> dict[Site, float]:
    """The sensitivity of each module: the mean over all pairs of moments.

    Zhao et al., "Does continual learning equally forget all parameters?" (ICML 2023), section 3. It differs between
    modules under SGD; Adam changes each parameter by about its learning rate, whatever its gradient.
    """
    values: dict[Site, list[float]] = {}
    for move in moves:
        if move.between == between:
            values.setdefault(move.site, []).append(move.sensitivity)
    return {site: sum(each) / len(each) for site, each in values.items()}


def by_kind(moves: Sequence[Move], between: Between) -> dict[str, float]:
    """The mean sensitivity of each kind of module over all blocks, the highest first; all modules weigh the same."""
    values: dict[str, list[float]] = {}
    for (_, kind), value in mean_sensitivity(moves, between).items():
        values.setdefault(kind, []).append(value)
    means = {kind: sum(each) / len(each) for kind, each in values.items()}
    return dict(sorted(means.items(), key=lambda item: (-item[1], item[0])))


def blocks_of(sites: Iterable[Site]) -> list[str]:
    """The blocks in the order of the network: image tower, text tower, then whatever is outside of blocks."""
    found = {block for block, _ in sites}
    return sorted(
        found,
        key=lambda block: (block == OUTSIDE, block.startswith("text"), int(block.split()[-1] or 0) if block else 0),
    )
