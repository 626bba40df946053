"""GPT-2's byte-pair encoding, from the vocabulary that the package ships."""

from __future__ import annotations

import base64
import functools
import hashlib
import importlib.resources
import re
from collections.abc import Iterator

import tiktoken

from gpt2_jax.errors import WeightsError

END_OF_TEXT = 50256  # `<|endoftext|>`: padding, and the whole of an empty text


END_OF_TEXT_NAME = "<|endoftext|>"


VOCAB_SIZE = 50257


VOCAB_SHA256 = "306cd27f03c1a714eca7108e03d66b7dc042abe8c258b44c199a7ed9838dd930"


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
    """Return the id of every token but END_OF_TEXT; a lower one is merged earlier.

    Raises:
        WeightsError: the shipped file is damaged.
    """
    asset = importlib.resources.files("gpt2_jax") / "assets" / "gpt2.tiktoken"
    content = asset.read_bytes() if asset.is_file() else b""
    if hashlib.sha256(content).hexdigest() != VOCAB_SHA256:
        raise WeightsError(
            f"{asset}: the shipped vocabulary is damaged (its SHA-256 is not "
            f"{VOCAB_SHA256}); install gpt2-jax again"
        )
    return {
        base64.b64decode(token): int(rank)
        for token, rank in (line.split() for line in content.splitlines())
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
