"""Fault 44: what is sent in malice, through the front door or another page."""

from __future__ import annotations

import json
import logging

import pytest
from serve_helpers import StubClassifier, head, post, serving


def _error(answer: bytes) -> str:
    return json.loads(answer.split(b"\r\n\r\n", 1)[1])["error"]


@pytest.mark.fault(44)
@pytest.mark.parametrize(
    ("request_line", "statuses"),
    [
        ("GET /../../etc/passwd", {404}),
        ("GET /%2e%2e/%2e%2e/etc/passwd", {404}),
        ("GET /%2e%2e%2fapp.py", {404}),
        ("GET //etc/passwd", {404}),
        ("GET //", {404}),
        ("GET /app.css/", {404}),
        ("GET /page/app.css", {404}),
        ("GET /docs", {404}),
        ("GET http://evil.example/", {400, 404}),
        ("GET /%00", {404}),
        ("GET /\x00", {400}),
        ("GET /app.js%00.html", {404}),
        ("GET /v1/classify", {405}),
        ("PUT /v1/classify", {405}),
        ("FOO /v1/classify", {405}),
        ("POST /", {405}),
        ("TRACE /", {405}),
        ("CONNECT localhost:1", {400, 404}),
        ("NONSENSE", {400}),
    ],
)
def test_44_paths_and_methods_that_are_not_there(service, request_line, statuses):
    """Row 44: no path of a request reaches a file."""
    headers = b" HTTP/1.1\r\n" + head().split(b"\r\n", 1)[1]
    answer = service.send(request_line.encode("latin-1") + headers)
    assert int(answer.split(b" ", 2)[1]) in statuses, answer
    assert b"root:" not in answer and b"import" not in answer


@pytest.mark.fault(44)
@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "", "a b"])
def test_44_another_name_that_points_here_is_refused(service, host):
    """Row 44: DNS rebinding."""
    answer = service.send(post(b'{"texts": ["a"]}', host=host))
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert "unknown host" in _error(answer)


@pytest.mark.fault(44)
@pytest.mark.parametrize("host", ["127.0.0.1:8000", "[::1]:8000", "[::1]", "LOCALHOST"])
def test_44_an_address_is_no_name_of_another_site(service, host):
    """Row 44: no site can have an address as its name."""
    assert service.status(head("/", method="GET", host=host)) == 200


@pytest.mark.fault(44)
def test_44_a_name_that_was_allowed_is_answered():
    """Row 44: `--allow-host`."""
    with serving(StubClassifier(), allow_hosts=("spam.example",)) as service:
        assert service.status(head("/", method="GET", host="spam.example:80")) == 200
        assert service.status(head("/", method="GET", host="ham.example")) == 400


@pytest.mark.fault(44)
def test_44_pages_of_other_origins_cannot_ask(service):
    """Row 44: CSRF, by script or by form."""
    body = b'{"texts": ["a"]}'
    for origin in ("http://evil.example", "null", "https://localhost.evil.example"):
        assert service.status(post(body, origin=origin)) == 403, origin
    assert service.status(post(body, origin="http://localhost")) == 200
    for kind in (
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/jsonp",
    ):
        assert service.status(post(body, content_type=kind)) == 415, kind
    kind = "Application/JSON; charset=utf-8"
    assert service.status(post(body, content_type=kind)) == 200


_PATHS = ["/", "/app.js", "/healthz", "/nothing", "/v1/classify", "/openapi.json"]


@pytest.mark.fault(44)
@pytest.mark.parametrize("path", _PATHS)
def test_44_every_answer_carries_the_security_headers(service, path):
    """Row 44: CSP, nosniff, no-store."""
    answer = service.send(head(path, method="GET")).lower()
    assert b"content-security-policy: default-src 'none'" in answer
    assert b"frame-ancestors 'none'" in answer
    assert b"unsafe" not in answer.split(b"\r\n\r\n")[0]
    assert b"x-content-type-options: nosniff\r\n" in answer
    assert b"cache-control: no-store\r\n" in answer
    assert b"access-control-allow-origin" not in answer


@pytest.mark.fault(44)
def test_44_a_script_in_a_text_or_a_key_is_never_html(service):
    """Row 44: XSS; errors and answers are JSON, whatever was sent."""
    for body in (b'{"texts": ["<script>"]}', b'{"<script>": 1}', b"<script>"):
        answer = service.send(post(body))
        assert b"content-type: application/json\r\n" in answer


@pytest.mark.fault(44)
def test_44_no_text_is_logged(caplog, capfd):
    """Row 44: neither of a good request nor of a bad one."""
    caplog.set_level(logging.DEBUG)

    def answer(text: str) -> float:
        if "fails" in text:
            raise ValueError("inside")
        return 0.25

    with serving(StubClassifier(answer)) as service:
        for body in (
            b'{"texts": ["confidential"]}',
            b'{"texts": ["confidential fails"]}',
            b'{"texts": ["confidential", 1]}',
            b'{"confidential": 1}',
            b"confidential",
        ):
            service.send(post(body))
        service.send(b"confidential\r\n\r\n")
    out, err = capfd.readouterr()
    assert "inside" in caplog.text  # what is logged is seen here
    assert "confidential" not in caplog.text + out + err
