"""A tokenizer beside weights encodes as its library does, or is refused."""

from __future__ import annotations

import functools
import json

import pytest
import tiktoken
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers_of_others import (
    added,
    bos_template,
    by_bytes,
    tokenizer_json,
    vocabulary,
    write_folder,
)

from gpt2_jax import tokenizer
from gpt2_jax.errors import WeightsError
from gpt2_jax.export.tokenizer_files import write_tokenizer
from gpt2_jax.tokenizer import END_OF_TEXT_NAME
from gpt2_jax.weights.merges import check_merges, read_merges, tokens_of, unspelled
from gpt2_jax.weights.tokenizer_folder import from_files, read_tokenizer

END = vocabulary()[0][END_OF_TEXT_NAME]
NEXT = len(vocabulary()[0])  # the first id that is free
ADDED = [
    tokenizer_json()["added_tokens"][0],
    added("<url>", NEXT, special=True),
    added("<url>s", NEXT + 1),
    added("the", NEXT + 2, normalized=True),
    added(" hate", NEXT + 3, normalized=True),
    added("ß東", NEXT + 4),
]
# Each is a tokenizer.json, and what tokenizer_config.json has to say of it.
LIBRARIES = {
    "plain": ({}, {}),
    "prefix": (
        {"pre_tokenizer": by_bytes(add_prefix_space=True)},
        {"add_prefix_space": True},
    ),
    "sequence": (
        {"pre_tokenizer": {"type": "Sequence", "pretokenizers": [by_bytes()]}},
        {},
    ),
    "bos": ({"post_processor": bos_template(END_OF_TEXT_NAME, END)}, {}),
    "added": ({"added_tokens": ADDED}, {}),
    "all": (
        {
            "added_tokens": ADDED,
            "post_processor": bos_template(END_OF_TEXT_NAME, END),
            "pre_tokenizer": by_bytes(add_prefix_space=True),
        },
        {"add_prefix_space": True, "add_bos_token": True},
    ),
}
PIECES = ("the", " the", "hate", " hate", "<url>", "<url>s", "<url", "ß東", "'s", "  ")
TEXT = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=40),
    st.lists(
        st.one_of(st.sampled_from(PIECES), st.text("ab. \n1é", max_size=4)), max_size=12
    ).map("".join),
)


@functools.cache
def ours(name: str) -> tokenizer.Tokenizer:
    library, config = LIBRARIES[name]
    files = {"tokenizer.json": json.dumps(tokenizer_json(**library)).encode()}
    files["tokenizer_config.json"] = json.dumps(config).encode()
    found = from_files(files)
    assert found is not None
    return found


@functools.cache
def theirs(name: str):
    tokenizers = pytest.importorskip("tokenizers")
    return tokenizers.Tokenizer.from_str(
        json.dumps(tokenizer_json(**LIBRARIES[name][0]))
    )


@pytest.mark.parametrize("name", LIBRARIES)
@given(text=TEXT)
@settings(max_examples=60, deadline=None)
def test_any_unicode_is_encoded_as_the_library_does(name, text):
    if END_OF_TEXT_NAME not in text:
        assert ours(name).encode(text) == (theirs(name).encode(text).ids or [END])


@pytest.mark.parametrize("name", LIBRARIES)
@given(text=TEXT)
@settings(max_examples=20, deadline=None)
def test_decoding_gives_the_text_back(name, text):
    own = ours(name)
    ids = own.encode(text)[own.bos_id is not None :]
    if text and not own.prefix_space:
        assert own.decode(ids) == text
        assert b"".join(own.decode_bytes(ids)) == text.encode()


def test_the_merging_is_that_of_the_vocabulary_and_not_gpt2s():
    """Without the library: by an encoding of tiktoken's own of the same merges."""
    vocab, merges = vocabulary()
    tokens = tokens_of(vocab, read_merges(merges))
    plain = tiktoken.Encoding(
        "own",
        pat_str=tokenizer.encoding()._pat_str,
        mergeable_ranks={token: rank for rank, token in enumerate(tokens)},
        special_tokens={},
    )
    text = "the hateful 東京 it's  12"
    expected = [[*tokens.values()][rank] for rank in plain.encode_ordinary(text)]
    assert ours("plain").encode(text) == expected != tokenizer.encode(text)
    assert ours("plain").vocab_size == len(vocab) and ours("all").vocab_size == NEXT + 5


