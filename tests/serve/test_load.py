"""Who goes away is not computed for, and nobody waits for another's many texts."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import threading
from collections.abc import Iterator

import httpx
import pytest
from serve_helpers import StubClassifier, head, post, serving, until

from gpt2_jax.config import ServeConfig


def _queued(url: str) -> float:
    text = httpx.get(f"{url}/metrics").text
    lines = [x for x in text.splitlines() if x.startswith("gpt2_jax_queue_texts ")]
    return float(lines[0].split()[1])


def test_the_texts_of_clients_that_went_away_leave_the_queue():
    go = threading.Event()
    go.set()
    seen: list[str] = []

    def answer(text: str) -> float:
        seen.append(text)
        assert go.wait(30)
        return 0.25

    with serving(StubClassifier(answer)) as service:
        go.clear()
        held = service.connect()
        held.sendall(post(b'{"texts": ["held"]}'))
        until(lambda: "held" in seen)
        body = json.dumps({"texts": [f"gone {i}" for i in range(30)]}).encode()
        connections = [service.connect() for _ in range(10)]
        for connection in connections:
            connection.sendall(post(body))
        until(lambda: _queued(service.url) == 300)
        for connection in connections:
            connection.close()
        until(lambda: _queued(service.url) == 0)  # though the device is still held
        go.set()
        assert service.status(post(b'{"texts": ["one"]}')) == 200
        assert not any("gone" in text for text in seen)
        held.close()


def test_a_request_that_is_given_up_leaves_the_queue_too():
    go = threading.Event()
    go.set()

    def answer(text: str) -> float:
        assert go.wait(30)
        return 0.25

    with serving(StubClassifier(answer), timeout=0.3) as service:
        go.clear()
        body = json.dumps({"texts": [f"late {i}" for i in range(60)]}).encode()
        assert service.status(post(body)) == 503
        assert _queued(service.url) == 0
        go.set()


@pytest.fixture
def many_files() -> Iterator[None]:
    """Let this process have both ends of 1,200 connections."""
    resource = pytest.importorskip("resource")
    before, needed = resource.getrlimit(resource.RLIMIT_NOFILE), 3000
    if 0 <= before[1] < needed:
        pytest.skip("too few files may be open; see ulimit -Hn")
    if 0 <= before[0] < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_a_thousand_idle_connections_leave_room_for_others_with_the_defaults(
    many_files,
):
    many, limit = 1200, ServeConfig().max_connections
    assert many > limit
    with serving(StubClassifier(), read_timeout=60.0) as service:
        ready = head("/readyz", method="GET")
        with contextlib.ExitStack() as stack:
            connections = []
            for number in range(many):
                connections.append(stack.enter_context(service.connect()))
                if number % 2:  # half of them have begun a request
                    connections[-1].sendall(b"GET /readyz HTTP/1.1\r\nhost: ")
                if number % 100 == 99:
                    assert service.status(ready) == 200
            for _ in range(20):
                assert service.status(ready) == 200
                assert service.status(post(b'{"texts": ["a"]}')) == 200
            open_ = sum(_is_open(connection) for connection in connections)
            assert many - limit <= many - open_ <= many - limit + 60


def _is_open(connection: socket.socket) -> bool:
    connection.setblocking(False)
    try:
        return connection.recv(1, socket.MSG_PEEK) != b""
    except BlockingIOError:
        return True
    except ConnectionResetError:
        return False


def test_two_ends_of_one_request_are_refused_and_the_connection_closed(service):
    body = b'{"texts": ["a"]}'
    chunked = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    both = head(
        content_length=len(body), transfer_encoding="chunked", connection="keep-alive"
    )
    answer = service.send(both + chunked + post(body))
    assert answer.startswith(b"HTTP/1.1 400 ") and answer.count(b"HTTP/1.1 ") == 1
    assert service.status(head(transfer_encoding="chunked") + chunked) == 200


def test_wrong_methods_are_405_whatever_they_carry(service):
    for path in ("/healthz", "/readyz", "/metrics", "/", "/openapi.json"):
        for kind in ("text/plain", "application/json"):
            answer = service.send(post(b"x", path, content_type=kind))
            assert answer.startswith(b"HTTP/1.1 405 "), (path, kind)
            assert re.search(rb"\r\nallow: (HEAD, )?GET", answer), answer
    for path in ("/v1/classify", "/v1/explain", "/v1/table"):
        for method in ("GET", "PUT", "DELETE", "HEAD"):
            assert service.status(head(path, method=method)) == 405


def test_probes_may_ask_with_head(service):
    for path in ("/healthz", "/readyz"):
        answer = service.send(head(path, method="HEAD"))
        assert answer.startswith(b"HTTP/1.1 200 ") and answer.endswith(b"\r\n\r\n")


def test_the_wait_in_the_queue_is_measured(service):
    def count() -> float:
        lines = httpx.get(f"{service.url}/metrics").text.splitlines()
        name = "gpt2_jax_queue_seconds_count"
        return sum(float(x.split()[1]) for x in lines if x.startswith(name))

    before = count()
    assert service.status(post(b'{"texts": ["a", "b", "c"]}')) == 200
    assert count() == before + 3
