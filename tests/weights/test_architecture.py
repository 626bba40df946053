"""What the tensors are is told by what lies beside them, and must be true of them."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from helpers import TINY, random_params, write_hugging_face

from gpt2_jax.config import PRESETS
from gpt2_jax.errors import WeightsError
from gpt2_jax.export.hugging_face import write_language_model
from gpt2_jax.model.gpt2 import GPT2
from gpt2_jax.model.tree import flatten
from gpt2_jax.weights.convert import scale_queries, to_state_dict
from gpt2_jax.weights.pretrained import load_pretrained, read_pretrained
from gpt2_jax.weights.rules import HUGGING_FACE, LLMS_FROM_SCRATCH, NANOGPT

GOLDEN = Path(__file__).parents[1] / "golden" / "weights"


def edit(path, **changes):
    values = json.loads(path.read_text()) | changes
    values = {key: value for key, value in values.items() if value is not ...}
    path.write_text(json.dumps(values))


def stub(folder, preset):
    """Write a folder whose config.json and widths are those of a released GPT-2."""
    config = PRESETS[preset]
    small = dataclasses.replace(config, vocab_size=5, max_len=3)
    values = {
        "model_type": "gpt2",
        "vocab_size": 5,
        "n_positions": 3,
        "n_embd": config.embed_dim,
        "n_layer": config.num_layers,
        "n_head": config.num_heads,
    }
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(values))
    state = {
        "wte.weight": np.ones((5, small.embed_dim), np.float32),
        "wpe.weight": np.ones((3, small.embed_dim), np.float32),
    }
    for i in range(config.num_layers):
        state[f"h.{i}.attn.c_attn.weight"] = np.ones((1, 1), np.float32)
    safetensors.numpy.save_file(state, folder / "model.safetensors")
    return folder


@pytest.mark.fault(26)
def test_weights_of_another_size_are_refused_with_both_sizes(tmp_path):
    medium, small = stub(tmp_path / "m", "355M"), stub(tmp_path / "s", "124M")
    shutil.copy(small / "config.json", medium)
    message = (
        r"the tensors are 24 layers of width 1024 \(355M\), but config\.json says "
        r"12 layers of width 768 \(124M\)"
    )
    with pytest.raises(WeightsError, match=message):
        load_pretrained(medium)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_layer": 3}, r"are 2 layers of width 8, but hparams\.json says 3 layers"),
        ({"n_vocab": 24}, r"wte: expected \[24, 8\]"),
        ({"n_ctx": 5}, r"wpe: expected \[5, 8\]"),
        ({"n_head": 3}, r"hparams\.json: embed_dim=8 is not divisible"),
        ({"n_head": ...}, r"hparams\.json: not a plain GPT-2: n_head is missing"),
        ({"n_embd": "8"}, r"hparams\.json: .*embed_dim: expected int"),
    ],
)
def test_openais_hparams_must_be_true(tmp_path, change, message):
    folder = shutil.copytree(GOLDEN / "openai", tmp_path / "model")
    edit(folder / "hparams.json", **change)
    with pytest.raises(WeightsError, match=message):
        load_pretrained(folder)


def test_nanogpts_model_args_give_the_number_of_heads():
    config, _ = load_pretrained(GOLDEN / "nanogpt.pt")
    assert (config.num_heads, config.max_len, config.vocab_size) == (2, 11, 23)


@pytest.mark.parametrize(
    ("naming", "classes", "pool"),
    [(HUGGING_FACE, 3, "last_real"), (LLMS_FROM_SCRATCH, 2, "last")],
)
def test_a_head_of_classes_is_told_by_its_name(tmp_path, naming, classes, pool):
    params = random_params(dataclasses.replace(TINY, num_classes=classes))
    head = params["out_head"]["kernel"].T
    if naming is HUGGING_FACE:
        del params["out_head"]
    state = to_state_dict(params, naming)
    if naming is HUGGING_FACE:
        state["score.weight"] = np.ascontiguousarray(head)
    path = tmp_path / "x.safetensors"
    safetensors.numpy.save_file(state, path)
    config, ours = load_pretrained(path, num_heads=2)
    assert config == dataclasses.replace(TINY, num_classes=classes, pool=pool)
    np.testing.assert_array_equal(ours["out_head"]["kernel"], head.T)


def test_a_head_of_one_number_is_left_out_and_that_is_said(tmp_path, caplog):
    folder = write_hugging_face(tmp_path / "model", TINY, random_params(TINY))
    state = safetensors.numpy.load_file(folder / "model.safetensors")
    state["score.weight"] = np.ones((1, 12), np.float32)
    safetensors.numpy.save_file(state, folder / "model.safetensors")
    with caplog.at_level("INFO", logger="gpt2_jax"):
        config, _ = load_pretrained(folder)
    assert config == TINY
    assert "left out: score.weight" in caplog.text


def test_the_labels_of_hugging_face_are_those_of_its_config(tmp_path):
    assert read_pretrained(GOLDEN / "hf_classifier").classes == ("bad", "good", "odd")
    folder = shutil.copytree(GOLDEN / "hf_classifier", tmp_path / "model")
    edit(folder / "config.json", id2label=...)
    assert read_pretrained(folder).classes == ("LABEL_0", "LABEL_1", "LABEL_2")


@pytest.mark.parametrize(
    "id2label", [{}, [], None, {"0": "a"}, {"0": "a", "1": "b", "3": "c"}]
)
def test_labels_that_do_not_fit_the_head_are_refused(tmp_path, id2label):
    folder = shutil.copytree(GOLDEN / "hf_classifier", tmp_path / "model")
    edit(folder / "config.json", id2label=id2label)
    with pytest.raises(WeightsError, match="id2label does not name the 3 classes"):
        load_pretrained(folder)


def test_embeddings_that_are_no_tables_are_refused(tmp_path):
    state = to_state_dict(random_params(TINY), NANOGPT, "transformer.")
    path = tmp_path / "x.safetensors"
    state["transformer.wpe.weight"] = np.ones(12, np.float32)
    safetensors.numpy.save_file(state, path)
    with pytest.raises(WeightsError, match="embeddings must have two axes"):
        load_pretrained(path, naming="nanogpt")
    del state["transformer.wpe.weight"]
    safetensors.numpy.save_file(state, path)
    with pytest.raises(
        WeightsError, match=r"no transformer\.wpe\.weight.*another model"
    ):
        load_pretrained(path, naming="nanogpt")


SETTINGS = GOLDEN / "hf_settings"


@pytest.mark.parametrize("change", list(np.load(SETTINGS / "logits.npz")))
def test_the_logits_are_transformers_under_every_setting(tmp_path, change):
    """The file's own logits, of what the file says: and so after a round trip."""
    folder = tmp_path / "weights"
    shutil.copytree(SETTINGS, folder)
    edit(folder / "config.json", **json.loads(change))
    stored = np.load(SETTINGS / "logits.npz")
    tokens = np.arange(12).reshape(2, 6)
    for source in (folder, tmp_path / "again"):
        config, params = load_pretrained(source)
        logits = np.asarray(GPT2(config).apply({"params": params}, tokens))
        np.testing.assert_allclose(logits, stored[change], atol=1e-4)
        if source == folder:
            write_language_model(tmp_path / "again", config, params, None)
    plain = change in ("{}", '{"reorder_and_upcast_attn": true}') or "tanh" in change
    assert plain == (np.abs(stored[change] - stored["{}"]).max() < 2e-4)


