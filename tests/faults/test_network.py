"""No network, and a slow one."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import pytest
import requests
from file_server import Answer, serve
from training_helpers import error_line

from gpt2_jax.cli.main import main
from gpt2_jax.errors import DataError
from gpt2_jax.storage import download


@pytest.fixture
def _no_network(monkeypatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    for name in ("HF_HUB_OFFLINE", "HF_ENDPOINT", "GPT2_JAX_DATA", "HF_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.fault(31)
@pytest.mark.parametrize(
    ("flags", "code", "mirrors"),
    [
        (["--weights", "124M"], 5, ["openai-community/gpt2", "rasbt/gpt2-from"]),
        (["--data", "sms-spam"], 4, ["archive.ics.uci.edu", "backblazeb2.com"]),
    ],
)
@pytest.mark.usefixtures("_no_network")
def test_without_a_network_every_mirror_is_named(
    flags, code, mirrors, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    error = error_line(capsys, ["finetune", "--dry-run", *flags], code)
    for mirror in mirrors:
        assert mirror in error
    error = error_line(capsys, ["finetune", "--dry-run", "--offline", *flags], code)
    assert "--offline forbids to download it" in error


@pytest.mark.slow
@pytest.mark.fault(31)
@pytest.mark.usefixtures("_no_network")
def test_what_is_shipped_needs_no_network(monkeypatch, capsys):
    monkeypatch.setattr(socket, "socket", None)
    assert main(["finetune", "--dry-run"]) == 0
    assert "mini" in capsys.readouterr().out


@contextlib.contextmanager
def _trickle(pause: float) -> Iterator[str]:
    """A server that sends a byte at a time, for ever."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ended = threading.Event()

        def answer() -> None:
            connection, _ = listener.accept()
            with connection, contextlib.suppress(OSError):
                connection.recv(65536)
                connection.sendall(
                    b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n"
                )
                while not ended.wait(pause):
                    connection.sendall(b"x")

        thread = threading.Thread(target=answer)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/x"
        ended.set()
        thread.join()


@pytest.mark.fault(31)
def test_a_server_that_trickles_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(download, "SLOWEST_SECONDS", 0.3)
    started = time.monotonic()
    with (
        _trickle(0.02) as url,
        pytest.raises(DataError, match=r"/x: \d+ bytes in \d s; slower than 1,000 a s"),
    ):
        download.download(
            [url], tmp_path / "x", sha256="", max_bytes=10**9, error=DataError
        )
    assert time.monotonic() - started < 10
    assert list(tmp_path.iterdir()) == []


@pytest.mark.fault(31)
def test_a_slow_server_that_keeps_on_is_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(download, "SLOWEST_SECONDS", 0.1)
    monkeypatch.setattr(download, "SLOWEST_BYTES", 5)
    with (
        _trickle(0.02) as url,
        requests.get(url, stream=True, timeout=5) as response,
    ):
        got = b""
        for chunk in download.chunks(response):
            got += chunk
            if len(got) >= 20:
                break
    assert got == b"x" * len(got)


@pytest.mark.fault(31)
def test_a_body_is_the_same_however_it_is_cut(monkeypatch):
    monkeypatch.setattr(download, "CHUNK_BYTES", 7)
    body = bytes(range(256)) * 9
    with serve() as server:
        server.answers["/x"] = Answer(body)
        with download.open_url(f"{server.url}/x") as response:
            assert b"".join(download.chunks(response)) == body
        server.answers["/x"] = Answer(body, stops=1000)
        with (
            download.open_url(f"{server.url}/x") as response,
            pytest.raises(requests.RequestException),
        ):
            list(download.chunks(response))
