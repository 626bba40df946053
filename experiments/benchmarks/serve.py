"""Throughput and latency of `gpt2-jax serve`, beside FastAPI + transformers' pipeline.

    python -m gpt2_jax finetune --no-lexical --epochs 1 --workdir checkpoints/serve
    python experiments/benchmarks/serve.py checkpoints/serve

Both services run on this machine, the load comes from this process, and they are loaded
in turn, one text a request. Then one client asks on while, each second, ten others ask
for 30 texts and hang up at once. `--memory` asks 20,000 times instead, and prints the
resident memory on the way; `--start` starts it with empty caches, and prints the time
until `/readyz` answers. Needs the extras `serve` and `torch`.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import os
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from serve_load import (
    LEAVING,
    MAX_REQUESTS,
    Service,
    answers,
    beside_leaving,
    free_port,
    load,
)

from gpt2_jax.config import DataConfig
from gpt2_jax.data.sources import load_dataset

CLIENTS = (1, 16, 128)
PEER = Path(__file__).with_name("serve_peer.py")


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
    """Print how fast both are, and what those who hang up cost the others."""
    with ours.running(), peer.running():
        ours.wait(None, "/metrics", told=b"gpt2_jax_cold_shapes 0.0")  # all compiled
        difference = check_equal(ours, peer, texts[:100])
        print(f"largest difference of 100 answers: {difference:.1e}")
        speed(ours, peer, texts, arguments)
        hanging_up(ours, peer, texts, arguments)


def speed(
    ours: Service, peer: Service, texts: list[str], arguments: argparse.Namespace
) -> None:
    """Print a line for each number of clients and each service."""
    print("| clients | service | requests/s | p50 ms | p99 ms |")
    print("|---|---|---|---|---|")
    for clients in CLIENTS:
        for service in (ours, peer):
            asyncio.run(load(service, texts, clients, 2.0, MAX_REQUESTS, []))
        found: dict[str, list[tuple[float, float, float]]] = {}
        for _ in range(arguments.rounds):
            for service in (ours, peer):
                latencies: list[float] = []
                took = asyncio.run(
                    load(
                        service,
                        texts,
                        clients,
                        arguments.seconds,
                        MAX_REQUESTS,
                        latencies,
                    )
                )
                rate = len(latencies) / took
                found.setdefault(service.name, []).append((rate, *p50_p99(latencies)))
        for name, values in found.items():
            rate, p50, p99 = map(statistics.median, zip(*values, strict=True))
            print(f"| {clients} | {name} | {rate:.1f} | {p50:.1f} | {p99:.1f} |")


def hanging_up(
    ours: Service, peer: Service, texts: list[str], arguments: argparse.Namespace
) -> None:
    """Print the latency of one client, alone and beside ten that hang up."""
    print(f"| service | p50 ms | p99 ms | p50 beside {LEAVING} | p99 beside | times |")
    print("|---|---|---|---|---|---|")
    for service in (ours, peer):
        found = []
        for _ in range(arguments.rounds):
            idle: list[float] = []
            asyncio.run(load(service, texts, 1, arguments.seconds, MAX_REQUESTS, idle))
            beside = asyncio.run(beside_leaving(service, texts, arguments.seconds))
            found.append((*p50_p99(idle), *p50_p99(beside)))
            if math.isinf(beside[-1]):
                break  # it would never get to the next request
        values = [statistics.median(x) for x in zip(*found, strict=True)]
        shown = " | ".join(f"{value:.1f}" for value in values)
        print(f"| {service.name} | {shown} | {values[3] / values[1]:.1f} |", flush=True)


def p50_p99(latencies: list[float]) -> tuple[float, float]:
    """Return them in milliseconds."""
    p50, p99 = np.percentile(latencies, (50, 99), method="higher")
    return 1e3 * p50, 1e3 * p99


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
            latencies: list[float] = []
            asyncio.run(load(ours, texts, 64, 600.0, total - done, latencies))
            done += len(latencies)
            print(f"after {done} requests: {resident_mb(pid):.0f} MB", flush=True)


def first_start(ours: Service, rounds: int) -> None:
    """Print what each first start takes, with an empty cache folder."""
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as cache:
            start = time.perf_counter()
            with ours.running(os.environ | {"XDG_CACHE_HOME": cache}) as pid:
                wall = time.perf_counter() - start
                # state is the first field behind the name; ticks of user and system
                fields = (
                    Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                )
                cpu = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
                print(f"ready after {wall:.1f} s, {cpu:.1f} s of CPU", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--seconds", type=float, default=8.0, help="of each load")
    parser.add_argument("--rounds", type=int, default=3, help="of which the median")
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--start", action="store_true")
    arguments = parser.parse_args()
    texts = list(load_dataset(DataConfig(), to_train=False).texts)
    random.Random(0).shuffle(texts)
    python, run = sys.executable, str(arguments.run)
    port = free_port()
    command = [python, "-m", "gpt2_jax", "serve", run, "--port", str(port)]
    ours = Service("gpt2-jax serve", command, "/v1/classify", "/readyz", port)
    if arguments.start:
        first_start(ours, arguments.rounds)
        return
    if arguments.memory:
        memory(ours, texts)
        return
    port = free_port()
    command = [python, str(PEER), run, str(port)]
    peer = Service("FastAPI + pipeline", command, "/classify", "/openapi.json", port)
    compare(ours, peer, texts, arguments)


if __name__ == "__main__":
    main()
