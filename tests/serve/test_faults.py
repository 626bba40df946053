"""Faults 41 to 43: what clients send by mistake, in excess, or slowly."""

from __future__ import annotations

import concurrent.futures
import contextlib
import json
import socket
import struct
import threading
import time

import httpx
import numpy as np
import pytest
from serve_helpers import StubClassifier, head, post, read_all, serving, until

GOOD = post(b'{"texts": ["a prize"]}')


def _error(answer: bytes) -> str:
    return json.loads(answer.split(b"\r\n\r\n", 1)[1])["error"]


@pytest.mark.fault(41)
def test_41_a_body_over_the_limit_is_refused_before_it_is_read(service):
    """Row 41: with a Content-Length, 413 comes though no byte of the body was sent."""
    start = time.monotonic()
    for length in (65537, 10**9, 10**18):
        answer = service.send(head(content_length=length))
        assert answer.startswith(b"HTTP/1.1 413 ") and "65536" in _error(answer)
    assert time.monotonic() - start < 0.9  # less than the time a slow body is given


@pytest.mark.fault(41)
def test_41_a_chunked_body_over_the_limit_is_refused_and_the_rest_not_read(service):
    """Row 41: without a Content-Length, reading ends at the limit."""
    chunk = b"4000\r\n" + b" " * 0x4000 + b"\r\n"
    sent = 0
    with service.connect() as connection:
        connection.sendall(head(transfer_encoding="chunked"))
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            for _ in range(4000):  # 64 MB, were all of it taken
                connection.sendall(chunk)
                sent += len(chunk)
    assert sent < 32e6
    small = head(transfer_encoding="chunked") + chunk * 5
    assert service.status(small) == 413


@pytest.mark.fault(41)
def test_41_a_content_length_that_lies_harms_nobody(service):
    """Row 41: too long waits and is given up; too short is no second request."""
    body = b'{"texts": ["a"]}'
    assert service.status(head(content_length=len(body) + 9) + body) == 408
    assert service.status(head(content_length=4) + body) == 400
    for wrong in ("-1", "1e3", "0x10", "many", 10**30):
        assert service.status(head(content_length=wrong) + body) == 400
    assert service.status(GOOD) == 200


@pytest.mark.fault(41)
def test_41_a_body_at_the_limit_is_read(service):
    """Row 41: the limit is a limit of the whole body, and itself allowed."""
    body = json.dumps({"texts": ["x" * (65536 - 15)]}).encode()
    assert len(body) == 65536
    assert service.status(post(body)) == 200
    assert service.status(post(body + b" ")) == 413


_NESTED = b"[" * 30000 + b"]" * 30000


@pytest.mark.fault(41)
@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 422),
        (b"{", 400),
        (b'{"texts": ["a"]', 400),
        (b'{"texts": ["\xff\xfe"]}', 400),
        (b"\xff" * 9, 400),
        (b"null", 422),
        (b"[]", 422),
        (b'"texts"', 422),
        (b"NaN", 422),
        (b'{"texts": NaN}', 422),
        (b'{"texts": [NaN]}', 422),
        (b'{"texts": [1e999]}', 422),
        (b'{"texts": "one"}', 422),
        (b'{"texts": []}', 422),
        (b'{"texts": [1]}', 422),
        (b'{"texts": [null]}', 422),
        (b'{"texts": [["a"]]}', 422),
        (b'{"texts": {"0": "a"}}', 422),
        (b'{"texts": ["a"], "colour": "red"}', 422),
        (b'{"texts": ["a"], "\\ud83d": NaN}', 422),
        (b'{"text": "a"}', 422),
        (json.dumps({"texts": ["a"] * 129}).encode(), 422),
    ],
)
def test_41_what_is_not_expected_is_a_json_error_of_one_line(service, body, status):
    """Row 41: JSON, UTF-8, types, NaN, nesting and unknown fields."""
    answer = service.send(post(body))
    assert answer.startswith(f"HTTP/1.1 {status} ".encode()), answer
    error = _error(answer)
    assert error and "\n" not in error and len(error) < 200


@pytest.mark.fault(41)
@pytest.mark.parametrize(
    "body",
    [
        _NESTED,
        b'{"texts": ' + _NESTED + b"}",
        b'{"a":' * 10900 + b"1" + b"}" * 10900,
    ],
)
def test_41_what_nests_deeply_is_refused_where_python_reads_it_too(service, body):
    """Row 41: 400 where it is too deep for it, else 422, as it is no request."""
    answer = service.send(post(body))
    assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 422 ")), answer
    error = _error(answer)
    assert error and "\n" not in error and len(error) < 200


