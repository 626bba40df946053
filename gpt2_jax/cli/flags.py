"""Command-line flags from the fields of a config, and back."""

from __future__ import annotations

import argparse
import dataclasses
import types
import typing
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, TypeVar

from gpt2_jax.config import ForeignConfig
from gpt2_jax.config.fields import Option, alternatives, flag_of, hints_of, option_of
from gpt2_jax.errors import UserError

_T = TypeVar("_T")
_METAVARS = {int: "N", float: "X", str: "NAME"}


@dataclasses.dataclass(frozen=True)
class Leaf:
    """A field that is no config itself: of `data.split` the path, type and default."""

    path: str
    hint: Any
    default: Any
    facts: Option

    @property
    def name(self) -> str:
        """Name of the field."""
        return self.path.rpartition(".")[2]

    @property
    def flag(self) -> str:
        """Its flag on the command line."""
        return flag_of(self.name, self.facts)


def leaves(config: Any, prefix: str = "") -> Iterator[Leaf]:
    """Yield the fields of a config and of the configs in it."""
    hints = hints_of(type(config))
    for field in dataclasses.fields(config):
        path, value = prefix + field.name, getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            yield from leaves(value, f"{path}.")
        else:
            yield Leaf(path, hints[field.name], value, option_of(field))


def add_flags(
    parser: argparse.ArgumentParser,
    config: Any,
    *,
    sections: Collection[str] | None = None,
    without: Collection[str] = (),
) -> None:
    """Add a flag for each field of `config`, and of the configs in it.

    Args:
        parser: gets the flags, in the sections of the fields.
        config: a dataclass, whose values are shown as the defaults.
        sections: those to add; None: all.
        without: names of fields to leave out.
    """
    groups: dict[str, Any] = {"": parser}
    for leaf in leaves(config):
        section = leaf.facts.section
        if leaf.name in without or (sections is not None and section not in sections):
            continue
        if section not in groups:
            groups[section] = parser.add_argument_group(section)
        # The default is None: what was not given leaves the config as it is.
        groups[section].add_argument(leaf.flag, dest=leaf.path, **_settings(leaf))


def add_reading(parser: argparse.ArgumentParser) -> None:
    """Add what tells how a classifier of another program is read, and `--offline`."""
    add_flags(parser, ForeignConfig())
    add_offline(parser)


def add_offline(parser: argparse.ArgumentParser) -> None:
    """Add `--offline`."""
    parser.add_argument(
        "--offline", action="store_true", help="use what is cached; no network"
    )


def add_run(parser: argparse.ArgumentParser) -> None:
    """Add the operand RUN."""
    parser.add_argument(
        "run", metavar="RUN", type=Path, help="folder of a run, as finetune wrote it"
    )


def _settings(leaf: Leaf) -> dict[str, Any]:
    """Return what argparse has to know of one field."""
    settings: dict[str, Any] = {"help": _help(leaf)}
    kind, facts = _without_none(leaf.hint), leaf.facts
    if typing.get_origin(kind) is tuple:
        kinds = typing.get_args(kind)
        kind = _without_none(kinds[0])
        if facts.repeated:
            settings["action"] = "append"
        elif kinds[-1] is ...:
            settings |= {"nargs": "+", "action": "extend"}  # also given again
        else:
            settings["nargs"] = len(kinds)
    if kind is bool:
        return settings | {"action": argparse.BooleanOptionalAction}
    is_literal = typing.get_origin(kind) is typing.Literal
    choices = typing.get_args(kind) if is_literal else facts.choices
    if choices:
        return settings | {"choices": choices}
    return settings | {"type": kind, "metavar": facts.metavar or _METAVARS[kind]}


def _without_none(hint: Any) -> Any:
    """Return the first type that a union allows beside None: str of `str | Path`."""
    return next(kind for kind in alternatives(hint) if kind is not types.NoneType)


def _help(leaf: Leaf) -> str:
    value = leaf.default
    if value is None or value == ():
        shown = leaf.facts.unset or "none"
    elif isinstance(value, bool):
        shown = "yes" if value else "no"
    elif isinstance(value, tuple):
        shown = " ".join(map(str, value))
    else:
        shown = str(value)
    shown = shown if shown.isprintable() else repr(shown)
    return f"{leaf.facts.help} (default: {shown})".replace("%", "%%")


def with_flags(config: _T, arguments: argparse.Namespace) -> _T:
    """Return `config` with every flag that was given laid over it.

    Raises:
        UserError: a value that no run can have.
    """
    try:
        return _laid_over(config, arguments, "")
    except ValueError as error:
        raise UserError(str(error)) from None


def given_flags(
    config: Any, arguments: argparse.Namespace, *, without: Collection[str] = ()
) -> list[str]:
    """Return the flags of the fields of `config` that were given."""
    return [
        leaf.flag
        for leaf in leaves(config)
        if leaf.name not in without and getattr(arguments, leaf.path, None) is not None
    ]


def _laid_over(config: Any, arguments: argparse.Namespace, prefix: str) -> Any:
    changes = {}
    for field in dataclasses.fields(config):
        path, value = prefix + field.name, getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            changes[field.name] = _laid_over(value, arguments, f"{path}.")
        elif (given := getattr(arguments, path, None)) is not None:
            changes[field.name] = given
    return dataclasses.replace(config, **changes)
