"""What a field of a config may hold, stated once: checks and flags are made from it."""

from __future__ import annotations

import dataclasses
import functools
import math
import numbers
import re
import reprlib
import types
import typing
from collections.abc import Callable, Mapping
from pathlib import Path, PurePath
from typing import Any, TypeVar

_T = TypeVar("_T")
# Two halves of a character that JSON would join into one.
_PAIR = re.compile("[\ud800-\udbff][\udc00-\udfff]")


@dataclasses.dataclass(frozen=True)
class Option:
    """The facts of one field beside its name, type and default."""

    help: str
    unset: str = ""  # what None, as the default, stands for
    flag: str = ""  # "": the name of the field
    metavar: str | tuple[str, ...] | None = None
    section: str = ""  # of --help
    choices: tuple[str, ...] = ()  # where the type does not list them
    at_least: float | None = None
    above: float | None = None
    below: float | None = None
    repeated: bool = False  # the flag is given once per value


def option(default: _T, help: str, *, repr: bool = True, **facts: Any) -> _T:
    """Return a dataclass field of this default, and of these facts of an `Option`."""
    metadata = {"option": Option(help, **facts)}
    return dataclasses.field(default=default, repr=repr, metadata=metadata)


def option_of(field: dataclasses.Field[Any]) -> Option:
    """Return the facts that `option` gave to a field."""
    return field.metadata.get("option") or Option("")


def flag_of(name: str, facts: Option) -> str:
    """Return the flag of the command line that sets the field `name`."""
    return facts.flag or f"--{name.replace('_', '-')}"


def require(condition: bool, message: str) -> None:
    """Raise a ValueError that says `message`, unless `condition` holds."""
    if not condition:
        raise ValueError(message)


@functools.cache
def hints_of(cls: type) -> dict[str, Any]:
    """Return the types of the fields of a dataclass."""
    return typing.get_type_hints(cls)


def check_fields(config: Any) -> None:
    """Check every field of a new config by its type, choices and bounds.

    Numbers of numpy, lists and paths become int or float, tuples and str, so that the
    config is equal to what JSON makes of it.

    Raises:
        ValueError: it names the field, what was expected, and what was got.
    """
    hints = hints_of(type(config))
    for field in dataclasses.fields(config):
        name, facts = field.name, option_of(field)
        try:
            value = checked(hints[name], getattr(config, name), name)
        except ValueError:
            if field.repr:
                raise
            # Its value is a secret.
            raise ValueError(f"{name}: expected {_expected(hints[name])}") from None
        for item in value if isinstance(value, tuple) else (value,):
            if facts.choices:
                _require_choice(item, facts.choices, name)
            if isinstance(item, (int, float)) and not isinstance(item, bool):
                _require_bounds(item, facts, name)
        object.__setattr__(config, name, value)


def checked(hint: Any, value: Any, where: str) -> Any:
    """Return `value` as the type `hint`, in the types that JSON knows, and tuples.

    Raises:
        ValueError: it is of another type, or none of the choices.
    """
    for kind in alternatives(hint):
        origin = typing.get_origin(kind)
        if origin is tuple and isinstance(value, (list, tuple)):
            return _checked_items(typing.get_args(kind), value, where)
        if origin is typing.Literal and isinstance(value, str):
            choices = typing.get_args(kind)
            _require_choice(value, choices, where)
            return choices[choices.index(value)]
        is_config = isinstance(kind, type) and dataclasses.is_dataclass(kind)
        if is_config and isinstance(value, kind):
            return value
        # Python counts True as an integer, but it is not a number of epochs.
        if kind in _KINDS and isinstance(value, bool) == (kind is bool):
            accepted, convert = _KINDS[kind]
            if isinstance(value, accepted):
                return convert(value, where)
    raise ValueError(f"{where}: expected {_expected(hint)}, got {shown(value)}")


def shown(value: Any) -> str:
    """Return `value` as Python writes it, shortened, whatever it is."""
    try:
        if isinstance(value, int):
            str(value)  # of too many digits reprlib of Python 3.14 gives the address
        return reprlib.repr(value)
    except ValueError:  # more digits than Python prints
        return f"a very long {type(value).__name__}"


