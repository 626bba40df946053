"""Layouts that other programs write now, read by us: the logits are PyTorch's."""

from __future__ import annotations

import argparse
import logging
from pathlib import PurePosixPath

import jax.numpy as jnp
import numpy as np
import pytest

from gpt2_jax.errors import WeightsError
from gpt2_jax.inference.classifier import Classifier
from gpt2_jax.model.gpt2 import GPT2
from gpt2_jax.weights.pretrained import load_pretrained

torch = pytest.importorskip("torch")
TOKENS = np.random.default_rng(0).integers(0, 61, (2, 9))
LENGTHS = np.full(2, 9, np.int32)
SIZES = {"vocab_size": 61, "n_positions": 24, "n_embd": 12, "n_layer": 3, "n_head": 2}


def logits(path, **told):
    config, params = load_pretrained(path, **told)
    tokens = jnp.asarray(TOKENS, jnp.int32)
    return np.asarray(GPT2(config).apply({"params": params}, tokens, LENGTHS))


def shaken(model):
    """Weights without zeros or ones, so that a mix-up shows."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return model.eval()


def close(ours, theirs):
    np.testing.assert_allclose(ours, theirs.detach().numpy(), rtol=0, atol=1e-4)


def hugging_face(cls="GPT2LMHeadModel", **settings):
    transformers = pytest.importorskip("transformers")
    config = transformers.GPT2Config(**SIZES, **settings)
    return shaken(getattr(transformers, cls)(config))


def trunk_logits(model):
    inner = getattr(model, "transformer", model)
    return inner(torch.tensor(TOKENS)).last_hidden_state @ inner.wte.weight.T


@pytest.mark.slow
@pytest.mark.parametrize(
    ("cls", "head"),
    [
        ("GPT2Model", None),
        ("GPT2DoubleHeadsModel", "multiple_choice_head.summary.weight"),
        ("GPT2ForTokenClassification", "classifier.weight"),
        ("GPT2ForQuestionAnswering", "qa_outputs.weight"),
        ("GPT2ForSequenceClassification", "score.weight"),  # of one number: a reward
    ],
)
def test_heads_that_are_no_classifier_are_left_out_and_named(
    tmp_path, cls, head, caplog
):
    model = hugging_face(cls, num_labels=1, pad_token_id=60)
    model.save_pretrained(tmp_path)
    with caplog.at_level(logging.INFO, "gpt2_jax"):
        close(logits(tmp_path), trunk_logits(model))
    assert head is None or head in caplog.text
    with pytest.raises(WeightsError, match="no classifier"):
        Classifier.from_weights(tmp_path)


@pytest.mark.parametrize("legacy", [True, False])
@pytest.mark.parametrize("key", [None, "model", "ema"])
@pytest.mark.parametrize("prefix", ["", "policy.base_model."])
def test_a_state_dict_of_hugging_face_alone(tmp_path, prefix, key, legacy):
    model = hugging_face()
    state = {prefix + name: value for name, value in model.state_dict().items()}
    if prefix:
        state["v_head.summary.weight"] = torch.zeros(1, 12)
    beside = {"args": argparse.Namespace(out=PurePosixPath("x")), "loss": np.float64(1)}
    saved = state if key is None else {key: state, **beside}
    path = tmp_path / "x.ckpt"
    torch.save(saved, path, _use_new_zipfile_serialization=not legacy)
    close(logits(path, num_heads=2), model(torch.tensor(TOKENS)).logits)


def book(fast=False, bias=True):
    pytest.importorskip("llms_from_scratch")
    from llms_from_scratch import ch04

    config = {"vocab_size": 61, "context_length": 24, "emb_dim": 12, "n_heads": 2}
    config |= {"n_layers": 3, "drop_rate": 0.0, "qkv_bias": bias}
    return shaken((ch04.GPTModelFast if fast else ch04.GPTModel)(config))


@pytest.mark.parametrize("bias", [True, False])
def test_the_books_fast_model(tmp_path, bias):
    model = book(fast=True, bias=bias)
    torch.save(model.state_dict(), tmp_path / "x.pth")
    ours = logits(tmp_path / "x.pth", num_heads=2)
    close(ours, model(torch.tensor(TOKENS)))


@pytest.mark.parametrize("fast", [True, False])
def test_the_books_adapters_are_merged_and_that_is_said(tmp_path, fast, caplog):
    model = book(fast=fast)
    from llms_from_scratch.appendix_e import replace_linear_with_lora

    model.out_head = torch.nn.Linear(12, 3)  # chapter 6
    replace_linear_with_lora(model, rank=4, alpha=16)
    shaken(model)
    torch.save(model.state_dict(), tmp_path / "x.pth")
    with caplog.at_level(logging.INFO, "gpt2_jax"):
        ours = logits(tmp_path / "x.pth", num_heads=2)
    close(ours, model(torch.tensor(TOKENS))[:, -1])
    assert f"{13 if fast else 19} LoRA adapters" in caplog.text
    assert "alpha=16" in caplog.text


def test_flax_files_of_hugging_face(tmp_path):
    from flax import serialization, traverse_util
    from safetensors.numpy import save_file

    model = hugging_face(activation_function="relu")
    model.config.save_pretrained(tmp_path)
    flat = dict(_as_flax(model.state_dict()))
    tree = traverse_util.unflatten_dict(flat, sep=".")
    packed = serialization.msgpack_serialize(tree)
    (tmp_path / "flax_model.msgpack").write_bytes(packed)
    expected = model(torch.tensor(TOKENS)).logits
    close(logits(tmp_path), expected)
    close(logits(tmp_path / "flax_model.msgpack"), expected)
    save_file(flat, tmp_path / "model.safetensors", metadata={"format": "flax"})
    close(logits(tmp_path), expected)


def _as_flax(state):
    """As modeling_flax_gpt2.py of transformers 4 names and lays them."""
    for name, value in state.items():
        array, (layer, _, leaf) = value.numpy(), name.rpartition(".")
        if layer == "lm_head":
            continue  # tied
        if leaf == "weight" and layer.endswith(("c_attn", "c_proj", "c_fc")):
            leaf, array = "kernel", np.ascontiguousarray(array.T)  # FlaxConv1D
        elif leaf == "weight":
            leaf = "embedding" if layer.endswith(("wte", "wpe")) else "scale"
        yield f"{layer}.{leaf}", array
