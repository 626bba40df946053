"""tokenizer.json of the `tokenizers` library: a byte-level BPE, or refused by name."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from gpt2_jax.weights.merges import Merges, read_merges

NAME = "tokenizer.json"


# Of the model: what changes tokens, and the values that do not.
_PLAIN: Mapping[str, tuple[Any, ...]] = {
    "type": ("BPE", None),
    "dropout": (None, 0, 0.0),
    "continuing_subword_prefix": (None, ""),
    "end_of_word_suffix": (None, ""),
    "ignore_merges": (None, False),
}


@dataclasses.dataclass(frozen=True)
class TokenizerJson:
    """What tokenizer.json holds, as far as GPT-2's kind of tokenizer has it."""

    vocab: Mapping[str, int]
    merges: Merges
    added: Sequence[Mapping[str, Any]]  # as they stand there
    prefix_space: bool
    bos: str | None  # the token that comes before every text


def read(values: Mapping[str, Any]) -> TokenizerJson:
    """Return what the JSON object of the file says.

    Raises:
        ValueError: it asks for what GPT-2's tokenizer has not.
        TypeError, KeyError, AttributeError: it is not of this format.
    """
    model = values["model"]
    for field, plain in _PLAIN.items():
        if model.get(field) not in plain:
            raise ValueError(f"{NAME}: model.{field}={model[field]!r} is not supported")
    if steps := _steps(values.get("normalizer"), "normalizers"):
        raise ValueError(f"{NAME}: the normalizer {_describe(steps)} is not supported")
    steps = _steps(values.get("pre_tokenizer"), "pretokenizers")
    if [step["type"] for step in steps] != ["ByteLevel"]:
        raise ValueError(
            f"{NAME}: the pre_tokenizer {_describe(steps)} is not supported; GPT-2's "
            "is ByteLevel alone"
        )
    if not steps[0].get("use_regex", True):
        raise ValueError(f"{NAME}: ByteLevel without use_regex is not supported")
    return TokenizerJson(
        vocab=model["vocab"],
        merges=read_merges(model["merges"]),
        added=list(values.get("added_tokens") or []),
        prefix_space=bool(steps[0].get("add_prefix_space", True)),
        bos=_bos(values),
    )


def _bos(values: Mapping[str, Any]) -> str | None:
    steps = _steps(values.get("post_processor"), "processors")
    steps = [step for step in steps if step["type"] != "ByteLevel"]
    if not steps:
        return None
    if [step["type"] for step in steps] == ["TemplateProcessing"]:
        pieces = [next(iter(piece.items())) for piece in steps[0]["single"]]
        kinds = [kind for kind, _ in pieces]
        if kinds == ["Sequence"]:
            return None
        if kinds == ["SpecialToken", "Sequence"]:
            return str(pieces[0][1]["id"])
    raise ValueError(
        f"{NAME}: the post_processor {_describe(steps)} is not supported; only one "
        "token before the text is"
    )


def _steps(value: Any, name: str) -> list[dict[str, Any]]:
    if value is None:
        return []
    if value["type"] != "Sequence":
        return [value]
    return [step for inner in value[name] for step in _steps(inner, name)]


def _describe(steps: Sequence[Mapping[str, Any]]) -> str:
    return " + ".join(str(step["type"]) for step in steps) or "none"
