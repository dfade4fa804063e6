"""Whether a server can be reached, which is known within seconds."""

from __future__ import annotations

import socket
import threading
import urllib.request
from urllib.parse import urlsplit

from clsuite.errors import words_of

PATIENCE_S = 4.0
"""Seconds to wait for a connection."""
PORTS = {"http": 80, "https": 443}


def why_unreachable(url: str) -> str:
    """Why a server accepts no connection within a few seconds; empty if it does. If there is a proxy, it is tried."""
    target = urlsplit(url)
    proxy = urllib.request.getproxies().get(target.scheme)
    if proxy and not urllib.request.proxy_bypass(target.hostname or ""):
        target = urlsplit(proxy if "//" in proxy else f"//{proxy}", scheme="http")
    answers: list[str] = []

    def ask() -> None:
        try:
            port = target.port or PORTS.get(target.scheme, 443)
            socket.create_connection((target.hostname or "", port), timeout=PATIENCE_S).close()
            answers.append("")
        except Exception as error:  # including errors of name encodings and third-party resolvers
            reason = getattr(error, "strerror", None) or words_of(error)
            answers.append(f"{target.hostname} cannot be reached ({reason})")

    thread = threading.Thread(target=ask, daemon=True)  # name resolution has no timeout
    thread.start()
    thread.join(PATIENCE_S)
    return answers[0] if answers else f"{target.hostname} does not answer within {PATIENCE_S:g} seconds"
