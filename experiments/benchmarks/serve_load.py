"""Load on a service, and how long each answer takes; see serve.py."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import itertools
import json
import os
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Mapping

MAX_REQUESTS = 20000
LEAVING, THEIR_TEXTS = 10, 30  # clients that hang up, texts that each asked for


@dataclasses.dataclass(frozen=True)
class Service:
    """A service that runs, and how it is asked for one text."""

    name: str
    command: list[str]
    path: str
    ready: str  # where it answers once it can
    port: int

    def request(self, *texts: str) -> bytes:
        content = json.dumps({"texts": texts}).encode()
        head = (
            f"POST {self.path} HTTP/1.1\r\nhost: localhost\r\n"
            f"content-type: application/json\r\ncontent-length: {len(content)}\r\n\r\n"
        )
        return head.encode() + content

    @contextlib.contextmanager
    def running(self, environment: Mapping[str, str] = os.environ) -> Iterator[int]:
        """Run it, and yield its process id once it answers."""
        command, quiet = self.command, subprocess.DEVNULL
        with subprocess.Popen(command, stderr=quiet, env=environment) as process:
            try:
                self.wait(process, self.ready)
                yield process.pid
            finally:
                # Not SIGTERM: the peer would first answer all who have gone away.
                process.kill()

    def wait(
        self, process: subprocess.Popen[bytes] | None, path: str, told: bytes = b""
    ) -> None:
        """Wait until it answers at `path`, and tells `told`."""
        for _ in range(6000):
            if process is not None and process.poll() is not None:
                raise SystemExit(f"{self.name} ended with {process.returncode}")
            with (
                contextlib.suppress(OSError),
                urllib.request.urlopen(f"http://localhost:{self.port}{path}") as answer,
            ):
                if told in answer.read():
                    return
            time.sleep(0.05)
        raise SystemExit(f"{self.name} is not ready after 300 s")


async def ask(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes
) -> bytes:
    """Send one request over an open connection, and return the body of its answer."""
    writer.write(request)
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    if not head.startswith(b"http/1.1 200 "):
        raise SystemExit(head.decode())
    length = int(head.split(b"content-length: ")[1].split(b"\r\n")[0])
    return await reader.readexactly(length)


async def load(
    service: Service,
    texts: list[str],
    clients: int,
    seconds: float,
    count: int,
    latencies: list[float],
) -> float:
    """Add the latency of each request to `latencies`; return how long all took."""
    requests = itertools.islice(itertools.cycle(map(service.request, texts)), count)
    start = time.perf_counter()

    async def client() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
        for request in requests:
            begin = time.perf_counter()
            await ask(reader, writer, request)
            latencies.append(time.perf_counter() - begin)
            if time.perf_counter() - start > seconds:
                break
        writer.close()

    await asyncio.gather(*(client() for _ in range(clients)))
    return time.perf_counter() - start


async def leave(service: Service, texts: list[str]) -> None:
    """Have ten clients ask and hang up, all at once, each second until cancelled."""
    request = service.request(*texts[:THEIR_TEXTS])

    async def client() -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", service.port)
        writer.write(request)
        await writer.drain()
        writer.close()

    while True:
        await asyncio.gather(*(client() for _ in range(LEAVING)))
        await asyncio.sleep(1.0)


async def beside_leaving(
    service: Service, texts: list[str], seconds: float
) -> list[float]:
    """Return the latencies of one client beside those that leave.

    A request that has no answer when twice `seconds` are over counts as infinite.
    """
    others = asyncio.create_task(leave(service, texts))
    latencies: list[float] = []
    loading = load(service, texts, 1, seconds, MAX_REQUESTS, latencies)
    try:
        await asyncio.wait_for(loading, 2 * seconds)
    except TimeoutError:
        latencies.append(float("inf"))
    finally:
        others.cancel()
    return latencies


async def answers(service: Service, texts: list[str]) -> list[dict[str, float]]:
    """Return the probabilities of each text."""
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    bodies = [await ask(reader, writer, service.request(text)) for text in texts]
    writer.close()
    return [json.loads(body)["results"][0]["probs"] for body in bodies]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]
