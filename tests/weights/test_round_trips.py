"""Every format holds float32 parameters bit for bit, and so does every pair of them."""

from __future__ import annotations

import itertools
import tempfile
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from helpers import random_params
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt2_jax.config import GPT2Config
from gpt2_jax.export import hugging_face, llms_from_scratch
from gpt2_jax.model.tree import flatten, unflatten
from gpt2_jax.weights import orbax_folder
from gpt2_jax.weights.convert import convert_state_dict, to_state_dict
from gpt2_jax.weights.pretrained import load_pretrained
from gpt2_jax.weights.rules import LLMS_FROM_SCRATCH
from gpt2_jax.weights.trained import TrainedModel, load_model, save_model

# name of the file or folder -> who writes it
WRITERS = {
    "folder": hugging_face.write_language_model,
    "model.safetensors": llms_from_scratch.write_file,
    "model.pth": llms_from_scratch.write_file,
    "orbax": orbax_folder.write,
}
# the smallest and largest values, signs of zero, what bfloat16 and float16 cannot hold
SPECIAL = np.asarray([-0.0, 1e-45, -3.4028235e38, 1.0000001, 65520.0, 1e-8], np.float32)

configs = st.builds(
    lambda heads, head_dim, **sizes: GPT2Config(
        num_heads=heads, embed_dim=heads * head_dim, **sizes
    ),
    heads=st.integers(1, 5),
    head_dim=st.integers(1, 5),
    num_layers=st.integers(1, 4),
    vocab_size=st.integers(3, 40),
    max_len=st.integers(1, 20),
    tied=st.booleans(),
)


def params_of(config: GPT2Config, *, qkv_bias: bool = True):
    flat = flatten(random_params(config))
    for index, (path, leaf) in enumerate(sorted(flat.items())):
        leaf.flat[0] = SPECIAL[index % len(SPECIAL)]
        if path.endswith("c_attn/bias") and not qkv_bias:
            leaf[:] = 0.0
    return unflatten(flat)


def assert_bit_equal(ours, theirs):
    ours, theirs = flatten(ours), flatten(theirs)
    assert ours.keys() == theirs.keys()
    for path, leaf in theirs.items():
        assert ours[path].dtype == np.float32, path
        assert ours[path].tobytes() == leaf.tobytes(), path


def through(names, config, params):
    """Return the params after a file or folder of each kind, one made of the other."""
    with tempfile.TemporaryDirectory() as folder:
        for turn, name in enumerate(names):
            path = Path(folder) / str(turn) / name
            path.parent.mkdir()
            WRITERS[name](path, config, params)
            read_config, params = load_pretrained(path, num_heads=config.num_heads)
            assert read_config == config
    return params


@pytest.mark.parametrize("name", WRITERS)
@given(config=configs, qkv_bias=st.booleans())
@settings(max_examples=4, deadline=None)
def test_a_format_changes_no_bit(name, config, qkv_bias):
    params = params_of(config, qkv_bias=qkv_bias)
    assert_bit_equal(through([name], config, params), params)


@given(config=configs)
@settings(max_examples=1, deadline=None)
def test_no_two_formats_in_turn_change_a_bit(config):
    hf, book, pth, orbax = WRITERS
    walk = [hf, book, hf, pth, hf, orbax, book, pth, book, orbax, pth, orbax, hf]
    params = params_of(config)
    assert len(set(itertools.pairwise(walk))) == 12  # every pair, in both orders
    assert_bit_equal(through(walk, config, params), params)


@pytest.mark.parametrize("name", WRITERS)
def test_a_book_model_without_qkv_bias_gets_zeros_and_keeps_them(name, tmp_path):
    config = GPT2Config(
        vocab_size=9, max_len=5, embed_dim=6, num_layers=2, num_heads=3, tied=False
    )
    params = params_of(config, qkv_bias=False)
    state = to_state_dict(params, LLMS_FROM_SCRATCH)
    source = tmp_path / "source.safetensors"
    safetensors.numpy.save_file(
        {n: v for n, v in state.items() if ".W_" not in n or "bias" not in n}, source
    )
    _, ours = load_pretrained(source, num_heads=3)
    WRITERS[name](tmp_path / name, config, ours)
    _, read = load_pretrained(tmp_path / name, num_heads=config.num_heads)
    assert_bit_equal(read, params)


@given(config=configs, num_classes=st.integers(2, 5))
@settings(max_examples=10, deadline=None)
def test_the_model_of_a_run_and_the_books_files_change_no_bit(config, num_classes):
    values = vars(config) | {"num_classes": num_classes, "tied": True, "pool": "last"}
    config = GPT2Config(**values)
    params = params_of(config)
    classes = tuple("abcde"[:num_classes])
    with tempfile.TemporaryDirectory() as folder:
        save_model(Path(folder) / "model", TrainedModel(config, params, classes, 1))
        trained = load_model(Path(folder))
        assert (trained.config, trained.classes) == (config, classes)
        assert_bit_equal(trained.params, params)
        path = Path(folder) / "book.safetensors"
        llms_from_scratch.write_file(path, config, trained.params)
        state = safetensors.numpy.load_file(path)
        assert_bit_equal(convert_state_dict(state, config), params)
