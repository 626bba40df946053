"""One of two processes is killed: the other ends too, and both go on."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from crash_worker import Worker, worker
from training_helpers import run_config

from gpt2_jax.checkpoints.manifest import read_manifest
from gpt2_jax.config import to_dict
from gpt2_jax.workdir.metrics_log import MEASURED

_SEED = 13
_TRIES = 20 if os.environ.get("GPT2_JAX_FAULTS") == "long" else 2
_HEARTBEAT = 10  # seconds without one after which a process is taken for dead
_SECONDS = 1.0  # from a step on; the run takes about as long


@pytest.fixture(scope="module")
def forks() -> Iterator[Worker]:
    with worker() as started:
        yield started


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("localhost", 0))
        return listener.getsockname()[1]


def _start(forks: Worker, settings: Path, folder: Path, **job: Any) -> dict[str, Any]:
    """Run two processes to their ends, or until one gets a signal."""
    arguments = ["finetune", "--config", str(settings), "--workdir", str(folder)]
    arguments += ["--resume", "--num-processes", "2", "--start-timeout", "60"]
    arguments += ["--coordinator", f"localhost:{_free_port()}", "--process-id"]
    jobs = [{"arguments": [*arguments, str(process)]} for process in (0, 1)]
    return forks.run("finetune", folder, jobs=jobs, heartbeat=_HEARTBEAT, **job)


def _log(folder: Path, process: int) -> str:
    return folder.with_name(f"{folder.name}.{process}.log").read_text()


def _end(folder: Path) -> tuple[Any, ...]:
    """Return losses, metrics and parameters at the end of a run."""
    lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    manifest = read_manifest(folder / "checkpoints" / "15")
    assert manifest is not None
    model = (folder / "model" / "params.safetensors").read_bytes()
    metrics = [{k: v for k, v in line.items() if k not in MEASURED} for line in lines]
    return metrics, manifest.leaves, model


@pytest.mark.slow
@pytest.mark.fault(5)
def test_where_one_process_is_killed_the_other_ends_and_both_go_on(
    forks, tmp_path, tmp_path_factory, fault_report
):
    # The head alone compiles fastest.
    changes = {"trainable": ("head",), "learning_rate": 1e-4, "eval_every": 1000}
    config = run_config(
        tmp_path_factory, devices=None, save_every=1, epochs=3, **changes
    )
    settings = tmp_path / "config.json"
    settings.write_text(json.dumps(to_dict(config)))
    assert _start(forks, settings, tmp_path / "whole")["codes"] == [0, 0]
    expected = _end(tmp_path / "whole")
    random, folder, seen = np.random.default_rng(_SEED), tmp_path / "0", set()
    killed = 0
    for i in range(_TRIES):
        job = {"signal": signal.SIGKILL, "seconds": random.uniform(0, _SECONDS)}
        job |= {"victim": i % 2, "after": str(folder / "metrics.jsonl")}
        codes = _start(forks, settings, folder, **job)["codes"]
        code, other = codes[1 - i % 2], _log(folder, 1 - i % 2)
        assert codes[i % 2] in (-signal.SIGKILL, 0) and code != "hangs"
        if (folder / "results.json").exists():  # it came after the end
            assert _start(forks, settings, folder)["codes"] == [0, 0]
            assert _end(folder) == expected
            folder = tmp_path / str(i + 1)
            continue
        killed += 1
        assert code != 0
        assert "start all processes again with --resume" in other or "died" in other
        found = re.search(r"error: process \d (\S+ the others)", other)
        seen.add(f"exit {code}: {found[1] if found else 'another died'}")
    assert _start(forks, settings, folder)["codes"] == [0, 0], _log(folder, 0)
    assert _end(folder) == expected
    said = f"{killed} of {_TRIES} killed before the end; the other: {', '.join(seen)}"
    fault_report(_TRIES, _TRIES, said)
    assert killed
