"""The tokenizer files are GPT-2's, and encode as our tokenizer does."""

import hashlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt2_jax.export.tokenizer_files import (
    merges_txt,
    vocab_json,
    vocabulary,
    write_tokenizer,
)
from gpt2_jax.tokenizer import encode

# Published by OpenAI, and pinned by tiktoken (tiktoken_ext/openai_public.py).
ENCODER_JSON = "196139668be63f3b5d6574427317ae82f612a97c5d1cdaf36ed2256dbf636783"
VOCAB_BPE = "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5"
TEXTS = [
    "Hello world",
    "  spaces \n\n and\ttabs ",
    "<|endoftext|> in the <|endoftext|>text",
    "naïve 東京 🎉 \u200b don't 12345",
    "it's " * 50,
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("tokenizer")
    write_tokenizer(path, 40, classifier=True)
    return path


def test_the_files_are_openais_to_the_byte():
    vocab, merges = vocabulary()
    assert hashlib.sha256(vocab_json(vocab)).hexdigest() == ENCODER_JSON
    assert hashlib.sha256(merges_txt(merges)).hexdigest() == VOCAB_BPE


def test_the_files_are_written_as_they_are(folder):
    for name, expected in [("vocab.json", ENCODER_JSON), ("merges.txt", VOCAB_BPE)]:
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == expected


@given(st.text(max_size=30))
@settings(max_examples=50, deadline=None)
def test_tokenizers_encodes_as_we_do(library, text):
    if "<|endoftext|>" not in text:
        ids = library.encode(text).ids
        assert ids == (encode(text)[:40] if text else [])


@pytest.fixture(scope="module")
def library(folder):
    tokenizers = pytest.importorskip("tokenizers")
    return tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))


live = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


@live
def test_transformers_encodes_as_we_do(folder):
    transformers = pytest.importorskip("transformers")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    assert tokenizer.model_max_length == 40
    batch = tokenizer(TEXTS, truncation=True, padding=True)
    for text, ids, mask in zip(
        TEXTS, batch["input_ids"], batch["attention_mask"], strict=True
    ):
        length = sum(mask)
        assert mask == [1] * length + [0] * (40 - length)
        assert ids == encode(text)[:40] + [50256] * (40 - length)
    assert tokenizer.decode(encode(TEXTS[3])) == TEXTS[3]


@live
def test_the_tokenizer_of_a_language_model_is_the_usual_one(tmp_path):
    transformers = pytest.importorskip("transformers")
    write_tokenizer(tmp_path, 1024, classifier=False)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert tokenizer("a<|endoftext|>b")["input_ids"] == [64, 50256, 65]
    assert tokenizer.pad_token is None
    assert json.loads((tmp_path / "tokenizer.json").read_text())["truncation"] is None
