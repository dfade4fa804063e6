"""Spaces of directions: projections, the main directions of weights, and where a spectrum has its gap."""

from __future__ import annotations

import pytest
import torch

from clsuite.learner.subspaces import main_directions, null_space, spectrum_gap, within, without


def test_parts_inside_and_outside_of_a_space_add_up() -> None:
    basis = torch.tensor([[0.6, 0.0], [0.8, 0.0], [0.0, 1.0]])
    rows = torch.tensor([[1.0, 2.0, 3.0], [4.0, -3.0, 0.0]])
    torch.testing.assert_close(within(rows, basis), torch.tensor([[1.32, 1.76, 3.0], [0.0, 0.0, 0.0]]))
    torch.testing.assert_close(without(rows, basis), torch.tensor([[-0.32, 0.24, 0.0], [4.0, -3.0, 0.0]]))
    assert torch.equal(without(rows, torch.zeros(3, 0)), rows)


def test_main_directions_are_on_the_input_side() -> None:
    """Squared singular values 9, 4 and 1: shares of 0.64, 0.93 and 1."""
    matrix = torch.tensor([[0.0, 3.0, 0.0], [2.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, 0.0, 0.0]])
    for share, axes in ((0.5, [1]), (0.7, [1, 0]), (0.95, [1, 0, 2])):
        found = main_directions(matrix, share)
        torch.testing.assert_close(found.abs(), torch.eye(3)[:, axes])


@pytest.mark.parametrize(
    ("values", "place"),
    [
        ([10.0, 9.0, 1.0, 0.5], 2),  # second differences -7 and 7.5
        ([10.0, 1.0, 0.9, 0.8], 1),  # 8.9 and 0
        ([10.0, 1.0, 1.0, 0.9], 2),  # the value of the place counts wherever it is
        ([3.0, 2.0], 2),
    ],
)
def test_short_spectra_are_cut_where_they_bend_most(values: list[float], place: int) -> None:
    assert spectrum_gap(torch.tensor(values)) == place


def test_long_spectra_are_smoothed_first() -> None:
    """A value alone that is a little large does not make a gap where the spectrum as a whole has none."""
    values = torch.cat([torch.linspace(200.0, 100.0, 60), torch.linspace(2.0, 1.0, 140)])
    values[150:] = values[150:] - 0.4
    assert 60 <= spectrum_gap(values) <= 80
    assert spectrum_gap(values, smooth=0.0) == 60
    steep = torch.cat([torch.tensor([1e6]), torch.linspace(2.0, 1.0, 199)])
    assert spectrum_gap(steep, smooth=0.0) > 1  # not cut at its ends


def test_a_null_space_is_what_a_moment_lacks() -> None:
    axes = torch.linalg.qr(torch.randn(5, 5, generator=torch.Generator().manual_seed(0))).Q
    moment = axes @ torch.tensor([4.0, 2.0, 1e-3, 0.0, 0.0]).diag() @ axes.T
    for below, number in ((1e-6, 2), (1e-2, 3), (None, 3)):
        found = null_space(moment, below)
        assert found.shape == (5, number)
        torch.testing.assert_close(axes[:, :2].T @ found, torch.zeros(2, number), atol=1e-5, rtol=0)
    assert null_space(torch.eye(3), 0.5).shape == (3, 0)
