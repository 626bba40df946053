"""Tokenizers other than GPT-2's: its vocabulary cut short, the ids drawn by lot."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gpt2_jax.tokenizer import END_OF_TEXT_NAME, ranks
from gpt2_jax.weights.merges import last_parts, spelled

MERGES = 400


def vocabulary(merges: int = MERGES, seed: int = 7) -> tuple[dict[str, int], list[str]]:
    """Return {spelled token: id} and the merges, as the files spell them."""
    known = ranks()
    tokens = sorted(known, key=known.__getitem__)[: 256 + merges]
    names = [*map(spelled, tokens), END_OF_TEXT_NAME]
    ids = random.Random(seed).sample(range(len(names)), len(names))
    pairs = [last_parts(token, known) for token in tokens[256:]]
    lines = [" ".join(map(spelled, pair)) for pair in pairs]
    return dict(zip(names, ids, strict=True)), lines


def tokenizer_json(**changes: Any) -> dict[str, Any]:
    """Return the content of a tokenizer.json, with some of its fields changed."""
    vocab, merges = vocabulary()
    end = vocab[END_OF_TEXT_NAME]
    values = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [added(END_OF_TEXT_NAME, end, special=True)],
        "normalizer": None,
        "pre_tokenizer": by_bytes(),
        "post_processor": None,
        "decoder": by_bytes(),
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": vocab,
            "merges": merges,
        },
    }
    return {**values, **changes}


def by_bytes(**changes: Any) -> dict[str, Any]:
    values = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
    return {**values, "use_regex": True, **changes}


def added(name: str, token: int, **flags: Any) -> dict[str, Any]:
    names = ("single_word", "lstrip", "rstrip", "normalized", "special")
    return {"id": token, "content": name, **dict.fromkeys(names, False), **flags}


def bos_template(name: str, token: int) -> dict[str, Any]:
    text = {"Sequence": {"id": "A", "type_id": 0}}
    first = {"SpecialToken": {"id": name, "type_id": 0}}
    pair = [first, text, {"Sequence": {"id": "B", "type_id": 1}}]
    special = {name: {"id": name, "ids": [token], "tokens": [name]}}
    return {
        "type": "TemplateProcessing",
        "single": [first, text],
        "pair": pair,
        "special_tokens": special,
    }


def write_folder(folder: Path, library: Any = None, **files: Any) -> Path:
    """Write tokenizer.json, or vocab.json and merges.txt, and JSON files by stem."""
    folder.mkdir(parents=True, exist_ok=True)
    vocab, merges = vocabulary()
    contents: Mapping[str, Any] = dict(files)
    if library is None:
        text = "\n".join(["#version: 0.2", *merges, ""])
        (folder / "merges.txt").write_text(text, "utf-8")
        contents = {"vocab": vocab, **contents}
    else:
        contents = {"tokenizer": library, **contents}
    for stem, values in contents.items():
        (folder / f"{stem}.json").write_text(json.dumps(values), "utf-8")
    return folder
