"""A tiny service on a free port, and raw requests that no client library would send."""

from __future__ import annotations

import contextlib
import dataclasses
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from helpers import random_params
from training_helpers import ON_DISK

from gpt2_jax.config import ServeConfig
from gpt2_jax.engine.cut import part_read
from gpt2_jax.evaluation.decision import decide
from gpt2_jax.inference.classifier import Classifier
from gpt2_jax.serve.server import listen, make_server
from gpt2_jax.tokenizer import gpt2
from gpt2_jax.weights.trained import TrainedModel

MAX_LENGTH = 32
HOST = "localhost"


def tiny_trained(max_length: int = MAX_LENGTH) -> TrainedModel:
    config = dataclasses.replace(
        ON_DISK, max_len=max_length, num_classes=2, num_layers=1
    )
    return TrainedModel(config, random_params(config), ("ham", "spam"), max_length)


class StubClassifier:
    """What the service needs of a classifier; `answer` is the probability of spam."""

    labels: tuple[str, ...] = ("ham", "spam")
    max_length = MAX_LENGTH
    tokenizer = gpt2()

    def __init__(
        self,
        answer: Callable[[str], float] = lambda text: 0.25,
        threshold: tuple[int, float] | None = None,
    ) -> None:
        self._answer = answer
        self.threshold = threshold

    def predict_proba(self, texts: Sequence[str]) -> np.ndarray:
        spam = np.asarray([self._answer(text) for text in texts])
        return np.stack([1 - spam, spam], axis=-1)

    def truncates(self, num_tokens: int) -> bool:
        return num_tokens > self.max_length

    def part_read(self, text: str) -> str:
        return part_read(text, self.max_length, self.tokenizer)

    def decide(
        self, probabilities: np.ndarray, *, abstain_below: float = 0.0
    ) -> list[str | None]:
        return [
            self.labels[index] if row[index] >= abstain_below else None
            for row, index in zip(
                probabilities, decide(probabilities, self.threshold), strict=True
            )
        ]


@dataclasses.dataclass
class Service:
    """A server that runs in a thread of this process."""

    port: int
    server: Any
    thread: threading.Thread

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=10)

    def send(self, data: bytes) -> bytes:
        """Return all that the service answers to `data` until it closes."""
        with self.connect() as connection:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.sendall(data)
            return read_all(connection)

    def status(self, data: bytes) -> int:
        return int(self.send(data).split(b" ", 2)[1])


def read_all(connection: socket.socket) -> bytes:
    parts = []
    with contextlib.suppress(ConnectionResetError):
        while part := connection.recv(65536):
            parts.append(part)
    return b"".join(parts)


def head(
    path: str = "/v1/classify", *, method: str = "POST", **headers: str | int
) -> bytes:
    """Return the head of a request; `headers` with _ for -, the rest as usual."""
    given = {"host": HOST, "connection": "close"}
    if method == "POST":
        given["content-type"] = "application/json"
    given |= {name.replace("_", "-"): str(value) for name, value in headers.items()}
    lines = [f"{method} {path} HTTP/1.1", *(f"{k}: {v}" for k, v in given.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def post(body: bytes, path: str = "/v1/classify", **headers: str | int) -> bytes:
    return head(path, method="POST", content_length=len(body), **headers) + body


@contextlib.contextmanager
def serving(
    classifier: Classifier | StubClassifier, *, wait: bool = True, **settings: Any
) -> Iterator[Service]:
    """Serve `classifier`, compiled unless `wait` is false, and stop it at the end."""
    config = ServeConfig(**{"port": 0, "read_timeout": 1.0, **settings})
    with listen(config) as listener:
        server = make_server(classifier, config)  # pyright: ignore[reportArgumentType]
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        service = Service(listener.getsockname()[1], server, thread)
        try:
            if wait:
                ask = {"authorization": f"Bearer {config.token}"}
                metrics = head("/metrics", method="GET", **ask)
                until(lambda: b"gpt2_jax_cold_shapes 0.0" in service.send(metrics))
            yield service
        finally:
            server.should_exit = True
            thread.join()


def until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait for `condition`."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come true in time"
        time.sleep(0.02)
