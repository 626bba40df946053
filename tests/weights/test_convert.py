import dataclasses
import re

import ml_dtypes
import numpy as np
import pytest
from helpers import TINY, random_params
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt2_jax.config import GPT2Config
from gpt2_jax.errors import WeightsError
from gpt2_jax.model.tree import flatten
from gpt2_jax.weights.convert import convert_state_dict, to_state_dict
from gpt2_jax.weights.detect import detect_naming
from gpt2_jax.weights.rules import HUGGING_FACE, LLMS_FROM_SCRATCH, NANOGPT, OPENAI

NAMINGS = pytest.mark.parametrize(
    "naming", [HUGGING_FACE, LLMS_FROM_SCRATCH], ids=lambda naming: naming.title
)


def tiny_state(naming, prefix=""):
    return to_state_dict(random_params(TINY), naming, prefix)


def assert_same(ours, theirs):
    ours, theirs = flatten(ours), flatten(theirs)
    assert set(ours) == set(theirs)
    for path, leaf in theirs.items():
        assert ours[path].dtype == np.float32, path
        np.testing.assert_array_equal(ours[path], leaf, err_msg=path)


@given(
    heads=st.integers(1, 5),
    head_dim=st.integers(1, 5),
    num_layers=st.integers(1, 4),
    vocab_size=st.integers(3, 40),
    max_len=st.integers(1, 20),
    tied=st.booleans(),
    naming=st.sampled_from([HUGGING_FACE, LLMS_FROM_SCRATCH, NANOGPT, OPENAI]),
)
@settings(max_examples=15, deadline=None)
def test_conversion_there_and_back_is_bit_exact(heads, head_dim, naming, **sizes):
    config = GPT2Config(num_heads=heads, embed_dim=heads * head_dim, **sizes)
    if naming is OPENAI:
        config = dataclasses.replace(config, tied=True)  # it has no language head
    params = random_params(config)
    state = to_state_dict(params, naming, naming.prefixes[-1])
    named = (naming, naming.prefixes[-1])
    assert_same(convert_state_dict(state, config, named), params)


# of the second block, and in the order of the table: a missing tensor, one of another
# shape, one of another shape that is part of a fused one, and one that is not finite
FAULTS = {
    "Hugging Face": [
        "h.1.ln_1.weight",
        "h.1.mlp.c_fc.weight",
        "h.1.attn.c_attn.weight",
        "h.1.attn.c_proj.weight",
    ],
    "LLMs-from-scratch": [
        "trf_blocks.1.norm1.scale",
        "trf_blocks.1.ff.layers.0.weight",
        "trf_blocks.1.att.W_key.weight",
        "trf_blocks.1.att.out_proj.weight",
    ],
}


def with_faults(naming, faults):
    state = tiny_state(naming)
    gone, bent, bent_part, poisoned = FAULTS[naming.title]
    if "missing" in faults:
        del state[gone]
    if "shape" in faults:
        state[bent] = state[bent][:, :-1]
    if "shape of a part" in faults:
        state[bent_part] = state[bent_part][:, :-1]
    if "not finite" in faults:
        state[poisoned] = state[poisoned].copy()
        state[poisoned][0, -1] = -np.inf
    if "extra" in faults:
        state["h.1.extra.weight"] = np.zeros(3, np.float32)
    messages = {
        "missing": f"missing {gone}",
        "shape": f"{bent}: expected ",
        "shape of a part": f"{bent_part}: expected ",
        "not finite": f"{poisoned}: holds values that are not finite",
        "extra": "no rule for h.1.extra.weight [3]",
    }
    return state, [messages[fault] for fault in faults]


ALL_FAULTS = ("missing", "shape", "shape of a part", "not finite", "extra")


@pytest.mark.fault(24)
@NAMINGS
@pytest.mark.parametrize("fault", ALL_FAULTS)
def test_each_fault_of_a_state_dict_is_refused_by_name(naming, fault):
    state, (message,) = with_faults(naming, [fault])
    with pytest.raises(WeightsError, match=re.escape(message)) as caught:
        convert_state_dict(state, TINY)
    assert ";" not in str(caught.value)  # it is the only one
    assert naming.title in str(caught.value)


