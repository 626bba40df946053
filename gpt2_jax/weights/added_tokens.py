"""Tokens that no merging makes: those that stand for themselves in a text, and those
that mark its ends."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

_ROLES = tuple(
    f"{role}_token" for role in ("bos", "eos", "unk", "pad", "cls", "sep", "mask")
)


@dataclasses.dataclass(frozen=True)
class Added:
    """An added token and how the `tokenizers` library looks for it in a text."""

    id: int
    special: bool = False
    normalized: bool = True  # it is looked for after those that are not
    flags: tuple[str, ...] = ()  # what changes where it is found


def name_of(value: Any) -> str | None:
    """Return the text of a token, which may stand there with its flags."""
    return value.get("content") if isinstance(value, Mapping) else value


def names_of_roles(roles: Mapping[str, Any]) -> dict[str, str]:
    """Return the token of each role, such as eos_token, that is given."""
    return {role: name for role in _ROLES if (name := name_of(roles.get(role)))}


def collect(
    entries: Iterable[Mapping[str, Any]], vocab: Mapping[str, int]
) -> dict[str, Added]:
    """Return the added tokens of several lists by name; the first one's flags count.

    Raises:
        ValueError: a token has two ids.
    """
    added: dict[str, Added] = {}
    for entry in entries:
        name, token = entry["content"], int(entry["id"])
        if not name:
            continue
        new = Added(
            token,
            bool(entry.get("special", False)),
            bool(entry.get("normalized", True)),
            tuple(f for f in ("single_word", "lstrip", "rstrip") if entry.get(f)),
        )
        ids = {vocab.get(name, token), added.setdefault(name, new).id, token}
        if len(ids) > 1 or token < 0:
            raise ValueError(f"the added token {name!r} has the ids {sorted(ids)}")
    return added


def further(
    settings: Mapping[str, Any],
    roles: Mapping[str, Any],
    listed: Mapping[str, Any],
    known: Iterable[Mapping[str, Any]],
    vocab: Mapping[str, int],
) -> list[dict[str, Any]]:
    """Return the entries that stand outside of tokenizer.json.

    Args:
        settings: tokenizer_config.json.
        roles: special_tokens_map.json and `settings`.
        listed: added_tokens.json, {name: id}.
        known: the entries of tokenizer.json.

    Raises:
        ValueError: a token has no id.
    """
    decoder = settings.get("added_tokens_decoder") or {}
    found = [{"id": int(token), **entry} for token, entry in decoder.items()]
    found += [{"content": name, "id": token} for name, token in listed.items()]
    ids = {entry["content"]: entry["id"] for entry in [*known, *found]}
    for field in ("additional_special_tokens", "extra_special_tokens"):
        values = roles.get(field) or []
        for value in values.values() if isinstance(values, Mapping) else values:
            flags: Mapping[str, Any] = value if isinstance(value, Mapping) else {}
            name = str(name_of(value))
            if name not in ids and name not in vocab:
                raise ValueError(f"the added token {name!r} has no id")
            token = ids.get(name, vocab.get(name))
            named = {"content": name, "id": token, "special": True}
            found.append({"normalized": False, **flags, **named})
    return found


def searched(
    added: Mapping[str, Added], plain: Iterable[str], *, split_special: bool
) -> tuple[frozenset[str], frozenset[str]]:
    """Return the tokens that are looked for in a text, in the order of the search.

    Raises:
        ValueError: one of them is looked for in a way that is not supported.
    """
    wanted = {
        name: token
        for name, token in added.items()
        if name not in plain and not (split_special and token.special)
    }
    for name, token in wanted.items():
        if token.flags:
            raise ValueError(
                f"the added token {name!r} with {', '.join(token.flags)} is not "
                "supported"
            )
    first = frozenset(name for name, token in wanted.items() if not token.normalized)
    return first, frozenset(wanted) - first
