"""The tokenizer files of a Hugging Face folder, from a `Tokenizer`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gpt2_jax.errors import WeightsError
from gpt2_jax.tokenizer import Tokenizer, gpt2
from gpt2_jax.weights.merges import last_parts, spelled
from gpt2_jax.weights.tokenizer_folder import read_tokenizer, write_files


def write_tokenizer(
    folder: Path,
    max_length: int,
    *,
    classifier: bool,
    tokenizer: Tokenizer | None = None,
) -> None:
    """Write vocab.json, merges.txt, tokenizer.json and tokenizer_config.json.

    For a classifier they encode as `Tokenizer.encode` does: the names of what ends a
    text are plain text in it, and what is asked to be truncated is cut to `max_length`.
    For a language model the files of a tokenizer that is not GPT-2's stay as they are.
    """
    own = tokenizer or gpt2()
    if not own.is_gpt2s and not classifier:
        write_files(folder, own)
        return
    vocab, merges = vocabulary(own)
    (folder / "vocab.json").write_bytes(vocab_json(vocab))
    (folder / "merges.txt").write_bytes(merges_txt(merges))
    content = _tokenizer_json(own, vocab, merges, max_length if classifier else None)
    (folder / "tokenizer.json").write_text(json.dumps(content) + "\n", "utf-8")
    end = own.name_of(own.end_id)
    values: dict[str, Any] = {
        # The other class makes it anew of the vocabulary, and forgets the rest.
        "tokenizer_class": "GPT2Tokenizer" if own.is_gpt2s else _FAST,
        "model_max_length": max_length,
        "bos_token": end,
        "eos_token": end,
        "unk_token": end,
        "add_prefix_space": own.prefix_space,
    }
    if own.bos_id is not None:
        values |= {"bos_token": own.name_of(own.bos_id), "add_bos_token": True}
    if classifier:
        values |= {
            "pad_token": own.name_of(pad_id(own)),
            "padding_side": "right",
            "truncation_side": "right",
            "split_special_tokens": True,
        }
    text = json.dumps(values, indent=2) + "\n"
    (folder / "tokenizer_config.json").write_text(text, "utf-8")


_FAST = "PreTrainedTokenizerFast"


def check_written(folder: Path, tokenizer: Tokenizer, texts: Sequence[str]) -> None:
    """Read a tokenizer back, and compare what it makes of texts.

    Raises:
        WeightsError: it is not what was written.
    """
    read = read_tokenizer(folder)
    if read is None or any(read.encode(t) != tokenizer.encode(t) for t in texts):
        raise WeightsError("nothing written: read back, it encoded otherwise")


def pad_id(tokenizer: Tokenizer) -> int:
    """Return what other programs pad with."""
    return tokenizer.end_id if tokenizer.pad_id is None else tokenizer.pad_id


def vocabulary(tokenizer: Tokenizer | None = None) -> tuple[dict[str, int], list[str]]:
    """Return {token: id} and the merges in their order, as GPT-2's files spell them."""
    own = tokenizer or gpt2()
    ranks = {token: rank for rank, token in enumerate(own.tokens)}
    vocab = {spelled(token): i for token, i in own.tokens.items() if i >= 0}
    merges = [
        " ".join(map(spelled, last_parts(token, ranks)))
        for token in own.tokens
        if len(token) > 1
    ]
    return {**vocab, **own.special}, merges


def vocab_json(vocab: Mapping[str, int]) -> bytes:
    return json.dumps(vocab).encode()


def merges_txt(merges: Sequence[str]) -> bytes:
    return "\n".join(["#version: 0.2", *merges, ""]).encode()


def _tokenizer_json(
    own: Tokenizer,
    vocab: Mapping[str, int],
    merges: Sequence[str],
    max_length: int | None,
) -> dict[str, Any]:
    """Return a tokenizer in the format of the `tokenizers` library."""
    by_bytes = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}
    searched = [name for names in own.searched for name in names]
    after: dict[str, Any] = {**by_bytes, "trim_offsets": False}
    if own.bos_id is not None:
        after = _template(own.name_of(own.bos_id), own.bos_id)
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
                "id": token,
                "content": name,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": bool(own.searched) and name in own.searched[-1],
                "special": name not in searched,  # plain text, if it is split
            }
            for name, token in sorted(own.special.items(), key=lambda item: item[1])
        ],
        "normalizer": None,
        "pre_tokenizer": {
            **by_bytes,
            "add_prefix_space": own.prefix_space,
            "trim_offsets": True,
        },
        "post_processor": after,
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


def _template(name: str, token: int) -> dict[str, Any]:
    """Return a post-processor that puts one token before a text."""
    first = {"SpecialToken": {"id": name, "type_id": 0}}
    texts = [{"Sequence": {"id": key, "type_id": i}} for i, key in enumerate("AB")]
    return {
        "type": "TemplateProcessing",
        "single": [first, texts[0]],
        "pair": [first, *texts],
        "special_tokens": {name: {"id": name, "ids": [token], "tokens": [name]}},
    }