@pytest.mark.fault(24)
@NAMINGS
def test_all_faults_of_a_state_dict_are_listed_at_once(naming):
    state, messages = with_faults(naming, ALL_FAULTS)
    with pytest.raises(WeightsError) as caught:
        convert_state_dict(state, TINY)
    assert [m for m in messages if m not in str(caught.value)] == []


@pytest.mark.fault(24)
@NAMINGS
def test_a_wrong_shape_is_told_with_both_shapes(naming):
    state = tiny_state(naming)
    name = next(n for n in state if n.endswith(("wpe.weight", "pos_emb.weight")))
    state[name] = state[name][:-1]
    with pytest.raises(WeightsError, match=r"expected \[24, 12\].*got \[23, 12\]"):
        convert_state_dict(state, TINY)


@pytest.mark.fault(26)
@NAMINGS
def test_a_model_of_more_layers_is_refused(naming):
    with pytest.raises(WeightsError, match="no rule for"):
        convert_state_dict(tiny_state(naming), dataclasses.replace(TINY, num_layers=2))


def test_the_transformer_prefix_makes_no_difference():
    state = tiny_state(HUGGING_FACE, prefix="transformer.")
    named = detect_naming(state, naming="hf")
    assert_same(convert_state_dict(state, TINY, named), random_params(TINY))


@pytest.mark.fault(24)
@pytest.mark.parametrize(
    ("naming", "buffer"),
    [
        (HUGGING_FACE, "h.0.attn.bias"),
        (HUGGING_FACE, "h.2.attn.masked_bias"),
        (LLMS_FROM_SCRATCH, "trf_blocks.1.att.mask"),
    ],
)
def test_causal_masks_in_the_file_are_no_parameters(naming, buffer):
    state = tiny_state(naming) | {buffer: np.zeros((1, 1, 4, 4), np.float32)}
    assert_same(convert_state_dict(state, TINY), random_params(TINY))


@pytest.mark.fault(24)
@pytest.mark.parametrize(
    ("naming", "head"),
    [(HUGGING_FACE, "lm_head.weight"), (LLMS_FROM_SCRATCH, "out_head.weight")],
)
def test_a_language_head_is_dropped_only_where_it_is_the_embedding(naming, head):
    state = tiny_state(naming)
    wte = random_params(TINY)["wte"]["embedding"]
    state[head] = wte.copy()
    assert_same(convert_state_dict(state, TINY), random_params(TINY))
    state[head] = wte + 1
    with pytest.raises(WeightsError, match=f"no place for {head}"):
        convert_state_dict(state, TINY)
    untied = dataclasses.replace(TINY, tied=False)
    kernel = convert_state_dict(state, untied)["out_head"]["kernel"]
    np.testing.assert_array_equal(kernel, (wte + 1).T)


def test_attention_without_biases_gets_zeros():
    state = {
        name: value
        for name, value in tiny_state(LLMS_FROM_SCRATCH).items()
        if not (".W_" in name and name.endswith("bias"))
    }
    params = convert_state_dict(state, TINY)
    assert not params["h_1"]["attn"]["c_attn"]["bias"].any()
    expected = random_params(TINY)
    for block in ("h_0", "h_1", "h_2"):
        expected[block]["attn"]["c_attn"]["bias"] = np.zeros(36, np.float32)
    assert_same(params, expected)


def test_attention_with_some_biases_is_refused():
    state = tiny_state(LLMS_FROM_SCRATCH)
    del state["trf_blocks.1.att.W_key.bias"]
    with pytest.raises(WeightsError, match=r"missing trf_blocks\.1\.att\.W_key\.bias"):
        convert_state_dict(state, TINY)


