"""Behind a proxy, beside other sites, for those who run it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import re

import httpx
import pytest
from serve_helpers import StubClassifier, head, post, serving

from gpt2_jax.config import ServeConfig
from gpt2_jax.serve.probes import model_of

TEXTS = b'{"texts": ["free prize"]}'
ORIGIN = "https://intranet.example"
_LOG = "gpt2_jax.serve.access"


def test_idle_connections_of_one_client_block_nobody():
    with contextlib.ExitStack() as stack:
        service = stack.enter_context(
            serving(StubClassifier(), max_connections=20, read_timeout=30.0)
        )
        for _ in range(60):
            stack.enter_context(service.connect())
        assert service.status(head("/readyz", method="GET")) == 200
        assert service.status(post(TEXTS)) == 200


def test_a_request_under_way_is_not_closed_for_room():
    with contextlib.ExitStack() as stack:
        service = stack.enter_context(
            serving(StubClassifier(), max_connections=10, read_timeout=30.0)
        )
        whole = post(TEXTS)
        slow = stack.enter_context(service.connect())
        slow.sendall(whole[:-5])
        for _ in range(30):
            stack.enter_context(service.connect())
        assert service.status(head("/readyz", method="GET")) == 200
        slow.sendall(whole[-5:])
        assert slow.recv(65536).startswith(b"HTTP/1.1 200 ")


@pytest.fixture(scope="module")
def prefixed():
    with serving(StubClassifier(), root_path="/spam/", token="secret") as running:
        yield running


def test_it_answers_below_the_path_of_a_proxy_and_without_it(prefixed):
    token = {"authorization": "Bearer secret"}
    for prefix in ("", "/spam"):
        for path in ("/", "/app.js", "/readyz"):
            got = prefixed.send(head(prefix + path, method="GET"))
            assert got.startswith(b"HTTP/1.1 200 "), (prefix, path)
        assert prefixed.status(post(TEXTS, f"{prefix}/v1/classify", **token)) == 200
        # the prefix is no way around the token
        assert prefixed.status(post(TEXTS, f"{prefix}/v1/classify")) == 401
        for path in ("/info", "/metrics"):
            assert prefixed.status(head(prefix + path, method="GET")) == 401
    moved = prefixed.send(head("/spam", method="GET"))
    assert moved.startswith(b"HTTP/1.1 307 ") and b"location: /spam/\r\n" in moved
    schema = httpx.get(f"{prefixed.url}/openapi.json").json()
    assert schema["servers"] == [{"url": "/spam"}]


@pytest.mark.parametrize(
    "settings",
    [
        {"root_path": "spam"},
        {"root_path": "/a b"},
        {"cors_origins": ("*",)},
        {"cors_origins": ("intranet.example",)},
        {"max_texts": 600},
    ],
)
def test_settings_that_cannot_be_are_refused(settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        ServeConfig(**settings)


def test_only_the_sites_that_are_named_may_ask():
    with serving(StubClassifier(), cors_origins=(ORIGIN,)) as service:

        def ask(origin: str) -> bytes:
            return service.send(post(TEXTS, origin=origin))

        allowed = ask(ORIGIN)
        assert allowed.startswith(b"HTTP/1.1 200 ")
        assert f"access-control-allow-origin: {ORIGIN}".encode() in allowed
        assert ask("https://other.example").startswith(b"HTTP/1.1 403 ")
        refused = service.send(post(b"{", origin=ORIGIN))  # its page can read why
        assert b"HTTP/1.1 400" in refused and b"access-control-allow-origin" in refused
        asked = {"access_control_request_method": "POST", "origin": ORIGIN}
        answer = service.send(head("/v1/classify", method="OPTIONS", **asked))
        assert answer.startswith(b"HTTP/1.1 200 ") and b"allow-methods: " in answer
        asked["origin"] = "https://other.example"
        answer = service.send(head("/v1/classify", method="OPTIONS", **asked))
        assert answer.startswith(b"HTTP/1.1 400 ")


def test_every_answer_has_an_id_the_clients_where_it_is_one(service):
    def ids(data: bytes) -> list[str]:
        return re.findall(r"x-request-id: (\S*)\r", service.send(data).decode())

    assert ids(post(TEXTS, x_request_id="proxy-7")) == ["proxy-7"]
    for data in (
        post(TEXTS),
        post(b"{"),
        head("/nothing", method="GET"),
        post(TEXTS, x_request_id="{}<script>"),
        post(TEXTS, host="evil.example"),
    ):
        (found,) = ids(data)
        assert re.fullmatch("[0-9a-f]{32}", found)


def test_the_log_is_a_line_of_json_for_each_request_and_holds_no_text(caplog):
    caplog.set_level(logging.INFO, "gpt2_jax")
    with serving(StubClassifier(), access_log=True) as service:
        caplog.clear()
        service.send(post(b'{"texts": ["my secret"]}', x_request_id="a1"))
        service.send(post(b'{"my secret": 1}'))
        service.send(head("/my-secret?my=secret", method="GET"))
    told = [r.message for r in caplog.records if r.name == _LOG]
    assert not any("secret" in line for line in told)
    # the fixture asks whether all is compiled
    lines = [x for x in map(json.loads, told) if x["path"] != "/metrics"]
    assert [(x["path"], x["status"]) for x in lines] == [
        ("/v1/classify", 200),
        ("/v1/classify", 422),
        ("other", 404),
    ]
    assert lines[0]["id"] == "a1" and lines[0]["bytes"] > 50
    assert lines[0].keys() == {
        *("time", "id", "client", "method", "path", "status", "seconds", "bytes")
    }


def test_without_the_flag_no_request_is_logged(service, caplog):
    caplog.set_level(logging.INFO, "gpt2_jax")
    service.send(post(TEXTS))
    assert not [r for r in caplog.records if r.name == _LOG]


def test_info_tells_which_model_answers():
    stub = StubClassifier(threshold=(1, 0.2))
    with serving(stub, examples=("try this",)) as service:
        told = httpx.get(f"{service.url}/info").json()
    assert told["labels"] == ["ham", "spam"]
    assert told["threshold"] == {"label": "spam", "value": 0.2}
    assert told["examples"] == ["try this"]
    assert told["max_length"] == stub.max_length and told["version"]


def test_a_model_is_told_by_the_hash_that_sha256sum_prints(tmp_path):
    folder = tmp_path / "spam" / "model"
    folder.mkdir(parents=True)
    (folder / "classifier.json").write_text("{}")
    data = {"data": {"name": "private.csv"}}
    (folder.parent / "results.json").write_text(json.dumps(data))
    model = model_of(folder.parent)
    assert model.run == "spam" and model.examples == ()
    assert model.sha256 == hashlib.sha256(b"{}").hexdigest()
    data["data"]["name"] = "demo"
    (folder.parent / "results.json").write_text(json.dumps(data))
    assert len(model_of(folder.parent).examples) == 2


def test_a_request_may_have_as_many_texts_as_the_flag_says():
    with serving(StubClassifier(), max_texts=3) as service:
        for count, status in ((3, 200), (4, 422)):
            body = json.dumps({"texts": ["a"] * count}).encode()
            assert service.status(post(body)) == status
        schema = httpx.get(f"{service.url}/openapi.json").json()
    request = schema["components"]["schemas"]["ClassifyRequest"]
    assert request["properties"]["texts"]["maxItems"] == 3


def test_the_metrics_show_whether_the_answers_drift():
    with serving(StubClassifier(lambda text: 0.9 if "prize" in text else 0.3)) as s:
        body = {"texts": ["prize", "lunch", "x " * 40], "abstain_below": 0.8}
        s.send(post(json.dumps(body).encode()))
        table = {"content_type": "application/octet-stream"}
        s.send(post(b"text\nprize\n", "/v1/table?name=a.csv", **table))
        lines = httpx.get(f"{s.url}/metrics").text.splitlines()
    told = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    assert told['gpt2_jax_labels_total{label="spam"}'] == "2.0"
    assert told["gpt2_jax_abstained_total"] == "2.0"
    assert told["gpt2_jax_truncated_total"] == "1.0"
    assert told['gpt2_jax_label_probability_bucket{le="0.8"}'] == "2.0"
    assert told["gpt2_jax_label_probability_count"] == "4.0"
    assert told["gpt2_jax_text_tokens_count"] == "4.0"
    assert float(told["process_start_time_seconds"]) > 0
