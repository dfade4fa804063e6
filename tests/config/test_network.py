"""Whether a server can be reached, whatever the network does."""

from __future__ import annotations

import socket
import threading
import time

import pytest

from clsuite.config import network


def test_a_name_that_nobody_looks_up_and_a_server_that_says_nothing_are_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(network, "PATIENCE_S", 0.2)
    over = threading.Event()

    def say_nothing(*_: object, **__: object) -> socket.socket:
        over.wait(30)
        return socket.socket()

    monkeypatch.setattr(socket, "create_connection", say_nothing)
    start, before = time.monotonic(), set(threading.enumerate())
    assert network.why_unreachable("https://example.org") == "example.org does not answer within 0.2 seconds"
    assert time.monotonic() - start < 2
    over.set()
    for thread in set(threading.enumerate()) - before:  # none asks on when the test is over
        thread.join(10)
        assert not thread.is_alive()


@pytest.mark.parametrize("error", [AttributeError("no close"), LookupError("unknown encoding"), UnicodeError("label")])
def test_whatever_asking_raises_is_the_answer_at_once(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail(*_: object, **__: object) -> socket.socket:
        raise error

    monkeypatch.setattr(socket, "create_connection", fail)
    start = time.monotonic()
    told = network.why_unreachable("https://example.org")
    assert told == f"example.org cannot be reached ({type(error).__name__}: {error})"
    assert time.monotonic() - start < network.PATIENCE_S / 2


def test_a_server_that_listens_is_reachable_also_through_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert network.why_unreachable(f"http://127.0.0.1:{port}") == ""
        monkeypatch.setattr("urllib.request.getproxies", lambda: {"https": f"http://127.0.0.1:{port}"})
        monkeypatch.setattr("urllib.request.proxy_bypass", lambda host: False)
        assert network.why_unreachable("https://nowhere.invalid") == ""
        monkeypatch.setattr("urllib.request.proxy_bypass", lambda host: True)
        assert "nowhere.invalid" in network.why_unreachable("https://nowhere.invalid")


@pytest.mark.parametrize("url", ["http://127.0.0.1:notaport", "http://", "nonsense"])
def test_an_endpoint_that_is_none_is_unreachable(url: str) -> None:
    assert network.why_unreachable(url)