def test_query_key_and_value_keep_their_places():
    params = random_params(TINY)
    state = to_state_dict(params, LLMS_FROM_SCRATCH)
    fused = params["h_0"]["attn"]["c_attn"]["kernel"]
    for part, name in enumerate(("query", "key", "value")):
        expected = fused[:, 12 * part : 12 * part + 12].T
        weight = state[f"trf_blocks.0.att.W_{name}.weight"]
        np.testing.assert_array_equal(weight, expected)


@pytest.mark.fault(25)
def test_hugging_face_keeps_kernels_as_we_do_and_the_book_transposed():
    params = random_params(TINY)["h_0"]
    ours = params["attn"]["c_proj"]["kernel"]  # square, so that no shape tells
    assert not np.array_equal(ours, ours.T)
    hugging_face, book = tiny_state(HUGGING_FACE), tiny_state(LLMS_FROM_SCRATCH)
    np.testing.assert_array_equal(hugging_face["h.0.attn.c_proj.weight"], ours)
    np.testing.assert_array_equal(book["trf_blocks.0.att.out_proj.weight"], ours.T)
    ours = params["mlp"]["c_fc"]["kernel"]
    np.testing.assert_array_equal(hugging_face["h.0.mlp.c_fc.weight"], ours)
    np.testing.assert_array_equal(book["trf_blocks.0.ff.layers.0.weight"], ours.T)


@pytest.mark.fault(27)
@pytest.mark.parametrize("dtype", ["float16", "float64", "bfloat16"])
def test_other_float_types_become_float32(dtype):
    dtype = ml_dtypes.bfloat16 if dtype == "bfloat16" else np.dtype(dtype)
    state = {n: v.astype(dtype) for n, v in tiny_state(HUGGING_FACE).items()}
    params = flatten(convert_state_dict(state, TINY))
    assert {leaf.dtype for leaf in params.values()} == {np.dtype("float32")}
    np.testing.assert_array_equal(
        params["wte/embedding"], state["wte.weight"].astype(np.float32)
    )


def classifier_state(naming):
    """Return a classifier's tensors, and the params that they are."""
    config = dataclasses.replace(TINY, num_classes=3)
    params = random_params(config)
    if naming is HUGGING_FACE:
        head = params.pop("out_head")["kernel"]
        state = to_state_dict(params, naming) | {"score.weight": head.T}
        params["out_head"] = {"kernel": head, "bias": np.zeros(3, np.float32)}
        return state, config, params
    return to_state_dict(params, naming), config, params


@NAMINGS
def test_the_head_of_a_classifier_is_kept(naming):
    state, config, params = classifier_state(naming)
    assert_same(convert_state_dict(state, config), params)
    with pytest.raises(WeightsError, match=r"no rule for|no place for"):
        convert_state_dict(state, TINY)  # a language model has no place for it


def test_a_classifier_of_the_book_without_its_bias_is_refused():
    state, config, _ = classifier_state(LLMS_FROM_SCRATCH)
    del state["out_head.bias"]
    # There is no bias that may be absent among those that the book's model has.
    with pytest.raises(WeightsError, match=r"missing out_head\.bias"):
        convert_state_dict(state, config)


def test_a_parameter_without_a_tensor_is_not_lost():
    _, _, params = classifier_state(HUGGING_FACE)
    with pytest.raises(
        ValueError, match="Hugging Face has no tensor for out_head/bias"
    ):
        to_state_dict(params, HUGGING_FACE)


def nanogpt_state(*, biases=True):
    state = to_state_dict(random_params(TINY), NANOGPT, "transformer.")
    return {n: v for n, v in state.items() if biases or not n.endswith(".bias")}


def test_a_model_without_any_bias_gets_zeros():
    params = flatten(convert_state_dict(nanogpt_state(biases=False), TINY))
    expected = flatten(random_params(TINY))
    for path, leaf in params.items():
        theirs = 0 if path.endswith("/bias") else expected[path]
        np.testing.assert_array_equal(leaf, np.broadcast_to(theirs, leaf.shape))


def test_a_model_without_some_biases_is_refused():
    state = nanogpt_state()
    del state["transformer.h.1.ln_2.bias"]
    named = (NANOGPT, "transformer.")
    with pytest.raises(WeightsError, match=r"missing h\.1\.ln_2\.bias$"):
        convert_state_dict(state, TINY, named)


