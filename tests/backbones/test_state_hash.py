"""The hash of loaded weights."""

from __future__ import annotations

import torch
from torch import nn

from clsuite.backbones.state_hash import state_sha256


def make() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))


def test_it_follows_from_the_weights_alone() -> None:
    assert state_sha256(make()) == state_sha256(make())
    assert state_sha256(make()) == state_sha256(make().requires_grad_(False).eval())


def test_any_change_shows() -> None:
    hashes = {state_sha256(make())}
    for change in ("0.weight", "0.bias", "1.running_mean", "1.num_batches_tracked"):
        model = make()
        model.state_dict()[change].view(-1)[0] += 1
        hashes.add(state_sha256(model))
    hashes.add(state_sha256(make().half()))
    hashes.add(state_sha256(nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(2))))
    assert len(hashes) == 7
