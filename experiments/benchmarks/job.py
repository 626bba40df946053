"""What the jobs of `peers.py` share: their command, and the texts to predict."""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from gpt2_jax.config import DataConfig
from gpt2_jax.data.sources import load_dataset

Run = Callable[[], dict[str, Any]]  # of a job whose imports are done
Job = Callable[[argparse.Namespace], Run]  # imports everything


def messages() -> list[str]:
    return list(load_dataset(DataConfig(source="sms-spam"), to_train=False).texts)


def main(jobs: Mapping[str, Job], description: str | None) -> None:
    """Run one of `jobs`, and print a line of JSON: its time, memory and results."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("name", choices=[*jobs])
    parser.add_argument("--weights", default="mini")
    parser.add_argument("--dtype", default="float32", help="of our matmuls")
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--cache", action="store_true", help="keep compiled programs")
    arguments = parser.parse_args()
    run = jobs[arguments.name](arguments)
    started, cpu_started = time.perf_counter(), time.process_time()
    details = run()
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    unit = 1 if sys.platform == "darwin" else 1024
    measured = {
        "seconds": seconds,
        "cpu_seconds": time.process_time() - cpu_started,
        "peak_bytes": peak * unit,
    }
    print(json.dumps({**measured, **details}))
