"""Listen, serve until told to stop, drain, and end."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import ipaddress
import logging
import signal
import socket
import sys
from pathlib import Path
from types import FrameType
from typing import NoReturn

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from gpt2_jax.config import ForeignConfig, ServeConfig
from gpt2_jax.data.reading import Reading
from gpt2_jax.errors import UserError
from gpt2_jax.inference.classifier import Classifier
from gpt2_jax.inference.rows import usual_reading
from gpt2_jax.serve.app import create_app
from gpt2_jax.serve.probes import Model, model_of
from gpt2_jax.weights.foreign import read_classifier

logger = logging.getLogger(__name__)


_UNSAID = ForeignConfig()


def serve(
    run: Path,
    config: ServeConfig,
    how: ForeignConfig = _UNSAID,
    *,
    offline: bool = False,
) -> None:
    """Serve a run until SIGINT or SIGTERM, which ends with exit code 0.

    `how` says of another program's classifier what it does not say itself.

    Raises:
        UserError: the address cannot be listened on.
        WeightsError: the run cannot be read.
    """
    signal.signal(signal.SIGTERM, _exit)  # uvicorn raises it again when it has drained
    classifier = Classifier(read_classifier(run, how, offline=offline))
    with listen(config) as listener:
        host, port = listener.getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        if config.token is None and not ipaddress.ip_address(host).is_loopback:
            logger.warning(
                "warning: %s can be reached by others, who may all ask; give --token",
                shown,
            )
        logger.info(
            "http://%s:%s  labels: %s", shown, port, ", ".join(classifier.labels)
        )
        _allow_files(config.max_connections)
        server = make_server(classifier, config, usual_reading(run), model_of(run))
        server.run(sockets=[listener])


def make_server(
    classifier: Classifier,
    config: ServeConfig,
    usual: Reading = Reading(),
    model: Model = Model(),
) -> uvicorn.Server:
    """Return the server of `classifier`; no text is logged."""
    return uvicorn.Server(
        uvicorn.Config(
            create_app(classifier, config, usual, model),
            http=TimedProtocol,
            ws="none",
            lifespan="on",
            log_config=None,
            log_level="error",  # no line for each nonsense of a client
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=config.max_connections,
            timeout_keep_alive=round(config.read_timeout + 0.5),
            timeout_graceful_shutdown=round(config.timeout + 1),
        )
    )


def listen(config: ServeConfig) -> socket.socket:
    """Return a socket that listens at the address of `config`.

    Raises:
        UserError: the address is unknown, or in use.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(
            config.host, config.port, type=socket.SOCK_STREAM
        )[0]
        return socket.create_server(
            address, family=family, backlog=config.max_connections
        )
    except OSError as error:
        raise UserError(
            f"{config.host}:{config.port}: cannot be listened on ({error.strerror}); "
            "give another --host or --port"
        ) from None


def _allow_files(connections: int) -> None:
    """Let so many connections be open, as far as the system allows it."""
    with contextlib.suppress(ImportError, ValueError, OSError):  # not on Windows
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = connections + 256  # the rest is for the model, jax and files
        if hard != resource.RLIM_INFINITY:
            wanted = min(wanted, hard)
        if soft != resource.RLIM_INFINITY and soft < wanted:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _exit(number: int, frame: FrameType | None) -> NoReturn:
    sys.exit(0)


class TimedProtocol(H11Protocol):
    """HTTP/1.1 that gives a client as long for a head as for being idle.

    uvicorn itself waits for the end of a head that has begun as long as it takes, and
    answers 503 to everyone once idle connections fill its limit. Here the one that has
    been idle longest makes room, of the client that has most of them.
    """

    _deadline: asyncio.TimerHandle | None = None
    _since = 0.0  # when it became idle

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        self._make_room()
        super().connection_made(transport)
        self._expect_head()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE:
            self._unset_deadline()
        elif self._deadline is None:
            self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._unset_deadline()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP, in the place of the answer that is being made.

        uvicorn itself would send that one too, and log that it cannot.
        """
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        with contextlib.suppress(h11.LocalProtocolError):  # an answer has begun
            super().send_400_response(msg)
        self.transport.close()

    def on_response_complete(self) -> None:
        self._since = self.loop.time()
        super().on_response_complete()

    def _make_room(self) -> None:
        limit = self.limit_concurrency
        if limit is None or len(self.connections) < limit - 1:
            return
        idle = [c for c in self.connections if isinstance(c, TimedProtocol) and c._idle]
        hosts = collections.Counter(c.client and c.client[0] for c in idle)
        if idle:
            most = hosts.most_common(1)[0][0]
            of = [c for c in idle if (c.client and c.client[0]) == most]
            oldest = min(of, key=lambda c: c._since)
            oldest.transport.close()
            self.connections.discard(oldest)  # it is counted until it has closed

    @property
    def _idle(self) -> bool:
        waits = self.cycle is None or self.cycle.response_complete
        return waits and not self.transport.is_closing()

    def _expect_head(self) -> None:
        self._since = self._since or self.loop.time()
        self._deadline = self.loop.call_later(
            self.timeout_keep_alive, self.transport.close
        )

    def _unset_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
