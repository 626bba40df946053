"""Read the pickle of a torch file without unpickling anything.

The opcodes are walked over here, and the few that a state dict needs build dicts,
lists, numbers, strings and descriptions of tensors. Names of globals are looked up in a
table and never imported; every other opcode, and every other name, is refused.
"""

from __future__ import annotations

import collections
import dataclasses
import pickletools
import struct
import warnings
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np

_STORAGES = {
    "FloatStorage": np.dtype("<f4"),
    "HalfStorage": np.dtype("<f2"),
    "BFloat16Storage": np.dtype(ml_dtypes.bfloat16),
    "DoubleStorage": np.dtype("<f8"),
    "LongStorage": np.dtype("<i8"),
    "IntStorage": np.dtype("<i4"),
    "ShortStorage": np.dtype("<i2"),
    "CharStorage": np.dtype("i1"),
    "ByteStorage": np.dtype("u1"),
    "BoolStorage": np.dtype("?"),
}


@dataclasses.dataclass(frozen=True)
class Storage:
    """A run of numbers in the file, which several tensors may share."""

    key: str
    dtype: np.dtype
    size: int  # elements


@dataclasses.dataclass(frozen=True)
class Tensor:
    """A view of a storage; `offset` and `strides` count elements."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _Mark:
    """Where the arguments of an opcode begin on the stack."""


def parse(content: bytes) -> Any:
    """Return what the pickle describes.

    Raises:
        ValueError: it is damaged, or asks for anything but a state dict does.
    """
    try:
        with warnings.catch_warnings():
            # pickletools undoes the escapes of an opcode before we can refuse it.
            warnings.filterwarnings("ignore", "invalid .*escape", DeprecationWarning)
            return _parse(content)
    except (IndexError, KeyError, TypeError, UnicodeError, struct.error) as error:
        raise ValueError(f"a damaged pickle ({error!r})") from error


def _parse(content: bytes) -> Any:
    stack: list[Any] = []
    memo: dict[int, Any] = {}
    argument: Any
    for opcode, argument, _ in pickletools.genops(content):
        name = opcode.name
        if name in _VALUES:
            stack.append(_VALUES[name](argument))
        elif name in _ON_STACK:
            _ON_STACK[name](stack)
        elif name in ("BINPUT", "LONG_BINPUT"):
            memo[argument] = stack[-1]
        elif name == "MEMOIZE":
            memo[len(memo)] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(memo[argument])
        elif name == "STOP":
            if len(stack) != 1:
                raise ValueError(f"a pickle of {len(stack)} values")
            return stack[0]
        elif name not in ("PROTO", "FRAME"):
            raise ValueError(f"the pickle opcode {name} is not allowed")
    raise ValueError("a pickle without an end")


def _global(name: str) -> Any:
    if name not in _GLOBALS:
        raise ValueError(
            f"the pickle asks for {name}; only tensors are read, as torch.save("
            "model.state_dict(), path) writes them"
        )
    return _GLOBALS[name]


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
    if type(stack[-1]) is not list:
        raise ValueError("the pickle appends to something that is no list")
    stack[-1].extend(values)


def _set_items(stack: list[Any], pairs: list[Any]) -> None:
    if not isinstance(stack[-1], dict) or len(pairs) % 2:
        raise ValueError("the pickle sets items of something that is no dict")
    for key, value in zip(pairs[::2], pairs[1::2], strict=True):
        # Other keys are not needed, and the hash of a nested tuple can take forever.
        if type(key) not in (str, int):
            raise ValueError(f"the pickle has a key of type {type(key).__name__}")
        if key in stack[-1]:
            raise ValueError(f"the pickle sets {key!r} twice")
        stack[-1][key] = value


def _reduce(stack: list[Any]) -> None:
    function, arguments = _take(stack, 2)
    known = any(function is each for each in _CALLABLE)
    if not known or type(arguments) is not tuple:
        raise ValueError("the pickle calls something that is no function of torch")
    stack.append(function(*arguments))


def _build(stack: list[Any]) -> None:
    """Drop the `_metadata` (versions of modules) that torch hangs on a state dict."""
    target, _ = _take(stack, 2)
    if type(target) is not collections.OrderedDict:
        raise ValueError(f"the pickle sets the state of a {type(target).__name__}")
    stack.append(target)


def _load_persistent(stack: list[Any]) -> None:
    identity = stack.pop()
    match identity:
        case ("storage", np.dtype() as dtype, str(key), str(), int(size)):
            stack.append(Storage(key, dtype, size))
        case _:
            raise ValueError("the pickle has a persistent id that is no storage")


def _ordered_dict(*arguments: Any) -> dict[Any, Any]:
    if arguments:
        raise ValueError("the pickle makes an OrderedDict of something")
    return collections.OrderedDict()


def _rebuild_tensor(
    storage: Any, offset: Any, shape: Any, strides: Any, *_: Any
) -> Tensor:
    if not isinstance(storage, Storage):
        raise ValueError("the pickle makes a tensor of something that is no storage")
    if type(shape) is not tuple or type(strides) is not tuple:
        raise ValueError("the pickle has a tensor whose shape is no tuple")
    if any(type(number) is not int for number in (offset, *shape, *strides)):
        raise ValueError("the pickle has a tensor whose shape is no integers")
    return Tensor(storage, offset, shape, strides)


def _rebuild_parameter(tensor: Any, *_: Any) -> Tensor:
    if not isinstance(tensor, Tensor):
        raise ValueError("the pickle makes a parameter of something that is no tensor")
    return tensor


_GLOBALS: dict[str, Any] = {
    "collections.OrderedDict": _ordered_dict,
    "torch._utils._rebuild_tensor_v2": _rebuild_tensor,
    "torch._utils._rebuild_parameter": _rebuild_parameter,
    **{f"torch.{name}": dtype for name, dtype in _STORAGES.items()},
}

_CALLABLE = (_ordered_dict, _rebuild_tensor, _rebuild_parameter)


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
    "BUILD": _build,
    "BINPERSID": _load_persistent,
}
