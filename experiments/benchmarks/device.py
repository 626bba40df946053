"""The acceptance on a device: one command, one JSON and one page, in eight minutes.

    python experiments/benchmarks/device.py                  # 124M, random weights
    python experiments/benchmarks/device.py --dry-run        # mini, on this CPU

Each part is a process with a time limit of its own; what does not end in time is ended,
and what --minutes leaves no time for is left out; the page says so. A dry run has no
limit but --minutes. The peers need the extra `torch` and the SMS Spam Collection
(`GPT2_JAX_DATA`). Exit code 1: a part failed, or did not end.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
PEERS = ("torch", "transformers", "llms_from_scratch")
LEAST = 5.0  # seconds that a part is begun with


@dataclasses.dataclass(frozen=True)
class Part:
    """A script with its flags, and the seconds that it may take."""

    name: str
    script: str
    flags: tuple[str, ...]
    seconds: float
    needs: tuple[str, ...] = ()  # packages


def parts(weights: str, folder: Path, *, dry: bool) -> list[Part]:
    """Return what is run, the most telling first.

    `dry`: briefly, in float32, and without what takes minutes on a CPU.
    """
    texts = ("--texts", "64" if dry else "2000")
    half = "float32" if dry else "bfloat16"

    def check(name: str, seconds: float, *flags: str, dtype: str = half) -> Part:
        own = name.split(":")[0]
        given = ("--weights", weights, "--dtype", dtype, *texts, *flags)
        place = ("--folder", str(folder / own))
        return Part(name, "device_checks.py", (own, *given, *place), seconds)

    found = [
        check("parity: float32", 60, dtype="float32"),
        check("parity: bfloat16", 60, dtype="bfloat16"),
        check("attention", 45),
        check("throughput", 60),
        check("resume", 90),
        check("wrappers", 90),
        check("weights", 60),
    ]
    saved = str(folder / "weights" / "hf")
    sizes = ("--texts", "16", "--repeats", "1") if dry else ("--texts", "512")
    rate = ("--weights", saved, "--dtype", half, "--width", "32" if dry else "128")
    found.append(Part("flops", "flops.py", (*rate, *sizes), 60))
    if not dry:
        job = ("--job", "book", "--repeats", "1", "--output", str(folder / "peers"))
        chosen = ("--peers", "chapter-6", "transformers-compiled")
        flags = ("--weights", saved, "--dtype", half, *job, *chosen)
        found.append(Part("peers", "peers.py", flags, 240, PEERS))
    return found


def run(part: Part, limit: float, environment: dict[str, str]) -> dict[str, Any]:
    """Run a part for `limit` seconds at most; return what came of it."""
    missing = [name for name in part.needs if importlib.util.find_spec(name) is None]
    if missing:
        return {"outcome": "left out", "why": f"needs {', '.join(missing)}"}
    if limit < LEAST:
        return {"outcome": "left out", "why": "no time left"}
    command = [sys.executable, str(HERE / part.script), *part.flags]
    started = time.perf_counter()
    with tempfile.TemporaryFile("w+") as told, tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(
            command, env=environment, stdout=told, stderr=said, start_new_session=True
        )
        try:
            code: int | None = process.wait(limit)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)  # and the processes that it has started
            process.wait()
            code = None
        told.seek(0)
        said.seek(0)
        lines, errors = told.read().splitlines(), said.read().splitlines()
    outcomes = {0: "passed", None: "stopped"}
    found: dict[str, Any] = {
        "outcome": outcomes.get(code, "failed"),
        "seconds": round(time.perf_counter() - started, 1),
        "limit": round(limit, 1),
    }
    try:
        found["found"] = json.loads(lines[-1])
    except (IndexError, ValueError):  # the benchmarks print lines
        found["found"] = lines
    if code != 0:
        found["errors"] = errors[-5:]
    return found


def page(report: dict[str, Any]) -> str:
    """Return the report as Markdown."""
    lines = ["# Acceptance on a device", report["command"], ""]
    lines += ["| part | outcome | seconds, of | found |", "|---|---|---|---|"]
    for name, part in report["parts"].items():
        took = f"{part['seconds']}, {part['limit']}" if "seconds" in part else ""
        lines.append(f"| {name} | {part['outcome']} | {took} | {_cell(part)} |")
    facts = ", ".join(f"{name} {value}" for name, value in report["facts"].items())
    return "\n".join([*lines, "", f"{facts}."]) + "\n"


def _cell(part: dict[str, Any]) -> str:
    found = part.get("found", part.get("why", ""))
    if isinstance(found, dict):
        found = [f"{name}: {value}" for name, value in found.items() if value != []]
    if isinstance(found, list):
        found = "; ".join([*found, *part.get("errors", [])])
    return str(found).replace("|", "/")


def facts(minutes: float) -> dict[str, str]:
    """Return what stands beside every figure."""
    commit = subprocess.run(
        ["git", "-C", str(HERE), "describe", "--always", "--dirty"],
        capture_output=True,
        text=True,
    ).stdout.strip()
    now = datetime.datetime.now(datetime.UTC)
    return {
        "commit": commit or "unknown",
        "minutes": f"{minutes:g}",
        "cores": str(os.cpu_count()),
        "date": now.strftime("%Y-%m-%d %H:%M UTC"),
    }


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", help="random:124M, dry: mini")
    parser.add_argument("--minutes", type=float, default=8, help="for all parts")
    parser.add_argument("--dry-run", action="store_true", help="briefly, on the CPU")
    parser.add_argument("--output", type=Path, default=HERE / "results")
    arguments = parser.parse_args(argv)
    dry = arguments.dry_run
    weights = arguments.weights or ("mini" if dry else "random:124M")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    environment |= {"JAX_PLATFORMS": "cpu"} if dry else {}
    end = time.perf_counter() + 60 * arguments.minutes
    done: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for part in parts(weights, Path(folder), dry=dry):
            left = end - time.perf_counter()
            limit = left if dry else min(part.seconds, left)
            done[part.name] = run(part, limit, environment)
            print(f"{part.name}: {done[part.name]['outcome']}", flush=True)
    flags = sys.argv[1:] if argv is None else argv
    report = {
        "command": " ".join(["python experiments/benchmarks/device.py", *flags]),
        "weights": weights,
        "facts": facts(arguments.minutes),
        "parts": done,
    }
    arguments.output.mkdir(parents=True, exist_ok=True)
    stem = arguments.output / ("device-dry" if dry else "device")
    stem.with_suffix(".json").write_text(json.dumps(report, indent=2) + "\n")
    stem.with_suffix(".md").write_text(page(report))
    print(page(report))
    return int(any(part["outcome"] in ("failed", "stopped") for part in done.values()))


if __name__ == "__main__":
    sys.exit(main())
