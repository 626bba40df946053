"""Fuzzing with hypothesis: mutations of good inputs, and what must hold of all.

GPT2_JAX_FUZZ_SECONDS is how long each target runs, on other examples each time; by
default it is a fixed number of examples, always the same ones.
"""

from __future__ import annotations

import codecs
import contextlib
import itertools
import json
import math
import os
import random
import resource
import signal
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import Any

import hypothesis
from hypothesis import strategies as st

SECONDS = float(os.environ.get("GPT2_JAX_FUZZ_SECONDS", "0"))
EXAMPLE_SECONDS = 30  # of one example; it takes milliseconds on a machine of its own
EXAMPLE_BYTES = 64 << 20  # that Python and numpy may allocate for one
GROWTH_BYTES = 1 << 30  # of the process over all examples, hypothesis included

# What would be code that runs; `open` is allowed for reading.
_RUNS = (
    *("import", "exec", "pickle.find_class", "marshal.loads", "ctypes.dlopen"),
    *("os.system", "os.exec", "os.posix_spawn", "os.spawn", "subprocess.Popen"),
    *("socket.connect", "os.remove", "os.rename"),
)
_watching: list[str] | None = None
ENCODINGS = ["utf-16", "cp1252", "utf-7", "unicode_escape", "idna", "punycode"]
for _name in (*ENCODINGS, "utf-8-sig", "cp437"):  # zipfile's own
    codecs.lookup(_name)  # which imports it


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if _watching is None:
        return
    writes = os.O_WRONLY | os.O_RDWR | os.O_CREAT
    if event in _RUNS or (event == "open" and (arguments[2] or 0) & writes):
        _watching.append(f"{event} {arguments!r}"[:200])


sys.addaudithook(_audit)  # for good: Python takes none away


@contextlib.contextmanager
def nothing_runs(*, but: Sequence[str] = ()) -> Iterator[None]:
    """Fail if the block imports, executes, connects, starts or writes anything.

    `but`: audit events that its libraries raise for their own sake.
    """
    global _watching
    events: list[str] = []
    _watching = events
    try:
        yield
    finally:
        _watching = None
    seen = [event for event in events if event.split()[0] not in but]
    assert not seen, seen


@contextlib.contextmanager
def bounded() -> Iterator[None]:
    """Fail if the block takes more than EXAMPLE_SECONDS or EXAMPLE_BYTES."""

    def too_late(number: int, frame: FrameType | None) -> None:
        raise AssertionError(f"hangs: more than {EXAMPLE_SECONDS} s")

    tracemalloc.start()
    handler = signal.signal(signal.SIGALRM, too_late)
    signal.alarm(EXAMPLE_SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, handler)
        taken = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert taken < EXAMPLE_BYTES, f"{taken:,} bytes allocated"


def fuzz(
    strategy: st.SearchStrategy[Any], check: Callable[[Any], object], examples: int
) -> None:
    """Call `check` with examples: so many, or as many as SECONDS allow."""
    started, peak, count = time.monotonic(), _peak_bytes(), 0

    def checked(value: Any) -> None:
        nonlocal count
        count += 1
        with bounded():
            check(value)

    first = random.SystemRandom().randrange(2**32) if SECONDS else 0
    print(f"seeds from {first}")
    for seed in itertools.count(first):
        chosen = hypothesis.settings(
            max_examples=1000 if SECONDS else examples,
            deadline=None,  # `bounded` has one that a busy machine can keep
            database=None,
            suppress_health_check=list(hypothesis.HealthCheck),  # pyright: ignore
        )
        hypothesis.seed(seed)(chosen(hypothesis.given(strategy)(checked)))()
        if time.monotonic() - started >= SECONDS:
            break
    grown = _peak_bytes() - peak
    assert grown < GROWTH_BYTES, f"the process has grown by {grown:,} bytes"
    taken = time.monotonic() - started
    print(f"{count} examples in {taken:.1f} s, peak grown by {grown >> 20} MiB")


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


_NUMBERS = [
    number.to_bytes(size, "little")
    for size in (1, 2, 4, 8)
    for number in (0, 1, 127, 128, 255, 2 ** (8 * size - 1), 2 ** (8 * size) - 1)
    if number < 2 ** (8 * size)
]


@st.composite
def mutated(
    draw: st.DrawFn, seeds: Sequence[bytes], tokens: Sequence[bytes] = ()
) -> bytes:
    """Draw one of `seeds` with up to 8 changes; `tokens` are pieces to put in."""
    content = draw(st.sampled_from(seeds))
    pieces = st.one_of(
        st.sampled_from([*_NUMBERS, *tokens]), st.binary(min_size=1, max_size=8)
    )
    for _ in range(draw(st.integers(0, 8))):
        start = draw(st.integers(0, len(content)))
        end = min(len(content), start + draw(st.integers(0, 16)))
        change = draw(st.sampled_from(["put", "over", "cut", "twice", "end", "move"]))
        if change == "end":
            content = content[:start]
        elif change == "cut":
            content = content[:start] + content[end:]
        elif change == "twice":
            times = draw(st.sampled_from([1, 2, 100]))
            content = content[:end] + content[start:end] * times + content[end:]
        elif change == "move":
            to = draw(st.integers(0, len(content)))
            content = content[:to] + content[start:end] + content[to:]
        else:
            piece = draw(pieces)
            rest = start if change == "put" else start + len(piece)
            content = content[:start] + piece + content[rest:]
    return content


def _nested(depth: int) -> Any:
    value: Any = 0
    for _ in range(depth):
        value = [value]
    return value


ODD_VALUES = st.one_of(
    st.sampled_from(
        [
            *(None, True, False, 0, -1, 1, 2, 2**31, 2**63, 2**64, 10**30, 10**400),
            *(0.0, -0.5, 1e308, math.inf, -math.inf, math.nan, [], {}, [[]], [{}]),
            *("", "\0", "a\nb", "\ud800", "x" * 300, "../..", "/", "\x1b[31m", "٣"),
            *("h." + "9" * 5000, _nested(50), _nested(700), {"a": _nested(300)}),
        ]
    ),
    st.text(max_size=4),
    st.integers(),
    st.floats(),
)


@st.composite
def mutated_json(draw: st.DrawFn, seeds: Sequence[Any]) -> Any:
    """Draw one of `seeds`, JSON values, with up to 4 odd values or keys in it."""
    value = json.loads(json.dumps(draw(st.sampled_from(seeds))))
    for _ in range(draw(st.integers(0, 4))):
        value = _change(draw, value)
    return value


def _change(draw: st.DrawFn, value: Any) -> Any:
    inside = isinstance(value, (dict, list)) and value
    if not inside or draw(st.integers(0, 9)) == 0:
        return draw(ODD_VALUES)
    if isinstance(value, list):
        row = draw(st.integers(0, len(value) - 1))
        return [*value[:row], _change(draw, value[row]), *value[row + 1 :]]
    key = draw(st.sampled_from(sorted(value)))
    match draw(st.sampled_from(["inside", "inside", "inside", "rename", "cut", "add"])):
        case "inside":
            return {**value, key: _change(draw, value[key])}
        case "rename":
            return {**value, draw(st.text(max_size=8)): value[key]}
        case "cut":
            return {name: item for name, item in value.items() if name != key}
        case _:
            return {**value, draw(st.text(max_size=8)): draw(ODD_VALUES)}


def dump(value: Any) -> bytes:
    """Return JSON, odd values and all."""
    return json.dumps(value, ensure_ascii=True).encode()