@pytest.mark.fault(24, 25)
@pytest.mark.parametrize(
    ("taken_for", "truth", "key"),
    [(HUGGING_FACE, NANOGPT, "nanogpt"), (NANOGPT, HUGGING_FACE, "hf")],
    ids=["hf", "nanogpt"],
)
def test_kernels_that_lie_the_other_way_are_refused(taken_for, truth, key):
    state = to_state_dict(random_params(TINY), truth, "transformer.")
    named = (taken_for, "transformer.")
    with pytest.raises(WeightsError, match=f"as {truth.title} keeps it.*'{key}'"):
        convert_state_dict(state, TINY, named)


@pytest.mark.fault(28)
@NAMINGS
@pytest.mark.parametrize("leaf", ["embedding", "scale", "kernel"])
def test_a_parameter_of_nothing_but_zeros_is_refused(naming, leaf):
    state = tiny_state(naming)
    name = {
        "Hugging Face": {
            "embedding": "wpe.weight",
            "scale": "h.1.ln_1.weight",
            "kernel": "h.2.mlp.c_proj.weight",
        },
        "LLMs-from-scratch": {
            "embedding": "pos_emb.weight",
            "scale": "trf_blocks.1.norm1.scale",
            "kernel": "trf_blocks.2.att.W_value.weight",
        },
    }[naming.title][leaf]
    state[name] = np.zeros_like(state[name])
    with pytest.raises(WeightsError, match=re.escape(f"{name}: is all zero")):
        convert_state_dict(state, TINY)


@NAMINGS
def test_a_bias_may_be_zero(naming):
    state = tiny_state(naming)
    for name in state:
        if name.endswith((".bias", ".shift")):
            state[name] = np.zeros_like(state[name])
    params = flatten(convert_state_dict(state, TINY))
    assert not any(v.any() for p, v in params.items() if p.endswith("/bias"))


def test_a_parameter_of_integers_is_refused():
    state = tiny_state(HUGGING_FACE)
    state["wpe.weight"] = state["wpe.weight"].astype(np.int32)
    with pytest.raises(WeightsError, match=r"wpe\.weight: expected floating-point"):
        convert_state_dict(state, TINY)


@pytest.mark.parametrize("naming", [HUGGING_FACE, NANOGPT], ids=lambda n: n.title)
def test_what_needs_no_change_is_not_copied(naming):
    state = to_state_dict(random_params(TINY), naming, "transformer.")
    params = convert_state_dict(state, TINY, (naming, "transformer."))
    tensors = list(state.values())
    for path, leaf in flatten(params).items():
        assert any(np.shares_memory(leaf, tensor) for tensor in tensors), path


def test_bfloat16_stays_what_it_is_when_asked_for():
    state = {
        name: value.astype(ml_dtypes.bfloat16)
        for name, value in tiny_state(HUGGING_FACE).items()
    }
    params = flatten(convert_state_dict(state, TINY, dtype="bfloat16"))
    assert {leaf.dtype for leaf in params.values()} == {np.dtype(ml_dtypes.bfloat16)}
    assert np.shares_memory(params["wte/embedding"], state["wte.weight"])
    single = flatten(
        convert_state_dict(tiny_state(HUGGING_FACE), TINY, dtype="bfloat16")
    )
    for path, leaf in single.items():
        np.testing.assert_array_equal(leaf, params[path])


@pytest.mark.parametrize("naming", [HUGGING_FACE, LLMS_FROM_SCRATCH, OPENAI])
def test_a_model_of_the_wrong_rank_is_refused(naming):
    state = to_state_dict(random_params(TINY), naming, naming.prefixes[0])
    name = next(
        n for n in state if n.endswith(("c_fc.weight", "layers.0.weight", "c_fc/w"))
    )
    state[name] = state[name][None]
    with pytest.raises(WeightsError, match=r"expected \[12, 48\]"):
        convert_state_dict(state, TINY)
