"""`gpt2-jax serve`: what it prints, how it ends."""

from __future__ import annotations

import concurrent.futures
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from serve_helpers import (
    StubClassifier,
    head,
    post,
    read_all,
    serving,
    tiny_trained,
    until,
)

from gpt2_jax.cli.main import main
from gpt2_jax.inference.classifier import Classifier
from gpt2_jax.serve import server
from gpt2_jax.weights.trained import save_model


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    save_model(folder / "model", tiny_trained(max_length=16))
    return folder


def _command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "gpt2_jax", "serve", *map(str, arguments)]


@pytest.mark.slow
@pytest.mark.fault(44)
def test_sigterm_answers_what_was_asked_and_exits_with_0(run):
    process = subprocess.Popen(
        _command(run, "--port", 0),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"JAX_PLATFORMS": "cpu", "PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout is not None
    first, second = process.stdout.readline(), process.stdout.readline()
    found = re.match(r"http://127\.0\.0\.1:(\d+)  labels: ham, spam", first)
    assert found, first
    assert second.startswith("ready: ")
    body = b'{"texts": ["a prize"]}'
    with socket.create_connection(("127.0.0.1", int(found[1])), 30) as connection:
        connection.sendall(head(content_length=len(body), expect="100-continue"))
        assert connection.recv(999).startswith(b"HTTP/1.1 100 ")  # it was begun
        process.send_signal(signal.SIGTERM)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.5)  # it waits for the rest
        connection.sendall(body)
        assert read_all(connection).startswith(b"HTTP/1.1 200 ")
    out, err = process.communicate(timeout=30)
    assert process.returncode == 0, out + err
    assert err == ""


def test_what_waits_for_the_device_is_answered_before_the_end():
    go, held = threading.Event(), threading.Event()
    go.set()

    def answer(text: str) -> float:
        held.set()
        assert go.wait(30)
        return 0.25

    with concurrent.futures.ThreadPoolExecutor(40) as pool:
        with serving(StubClassifier(answer)) as service:
            go.clear()
            held.clear()
            request = post(b'{"texts": ["a"]}')
            asked = [pool.submit(service.send, request)]
            assert held.wait(10)
            asked += [pool.submit(service.send, request) for _ in range(39)]
            waiting = head("/metrics", method="GET")
            until(lambda: b"gpt2_jax_queue_texts 39.0" in service.send(waiting))
            service.server.should_exit = True
            assert not any(future.done() for future in asked)
            go.set()
        answers = [future.result(10) for future in asked]
    assert all(a.startswith(b"HTTP/1.1 200 ") for a in answers)


def test_without_the_extra_one_line_says_what_to_install(run):
    block = (
        "import sys; sys.modules['fastapi'] = None; import gpt2_jax.cli.main as cli; "
    )
    code = f"{block}sys.exit(cli.main(['serve', {str(run)!r}]))"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True
    )
    assert result.returncode == 3
    assert result.stderr == (
        "gpt2-jax: error: gpt2-jax serve needs the extra: "
        "pip install 'gpt2-jax[serve]'\n"
    )


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--port", "70000"], "port=70000"),
        (["--token", "a b"], "printable ASCII"),
        (["--token", ""], "printable ASCII"),
        (["--timeout", "0"], "timeout=0"),
        (["--timeout", "nan"], "timeout=nan"),
        (["--max-queue", "0"], "max_queue=0 must be at least 256"),
        (["--host", "no.such.host.invalid"], "no.such.host.invalid:8000: cannot"),
    ],
)
def test_settings_that_cannot_be_exit_with_2(run, flags, message, capsys):
    assert main(["serve", str(run), *flags]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_a_port_in_use_exits_with_2(run, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["serve", str(run), "--port", str(port)]) == 2
    assert f"127.0.0.1:{port}: cannot be listened on" in capsys.readouterr().err


def test_a_folder_that_is_no_run_exits_with_5(tmp_path, capsys):
    assert main(["serve", str(tmp_path)]) == 5
    assert "no weights and no run" in capsys.readouterr().err


@pytest.mark.fault(44)
@pytest.mark.parametrize(
    ("flags", "warned"),
    [
        ([], False),
        (["--host", "127.0.0.2"], False),
        (["--host", "0.0.0.0"], True),
        (["--host", "0.0.0.0", "--token", "secret"], False),
    ],
)
def test_who_listens_for_others_without_a_token_is_warned(
    flags, warned, run, monkeypatch, capsys
):
    class Server:
        def run(self, sockets: list[socket.socket]) -> None:
            assert sockets[0].getsockname()[1] > 0

    monkeypatch.setattr(server, "make_server", lambda *_: Server())
    monkeypatch.setattr(Classifier, "load", lambda _: StubClassifier())
    before = signal.getsignal(signal.SIGTERM)
    try:
        assert main(["serve", str(run), "--port", "0", *flags]) == 0
    finally:
        signal.signal(signal.SIGTERM, before)
        logging.getLogger("gpt2_jax").handlers = []
    assert ("warning: 0.0.0.0 can be reached" in capsys.readouterr().out) == warned


def test_the_token_may_come_from_the_environment(run, monkeypatch, capsys):
    monkeypatch.setenv("GPT2_JAX_TOKEN", "not good")
    assert main(["serve", str(run)]) == 2
    assert "printable ASCII" in capsys.readouterr().err
    monkeypatch.setenv("GPT2_JAX_TOKEN", "")  # as good as unset
    assert main(["serve", str(run), "--timeout", "0"]) == 2
    assert "timeout=0" in capsys.readouterr().err
