"""Conversions prove themselves, stand whole or not at all, and load elsewhere."""

from __future__ import annotations

import dataclasses
import json
import os
import stat
from pathlib import Path

import jax
import numpy as np
import pytest
import safetensors
from helpers import TINY, random_params, write_hugging_face

from gpt2_jax.errors import UserError, WeightsError
from gpt2_jax.export import CONVERT_FORMATS, language_model, llms_from_scratch
from gpt2_jax.export.language_model import convert_weights
from gpt2_jax.model.gpt2 import GPT2
from gpt2_jax.model.tree import flatten
from gpt2_jax.storage.atomic import creating
from gpt2_jax.tokenizer import VOCAB_SIZE
from gpt2_jax.weights import orbax_folder
from gpt2_jax.weights.pretrained import load_pretrained

GOLDEN = Path(__file__).parents[1] / "golden" / "weights"
DESTINATIONS = {"hf": "folder", "llms-from-scratch": "w.safetensors", "orbax": "orbax"}
UNTIED = dataclasses.replace(TINY, tied=False)
live = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


@pytest.fixture
def source(tmp_path):
    return write_hugging_face(tmp_path / "source", TINY, random_params(TINY))


@pytest.mark.parametrize(
    ("to", "name"), [*DESTINATIONS.items(), ("llms-from-scratch", "w.pth")]
)
def test_a_conversion_says_what_it_checked_and_loads(source, tmp_path, to, name):
    destination = tmp_path / "new" / name
    checked = convert_weights(source, destination, to)
    assert checked == [
        f"read back: {len(flatten(random_params(TINY)))} parameters bit-equal",
        "read back: next tokens after 64 probes, largest difference of a probability "
        "0.0e+00",
    ]
    assert os.listdir(tmp_path / "new") == [name]
    config, params = load_pretrained(destination, num_heads=2)
    assert config == TINY
    for path, leaf in flatten(random_params(TINY)).items():
        np.testing.assert_array_equal(flatten(params)[path], leaf)


@pytest.mark.parametrize("to", CONVERT_FORMATS)
def test_what_is_there_already_is_left_alone(source, tmp_path, to):
    for destination in (tmp_path / "file.pth", tmp_path / "link.pth"):
        destination.unlink(missing_ok=True)
    (tmp_path / "file.pth").write_text("mine")
    (tmp_path / "link.pth").symlink_to("nowhere")
    before = set(os.listdir(tmp_path))
    for destination in (tmp_path / "file.pth", tmp_path / "link.pth"):
        with pytest.raises(UserError, match=r"is there already; remove it") as caught:
            convert_weights(source, destination, to)
        assert caught.value.exit_code == 2
    assert set(os.listdir(tmp_path)) == before
    assert (tmp_path / "file.pth").read_text() == "mine"


def test_a_conversion_that_is_not_right_leaves_nothing(source, tmp_path, monkeypatch):
    write = llms_from_scratch.write_file

    def wrong(path, config, params):
        write(path, config, {**params, "ln_f": params["h_0"]["ln_1"]})

    monkeypatch.setattr(llms_from_scratch, "write_file", wrong)
    destination = tmp_path / "new" / "w.safetensors"
    with pytest.raises(
        WeightsError, match="other values were in ln_f/bias, ln_f/scale"
    ):
        convert_weights(source, destination, "llms-from-scratch")
    assert os.listdir(destination.parent) == []


def test_other_probabilities_are_refused(source, tmp_path, monkeypatch):
    def scaled(config, params, original=language_model._next_tokens):
        calls.append(1)
        return original(config, params) + (2e-5 if len(calls) == 2 else 0.0)

    calls = []
    monkeypatch.setattr(language_model, "_next_tokens", scaled)
    with pytest.raises(WeightsError, match=r"other probabilities: .* 2\.0e-05"):
        convert_weights(source, tmp_path / "new" / "folder", "hf")
    assert os.listdir(tmp_path / "new") == []


def test_parameters_are_compared_bit_by_bit():
    def tree(*values):
        return {
            "ln_f": {
                "bias": np.asarray(values, np.float32),
                "scale": np.ones(2, np.float32),
            }
        }

    same = language_model.check_parameters(tree(0.0, 1.0), tree(0.0, 1.0))
    assert same == "read back: 2 parameters bit-equal"
    for other in (tree(-0.0, 1.0), tree(0.0, 1.0000001), {"ln_f": tree(0.0, 1.0)}):
        with pytest.raises(WeightsError, match="ln_f/bias"):
            language_model.check_parameters(tree(0.0, 1.0), other)
    left_out = language_model.check_parameters(tree(0.0), tree(1.0), but=("ln_f/bias",))
    assert left_out == "read back: 1 parameters bit-equal"


@pytest.mark.parametrize("difference", [1.1e-5, float("nan")])
def test_probabilities_may_differ_by_no_more_than_the_tolerance(difference):
    ours = np.asarray([[0.25, 0.75]])
    assert "9.0e-06" in language_model.check_probabilities(ours, ours + 9e-6, "probes")
    with pytest.raises(WeightsError, match="probes, largest difference"):
        language_model.check_probabilities(ours, ours + difference, "probes")


def test_a_failure_while_writing_leaves_nothing(tmp_path):
    with (
        pytest.raises(UserError, match="cannot be written"),
        creating(tmp_path / "new" / "x") as path,
    ):
        path.write_text("half")
        raise OSError(28, "No space left on device")
    with pytest.raises(KeyboardInterrupt), creating(tmp_path / "new" / "x") as path:
        path.write_text("half")
        raise KeyboardInterrupt
    assert os.listdir(tmp_path / "new") == []


