import dataclasses
import json
import logging
import shutil
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
from helpers import TINY, random_params, write_hugging_face
from torch_zip import integer, named, pack_arrays, text

from gpt2_jax.config import PRESETS
from gpt2_jax.errors import WeightsError
from gpt2_jax.model.gpt2 import param_shapes
from gpt2_jax.model.tree import flatten
from gpt2_jax.weights import pretrained
from gpt2_jax.weights.convert import to_state_dict
from gpt2_jax.weights.pretrained import load_pretrained
from gpt2_jax.weights.rules import HUGGING_FACE, LLMS_FROM_SCRATCH, MINGPT, NANOGPT

NAMINGS = pytest.mark.parametrize(
    "naming", [HUGGING_FACE, LLMS_FROM_SCRATCH], ids=lambda naming: naming.title
)


@pytest.fixture
def folder(tmp_path):
    return write_hugging_face(tmp_path / "model", TINY, random_params(TINY))


def edit_config(folder, **changes):
    path = folder / "config.json"
    values = json.loads(path.read_text()) | changes
    values = {key: value for key, value in values.items() if value is not ...}
    path.write_text(json.dumps(values))


def test_the_shipped_base_model_loads_whole():
    config, params = load_pretrained("mini")
    assert config == PRESETS["mini"]
    flat, shapes = flatten(params), flatten(param_shapes(config))
    assert {p: v.shape for p, v in flat.items()} == {
        p: s.shape for p, s in shapes.items()
    }
    assert {leaf.dtype for leaf in flat.values()} == {np.dtype("float32")}


@pytest.mark.fault(8)
def test_a_damaged_base_model_is_refused(monkeypatch):
    monkeypatch.setattr(pretrained, "MINI_SHA256", "0" * 64)
    with pytest.raises(WeightsError, match="is damaged"):
        load_pretrained("mini")


def test_the_config_of_a_folder_is_read(folder):
    config, params = load_pretrained(folder)
    assert config == TINY
    expected = random_params(TINY)["wpe"]["embedding"]
    np.testing.assert_array_equal(params["wpe"]["embedding"], expected)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"activation_function": "silu"}, "activation='silu' is not one of"),
        ({"activation_function": 3}, "activation: expected str, got 3"),
        ({"layer_norm_epsilon": -1e-6}, "layer_norm_epsilon=-1e-06 must be"),
        ({"add_cross_attention": True}, "add_cross_attention=True"),
        ({"model_type": "llama"}, "model_type='llama'"),
        ({"n_inner": 50}, r"c_fc\.weight: expected \[12, 50\]"),
        ({"n_layer": True}, "num_layers: expected int, got True"),
        ({"n_head": ...}, "n_head is missing"),
        ({"n_head": "two"}, "num_heads: expected int, got 'two'"),
        ({"n_head": 5}, "not divisible"),
    ],
)
def test_a_config_that_is_not_gpt2s_is_refused(folder, changes, message):
    edit_config(folder, **changes)
    with pytest.raises(WeightsError, match=message):
        load_pretrained(folder)


def test_all_faults_of_a_config_are_listed_at_once(folder):
    edit_config(folder, add_cross_attention=True, n_embd=...)
    with pytest.raises(WeightsError) as caught:
        load_pretrained(folder)
    for fault in ("add_cross_attention=True", "n_embd is missing"):
        assert fault in str(caught.value)


@pytest.mark.parametrize("content", ["{", "[]", "\xff"])
def test_a_config_that_is_no_json_object_is_refused(folder, content):
    (folder / "config.json").write_text(content, encoding="latin-1")
    with pytest.raises(WeightsError, match=r"config\.json: (not readable|expected)"):
        load_pretrained(folder)


@pytest.mark.fault(26)
def test_a_config_of_another_size_is_refused_with_the_path(folder):
    edit_config(folder, n_positions=9)
    with pytest.raises(WeightsError, match=rf"{folder}.*wpe\.weight: expected"):
        load_pretrained(folder)


def test_the_faults_of_the_tensors_come_with_the_path(folder):
    state = safetensors.numpy.load_file(folder / "model.safetensors")
    del state["h.1.ln_2.bias"]
    state["h.0.extra"] = np.zeros(2, np.float32)
    safetensors.numpy.save_file(state, folder / "model.safetensors")
    faults = r"no rule for h\.0\.extra \[2\]; missing h\.1\.ln_2\.bias"
    with pytest.raises(WeightsError, match=rf"{folder}: .*{faults}"):
        load_pretrained(folder)


@pytest.mark.parametrize("head", ["lm_head.weight", None])
def test_a_tied_language_head_makes_no_difference(folder, head):
    state = safetensors.numpy.load_file(folder / "model.safetensors")
    state = {f"transformer.{name}": value for name, value in state.items()}
    if head:
        state[head] = state["transformer.wte.weight"].copy()
    safetensors.numpy.save_file(state, folder / "model.safetensors")
    config, params = load_pretrained(folder)
    assert config == TINY
    assert "out_head" not in params


def test_nothing_at_the_path_is_said(tmp_path):
    with pytest.raises(WeightsError, match="no such file or folder"):
        load_pretrained(tmp_path / "nowhere")