def test_who_writes_the_end_of_a_text_writes_plain_text():
    text = f"a{END_OF_TEXT_NAME}b"
    for name in LIBRARIES:
        ids = ours(name).encode(text)
        assert END not in ids[1:] and END_OF_TEXT_NAME in ours(name).decode(ids)


def test_an_empty_text_is_one_token():
    assert {tuple(ours(name).encode("")) for name in LIBRARIES} == {(END,)}


@pytest.mark.parametrize("config", [None, {}, {"tokenizer_class": "GPT2TokenizerFast"}])
def test_vocab_and_merges_are_the_same_tokenizer(tmp_path, config):
    files = {} if config is None else {"tokenizer_config": config}
    found = read_tokenizer(write_folder(tmp_path, **files))
    text = "the hateful 東京 it's  12"
    assert found is not None and not found.is_gpt2s
    assert found.encode(text) == ours("plain").encode(text)
    assert {*found.files} == {path.name for path in tmp_path.iterdir()}


def test_the_settings_beside_vocab_and_merges_count(tmp_path):
    config = {
        "add_bos_token": True,
        "add_prefix_space": True,
        "added_tokens_decoder": {
            str(NEXT + 1): added("<url>s", NEXT + 1),
            str(NEXT + 2): added("the", NEXT + 2, normalized=True),
        },
        "additional_special_tokens": ["<url>"],
    }
    more = {" hate": NEXT + 3, "ß東": NEXT + 4, "<url>": NEXT}
    found = read_tokenizer(
        write_folder(tmp_path, tokenizer_config=config, added_tokens=more)
    )
    assert found is not None
    for text in ("the hate <url>s <url> ß東 in  it", "a", ""):
        assert found.encode(text) == ours("all").encode(text)


def test_split_special_tokens_makes_them_plain_text(tmp_path):
    config = {"split_special_tokens": True}
    library = tokenizer_json(added_tokens=ADDED)
    found = read_tokenizer(write_folder(tmp_path, library, tokenizer_config=config))
    assert found is not None
    ids = found.encode("<url> <url>s")
    assert NEXT not in ids and NEXT + 1 in ids


def test_an_end_and_a_pad_of_its_own(tmp_path):
    roles = {"eos_token": {"content": "</s>"}, "pad_token": "<pad>"}
    library = tokenizer_json(
        added_tokens=[added("</s>", NEXT, special=True), added("<pad>", NEXT + 1)]
    )
    folder = write_folder(tmp_path, library, special_tokens_map=roles)
    found = read_tokenizer(folder)
    assert found is not None
    assert (found.end_id, found.pad_id, found.encode("")) == (NEXT, NEXT + 1, [NEXT])
    assert NEXT not in found.encode("</s><pad>")


@pytest.mark.slow
def test_gpt2s_own_files_are_gpt2s(tmp_path):
    for classifier in (False, True):
        write_tokenizer(tmp_path, 64, classifier=classifier)
        assert read_tokenizer(tmp_path) is tokenizer.gpt2()
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).unlink()
    assert read_tokenizer(tmp_path) is tokenizer.gpt2()


def test_a_folder_without_one_has_none(tmp_path):
    assert read_tokenizer(tmp_path) is None
    (tmp_path / "tokenizer_config.json").write_text('{"model_max_length": 9}')
    assert read_tokenizer(tmp_path) is None


def _model(**changes):
    return {"model": {**tokenizer_json()["model"], **changes}}


