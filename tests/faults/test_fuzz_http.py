"""Hostile requests: any bytes are answered in JSON or by closing, never with a 500."""

from __future__ import annotations

import contextlib
import json
import socket

import pytest
from fuzzing import dump, fuzz, mutated, mutated_json
from hypothesis import strategies as st
from serve_helpers import StubClassifier, head, post, read_all, serving

_SEEDS = [
    post(b'{"texts": ["a prize", "\xc3\xa9"]}'),
    post(b'{"text": "a prize"}', path="/v1/explain"),
    head("/readyz", method="GET"),
    head("/static/page.js", method="GET"),
    head(transfer_encoding="chunked") + b'e\r\n{"texts":["a"]}\r\n0\r\n\r\n',
]
_TOKENS = [
    *(b"\r\n", b"\r\n\r\n", b"\n", b"\0", b":", b" ", b"HTTP/1.1", b"HTTP/9.9", b"%00"),
    *(b"GET ", b"TRACE ", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\x16\x03\x01", b"../"),
    *(b"content-length: 5\r\n", b"content-length: -1\r\n", b"expect: 100-continue\r\n"),
    *(b"transfer-encoding: chunked\r\n", b"host: evil\r\n", b"x: " + b"y" * 70_000),
    *(b"ffffffffffffffff\r\n", b"0\r\n\r\n", b"\xff\xfe", b"[" * 5000, b'"\\ud800"'),
]
_BODIES = mutated_json([{"texts": ["a prize", "b"]}, {"text": "a prize"}])
_ANSWERED = {200, 400, 401, 403, 404, 405, 408, 413, 415, 422, 429, 431, 503}


def _ask(service, request: bytes) -> bytes:
    """Send, say that this is all, and return what comes until the service closes."""
    with service.connect() as connection:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError, OSError):
            connection.sendall(request)
            connection.shutdown(socket.SHUT_WR)
        return read_all(connection)


@pytest.mark.fault(41, 44)
def test_fuzz_http(caplog):
    with serving(StubClassifier(), read_timeout=0.2) as service:

        def check(request: bytes) -> None:
            answer = _ask(service, request)
            if not answer:
                return  # closed on what is no HTTP
            line, _, rest = answer.partition(b"\r\n")
            status = int(line.split(b" ", 2)[1])
            assert line.startswith(b"HTTP/1.1 ") and status in _ANSWERED, answer[:300]
            headers, _, body = rest.partition(b"\r\n\r\n")
            if status in (400, 422) and b"application/json" in headers:
                text, _ = json.JSONDecoder().raw_decode(body.decode("latin-1"))
                assert "\n" not in text["error"]

        bodies = _BODIES.map(lambda value: post(dump(value)))
        explained = _BODIES.map(lambda value: post(dump(value), path="/v1/explain"))
        fuzz(bodies | explained | mutated(_SEEDS, _TOKENS), check, 100)
        assert service.status(head("/readyz", method="GET")) == 200
        assert service.status(_SEEDS[0]) == 200
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


@pytest.mark.fault(41)
def test_fuzz_what_a_server_of_weights_answers(tmp_path, monkeypatch):
    """The other way round: what comes back is kept only if it is the file."""
    from file_server import Answer, serve

    from gpt2_jax.errors import WeightsError
    from gpt2_jax.storage import download

    monkeypatch.setattr(download, "TIMEOUT_SECONDS", 2.0)
    with serve() as server:
        target, url = tmp_path / "weights", f"{server.url}/x"
        sha256 = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
        printable = st.characters(min_codepoint=32, max_codepoint=126)
        values = st.text(printable, max_size=20)
        values |= st.sampled_from(["gzip", "chunked", url, "0"])
        names = st.sampled_from(
            [
                *("Content-Encoding", "Content-Length", "Transfer-Encoding"),
                *("Location", "Set-Cookie", "ETag", "Content-Range", "Connection"),
            ]
        )
        answers = st.builds(
            Answer,
            body=mutated([b"hello"]),
            status=st.sampled_from([200, 200, 200, 204, 206, 301, 302, 404, 416, 500]),
            headers=st.dictionaries(names, values, max_size=2),
        )

        def check(answer: Answer) -> None:
            server.answers["/x"] = answer
            try:
                download.download(
                    [url], target, sha256=sha256, max_bytes=9, error=WeightsError
                )
            except WeightsError as error:
                assert url in str(error)
            else:
                assert target.read_bytes() == b"hello"
                target.unlink()
            assert list(tmp_path.iterdir()) == []

        check(Answer(b"hello"))
        fuzz(answers, check, 40)
