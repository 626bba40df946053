"""Faults that users meet, by number, and a table of what a run of the tests saw.

    python -m pytest -m fault -n 2 --dist loadfile --fault-table docs/faults.md

A test names its faults: `@pytest.mark.fault(8, 9)`. Each is one try that survived,
unless the test says more through the fixture `fault_report`; what the user sees is the
first error that is raised in it, else the first warning.
"""

from __future__ import annotations

import logging
import os
import platform
import re
import shlex
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import pytest

from gpt2_jax.errors import UserError

FAULTS = {
    1: "kill -9 during a save, and anywhere else",
    2: "kill -9 between a save and its manifest",
    3: "SIGTERM, in a step, an evaluation or before the first step",
    4: "SIGINT (Ctrl-C)",
    5: "a signal to one of several processes, or its death",
    6: "a run stopped at any step and resumed",
    7: "a finished run resumed",
    8: "a flipped bit",
    9: "a file cut, emptied, deleted or swapped",
    10: "junk and empty folders among the checkpoints",
    11: "a full disk",
    12: "a folder that cannot be written, an odd path",
    13: "two trainers, one folder",
    14: "a step saved twice",
    15: "resumed on another number of devices",
    16: "a batch that the devices do not divide",
    17: "resumed with another config or other weights",
    18: "resumed with other data",
    19: "NaN or infinity in the loss or in what trains",
    20: "a checkpoint of another version",
    21: "an error of the save in the background",
    22: "malformed safetensors, an LFS pointer, a web page",
    23: "a JSON key that is there twice",
    24: "tensors that are missing, too many, of another shape, transposed",
    25: "PyTorch, Hugging Face and TensorFlow layouts",
    26: "weights of another size than the config",
    27: "float16, bfloat16 and float64 weights",
    28: "NaN, infinity or nothing but zeros in the weights",
    29: "a malicious pickle",
    30: "a malicious .pth archive",
    31: "a download that fails, lies or is forbidden",
    32: "no rows, one row, one class, one example of a class",
    33: "a wrong or repeated column name",
    34: "encodings, line ends, quotes, emoji",
    35: "texts that look like numbers, null or formulas",
    36: "a ragged row, an unbalanced quote",
    37: "labels that differ in case or blanks",
    38: "texts that are empty, over-long or of megabytes",
    39: "`<|endoftext|>` in a text",
    40: "the same text on two sides of a split",
    41: "HTTP: a body that is too large, lies or is no request",
    42: "HTTP: 200 requests at once",
    43: "HTTP: slow clients, and those that go away",
    44: "HTTP: odd paths, other sites, markup; SIGTERM",
}
_ABOUT = """\
Without `GPT2_JAX_FAULTS=long` signals and pairs of processes get a few tries each. A
try has survived if the result is the right one, or an error that says so.

Not noticed, as nothing tells: flipped bits in the numbers of weight files that no hash
covers, those of other programs; two compiled programs that have changed places in
JAX's cache, and damage to that cache where JAX packs it with zstd, which it does
without a checksum (Python 3.14, or `zstandard` installed); `--no-compilation-cache`
does without it; changes of a run's `metrics.jsonl`, `predictions.csv` and report.
"""
Report = Callable[..., None]

_SEEN = "what the user sees"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--fault-table", type=Path, help="write a table of the faults to this file"
    )


def pytest_configure(config: pytest.Config) -> None:
    path = config.getoption("--fault-table")
    if path is not None and not hasattr(config, "workerinput"):  # not one of xdist's
        config.pluginmanager.register(_Table(path))


def rows_of(item: pytest.Item) -> list[int]:
    """Return the numbers of the faults that a test names."""
    return sorted({row for mark in item.iter_markers("fault") for row in mark.args})


@pytest.fixture
def fault_report(request: pytest.FixtureRequest) -> Report:
    """Return what takes down how many tries survived, and what the user saw."""

    def report(tries: int, survived: int, seen: str, row: int | None = None) -> None:
        rows = rows_of(request.node) if row is None else [row]
        told = {"rows": rows, "tries": tries, "survived": survived, "seen": seen}
        request.node.user_properties.append(("fault", told))
        print(f"faults {rows}: {survived} of {tries} survived; {seen}")

    return report


