"""Spaces of directions that tasks use: they grow, and what is outside of them is left to later tasks.

Methods that project gradients, updates or first values differ in whose directions these are: inputs of layers
(InfLoRA), tokens that read prompts (PGP, VPT-NSP2), weights (KeepLoRA). A space is an orthonormal basis ``[d, k]``.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from scipy.ndimage import gaussian_filter1d
from torch import Tensor

from clsuite.data.on_device import moved

Energy = Literal["code", "paper"]
"""Whose energy counts: of a second moment's squared singular values, or of the inputs that it is of (GPM)."""


def without(update: Tensor, basis: Tensor) -> Tensor:
    """Rows ``[..., d]`` without their parts in a space ``[d, k]``."""
    return update - within(update, basis)


def within(update: Tensor, basis: Tensor) -> Tensor:
    """The parts of rows ``[..., d]`` in a space ``[d, k]``."""
    space = moved(basis, update.device).to(update.dtype)
    inside: Tensor = (update @ space) @ space.T
    return inside


def main_directions(matrix: Tensor, share: float) -> Tensor:
    """Right singular vectors ``[d, k]`` of a matrix ``[n, d]``: the fewest that have a share of its squared norm."""
    _, values, right = torch.linalg.svd(matrix.double(), full_matrices=False)
    energies = values.square() / values.square().sum().clamp_min(1e-300)
    before = energies.cumsum(0) - energies
    main: Tensor = right[before < share]
    return main.T.float()


def null_space(moment: Tensor, below: float | None = None, smooth: float = 10.0, ends: float = 0.03) -> Tensor:
    """A basis ``[d, k]`` of the directions that a second moment ``[d, d]`` hardly has.

    Args:
        moment: The second moment, symmetric.
        below: They are those whose singular values are at most this share of the largest one. By default the spectrum
            is cut where its second difference is largest (`spectrum_gap`).
        smooth: See `spectrum_gap`.
        ends: See `spectrum_gap`.
    """
    _, values, right = torch.linalg.svd(moment.double())
    is_free = torch.arange(len(values)) >= spectrum_gap(values, smooth, ends)
    free: Tensor = right[is_free if below is None else values <= below * values[0]]
    return free.T.float()


def spectrum_gap(values: Tensor, smooth: float = 10.0, ends: float = 0.03, long: int = 128) -> int:
    """The place of the first of the small values in a spectrum: where its second difference is largest.

    This is the rule of VPT-NSP2's code (``adaptive_threshold``). Values as large as the one that is found count as
    small with it.

    Args:
        values: ``[n]``, falling.
        smooth: Standard deviation, in places, of the Gaussian that smooths a long spectrum first.
        ends: Share of a long spectrum, half at each end, in which it is not cut.
        long: Number of values from which on a spectrum is long.
    """
    points = values.double().cpu().numpy()
    if len(points) < 3:
        return len(points)
    is_long = len(points) >= long
    curve = gaussian_filter1d(points, sigma=smooth) if is_long and smooth else points
    bends = np.diff(curve, n=2)
    dropped = int(len(points) * ends / 2) if is_long else 0
    kept = bends[dropped : len(bends) - dropped]
    found = points[int(np.argmax(kept)) + (len(points) - len(kept)) // 2]
    return int(np.flatnonzero(points >= found).max())


def free_directions(moment: Tensor, basis: Tensor, free: bool, rank: int) -> Tensor:
    """Orthonormal rows ``[rank, d]``: the main directions of a second moment that the space allows.

    Args:
        moment: ``[d, d]``.
        basis: Orthonormal columns ``[d, k]``: of the directions in use or, with `free`, of those that are not.
        free: What the basis is of.
        rank: Number of rows; those for which no direction is left are zero.
    """
    exact = orthonormal(basis)
    allowed = exact @ exact.T if free else torch.eye(len(exact), dtype=torch.float64) - exact @ exact.T
    left = torch.linalg.svd(allowed @ moment).U[:, :rank]
    rows = (allowed @ left).T
    return torch.where(rows.norm(dim=1, keepdim=True) > 0.999, rows, 0.0).float()


def grown(moment: Tensor, basis: Tensor, least: float, criterion: Energy) -> Tensor:
    """A basis of used directions, with more of them until it keeps a share of the energy of a second moment."""
    used = orthonormal(basis)
    rest = moment - used @ (used.T @ moment)
    if criterion == "paper":
        rest = rest - (rest @ used) @ used.T
    left, values, _ = torch.linalg.svd(rest)
    total, energies = energies_of(moment, values, criterion)
    kept = (total - energies.sum()) / total + (energies.cumsum(0) - energies) / total  # before each direction
    number = int((kept < least).sum()) if basis.shape[1] else max(1, int((kept + energies / total < least).sum()))
    return torch.cat([used, left[:, : min(number, len(basis) - basis.shape[1])]], dim=1).float()


def lessened(moment: Tensor, basis: Tensor, least: float, criterion: Energy) -> Tensor:
    """A basis of free directions, without those that hold more than the other share of a second moment's energy."""
    free = orthonormal(basis)
    inside = free @ (free.T @ moment)
    if criterion == "paper":
        inside = (inside @ free) @ free.T
    left, values, _ = torch.linalg.svd(inside)
    total, energies = energies_of(moment, values, criterion)
    held = energies.flip(0).cumsum(0).flip(0) / total  # by each direction and those behind it
    number = min(int((held >= 1 - least).sum()), basis.shape[1])
    taken = left[:, :number]
    remaining: Tensor = torch.linalg.svd(free - taken @ (taken.T @ free), full_matrices=False).U
    return remaining[:, : basis.shape[1] - number].float()


def orthonormal(basis: Tensor) -> Tensor:
    """The space of a stored basis ``[d, k]`` in double precision, since small energies lie beside large ones."""
    return torch.linalg.qr(basis.double()).Q  # type: ignore[no-any-return]


def complement(basis: Tensor) -> Tensor:
    """An orthonormal basis of the directions that a basis ``[d, k]`` lacks."""
    left: Tensor = torch.linalg.svd(basis.double()).U
    return left[:, basis.shape[1] :].float()


def energies_of(moment: Tensor, values: Tensor, criterion: Energy) -> tuple[Tensor, Tensor]:
    """The whole energy of a second moment, and that of each of some singular values of a part of it.

    Args:
        moment: Symmetric, ``[d, d]``.
        values: Of a part of it, ``[d]``.
        criterion: Whether an energy is the square of a singular value, or of one of the inputs, which is the value.
    """
    if criterion == "code":
        return moment.square().sum(), values.square()
    return moment.trace(), values
