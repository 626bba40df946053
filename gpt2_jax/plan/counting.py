"""What a program computes and sends: counted, where the compiler does not say.

XLA counts the body of a loop once, and on a GPU it counts nothing.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Iterator
from typing import Any

import jax

_BYTES = {"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "s32": 4, "u32": 4}
_BYTES |= {"f32": 4, "s64": 8, "u64": 8}
_KINDS = "all-reduce|all-gather|reduce-scatter|all-to-all|collective-permute"
_COLLECTIVE = re.compile(rf"= (.*?) ({_KINDS})(-start)?\(")
_BOTH = "all-gather", "reduce-scatter", "all-to-all"  # begun: operands, and results
_SHAPE = re.compile(r"([a-z]+\d*)\[([\d,]*)\]")
_CALLED = re.compile(
    r"(calls|to_apply|body|condition|branch_computations|called_computations)="
    r"(\{[^}]*\}|%?[\w.-]+)"
)


def matmul_flops(function: Callable[..., Any], *arguments: Any) -> int:
    """Return the flops of all matmuls of `function`, from its jaxpr.

    A scan counts as often as it goes round; a while loop, whose end is not known, once.
    """
    return _flops(jax.make_jaxpr(function)(*arguments).jaxpr)


def _flops(jaxpr: Any) -> int:
    total = 0
    for equation in jaxpr.eqns:
        times = equation.params.get("length", 1)  # of a scan
        if equation.primitive.name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            lhs = equation.invars[0].aval.shape
            inner = math.prod(lhs[axis] for axis in contracted)
            total += 2 * inner * math.prod(equation.outvars[0].aval.shape)
        total += times * sum(map(_flops, _inner(equation.params.values())))
    return total


def _inner(values: Any) -> Iterator[Any]:
    """Yield the jaxprs among the parameters of an operation."""
    for value in values:
        if isinstance(value, list | tuple):
            yield from _inner(value)
        elif hasattr(value, "eqns"):
            yield value
        elif hasattr(getattr(value, "jaxpr", None), "eqns"):
            yield value.jaxpr


@dataclasses.dataclass(frozen=True)
class _Collective:
    kind: str
    size: int  # bytes that it returns
    channel: str  # several instructions may be parts of one transfer


def collective_bytes(hlo: str, rounds: int = 1) -> dict[str, int]:
    """Add up, by kind, the bytes that the collectives of one step return.

    Args:
        hlo: a compiled program; its outermost loop goes round once per step.
        rounds: of a loop in that one, where nothing tells its own.
    """
    bodies = _computations(hlo)
    entry = next((name for name in bodies if name.startswith("ENTRY ")), None)
    times: dict[str, int] = {}
    if entry is None:
        times = dict.fromkeys(bodies, 1)
    else:
        _visit(bodies, entry, 1, 0, rounds, times)
    channels: dict[str, tuple[int, _Collective]] = {}
    for name, count in times.items():
        for number, line in enumerate(bodies[name]):
            if (found := _collective(line, f"{name} {number}")) is None:
                continue
            before = channels.get(found.channel)
            if before is None or count * found.size > before[0] * before[1].size:
                channels[found.channel] = (count, found)
    total: dict[str, int] = {}
    for count, found in channels.values():
        total[found.kind] = total.get(found.kind, 0) + count * found.size
    return total


def _computations(hlo: str) -> dict[str, list[str]]:
    """Return the lines of each computation; what stands in none is of "" ."""
    bodies: dict[str, list[str]] = {"": []}
    name = ""
    for line in hlo.splitlines():
        head = re.match(r"(ENTRY )?%?([\w.-]+) \(.*\{$", line)
        if head:
            name = (head[1] or "") + head[2]
            bodies[name] = []
        else:
            bodies[name].append(line)
    return bodies


def _visit(
    bodies: dict[str, list[str]],
    name: str,
    count: int,
    loops: int,
    rounds: int,
    times: dict[str, int],
) -> None:
    """Note how often a computation, and all that it calls, runs in one step."""
    times[name] = max(times.get(name, 0), count)
    for line in bodies[name]:
        is_loop = " while(" in line
        more = 1
        if is_loop and loops:
            more = _rounds(bodies, line) or rounds
        for _, names in _CALLED.findall(line):
            for called in re.findall(r"[\w.-]+", names):
                if called in bodies and times.get(called, 0) < count * more:
                    _visit(bodies, called, count * more, loops + is_loop, rounds, times)


def _rounds(bodies: dict[str, list[str]], line: str) -> int | None:
    """Return how often a loop goes round, if it or the end of its counter says so."""
    told = re.search(r'known_trip_count[^}]*?"n":"(\d+)"', line)
    if told:
        return int(told[1])
    named = re.search(r"condition=%?([\w.-]+), body=%?([\w.-]+)", line)
    if named is None:
        return None
    condition, body = (bodies.get(name, []) for name in named.groups())
    compared = re.search(
        r" compare\((%[\w.-]+), (%[\w.-]+)\), direction=LT", "\n".join(condition)
    )
    if compared is None:
        return None
    end = _constant(condition, compared[2])
    place = re.search(r"index=(\d+)", _definition(condition, compared[1]))
    if end is None or place is None:
        return None
    results = "".join(line for line in body if "ROOT " in line).partition(" tuple(")[2]
    names = re.findall(r"%[\w.-]+", results)
    counter = _definition(body, names[int(place[1])]) if names else ""
    added = re.search(r" add\(%[\w.-]+, (%[\w.-]+)\)", counter)
    step = _constant(body, added[1]) if added else None
    return math.ceil(end / (step or 1))


def _definition(lines: list[str], name: str) -> str:
    return next((line for line in lines if f"{name} = " in line), "")


def _constant(lines: list[str], name: str) -> int | None:
    found = re.search(r" constant\((\d+)\)", _definition(lines, name))
    return int(found[1]) if found else None


def _collective(line: str, place: str) -> _Collective | None:
    match = _COLLECTIVE.search(line)
    if match is None:
        return None
    shapes = [
        math.prod(int(n) for n in sizes.split(",") if n) * _BYTES[dtype]
        for dtype, sizes in _SHAPE.findall(match[1])
        if dtype in _BYTES
    ]
    if match[3] and match[2] in _BOTH:
        shapes = shapes[len(shapes) // 2 :]
    if match[3] and match[2] == "collective-permute":  # one of each, and two flags
        shapes = shapes[1:2]
    channel = re.search(r"channel_id=(\d+)", line)
    if channel is None or match[2] == "all-reduce":  # on a TPU all have channel 1
        return _Collective(match[2], sum(shapes), place)
    return _Collective(match[2], sum(shapes), channel[1])


def wire_bytes(returned: dict[str, int], num: int) -> float:
    """Return the bytes that each of `num` devices sends for what it is returned.

    Those of a ring: a sum goes round twice, what is gathered or scattered once.
    """
    once = (num - 1) / num
    passes = {"all-reduce": 2 * once, "reduce-scatter": num - 1}
    return sum(passes.get(kind, once) * size for kind, size in returned.items())
