"""Read the pickle of a torch file without unpickling anything.

The opcodes are walked over here, and the few that a state dict needs build dicts,
lists, numbers, strings and descriptions of tensors. Names of globals are looked up in a
table and never imported. An object of another class stays a description (see `inert`),
and every other opcode, and every call of anything else, is refused.
"""

from __future__ import annotations

import codecs
import collections
import io
import pickletools
import struct
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from gpt2_jax.weights.inert import Inert, Name, call
from gpt2_jax.weights.torch_objects import CALLABLE, GLOBALS, Storage

# pickletools decodes with it before we can refuse, and Python would import it then.
codecs.lookup("raw_unicode_escape")


# What a key may be: the hash of a nested tuple can take forever.
_KEYS = (str, int, float, bool, type(None), Inert, Name)


_PLAIN = "write them again in float32 or bfloat16"


class _Mark:
    """Where the arguments of an opcode begin on the stack."""


def parse(
    content: bytes | io.BytesIO, storages: dict[str, Storage] | None = None
) -> Any:
    """Return what the pickle describes; put into `storages` what it names, by key.

    Raises:
        ValueError: it is damaged, or asks for anything but a state dict does.
    """
    try:
        with warnings.catch_warnings():
            # pickletools undoes the escapes of an opcode before we can refuse it.
            warnings.filterwarnings("ignore", ".*invalid .*escape", DeprecationWarning)
            return _parse(content, {} if storages is None else storages)
    except (IndexError, KeyError, TypeError, UnicodeError, struct.error) as error:
        raise ValueError(f"a damaged pickle ({error!r})") from error


def _parse(content: bytes | io.BytesIO, storages: dict[str, Storage]) -> Any:
    stack: list[Any] = []
    memo: dict[int, Any] = {}
    argument: Any
    for opcode, argument, _ in pickletools.genops(content):
        name = opcode.name
        if name in _VALUES:
            stack.append(_VALUES[name](argument))
        elif name in _ON_STACK:
            _ON_STACK[name](stack)
            if name == "BINPERSID":
                storages[stack[-1].key] = stack[-1]
        elif name in ("BINPUT", "LONG_BINPUT"):
            memo[argument] = stack[-1]
        elif name == "MEMOIZE":
            memo[len(memo)] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(memo[argument])
        elif name == "STOP":
            if len(stack) != 1:
                raise ValueError(f"a pickle of {len(stack)} values")
            known = any(stack[0] is each for each in GLOBALS.values())
            if known or isinstance(stack[0], Name):
                raise ValueError("the pickle is a name alone")
            return stack[0]
        elif name not in ("PROTO", "FRAME"):
            raise ValueError(f"the pickle opcode {name} is not allowed")
    raise ValueError("a pickle without an end")


def _global(name: str) -> Any:
    return GLOBALS.get(name) or Name(name)


def _stack_global(stack: list[Any]) -> None:
    name, module = stack.pop(), stack.pop()
    if type(name) is not str or type(module) is not str:
        raise ValueError("the pickle names a global by something that is no string")
    stack.append(_global(f"{module}.{name}"))


def _since_mark(stack: list[Any]) -> list[Any]:
    values: list[Any] = []
    while not isinstance(value := stack.pop(), _Mark):
        values.append(value)
    return values[::-1]


def _take(stack: list[Any], count: int) -> list[Any]:
    return [stack.pop() for _ in range(count)][::-1]


def _append(stack: list[Any], values: list[Any]) -> None:
    if isinstance(stack[-1], Inert):
        return
    if type(stack[-1]) is not list:
        raise ValueError("the pickle appends to something that is no list")
    stack[-1].extend(values)


def _set_items(stack: list[Any], pairs: list[Any]) -> None:
    if isinstance(stack[-1], Inert) and len(pairs) % 2 == 0:
        return
    if not isinstance(stack[-1], dict) or len(pairs) % 2:
        raise ValueError("the pickle sets items of something that is no dict")
    for key, value in zip(pairs[::2], pairs[1::2], strict=True):
        if type(key) not in _KEYS:
            raise ValueError(f"the pickle has a key of type {type(key).__name__}")
        if key in stack[-1]:
            raise ValueError(f"the pickle sets {key!r} twice")
        stack[-1][key] = value


def _reduce(stack: list[Any]) -> None:
    function, arguments = _take(stack, 2)
    known = any(function is each for each in CALLABLE)
    if type(arguments) is not tuple or not (known or isinstance(function, Name)):
        raise ValueError("the pickle calls something that is no function of torch")
    if isinstance(function, Name):
        stack.append(call(function))
    else:
        stack.append(function(*arguments))


def _new_object(stack: list[Any]) -> None:
    function, arguments = _take(stack, 2)
    if not isinstance(function, Name) or type(arguments) is not tuple:
        raise ValueError("the pickle makes a new object of something that is no class")
    stack.append(Inert(function.name))


def _build(stack: list[Any]) -> None:
    """Drop the `_metadata` (versions of modules) that torch hangs on a state dict."""
    target, state = _take(stack, 2)
    if isinstance(target, Inert):
        target.state = state
        stack.append(target)
        return
    if type(target) is not collections.OrderedDict:
        raise ValueError(f"the pickle sets the state of a {type(target).__name__}")
    stack.append(target)


def _load_persistent(stack: list[Any]) -> None:
    identity = stack.pop()
    match identity:
        case (
            ("storage", np.dtype() as dtype, str(key), str(), int(size))
            # with the view of a storage, which torch before 0.4 had
            | ("storage", np.dtype() as dtype, str(key), str(), int(size), None)
        ):
            stack.append(Storage(key, dtype, size))
        case ("storage", Name() as kind, *_) if kind.name.startswith("torch."):
            raise ValueError(
                f"holds numbers of {kind.name}, as quantized weights do; {_PLAIN}"
            )
        case _:
            raise ValueError("the pickle has a persistent id that is no storage")


# Opcodes that push one value, made of their argument; those with none ignore it.
_VALUES: dict[str, Callable[[Any], Any]] = {
    "NONE": lambda _: None,
    "NEWTRUE": lambda _: True,
    "NEWFALSE": lambda _: False,
    "EMPTY_DICT": lambda _: {},
    "EMPTY_LIST": lambda _: [],
    "EMPTY_TUPLE": lambda _: (),
    "MARK": lambda _: _Mark(),
    "GLOBAL": lambda argument: _global(argument.replace(" ", ".", 1)),
    **dict.fromkeys(("BININT", "BININT1", "BININT2", "LONG1"), int),
    "BINFLOAT": float,
    **dict.fromkeys(("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"), str),
}


# Opcodes that work on what is on the stack.
_ON_STACK: dict[str, Callable[[list[Any]], None]] = {
    "TUPLE": lambda stack: stack.append(tuple(_since_mark(stack))),
    "TUPLE1": lambda stack: stack.append(tuple(_take(stack, 1))),
    "TUPLE2": lambda stack: stack.append(tuple(_take(stack, 2))),
    "TUPLE3": lambda stack: stack.append(tuple(_take(stack, 3))),
    "APPEND": lambda stack: _append(stack, _take(stack, 1)),
    "APPENDS": lambda stack: _append(stack, _since_mark(stack)),
    "SETITEM": lambda stack: _set_items(stack, _take(stack, 2)),
    "SETITEMS": lambda stack: _set_items(stack, _since_mark(stack)),
    "STACK_GLOBAL": _stack_global,
    "REDUCE": _reduce,
    "NEWOBJ": _new_object,
    "BUILD": _build,
    "BINPERSID": _load_persistent,
}
