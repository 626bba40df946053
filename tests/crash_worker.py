"""A process that is forked for each try: the fork is killed, or told to stop.

It has imported what they all need and started no thread: JAX starts with the fork. A
line of standard input is a job, a line of standard output says how it ended.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

GRACE_SECONDS = 120  # to end after a signal; it takes about one


class Worker:
    """Runs the operations of `crash_operations`, each in a process of its own."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def run(self, operation: str, folder: Path, **job: Any) -> dict[str, Any]:
        """Run an operation, or several processes of `jobs`, and say how it ended.

        Args:
            job: what the operation asks for, and: `signal` with `seconds`, when it
                comes after the start; `at`, a place to die; `after`, a file that must
                have grown first; `jobs`, what differs between the processes, of which
                `victim` gets the signal.
        """
        folder.mkdir(parents=True, exist_ok=True)
        job |= {"operation": operation, "folder": str(folder)}
        assert self._process.stdin is not None and self._process.stdout is not None
        print(json.dumps(job), file=self._process.stdin, flush=True)
        return json.loads(self._process.stdout.readline())


@contextlib.contextmanager
def worker() -> Iterator[Worker]:
    tests = Path(__file__).parent
    paths = [str(tests), str(tests.parent), os.environ.get("PYTHONPATH", "")]
    environment = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": os.pathsep.join(paths),
        "OPENBLAS_NUM_THREADS": "1",  # it would start threads as numpy is imported
    }
    command = [sys.executable, "-W", "ignore", __file__]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, env=environment, stdin=pipe, stdout=pipe, text=True
    ) as process:
        yield Worker(process)
        assert process.stdin is not None
        process.stdin.close()


def _run(job: dict[str, Any]) -> dict[str, Any]:
    read, write = os.pipe()
    size = os.path.getsize(job["after"]) if os.path.exists(job.get("after", "")) else 0
    children = [
        _fork({**job, **one}, index, write)
        for index, one in enumerate(job.get("jobs", [{}]))
    ]
    os.close(write)
    os.read(read, 1)
    os.close(read)
    started = time.monotonic()
    if "after" in job:
        _wait_until_grown(job["after"], size, children)
    if "signal" in job:
        time.sleep(job["seconds"])
        os.kill(children[job.get("victim", 0)], job["signal"])
    codes = _wait(children)
    return {"codes": codes, "seconds": time.monotonic() - started}


def _fork(job: dict[str, Any], index: int, write: int) -> int:
    from crash_operations import OPERATIONS

    child = os.fork()
    if child:
        return child
    code = 1
    try:
        log = os.open(f"{job['folder']}.{index}.log", os.O_CREAT | os.O_WRONLY)
        os.ftruncate(log, 0)
        os.dup2(log, 1)
        os.dup2(log, 2)
        assert isinstance(sys.stdout, io.TextIOWrapper)
        sys.stdout.reconfigure(write_through=True)
        code = OPERATIONS[job["operation"]](job, lambda: os.write(write, b".")) or 0
    except KeyboardInterrupt:  # as the interpreter ends
        code = 130
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def _wait_until_grown(path: str, size: int, children: Sequence[int]) -> None:
    deadline = time.monotonic() + GRACE_SECONDS
    while time.monotonic() < deadline:
        if os.path.exists(path) and os.path.getsize(path) > size:
            return
        if os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            return
        time.sleep(0.005)


def _wait(children: Sequence[int]) -> list[int]:
    """Return the exit code of each, or the negative signal that ended it."""
    deadline, codes = time.monotonic() + GRACE_SECONDS, []
    for child in children:
        ended, status = os.waitpid(child, os.WNOHANG)
        while not ended and time.monotonic() < deadline:
            time.sleep(0.002)
            ended, status = os.waitpid(child, os.WNOHANG)
        if not ended:
            os.kill(child, 9)
            os.waitpid(child, 0)
        codes.append(os.waitstatus_to_exitcode(status) if ended else "hangs")
    return codes


if __name__ == "__main__":
    sys.modules["pandas"] = None  # type: ignore[assignment]  # starts a thread of Arrow
    import crash_operations

    for late in ("matplotlib.pyplot", "requests", "sklearn.linear_model"):
        importlib.import_module(late)  # the operations would, each of them
    del sys.modules["pandas"]

    crash_operations.warm_up()
    threads = Path("/proc/self/task")
    assert not threads.is_dir() or len(list(threads.iterdir())) == 1
    for line in sys.stdin:
        print(json.dumps(_run(json.loads(line))), flush=True)