@pytest.mark.slow
@pytest.mark.fault(42)
def test_42_two_hundred_at_once_are_answered_as_one_after_the_other(
    service, classifier
):
    """Row 42: all are answered, and equal to sequential answers to 1e-5."""
    texts = [f"{'prize ' * (i % 40)}{i}" for i in range(200)]
    expected = np.concatenate([classifier.predict_proba([text]) for text in texts])

    def ask(text: str) -> list[float]:
        response = client.post("/v1/classify", json={"texts": [text]})
        assert response.status_code == 200, response.text
        return [response.json()["results"][0]["probs"][k] for k in classifier.labels]

    limits = httpx.Limits(max_connections=200)
    with (
        httpx.Client(base_url=service.url, timeout=60, limits=limits) as client,
        concurrent.futures.ThreadPoolExecutor(200) as pool,
    ):
        got = list(pool.map(ask, texts))
    np.testing.assert_allclose(got, expected, atol=1e-5)


@pytest.mark.fault(42)
def test_42_what_the_queue_cannot_hold_is_429_with_retry_after():
    """Row 42: the queue has a cap; everyone else is answered all the same."""
    request = post(json.dumps({"texts": ["a prize"] * 16}).encode())
    go = threading.Event()
    go.set()

    def answer(text: str) -> float:
        assert go.wait(30)
        return 0.25

    with (
        serving(StubClassifier(answer), max_queue=256) as service,
        concurrent.futures.ThreadPoolExecutor(100) as pool,
    ):
        go.clear()
        asked = [pool.submit(service.send, request) for _ in range(100)]
        until(lambda: sum(future.done() for future in asked) >= 80)
        go.set()
        answers = [future.result() for future in asked]
    refused = [a for a in answers if a.startswith(b"HTTP/1.1 429 ")]
    assert len(refused) >= 80
    assert all(b"retry-after: 1\r\n" in a for a in refused)
    kept = [a for a in answers if a not in refused]
    assert len(kept) >= 16 and all(a.startswith(b"HTTP/1.1 200 ") for a in kept)


@pytest.mark.slow
@pytest.mark.fault(43)
def test_43_slow_and_idle_clients_are_closed_and_nobody_waits_for_them(service):
    """Row 43: one byte at a time of a head or a body, silence, idle keep-alive."""
    body = b'{"texts": ["a"]}'
    keep = GOOD.replace(b"connection: close", b"connection: keep-alive")
    starts = {
        "silent": b"",
        "head": head(content_length=len(body))[:-40],
        "body": head(content_length=len(body)) + body[:3],
        "idle": keep,
        "second head": keep + b"GET / HT",
    }

    def ask() -> float:
        start = time.monotonic()
        assert service.status(GOOD) == 200
        return time.monotonic() - start

    alone = np.quantile([ask() for _ in range(100)], 0.99)
    connections = {name: service.connect() for name in starts}
    for name, connection in connections.items():
        connection.sendall(starts[name])
    ended: dict[str, bytes] = {}

    def wait_for_end(name: str) -> None:
        ended[name] = read_all(connections[name])

    def drip() -> None:
        for _ in range(40):
            time.sleep(0.1)
            for name in ("head", "body"):
                with contextlib.suppress(OSError):
                    connections[name].sendall(b"x")

    threads = [threading.Thread(target=wait_for_end, args=(n,)) for n in starts]
    threads.append(threading.Thread(target=drip))
    for thread in threads:
        thread.start()
    times = []
    while threads[-1].is_alive():
        times.append(ask())
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()
    for connection in connections.values():
        connection.close()
    assert ended["silent"] == ended["head"] == b""
    assert ended["body"].startswith(b"HTTP/1.1 408 ")
    assert ended["idle"].startswith(b"HTTP/1.1 200 ")
    assert ended["second head"].count(b"HTTP/1.1 ") == 1
    assert np.quantile(times, 0.99) < max(2 * alone, 0.5)


@pytest.mark.fault(43)
def test_43_a_client_that_goes_away_takes_nobody_along(service):
    """Row 43: disconnected before the body, within it, and before the answer."""
    for data in (GOOD[:20], GOOD[:-4], GOOD):
        for _ in range(20):
            connection = service.connect()
            connection.sendall(data)
            # closed with a reset, as by a process that was killed
            linger = struct.pack("ii", 1, 0)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            connection.close()
    assert service.status(GOOD) == 200
