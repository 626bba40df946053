"""The tokenizer files of a Hugging Face folder, from the vocabulary that we ship."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gpt2_jax.tokenizer import END_OF_TEXT, END_OF_TEXT_NAME, ranks


def write_tokenizer(folder: Path, max_length: int, *, classifier: bool) -> None:
    """Write vocab.json, merges.txt, tokenizer.json and tokenizer_config.json.

    For a classifier they encode as `tokenizer.encode` does: END_OF_TEXT's name in a
    text is plain text, and what is asked to be truncated is cut to `max_length`.
    """
    vocab, merges = vocabulary()
    (folder / "vocab.json").write_bytes(vocab_json(vocab))
    (folder / "merges.txt").write_bytes(merges_txt(merges))
    content = _tokenizer_json(vocab, merges, max_length if classifier else None)
    (folder / "tokenizer.json").write_text(json.dumps(content) + "\n", "utf-8")
    values: dict[str, Any] = {
        "tokenizer_class": "GPT2Tokenizer",
        "model_max_length": max_length,
        "bos_token": END_OF_TEXT_NAME,
        "eos_token": END_OF_TEXT_NAME,
        "unk_token": END_OF_TEXT_NAME,
        "add_prefix_space": False,
    }
    if classifier:
        values |= {
            "pad_token": END_OF_TEXT_NAME,
            "padding_side": "right",
            "truncation_side": "right",
            "split_special_tokens": True,
        }
    text = json.dumps(values, indent=2) + "\n"
    (folder / "tokenizer_config.json").write_text(text, "utf-8")


def vocabulary() -> tuple[dict[str, int], list[str]]:
    """Return {token: id} and the merges in their order, as GPT-2's files spell them."""
    ids = ranks()
    spelling = _spelling()

    def spell(token: bytes) -> str:
        return "".join(spelling[byte] for byte in token)

    tokens = sorted(ids, key=ids.__getitem__)
    vocab = {spell(token): ids[token] for token in tokens}
    merges = [
        " ".join(map(spell, _parts(token, ids))) for token in tokens if len(token) > 1
    ]
    return {**vocab, END_OF_TEXT_NAME: END_OF_TEXT}, merges


def _spelling() -> list[str]:
    """Return the character of each byte: itself if printable, else one from 256 on.

    Source: openai/gpt-2 `src/encoder.py`, bytes_to_unicode.
    """
    printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = iter(range(256, 512))
    return [chr(byte if byte in printable else next(others)) for byte in range(256)]


def _parts(token: bytes, ids: Mapping[bytes, int]) -> list[bytes]:
    """Return the two tokens that are merged into `token`: what is left without it."""
    parts = [bytes([byte]) for byte in token]
    while len(parts) > 2:
        pairs = [a + b for a, b in itertools.pairwise(parts)]
        best = min(range(len(pairs)), key=lambda i: ids.get(pairs[i], END_OF_TEXT))
        parts[best : best + 2] = [pairs[best]]
    return parts


def vocab_json(vocab: Mapping[str, int]) -> bytes:
    return json.dumps(vocab).encode()


def merges_txt(merges: Sequence[str]) -> bytes:
    return "\n".join(["#version: 0.2", *merges, ""]).encode()


def _tokenizer_json(
    vocab: Mapping[str, int], merges: Sequence[str], max_length: int | None
) -> dict[str, Any]:
    """Return GPT-2's tokenizer in the format of the `tokenizers` library."""
    by_bytes = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}
    return {
        "version": "1.0",
        "truncation": max_length
        and {
            "direction": "Right",
            "max_length": max_length,
            "strategy": "LongestFirst",
            "stride": 0,
        },
        "padding": None,
        "added_tokens": [
            {
                "id": END_OF_TEXT,
                "content": END_OF_TEXT_NAME,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
                "special": True,
            }
        ],
        "normalizer": None,
        "pre_tokenizer": {**by_bytes, "trim_offsets": True},
        "post_processor": {**by_bytes, "trim_offsets": False},
        "decoder": {**by_bytes, "trim_offsets": True},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": "",
            "end_of_word_suffix": "",
            "fuse_unk": False,
            "byte_fallback": False,
            "vocab": dict(vocab),
            "merges": list(merges),
        },
    }
