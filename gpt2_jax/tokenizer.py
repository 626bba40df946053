"""GPT-2's byte-pair encoding: with the vocabulary that the package ships, or another's.

The merging is tiktoken's. It merges neighbours whose joint bytes are a token, the
earliest token first; a file of merges names the pairs themselves. Where every token is
made of one pair, and in one way, both are the same (`weights.tokenizer_folder` checks).
"""

from __future__ import annotations

import binascii
import dataclasses
import functools
import hashlib
import importlib.resources
import re
from collections.abc import Iterator, Mapping, Sequence

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


@dataclasses.dataclass(frozen=True, eq=False)
class Tokenizer:
    """A byte-level BPE as GPT-2's (Radford et al. 2019), with a vocabulary of its own.

    Raises:
        ValueError: `tokens` lacks a byte.
    """

    tokens: Mapping[bytes, int]  # ids of single bytes, then of merges in their order
    end_id: int  # padding, and the whole of a text without a token
    special: Mapping[str, int] = dataclasses.field(default_factory=dict)
    # Those of `special` that stand for themselves in a text, in the order of search;
    # the others are plain text there: nobody can write the end of a text.
    searched: tuple[frozenset[str], ...] = ()
    bos_id: int | None = None  # None: nothing stands before a text
    prefix_space: bool = False  # before a text that does not begin with one
    pad_id: int | None = None  # what its own model pads with; None: `end_id`
    # The files that it was read from, by name; none: it is GPT-2's own.
    files: Mapping[str, bytes] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        single = list(self.tokens)[:256]
        if {*single} != {bytes([byte]) for byte in range(256)}:
            raise ValueError("the first 256 tokens are not the single bytes")

    @property
    def vocab_size(self) -> int:
        """Return what the vocabulary of a model must have at least."""
        return 1 + max(*self.tokens.values(), *self.special.values(), self.end_id)

    @property
    def is_gpt2s(self) -> bool:
        """Is it the one that the package ships?"""
        return not self.files

    def name_of(self, token: int) -> str:
        """Return the name of one of `special`.

        Raises:
            ValueError: it is none of them.
        """
        for name, known in self.special.items():
            if known == token:
                return name
        raise ValueError(f"{token} is no special token")

    @functools.cached_property
    def sha256(self) -> str:
        """Return the hash of what it was read from."""
        if self.is_gpt2s:
            return VOCAB_SHA256
        found = hashlib.sha256()
        for name, content in sorted(self.files.items()):
            found.update(f"{name} {hashlib.sha256(content).hexdigest()}\n".encode())
        return found.hexdigest()

    def encode(self, text: str) -> list[int]:
        """Return the ids of `text`, one or more: an empty text is one `end_id`."""
        ids = [] if self.bos_id is None else [self.bos_id]
        for piece in self._pieces(text):
            if isinstance(piece, int):
                ids.append(piece)
            else:
                ids += self._merge(piece)
        return ids or [self.end_id]

    def _pieces(self, text: str) -> list[str | int]:
        """Cut the tokens out that stand for themselves."""
        pieces: list[str | int] = [text]
        for names in self._searches:
            pieces = [
                part
                for piece in pieces
                for part in (
                    [piece] if isinstance(piece, int) else self._find(names, piece)
                )
            ]
        return pieces

    def decode_bytes(self, ids: Sequence[int]) -> list[bytes]:
        """Return the bytes that each token stands for.

        Raises:
            KeyError: an id is no token's.
        """
        return [self._bytes[token] for token in ids]

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of tokens; what is no UTF-8 becomes U+FFFD."""
        return b"".join(self.decode_bytes(ids)).decode("utf-8", "replace")

    @functools.cached_property
    def encoding(self) -> tiktoken.Encoding:
        """The merging; its ranks are the places in `tokens`, and not the ids."""
        count = len(self.tokens)
        return tiktoken.Encoding(
            name="gpt2",
            pat_str=_PATTERN,
            mergeable_ranks=dict(zip(self.tokens, range(count), strict=True)),
            special_tokens={name: count + i for i, name in enumerate(self.special)},
        )

    def byte_ends(self, text: str) -> list[int]:
        """Return where each token of `encode` ends in the UTF-8 of `text`."""
        ends = [] if self.bos_id is None else [0]
        done = 0
        for piece in self._pieces(text):
            if isinstance(piece, int):
                sizes, before = [len(self._bytes[piece])], 0
            else:
                sizes = [len(self._bytes[token]) for token in self._merge(piece)]
                before = int(self._lacks_space(piece))
            for size in sizes:
                done += size
                ends.append(max(done - before, 0))
            done -= before
        return ends or [0]

    def _lacks_space(self, text: str) -> bool:
        return self.prefix_space and text != "" and not text.startswith(" ")

    def _merge(self, text: str) -> Iterator[int]:
        if self._lacks_space(text):
            text = " " + text
        parts = [text] if len(text) < _LONG_RUN else _without_long_runs(text)
        for part in parts:
            for rank in self.encoding.encode_ordinary(part):
                yield self._ids[rank]

    @functools.cached_property
    def _ids(self) -> list[int]:
        return list(self.tokens.values())

    @functools.cached_property
    def _bytes(self) -> dict[int, bytes]:
        special = {token: name.encode() for name, token in self.special.items()}
        return {token: content for content, token in self.tokens.items()} | special

    @functools.cached_property
    def _searches(self) -> list[re.Pattern[str]]:
        # The longest of those that begin at one place.
        return [
            re.compile("|".join(map(re.escape, sorted(names, key=len, reverse=True))))
            for names in self.searched
            if names
        ]

    def _find(self, names: re.Pattern[str], text: str) -> Iterator[str | int]:
        start = 0
        for found in names.finditer(text):
            yield text[start : found.start()]
            yield self.special[found[0]]
            start = found.end()
        yield text[start:]


@functools.cache  # a constant, read from disk once
def gpt2() -> Tokenizer:
    """Return GPT-2's tokenizer; never touches the network."""
    special = {END_OF_TEXT_NAME: END_OF_TEXT}
    return Tokenizer(ranks(), END_OF_TEXT, special)


@functools.cache
def encoding() -> tiktoken.Encoding:
    """Return GPT-2's encoding; never touches the network."""
    return gpt2().encoding


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
    words = content.split()  # token, rank, token, rank: 50,257 lines of two
    return dict(
        zip(map(binascii.a2b_base64, words[::2]), map(int, words[1::2]), strict=True)
    )


def encode(text: str) -> list[int]:
    """Return GPT-2's token ids of `text`; `<|endoftext|>` in it is plain text."""
    return gpt2().encode(text)


def decode(tokens: Sequence[int]) -> str:
    """Return the text of GPT-2's tokens."""
    return gpt2().decode(tokens)


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
