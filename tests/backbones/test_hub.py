"""Weights from the hub where there is no network: seconds, a line with the ways out, and what is cached loads."""

from __future__ import annotations

import shutil
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants

from clsuite.backbones import hub
from clsuite.backbones.clip import build_clip
from clsuite.backbones.spec import BackboneSpec, find_weights
from clsuite.backbones.vit import build_backbone
from clsuite.errors import UserError

TIMM = "vit_tiny_patch16_224.augreg_in21k_ft_in1k"
CLIP = "open_clip:ViT-B-32/laion2b_s34b_b79k"


@pytest.fixture
def closed_port() -> Iterator[int]:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


@pytest.fixture
def no_network(closed_port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The hub is a closed port of this machine, and its cache is empty."""
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{closed_port}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.file_download.HF_HUB_CACHE", str(tmp_path / "hub"), raising=False)
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "hub"


def spec_of(name: str) -> BackboneSpec:
    return BackboneSpec(name=name, weights="hub", image_size=32)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "build"), [(TIMM, build_backbone), (CLIP, build_clip)])
@pytest.mark.parametrize("offline", [False, True])
def test_without_a_network_the_ways_out_are_told_in_seconds(
    no_network: Path, monkeypatch: pytest.MonkeyPatch, name: str, build: object, offline: bool
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
    start = time.monotonic()
    with pytest.raises(UserError) as caught:
        build(spec_of(name), find_weights(spec_of(name), []))  # type: ignore[operator]
    assert time.monotonic() - start < 20
    said = str(caught.value)
    reason = "HF_HUB_OFFLINE is set" if offline else "127.0.0.1 cannot be reached"
    for part in (name, reason, "set backbone.weights to a FILE", "weights: bundled", "or to random",
                 "clsuite list backbones", "HF_HUB_OFFLINE=1"):  # fmt: skip
        assert part in said
    assert "\n" not in said
    assert constants.HF_HUB_OFFLINE is offline
    assert socket.getdefaulttimeout() is None


def test_weights_of_the_cache_load_without_a_network(real_data: Path, no_network: Path) -> None:
    repository = no_network / f"models--timm--{TIMM}"
    snapshot = repository / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0" * 40)
    shutil.copyfile(real_data / f"{TIMM}.safetensors", snapshot / "model.safetensors")
    cached = build_backbone(spec_of(TIMM), find_weights(spec_of(TIMM), []))
    from_file = spec_of(TIMM).model_copy(update={"weights": f"{TIMM}.safetensors"})
    expected = build_backbone(from_file, find_weights(from_file, [real_data]))
    for (name, one), (_, other) in zip(cached.named_parameters(), expected.named_parameters(), strict=True):
        assert torch.equal(one, other), name


def test_with_a_network_the_libraries_ask_as_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "why_unreachable", lambda url: "")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)

    def ask() -> None:
        with hub.hub_access("vit"):
            raise ConnectionError(f"theirs, offline: {constants.HF_HUB_OFFLINE}")

    with pytest.raises(ConnectionError, match="theirs, offline: False"):
        ask()
