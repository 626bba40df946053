import hashlib
import socket
from pathlib import Path

import pytest
import tiktoken
from hypothesis import given, settings
from hypothesis import strategies as st
from tiktoken.load import data_gym_to_mergeable_bpe_ranks
from tiktoken_ext import openai_public

from gpt2_jax import tokenizer

SHARED = Path(__file__).parents[2] / "shared" / "tokenizer"
# Any text of Unicode but lone surrogates, which UTF-8 has not; and what the pattern
# tells apart: contractions, runs of spaces, digits, marks.
PIECES = (
    "'s",
    "'LL",
    "don't",
    " ",
    "   ",
    "\n",
    "\r\n",
    "\t",
    "1234",
    "½",
    "é",
    "e\u0301",
)
TEXT = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=80),
    st.lists(
        st.one_of(st.sampled_from(PIECES), st.text("ab. ,!?", max_size=4)), max_size=20
    ).map("".join),
)


@pytest.fixture(scope="module")
def tiktokens_own():
    """GPT-2's encoding as tiktoken builds it, from OpenAI's two published files."""
    bpe, vocabulary = SHARED / "vocab.bpe", SHARED / "encoder.json"
    if not bpe.is_file():
        pytest.skip(f"no {bpe}")
    ranks = data_gym_to_mergeable_bpe_ranks(str(bpe), str(vocabulary))
    return tiktoken.Encoding(
        name="gpt2",
        explicit_n_vocab=50257,
        pat_str=openai_public.r50k_pat_str,
        mergeable_ranks=ranks,
        special_tokens={"<|endoftext|>": 50256},
    )


def test_the_vocabulary_is_gpt2s_to_the_byte():
    asset = Path(tokenizer.__file__).parent / "assets" / "gpt2.tiktoken"
    digest = hashlib.sha256(asset.read_bytes()).hexdigest()
    # the expected_hash of r50k_base in tiktoken_ext/openai_public.py
    assert digest == "306cd27f03c1a714eca7108e03d66b7dc042abe8c258b44c199a7ed9838dd930"
    assert tokenizer.encoding().n_vocab == tokenizer.VOCAB_SIZE


def test_every_token_is_that_of_openais_files(tiktokens_own):
    assert tokenizer.encoding()._mergeable_ranks == tiktokens_own._mergeable_ranks


def test_the_pattern_is_tiktokens():
    assert tokenizer.encoding()._pat_str == openai_public.r50k_pat_str


@given(TEXT)
@settings(max_examples=300, deadline=None)
def test_any_unicode_is_encoded_as_tiktokens_gpt2_does(tiktokens_own, text):
    expected = tiktokens_own.encode(text, disallowed_special=())
    assert tokenizer.encode(text) == (expected or [tokenizer.END_OF_TEXT])


@given(TEXT.filter(bool))
@settings(deadline=None)
def test_decoding_gives_the_text_back(text):
    assert tokenizer.decode(tokenizer.encode(text)) == text


@pytest.mark.fault(39)
@given(TEXT)
@settings(deadline=None)
def test_end_of_text_in_a_message_is_plain_text(text):
    text = text + "<|endoftext|>"
    tokens = tokenizer.encode(text)
    assert tokenizer.END_OF_TEXT not in tokens
    assert tokenizer.decode(tokens) == text


@given(st.lists(st.text("ab \n\t\x1c\x85\u3000é", max_size=9), max_size=9).map("".join))
@settings(max_examples=300, deadline=None)
def test_texts_cut_at_long_runs_of_spaces_are_encoded_as_whole_ones(text):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tokenizer, "_LONG_RUN", 3)
        cut = tokenizer.encode(text)
    assert cut == tokenizer.encode(text)


@pytest.mark.parametrize("space", [" ", "\n", " \t"])
def test_a_million_spaces_are_encoded(space):
    """tiktoken itself panics."""
    text = f"a{space * 1_100_000}b"
    assert tokenizer.decode(tokenizer.encode(text)) == text


@pytest.mark.fault(38)
def test_an_empty_text_is_one_end_of_text():
    assert tokenizer.encode("") == [tokenizer.END_OF_TEXT]


def test_known_tokens():
    assert tokenizer.encode("Hello world") == [15496, 995]


def test_a_lone_surrogate_is_the_replacement_character():
    assert tokenizer.encode("a\ud83d") == tokenizer.encode("a\ufffd")


def test_encoding_never_touches_the_network_nor_tiktokens_cache(monkeypatch, tmp_path):
    def refuse(*_args, **_kwargs):
        raise AssertionError("network")

    for name in ("socket", "create_connection", "getaddrinfo"):
        monkeypatch.setattr(socket, name, refuse)
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    tokenizer.encoding.cache_clear()
    assert tokenizer.encode("Hello world") == [15496, 995]
    assert list(tmp_path.iterdir()) == []
