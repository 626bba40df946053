"""GPT-2's byte-pair encoding, from the vocabulary that the package ships."""

from __future__ import annotations

import base64
import functools
import importlib.resources
import re
from collections.abc import Iterator

import tiktoken

END_OF_TEXT = 50256  # `<|endoftext|>`: padding, and the whole of an empty text
END_OF_TEXT_NAME = "<|endoftext|>"
VOCAB_SIZE = 50257
# Source: tiktoken_ext/openai_public.py, r50k_pat_str. Held here because importing that
# module is a plugin's business; a test compares the two.
_PATTERN = (
    r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"
)

_LONG_RUN = 100_000  # characters
# What `\\s` is to tiktoken: Unicode's White_Space. Python's own has four more.
_SPACES = re.compile(
    "[\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+"
)


@functools.cache  # a constant, read from disk once
def encoding() -> tiktoken.Encoding:
    """Return GPT-2's encoding; never touches the network."""
    return tiktoken.Encoding(
        name="gpt2",
        pat_str=_PATTERN,
        mergeable_ranks=ranks(),
        special_tokens={END_OF_TEXT_NAME: END_OF_TEXT},
    )


def ranks() -> dict[bytes, int]:
    """Return the id of every token but END_OF_TEXT; a lower one is merged earlier."""
    asset = importlib.resources.files("gpt2_jax") / "assets" / "gpt2.tiktoken"
    return {
        base64.b64decode(token): int(rank)
        for token, rank in (line.split() for line in asset.read_bytes().splitlines())
    }


def encode(text: str) -> list[int]:
    """Return the token ids of `text`; `<|endoftext|>` in it is plain text.

    An empty text is one END_OF_TEXT, so that every text has a position to read.
    """
    pieces = [text] if len(text) < _LONG_RUN else _without_long_runs(text)
    encode_ordinary = encoding().encode_ordinary
    tokens = [token for piece in pieces for token in encode_ordinary(piece)]
    return tokens or [END_OF_TEXT]


def _without_long_runs(text: str) -> Iterator[str]:
    """Cut long runs of white space out, but for the last character, as _PATTERN does.

    A million of them before a word are more than tiktoken's matcher can step back from.
    """
    start = 0
    for run in _SPACES.finditer(text):
        if len(run[0]) >= _LONG_RUN and run.end() < len(text):
            yield text[start : run.start()]
            yield text[run.start() : run.end() - 1]
            start = run.end() - 1
    yield text[start:]


def decode(tokens: list[int]) -> str:
    return encoding().decode(tokens)