def test_what_appeared_meanwhile_is_left_alone(tmp_path):
    with (
        pytest.raises(UserError, match="is there already"),
        creating(tmp_path / "x") as path,
    ):
        path.write_text("ours")
        (tmp_path / "x").write_text("theirs")
    assert (tmp_path / "x").read_text() == "theirs"
    assert os.listdir(tmp_path) == ["x"]


def test_written_files_have_the_usual_permissions(source, tmp_path):
    (tmp_path / "usual").mkdir()
    (tmp_path / "usual" / "file").touch()
    for to, name in (("hf", "folder"), ("llms-from-scratch", "w.safetensors")):
        convert_weights(source, tmp_path / name, to)

    def mode(path):
        return stat.S_IMODE(os.stat(path).st_mode)

    assert mode(tmp_path / "folder") == mode(tmp_path / "usual")
    for path in [*(tmp_path / "folder").iterdir(), tmp_path / "w.safetensors"]:
        assert mode(path) == mode(tmp_path / "usual" / "file")


def test_a_place_that_cannot_be_written_is_told(source, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="file/x: cannot be written"):
        convert_weights(source, tmp_path / "file" / "x", "hf")


def test_the_suffix_tells_the_kind_of_a_books_file(tmp_path):
    with pytest.raises(UserError, match=r"end its name in \.safetensors or \.pth"):
        convert_weights("nowhere", tmp_path / "weights.bin", "llms-from-scratch")


def test_a_source_that_cannot_be_read_leaves_nothing(tmp_path):
    with pytest.raises(WeightsError, match="no such file"):
        convert_weights(tmp_path / "no", tmp_path / "new" / "x", "hf")
    assert os.listdir(tmp_path / "new") == []


def test_a_classifier_is_left_to_export(tmp_path):
    config = dataclasses.replace(TINY, num_classes=2)
    orbax_folder.write(tmp_path / "source", config, random_params(config))
    with pytest.raises(WeightsError, match="a classifier; gpt2-jax export is for"):
        convert_weights(tmp_path / "source", tmp_path / "new" / "x", "hf")
    assert os.listdir(tmp_path / "new") == []


@pytest.mark.parametrize("vocab_size", [TINY.vocab_size, VOCAB_SIZE])
def test_a_folder_has_the_tokenizer_of_its_vocabulary(tmp_path, vocab_size):
    config = dataclasses.replace(TINY, vocab_size=vocab_size)
    source = write_hugging_face(tmp_path / "source", config, random_params(config))
    convert_weights(source, tmp_path / "x", "hf")
    assert (tmp_path / "x" / "vocab.json").exists() == (vocab_size == VOCAB_SIZE)
    values = json.loads((tmp_path / "x" / "config.json").read_text())
    assert values["eos_token_id"] == (50256 if vocab_size == VOCAB_SIZE else None)
    with safetensors.safe_open(tmp_path / "x" / "model.safetensors", "numpy") as file:
        assert file.metadata() == {"format": "pt"}


def logits_of(config, params, tokens):
    logits = jax.jit(GPT2(config).apply)
    return np.asarray(logits({"params": params}, np.asarray(tokens)))


@pytest.mark.slow
@live
@pytest.mark.parametrize("config", [TINY, UNTIED], ids=["tied", "untied"])
def test_transformers_computes_our_logits(config, tmp_path):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    params = random_params(config)
    language_model.hugging_face.write_language_model(tmp_path / "x", config, params)
    model, info = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path / "x", output_loading_info=True
    )
    assert not any(info.values()), info  # nothing missing, unexpected or mismatched
    tokens = torch.arange(2 * 24).reshape(2, 24) % config.vocab_size
    with torch.no_grad():
        theirs = model.eval()(tokens).logits.numpy()
    np.testing.assert_allclose(theirs, logits_of(config, params, tokens), atol=1e-4)


@live
@pytest.mark.parametrize("config", [TINY, UNTIED], ids=["tied", "untied"])
@pytest.mark.parametrize("suffix", llms_from_scratch.SUFFIXES)
def test_the_books_model_loads_strictly_and_computes_our_logits(
    config, suffix, tmp_path
):
    torch = pytest.importorskip("torch")
    ch04 = pytest.importorskip("llms_from_scratch.ch04")
    from safetensors.torch import load_file

    params = random_params(config)
    path = tmp_path / f"weights{suffix}"
    llms_from_scratch.write_file(path, config, params)
    pth = suffix == ".pth"
    state = torch.load(path, weights_only=True) if pth else load_file(path)
    model = ch04.GPTModel(book_config(config))
    model.load_state_dict(state, strict=True)
    tokens = torch.arange(2 * 24).reshape(2, 24) % config.vocab_size
    with torch.no_grad():
        theirs = model.eval()(tokens).numpy()
    np.testing.assert_allclose(theirs, logits_of(config, params, tokens), atol=1e-4)


def book_config(config):
    return {
        "vocab_size": config.vocab_size,
        "context_length": config.max_len,
        "emb_dim": config.embed_dim,
        "n_heads": config.num_heads,
        "n_layers": config.num_layers,
        "drop_rate": 0.0,
        "qkv_bias": True,
    }


@pytest.mark.slow
def test_nanogpts_exact_gelu_is_what_others_are_told(tmp_path):
    convert_weights(GOLDEN / "nanogpt.pt", tmp_path / "hf", "hf")
    values = json.loads((tmp_path / "hf" / "config.json").read_text())
    assert values["activation_function"] == "gelu"
    with pytest.raises(UserError, match="has activation=gelu_new, this one gelu;"):
        convert_weights(GOLDEN / "nanogpt.pt", tmp_path / "x.pth", "llms-from-scratch")