def alternatives(hint: Any) -> tuple[Any, ...]:
    """Return the types that a union allows, or the one type that `hint` is."""
    is_union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    return typing.get_args(hint) if is_union else (hint,)


def _expected(hint: Any) -> str:
    names = {types.NoneType: "None", Path: "str", tuple: "list", typing.Literal: "str"}
    kinds = [typing.get_origin(kind) or kind for kind in alternatives(hint)]
    words = [names.get(kind) or getattr(kind, "__name__", str(kind)) for kind in kinds]
    return " or ".join(dict.fromkeys(words))


def _checked_items(kinds: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    if kinds[-1] is ...:
        kinds = kinds[:1] * len(value)
    if len(kinds) != len(value):
        raise ValueError(f"{where}: expected {len(kinds)} values, got {shown(value)}")
    pairs = zip(kinds, value, strict=True)
    return tuple(checked(kind, item, where) for kind, item in pairs)


def _finite(value: Any, where: str) -> float:
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    require(math.isfinite(number), f"{where}={shown(value)} must be finite")
    return number


def _text(value: Any, where: str) -> str:
    text = str.__str__(value) if isinstance(value, str) else str(value)
    if _PAIR.search(text):
        raise ValueError(f"{where}: expected whole characters, got {shown(text)}")
    return text


# For each type that a field may have: what is accepted in its place, and made of it.
_KINDS: dict[Any, tuple[Any, Callable[[Any, str], Any]]] = {
    bool: (bool, lambda value, where: value),
    int: (numbers.Integral, lambda value, where: int(value)),
    float: (numbers.Real, _finite),
    str: (str, _text),
    Path: (PurePath, _text),
    types.NoneType: (types.NoneType, lambda value, where: None),
}


def _require_choice(value: str, choices: tuple[str, ...], where: str) -> None:
    known = ", ".join(choices)
    require(value in choices, f"{where}={shown(value)} is not one of {known}")


def _require_bounds(value: float, facts: Option, where: str) -> None:
    words = []
    if facts.at_least == 1 or facts.above == 0:
        words.append("positive")
    elif facts.at_least is not None:
        words.append(f"at least {_number(facts.at_least)}")
    elif facts.above is not None:
        words.append(f"above {_number(facts.above)}")
    if facts.below is not None:
        words.append(f"below {_number(facts.below)}")
    is_inside = (
        (facts.at_least is None or value >= facts.at_least)
        and (facts.above is None or value > facts.above)
        and (facts.below is None or value < facts.below)
    )
    require(is_inside, f"{where}={shown(value)} must be {', '.join(words)}")
    if isinstance(value, int):  # Python does not print, or read, just any
        fits = -(2**63) <= value < 2**63
        require(fits, f"{where}={shown(value)} must be an integer of 64 bits")


def _number(value: float) -> str:
    exponent = int(value).bit_length() - 1
    return f"2**{exponent}" if exponent > 16 and value == 2**exponent else f"{value:g}"


def to_dict(config: Any) -> dict[str, Any]:
    """Return a config dataclass as plain JSON types."""
    return dataclasses.asdict(config)


def from_dict(cls: type[_T], values: Any, where: str = "config") -> _T:
    """Build the dataclass `cls` from JSON types.

    Raises:
        ValueError: an unknown key, or a value of the wrong type; both name the key.
    """
    if not isinstance(values, Mapping):
        raise ValueError(f"{where}: expected a mapping, got {type(values).__name__}")
    hints = hints_of(cls)
    unknown = sorted(set(values) - set(hints))
    if unknown:
        raise ValueError(
            f"{where}: unknown keys {', '.join(unknown)}; known: {', '.join(hints)}"
        )
    return cls(
        **{
            key: from_dict(hints[key], value, f"{where}.{key}")
            if dataclasses.is_dataclass(hints[key])
            else checked(hints[key], value, f"{where}.{key}")
            for key, value in values.items()
        }
    )
