"""Throughput and latency of `gpt2-jax serve`, beside FastAPI + transformers' pipeline.

    python -m gpt2_jax finetune --no-lexical --epochs 1 --workdir checkpoints/serve
    python experiments/benchmarks/serve.py checkpoints/serve

Both services run on this machine, the load comes from this process, and they are loaded
in turn, one text a request. `--memory` asks 20,000 times instead, and prints the
resident memory on the way. Needs the extras `serve` and `torch`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import itertools
import json
import random
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from gpt2_jax.config import DataConfig
from gpt2_jax.data.sources import load_dataset

CLIENTS = (1, 16, 128)
MAX_REQUESTS = 20000
PEER = Path(__file__).with_name("serve_peer.py")


@dataclasses.dataclass(frozen=True)
class Service:
    """A service that runs, and how it is asked for one text."""

    name: str
    command: list[str]
    path: str
    port: int

    def request(self, text: str) -> bytes:
        body = {"texts": [text]} if self.path.startswith("/v1") else {"text": text}
        content = json.dumps(body).encode()
        head = (
            f"POST {self.path} HTTP/1.1\r\nhost: localhost\r\n"
            f"content-type: application/json\r\ncontent-length: {len(content)}\r\n\r\n"
        )
        return head.encode() + content

    @contextlib.contextmanager
    def running(self) -> Iterator[int]:
        """Run it, and yield its process id once it answers."""
        with subprocess.Popen(self.command, stderr=subprocess.DEVNULL) as process:
            try:
                self._wait(process)
                yield process.pid
            finally:
                process.terminate()

    def _wait(self, process: subprocess.Popen[bytes]) -> None:
        ready = "/readyz" if self.path.startswith("/v1") else "/openapi.json"
        for _ in range(600):
            if process.poll() is not None:
                raise SystemExit(f"{self.name} ended with {process.returncode}")
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"http://localhost:{self.port}{ready}").close()
                return
            time.sleep(0.5)
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
    service: Service, texts: list[str], clients: int, seconds: float, count: int
) -> tuple[list[float], float]:
    """Return the latency of each request, and how long all of them took."""
    latencies: list[float] = []
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
    return latencies, time.perf_counter() - start


async def answers(service: Service, texts: list[str]) -> list[dict[str, float]]:
    """Return the probabilities of each text."""
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    bodies = [await ask(reader, writer, service.request(text)) for text in texts]
    writer.close()
    values = map(json.loads, bodies)
    return [v["results"][0]["probs"] if "results" in v else v for v in values]


def check_equal(first: Service, second: Service, texts: list[str]) -> float:
    """Return the largest difference between their probabilities."""
    pairs = zip(
        asyncio.run(answers(first, texts)),
        asyncio.run(answers(second, texts)),
        strict=True,
    )
    return max(abs(a[label] - b[label]) for a, b in pairs for label in a)


def compare(
    ours: Service, peer: Service, texts: list[str], arguments: argparse.Namespace
) -> None:
    """Print a line for each number of clients and each service."""
    with ours.running(), peer.running():
        difference = check_equal(ours, peer, texts[:100])
        print(f"largest difference of 100 answers: {difference:.1e}")
        print("| clients | service | requests/s | p50 ms | p99 ms |")
        print("|---|---|---|---|---|")
        for clients in CLIENTS:
            for service in (ours, peer):
                asyncio.run(load(service, texts, clients, 2.0, MAX_REQUESTS))
            found: dict[str, list[tuple[float, float, float]]] = {}
            for _ in range(arguments.rounds):
                for service in (ours, peer):
                    latencies, took = asyncio.run(
                        load(service, texts, clients, arguments.seconds, MAX_REQUESTS)
                    )
                    cuts = statistics.quantiles(latencies, n=100)
                    found.setdefault(service.name, []).append(
                        (len(latencies) / took, 1e3 * cuts[49], 1e3 * cuts[98])
                    )
            for name, values in found.items():
                rate, p50, p99 = map(statistics.median, zip(*values, strict=True))
                print(f"| {clients} | {name} | {rate:.1f} | {p50:.1f} | {p99:.1f} |")


def resident_mb(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise SystemExit(f"no VmRSS of process {pid}")


def memory(ours: Service, texts: list[str]) -> None:
    """Print the resident memory after 2,000 requests, and then every 6,000."""
    with ours.running() as pid:
        print(f"ready: {resident_mb(pid):.0f} MB")
        done = 0
        for total in (2000, 8000, 14000, 20000):
            latencies, _ = asyncio.run(load(ours, texts, 64, 600.0, total - done))
            done += len(latencies)
            print(f"after {done} requests: {resident_mb(pid):.0f} MB", flush=True)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--seconds", type=float, default=8.0, help="of each load")
    parser.add_argument("--rounds", type=int, default=3, help="of which the median")
    parser.add_argument("--memory", action="store_true")
    arguments = parser.parse_args()
    texts = list(load_dataset(DataConfig(), to_train=False).texts)
    random.Random(0).shuffle(texts)
    python, run = sys.executable, str(arguments.run)
    port = free_port()
    command = [python, "-m", "gpt2_jax", "serve", run, "--port", str(port)]
    ours = Service("gpt2-jax serve", command, "/v1/classify", port)
    if arguments.memory:
        memory(ours, texts)
        return
    port = free_port()
    command = [python, str(PEER), run, str(port)]
    peer = Service("FastAPI + pipeline", command, "/classify", port)
    compare(ours, peer, texts, arguments)


if __name__ == "__main__":
    main()