REFUSED = {
    "normalizer NFC": ({"normalizer": {"type": "NFC"}}, {}),
    "pre_tokenizer none": ({"pre_tokenizer": None}, {}),
    "pre_tokenizer Split": (
        {
            "pre_tokenizer": {
                "type": "Sequence",
                "pretokenizers": [
                    {"type": "Split", "pattern": {"Regex": "a"}},
                    by_bytes(use_regex=False),
                ],
            }
        },
        {},
    ),
    "use_regex": ({"pre_tokenizer": by_bytes(use_regex=False)}, {}),
    "model.type='WordPiece'": (_model(type="WordPiece"), {}),
    "model.dropout=0.1": (_model(dropout=0.1), {}),
    "model.ignore_merges=True": (_model(ignore_merges=True), {}),
    "model.end_of_word_suffix='</w>'": (_model(end_of_word_suffix="</w>"), {}),
    "post_processor BertProcessing": (
        {"post_processor": {"type": "BertProcessing"}},
        {},
    ),
    "'<a>' with lstrip": (
        {"added_tokens": [*ADDED, added("<a>", NEXT + 9, lstrip=True)]},
        {},
    ),
    "'<a>' with single_word": (
        {"added_tokens": [*ADDED, added("<a>", NEXT + 9, single_word=True)]},
        {},
    ),
    "'<b>' is not in tokenizer.json": (
        {},
        {"added_tokens_decoder": {NEXT: added("<b>", NEXT)}},
    ),
    "'<c>' has no id": ({}, {"additional_special_tokens": ["<c>"]}),
    "add_prefix_space is False in tokenizer.json and True": (
        {},
        {"add_prefix_space": True},
    ),
    "add_prefix_space is True in tokenizer.json and False": (
        {"pre_tokenizer": by_bytes(add_prefix_space=True)},
        {},
    ),
    "add_bos_token is False in tokenizer.json and True": ({}, {"add_bos_token": True}),
    "add_eos_token=True": ({}, {"add_eos_token": True}),
    "truncation_side='left'": ({}, {"truncation_side": "left"}),
    "tokenizer_class='LlamaTokenizer'": ({}, {"tokenizer_class": "LlamaTokenizer"}),
    "the added token '<url>' has the ids": (
        {"added_tokens": [*ADDED, added("<url>", NEXT + 9)]},
        {},
    ),
    "is not what merging its bytes comes to": (
        _model(merges=[*vocabulary()[1][1:], vocabulary()[1][0]][::-1]),
        {},
    ),
    "no merge of two tokens": (_model(merges=["a b c"]), {}),
    "but not in the vocabulary": (_model(merges=["~ ~"]), {}),
    "lacks 1 of the bytes of UTF-8, such as 0x61": (
        _model(vocab={k: v for k, v in vocabulary()[0].items() if k != "a"}),
        {},
    ),
    "two tokens of the vocabulary have one id": (
        _model(vocab={**vocabulary()[0], "a": vocabulary()[0]["b"]}),
        {},
    ),
    "no number": (_model(vocab={**vocabulary()[0], "a": 1.5}), {}),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_what_it_cannot_do_is_refused_by_name(tmp_path, reason):
    library, config = REFUSED[reason]
    folder = write_folder(tmp_path, tokenizer_json(**library), tokenizer_config=config)
    with pytest.raises(WeightsError) as caught:
        read_tokenizer(folder)
    assert reason in str(caught.value) and str(folder) in str(caught.value)


def test_two_vocabularies_in_one_folder_are_refused(tmp_path):
    library = _model(vocab={**vocabulary()[0], "a": NEXT})
    write_folder(tmp_path)
    write_folder(tmp_path, tokenizer_json(**library))
    with pytest.raises(WeightsError, match=r"tokenizer\.json is not the vocabulary of"):
        read_tokenizer(tmp_path)


@pytest.mark.parametrize("name", ["vocab.json", "merges.txt", "tokenizer.model"])
def test_half_a_tokenizer_or_another_kind_is_refused(tmp_path, name):
    (tmp_path / name).write_text("{}")
    with pytest.raises(WeightsError, match="its tokenizer cannot be used"):
        read_tokenizer(tmp_path)


@pytest.mark.slow
@given(st.lists(st.sampled_from("abc"), min_size=2, max_size=5), st.data())
@settings(max_examples=200, deadline=None)
def test_merges_that_pass_are_merged_as_the_library_does(word, data):
    """Small vocabularies of merges that no training would give."""
    tokenizers = pytest.importorskip("tokenizers")
    tokens, merges = ["a", "b", "c"], []
    for _ in range(data.draw(st.integers(1, 6))):
        pair = data.draw(st.tuples(st.sampled_from(tokens), st.sampled_from(tokens)))
        if "".join(pair) not in tokens:
            merges.append(pair)
            tokens.append("".join(pair))
    merges = data.draw(st.permutations(merges))
    single = [name for name in vocabulary(0)[0] if len(unspelled(name) or b"") == 1]
    names = [*single, *map("".join, merges), END_OF_TEXT_NAME]
    vocab = {name: i for i, name in enumerate(names)}
    pairs = read_merges([list(pair) for pair in merges])
    ranks = tokens_of(vocab, pairs)
    try:
        check_merges(ranks, pairs)
    except ValueError:
        return
    own = tokenizer.Tokenizer(ranks, end_id=vocab[END_OF_TEXT_NAME])
    library = tokenizers.models.BPE(vocab, merges)
    text = "".join(word)
    assert own.encode(text) == [token.id for token in library.tokenize(text)]
