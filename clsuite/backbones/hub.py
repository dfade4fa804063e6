"""Weights from the hub: cached weights need no network, and without a network the waiting time is short."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

from huggingface_hub import constants

from clsuite.backbones.spec import BUNDLED
from clsuite.config.network import PATIENCE_S, why_unreachable
from clsuite.errors import UserError


@contextmanager
def hub_access(name: str, url: str | None = None) -> Iterator[None]:
    """Inside this context, libraries may load a backbone's weights; without a network, only from the local cache.

    Args:
        name: The backbone, for the error message.
        url: Where the weights are; the hub by default (``HF_ENDPOINT``).

    Raises:
        UserError: If there is no network, or it must not be used (``HF_HUB_OFFLINE``), and the weights are not cached.
    """
    reason = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else why_unreachable(url or constants.ENDPOINT)
    if not reason:
        yield
        return
    before = constants.HF_HUB_OFFLINE, socket.getdefaulttimeout()
    constants.HF_HUB_OFFLINE = True
    socket.setdefaulttimeout(PATIENCE_S)
    try:
        yield
    except OSError as error:  # all errors of the hub, of urllib and of sockets are of this type
        raise UserError(_ways_out(name, reason)) from error
    finally:
        constants.HF_HUB_OFFLINE = before[0]
        socket.setdefaulttimeout(before[1])


def _ways_out(name: str, reason: str) -> str:
    return (
        f"the files of backbone '{name}' are not in the hub's local cache, and {reason}. Without a network, "
        "set backbone.weights to a FILE that was downloaded elsewhere, or to random, or write backbone: "
        f"{{name: {BUNDLED}, weights: bundled}}, which comes with clsuite (clsuite list backbones shows more). "
        "What was downloaded once stays in the cache (HF_HOME); with HF_HUB_OFFLINE=1 nothing else is tried"
    )