def test_a_bare_file_needs_the_number_of_heads_only_when_its_size_is_odd(tmp_path):
    path = tmp_path / "weights.safetensors"
    state = to_state_dict(random_params(TINY), LLMS_FROM_SCRATCH)
    safetensors.numpy.save_file(state, path)
    with pytest.raises(WeightsError, match="give num_heads"):
        load_pretrained(path)
    config, _ = load_pretrained(path, num_heads=2)
    assert config == TINY
    mini = tmp_path / "mini.safetensors"
    source = pretrained.importlib.resources.files("gpt2_jax") / "assets" / "gpt2-mini"
    shutil.copy(str(source / "model.safetensors"), mini)
    assert load_pretrained(mini)[0] == PRESETS["mini"]


@NAMINGS
def test_an_untied_language_head_is_kept(tmp_path, naming):
    config = dataclasses.replace(TINY, tied=False)
    params = random_params(config)
    path = tmp_path / "weights.safetensors"
    safetensors.numpy.save_file(to_state_dict(params, naming), path)
    loaded, ours = load_pretrained(path, num_heads=2)
    assert loaded == config
    np.testing.assert_array_equal(
        ours["out_head"]["kernel"], params["out_head"]["kernel"]
    )


GOLDEN = Path(__file__).parents[1] / "golden" / "weights"


def assert_same(ours, theirs):
    (config, ours), (expected, theirs) = ours, theirs
    ours, theirs = flatten(ours), flatten(theirs)
    assert config == expected
    assert set(ours) == set(theirs)
    for path, leaf in theirs.items():
        assert ours[path].dtype == leaf.dtype, path
        np.testing.assert_array_equal(ours[path], leaf, err_msg=path)


@pytest.mark.fault(25)
@pytest.mark.parametrize(
    "file",
    [
        "hf_bin",
        "hf_bin/pytorch_model.bin",
        "hf_bin_sharded",
        "hf_safetensors/model.safetensors",
        "nanogpt.pt",
        "nanogpt_compiled.pt",
        "openai",
    ],
)
def test_every_format_of_one_model_gives_the_same_params(file):
    expected = load_pretrained(GOLDEN / "hf_safetensors")
    assert expected[0].num_heads == 2
    if "nanogpt" in file:
        expected = as_nanogpt(expected)
    assert_same(load_pretrained(GOLDEN / file), expected)


def as_nanogpt(loaded):
    """The same model, with the activation that nanoGPT's code has."""
    config, params = loaded
    return dataclasses.replace(config, activation="gelu"), params


@pytest.mark.parametrize(
    ("file", "twin", "given"),
    [
        ("book.pth", "book.safetensors", {"num_heads": 2}),
        ("book_model_and_optimizer.pth", "book.safetensors", {"num_heads": 2}),
        ("review_classifier.pth", "review_classifier.safetensors", {"num_heads": 2}),
        ("hf_classifier_bin", "hf_classifier", {}),
    ],
)
def test_a_file_of_torch_gives_the_params_of_its_twin(file, twin, given):
    ours = load_pretrained(GOLDEN / file, **given)
    assert_same(ours, load_pretrained(GOLDEN / twin, **given))


def test_how_c_attn_lies_tells_hugging_face_and_what_is_left_needs_the_users_word(
    tmp_path,
):
    expected = load_pretrained(GOLDEN / "hf_safetensors")
    path = GOLDEN / "nanogpt.safetensors"
    with pytest.raises(WeightsError, match=r"nanoGPT and minGPT.*naming='mingpt'"):
        load_pretrained(path, num_heads=2)
    ours = load_pretrained(path, num_heads=2, naming="nanogpt")
    assert_same(ours, as_nanogpt(expected))
    # the same tensors, and another GELU
    assert_same(load_pretrained(path, num_heads=2, naming="mingpt"), expected)
    with pytest.raises(WeightsError, match="give naming='nanogpt'"):
        load_pretrained(path, num_heads=2, naming="hf")
    bare = shutil.copy(GOLDEN / "hf_safetensors" / "model.safetensors", tmp_path)
    assert_same(load_pretrained(bare, num_heads=2), expected)
    with pytest.raises(WeightsError, match="give naming='hf'"):
        load_pretrained(bare, num_heads=2, naming="nanogpt")


@pytest.mark.parametrize("source", ["hf_safetensors", "nanogpt.pt", "mini", "book.pth"])
def test_what_is_said_of_weights_must_be_so(source):
    path = source if source == "mini" else GOLDEN / source
    with pytest.raises(WeightsError, match=r"num_heads=3|not divisible by num_heads=3"):
        load_pretrained(path, num_heads=3)
    with pytest.raises(WeightsError, match="naming='openai'"):
        load_pretrained(
            path, num_heads=2 if source == "book.pth" else None, naming="openai"
        )