def test_an_unknown_activation_is_refused_by_name(tmp_path):
    shutil.copytree(SETTINGS, tmp_path / "x")
    edit(tmp_path / "x" / "config.json", activation_function="silu")
    with pytest.raises(WeightsError, match="activation='silu' is not one of gelu_new"):
        load_pretrained(tmp_path / "x")


@pytest.mark.parametrize("kind", ["gpt_neo", "openai-gpt", "llama"])
@pytest.mark.parametrize("file", [".", "model.safetensors"])
def test_another_model_is_named_whatever_its_tensors_are_called(tmp_path, kind, file):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": kind}))
    tensors = {"h.0.attn.c_attn.weight": np.ones((2, 6), np.float32)}
    if kind == "llama":
        tensors = {"model.layers.0.self_attn.q_proj.weight": np.ones(2, np.float32)}
    safetensors.numpy.save_file(tensors, tmp_path / "model.safetensors")
    said = f"config.json: model_type='{kind}': another model; only GPT-2 is read"
    with pytest.raises(WeightsError, match=said):
        load_pretrained(tmp_path / file)


def test_queries_are_scaled_where_attention_was(tmp_path):
    """A block reads a tenth as sharply where its queries are a tenth."""
    params = random_params(TINY)
    scaled = scale_queries(params, [0.5, 1.0, 2.0])
    ours, theirs = flatten(params), flatten(scaled)
    for path, leaf in ours.items():
        expected = leaf.copy()
        if "c_attn" in path:
            factor = {"h_0": 0.5, "h_1": 1.0, "h_2": 2.0}[path[:3]]
            expected[..., : TINY.embed_dim] *= factor
        np.testing.assert_array_equal(theirs[path], expected)