@pytest.fixture(autouse=True)
def _what_the_user_sees(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """Note the first error and the first warning in a test that names a fault."""
    if not rows_of(request.node) or not request.config.getoption("--fault-table"):
        yield
        return
    errors: list[str] = []
    warnings: list[str] = []
    init = UserError.__init__

    def noted(self: UserError, *arguments: object) -> None:
        init(self, *arguments)
        errors.append(f"exit {self.exit_code}: {self}")

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            warnings.append(f"warning: {record.getMessage()}")

    logger, handler = logging.getLogger("gpt2_jax"), Handler(logging.WARNING)
    logger.addHandler(handler)
    monkeypatch.setattr(UserError, "__init__", noted)
    yield
    logger.removeHandler(handler)
    seen = [*errors, *warnings, ""][0]
    for folder in (request.config.rootpath, Path.home(), sys.prefix):
        seen = seen.replace(str(folder), "...")
    request.node.user_properties.append((_SEEN, seen))


def pytest_runtest_setup(item: pytest.Item) -> None:
    if rows := rows_of(item):
        item.user_properties.append(("fault_rows", rows))


class _Table:
    """Gathers the reports of all workers and writes them down."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._tries: dict[int, int] = defaultdict(int)
        self._survived: dict[int, int] = defaultdict(int)
        self._tests: dict[int, set[str]] = defaultdict(set)
        self._seen: dict[int, list[tuple[int, str, str]]] = defaultdict(list)
        self._told: dict[int, list[str]] = defaultdict(list)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        # What a fixture notes at its end is in the report of the teardown.
        properties = report.user_properties
        rows: Any = next((v for name, v in properties if name == "fault_rows"), [])
        told: list[Any] = [value for name, value in properties if name == "fault"]
        if report.when == "call" and not report.skipped:
            passed = report.passed
            plain: list[dict[str, Any]] = [
                {"rows": rows, "tries": 1, "survived": 1, "seen": ""}
            ]
            for one in told or plain:
                for row in one["rows"]:
                    self._tries[row] += one["tries"]
                    self._survived[row] += one["survived"] if passed else 0
                    self._told[row] += [one["seen"]] if one["seen"] else []
            for row in rows:
                self._tests[row].add(report.nodeid.partition("::")[0])
        if report.when == "teardown":
            for row in rows:
                # The fewer faults a test names, the more what it saw is of this one.
                self._seen[row] += [
                    (len(rows), report.nodeid, str(value))
                    for name, value in properties
                    if name == _SEEN and value
                ]

    def pytest_sessionfinish(self) -> None:
        self._path.write_text(self._text(), "utf-8")

    def _text(self) -> str:
        commit = ["git", "describe", "--always", "--dirty", "--abbrev=7"]
        done = subprocess.run(commit, capture_output=True, text=True, check=False)
        long = f"GPT2_JAX_FAULTS={os.environ.get('GPT2_JAX_FAULTS', '')} "
        command = long + shlex.join(["python", "-m", "pytest", *sys.argv[1:]])
        lines = [
            "# Faults, and what the user sees",
            f"Generated at commit {done.stdout.strip() or 'unknown'} (CPU, jax "
            f"{jax.__version__}, Python {platform.python_version()}) by",
            "",
            f"    {command}",
            "",
            _ABOUT,
            "| | fault | tries | survived | what the user sees | tests |",
            "|---|---|---|---|---|---|",
        ]
        return "\n".join([*lines, *map(self._line, FAULTS), ""])

    def _line(self, row: int) -> str:
        seen = [value for _, _, value in sorted(self._seen[row])[:1]]
        said = list(dict.fromkeys(self._told[row])) or seen
        silent = "the right result, no message" if self._tries[row] else "not run"
        shown = "; ".join(map(_shorten, said)) or silent
        tests = ", ".join(
            sorted(name.removeprefix("tests/") for name in self._tests[row])
        )
        return (
            f"| {row} | {FAULTS[row]} | {self._tries[row]:,} | {self._survived[row]:,} "
            f"| {shown} | {tests} |"
        )


def _shorten(text: str) -> str:
    text = re.sub(
        r"/\S*?/pytest-of-[^/\s]*(/pytest-\d+)?(/popen-\w+)?/[^/\s:]*", "...", text
    )
    text = " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")
    return text if len(text) <= 240 else text[:237] + "..."