def test_build_nanogpts_config_beside_the_tensors_is_read(tmp_path):
    config, params = load_pretrained(GOLDEN / "hf_safetensors")
    sizes = {"block_size": config.max_len, "vocab_size": config.vocab_size}
    sizes |= {"n_layer": config.num_layers, "n_head": 2, "n_embd": config.embed_dim}
    fields = b"".join(text(name) + integer(size) for name, size in sizes.items())
    made = named("__main__", "GPTConfig") + b")\x81}(" + fields + b"ub"
    state = to_state_dict(params, MINGPT, "transformer.")
    path = pack_arrays(tmp_path / "model_19072.pt", state, beside={"config": made})
    assert_same(load_pretrained(path), (config, params))


def test_nanogpts_gelu_is_the_exact_one():
    assert load_pretrained(GOLDEN / "nanogpt.pt")[0].activation == "gelu"


def test_names_with_and_without_the_prefix_of_compile_are_refused(tmp_path):
    state = to_state_dict(random_params(TINY), NANOGPT, "transformer.")
    name = "transformer.wte.weight"
    path = tmp_path / "x.safetensors"
    safetensors.numpy.save_file(state | {f"_orig_mod.{name}": state[name]}, path)
    with pytest.raises(WeightsError, match="both with and without _orig_mod"):
        load_pretrained(path)


@pytest.mark.fault(27)
@pytest.mark.parametrize("dtype", ["float16", "float64", "bfloat16"])
def test_other_types_become_float32_and_it_is_said(folder, dtype, caplog):
    path = folder / "model.safetensors"
    state = safetensors.numpy.load_file(path)
    numpy_dtype = ml_dtypes.bfloat16 if dtype == "bfloat16" else np.dtype(dtype)
    narrow = {name: value.astype(numpy_dtype) for name, value in state.items()}
    narrow["wpe.weight"] = state["wpe.weight"]
    safetensors.numpy.save_file(narrow, path)
    with caplog.at_level(logging.INFO, "gpt2_jax"):
        _, params = load_pretrained(folder)
    assert {leaf.dtype for leaf in flatten(params).values()} == {np.dtype("float32")}
    expected = [f"{folder}: {len(state) - 1} {dtype} tensors read as float32"]
    assert caplog.messages == expected


def test_nothing_is_said_when_nothing_is_converted(folder, caplog):
    with caplog.at_level(logging.INFO, "gpt2_jax"):
        load_pretrained(folder)
        load_pretrained("mini")
    assert caplog.messages == []


@pytest.mark.parametrize("name", ["mini", None])
def test_params_come_in_bfloat16_when_asked_for(folder, name):
    single = flatten(load_pretrained(name or folder)[1])
    for path, leaf in flatten(
        load_pretrained(name or folder, dtype="bfloat16")[1]
    ).items():
        np.testing.assert_array_equal(leaf, single[path].astype(ml_dtypes.bfloat16))
        assert leaf.dtype == ml_dtypes.bfloat16
    with pytest.raises(ValueError, match="'float8' is not one of float32, bfloat16"):
        load_pretrained(name or folder, dtype="float8")


@pytest.mark.fault(28)
@pytest.mark.parametrize("odd", [np.nan, np.inf, 0])
def test_a_tensor_that_no_training_gives_is_refused_with_the_path(folder, odd):
    path = folder / "model.safetensors"
    state = safetensors.numpy.load_file(path)
    state["h.2.mlp.c_fc.weight"][:] = odd
    safetensors.numpy.save_file(state, path)
    fault = "is all zero" if odd == 0 else "holds values that are not finite"
    message = rf"{folder}: .*h\.2\.mlp\.c_fc\.weight: {fault}$"
    with pytest.raises(WeightsError, match=message):
        load_pretrained(folder)


@pytest.mark.parametrize("prefix", ["module.", "model.", "net.", "module._orig_mod."])
def test_what_wraps_a_model_is_not_part_of_its_names(tmp_path, prefix, caplog):
    state = to_state_dict(random_params(TINY), HUGGING_FACE, "transformer.")
    path = tmp_path / "x.safetensors"
    wrapped = {prefix + name: value for name, value in state.items()}
    safetensors.numpy.save_file(wrapped, path)
    with caplog.at_level(logging.INFO, "gpt2_jax"):
        ours = load_pretrained(path, num_heads=TINY.num_heads, naming="hf")
    assert f"without the prefix {prefix}" in caplog.text
    assert_same(ours, (TINY, random_params(TINY)))


@pytest.mark.parametrize("key", ["model", "state_dict", "net", "weights"])
def test_a_state_dict_may_lie_under_a_key(tmp_path, key):
    torch = pytest.importorskip("torch")
    state = to_state_dict(random_params(TINY), HUGGING_FACE, "transformer.")
    tensors = {name: torch.from_numpy(value.copy()) for name, value in state.items()}
    torch.save({key: tensors, "epoch": 3}, tmp_path / "last.ckpt")
    found = load_pretrained(tmp_path / "last.ckpt", num_heads=2, naming="hf")
    assert_same(found, (TINY, random_params(TINY)))


def test_a_file_without_tensors_is_refused(tmp_path):
    safetensors.numpy.save_file({}, tmp_path / "x.safetensors")
    with pytest.raises(WeightsError, match="named like 0"):
        load_pretrained(tmp_path / "x.safetensors")
