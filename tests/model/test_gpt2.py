import dataclasses
import math
import types
from typing import Any

import jax
import numpy as np
import pytest
from helpers import TINY, random_params
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt2_jax.config import POOLS, PRESETS
from gpt2_jax.model import attention
from gpt2_jax.model.attention import (
    compiling_for,
    cuda_capability,
    fused_attention,
)
from gpt2_jax.model.gpt2 import GPT2, count_params, param_shapes, to_classifier
from gpt2_jax.model.tree import flatten, unflatten

TOKENS = np.random.default_rng(0).integers(0, TINY.vocab_size, (3, 10))
LENGTHS = np.asarray([4, 10, 1], np.int32)


def classifier(pool: Any = "last_real", **changes):
    params = random_params(TINY)
    key = jax.random.key(1)
    return to_classifier(TINY, params, num_classes=3, key=key, pool=pool, **changes)


def apply(model, params, tokens, lengths=None, **kwargs):
    return np.asarray(model.apply({"params": params}, tokens, lengths, **kwargs))


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("mini", 22_605_568),
        ("124M", 124_439_808),
        ("355M", 354_823_168),
        ("774M", 774_030_080),
        ("1558M", 1_557_611_200),
    ],
)
def test_each_preset_has_its_published_number_of_parameters(name, count):
    assert count_params(param_shapes(PRESETS[name])) == count


def test_every_preset_is_in_the_table_above():
    assert set(PRESETS) == {"mini", "124M", "355M", "774M", "1558M"}


def test_parameters_have_gpt2s_names():
    paths = set(flatten(param_shapes(TINY)))
    layers = ("ln_1", "attn/c_attn", "attn/c_proj", "ln_2", "mlp/c_fc", "mlp/c_proj")
    assert paths == {
        "wte/embedding",
        "wpe/embedding",
        "ln_f/scale",
        "ln_f/bias",
        *(
            f"h_{i}/{layer}/{leaf}"
            for i in range(3)
            for layer in layers
            for leaf in ("scale" if layer.startswith("ln") else "kernel", "bias")
        ),
    }


@pytest.fixture(scope="module")
def language_model():
    """The logits [B, T, V] of a tiny language model; compiled once."""
    variables = {"params": random_params(TINY)}
    return jax.jit(lambda tokens: GPT2(TINY).apply(variables, tokens))


@given(seed=st.integers(0, 2**32 - 1), cut=st.integers(0, 9))
@settings(max_examples=40, deadline=None)
def test_later_tokens_cannot_change_earlier_logits(language_model, seed, cut):
    random = np.random.default_rng(seed)
    tokens = random.integers(0, TINY.vocab_size, (3, 10))
    changed = tokens.copy()
    changed[:, cut:] += random.integers(1, TINY.vocab_size, (3, 10 - cut))
    changed %= TINY.vocab_size
    a, b = np.asarray(language_model(tokens)), np.asarray(language_model(changed))
    np.testing.assert_allclose(a[:, :cut], b[:, :cut], atol=1e-6)
    assert (np.abs(a - b)[:, cut:].max(axis=-1) > 1e-4).all()  # at every later one


def test_without_the_causal_mask_later_tokens_do_change_earlier_logits():
    model = GPT2(dataclasses.replace(TINY, causal=False))
    changed = TOKENS.copy()
    changed[:, -1] = (changed[:, -1] + 1) % TINY.vocab_size
    params = random_params(TINY)
    a, b = (apply(model, params, tokens) for tokens in (TOKENS, changed))
    assert (np.abs(a - b).max(axis=-1) > 1e-4).all()  # at every position


def tanh_gelu(x):
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def erf_gelu(x):
    return 0.5 * x * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


def logits_by_hand(config, params, tokens, *, epsilon=1e-5, gelu=tanh_gelu):
    """GPT-2 in numpy and float64, from the paper and openai/gpt-2's model.py."""
    params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)

    def norm(x, p):
        x = x - x.mean(-1, keepdims=True)
        x = x / np.sqrt((x**2).mean(-1, keepdims=True) + epsilon)
        return x * p["scale"] + p["bias"]

    def dense(x, p):
        return x @ p["kernel"] + p["bias"]

    num_tokens = tokens.shape[1]
    x = params["wte"]["embedding"][tokens] + params["wpe"]["embedding"][:num_tokens]
    for i in range(config.num_layers):
        block = params[f"h_{i}"]
        qkv = dense(norm(x, block["ln_1"]), block["attn"]["c_attn"])
        heads = []
        for h in range(config.num_heads):
            q, k, v = (
                part[..., h * config.head_dim : (h + 1) * config.head_dim]
                for part in np.split(qkv, 3, axis=-1)
            )  # [B, T, K]
            scores = q @ k.swapaxes(1, 2) / math.sqrt(config.head_dim)
            scores[:, ~np.tri(num_tokens, dtype=bool)] = -np.inf
            weights = np.exp(scores - scores.max(-1, keepdims=True))
            heads.append(weights / weights.sum(-1, keepdims=True) @ v)
        x = x + dense(np.concatenate(heads, axis=-1), block["attn"]["c_proj"])
        hidden = gelu(dense(norm(x, block["ln_2"]), block["mlp"]["c_fc"]))
        x = x + dense(hidden, block["mlp"]["c_proj"])
    return norm(x, params["ln_f"]) @ params["out_head"]["kernel"]


def error_by_hand(scale, **kwargs):
    """Return how far our logits are, with the residual stream scaled by `scale`."""
    config = dataclasses.replace(TINY, tied=False)
    flat = flatten(random_params(config))
    for path in flat:
        if path.endswith("embedding") or "c_proj" in path:
            flat[path] = flat[path] * np.float32(scale)
    params = unflatten(flat)
    logits = apply(GPT2(config), params, TOKENS)
    return np.abs(logits - logits_by_hand(config, params, TOKENS, **kwargs)).max()


def test_the_logits_are_gpt2s_with_the_tanh_gelu():
    assert error_by_hand(1.0) < 2e-6
    assert error_by_hand(1.0, gelu=erf_gelu) > 2e-5


def test_the_epsilon_of_the_layer_norms_is_1e_5():
    assert error_by_hand(0.01) < 2e-6  # so small that the epsilon shows
    assert error_by_hand(0.01, epsilon=1e-6) > 1e-2


def test_dropout_is_applied_in_training_and_nowhere_else():
    config = dataclasses.replace(TINY, num_layers=1, num_classes=3)
    params = random_params(config)
    plain = apply(GPT2(config), params, TOKENS, LENGTHS)
    model = GPT2(dataclasses.replace(config, dropout_rate=0.5))

    def noisy(seed, model=model):
        rngs = {"dropout": jax.random.key(seed)}
        return apply(model, params, TOKENS, LENGTHS, deterministic=False, rngs=rngs)

    assert not np.allclose(noisy(0), noisy(1))
    np.testing.assert_array_equal(noisy(0), noisy(0))
    np.testing.assert_array_equal(apply(model, params, TOKENS, LENGTHS), plain)
    np.testing.assert_array_equal(noisy(0, GPT2(config)), plain)


@pytest.mark.parametrize("place", ["embedding", "attn", "mlp"])
def test_dropout_is_applied_where_gpt2_has_it(place):
    """On embeddings, attention weights, and what each half of a block adds.

    All parameters are zero but those of `place`, so that nothing else is added.
    """
    config = dataclasses.replace(TINY, num_layers=1, dropout_rate=0.5)
    random, params = random_params(config), random_params(config)
    params = jax.tree.map(np.zeros_like, params)
    if place == "embedding":
        params["wte"] = random["wte"]
    else:
        params["h_0"][place] = random["h_0"][place]
        params["h_0"]["ln_1"]["bias"] = random["h_0"]["ln_1"]["bias"]

    def trunk(deterministic):
        out = GPT2(config).apply(
            {"params": params},
            np.zeros_like(TOKENS),
            None,
            0 if place == "embedding" else 1,
            deterministic=deterministic,
            method=GPT2.trunk,
            rngs={"dropout": jax.random.key(3)},
        )
        return np.asarray(out)

    plain, dropped = trunk(True), trunk(False)
    kept = dropped != 0
    assert (plain != 0).all()
    assert 0.4 < kept.mean() < 0.6
    only_scaled = np.isclose(dropped[kept], 2 * plain[kept], rtol=1e-5)
    if place == "attn":  # its weights were dropped before
        assert only_scaled.mean() < 0.1
    else:
        assert only_scaled.all()


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("pool", ["last_real", "first", "mean"])
def test_padding_cannot_change_the_logits(pool, causal):
    model, params = classifier(pool, causal=causal)
    short = apply(model, params, TOKENS, LENGTHS)
    padded = np.concatenate([TOKENS, np.full((3, 7), 5)], axis=1)
    padded[0, 4:10] = 8  # behind the first text
    np.testing.assert_allclose(apply(model, params, padded, LENGTHS), short, atol=2e-5)


@pytest.mark.parametrize("causal", [True, False])
def test_the_pool_last_reads_the_padding_as_the_book_does(causal):
    model, params = classifier("last", causal=causal)
    padded = np.concatenate([TOKENS, np.full((3, 7), 5)], axis=1)
    a, b = (apply(model, params, t, LENGTHS) for t in (TOKENS, padded))
    assert not np.allclose(a, b, atol=1e-3)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("pool", POOLS)
def test_pooling_picks_the_position_that_it_names(pool, causal):
    """The pooled last block equals the full one, read at the position afterwards."""
    model, params = classifier(pool, causal=causal)
    # A language head that copies the hidden state after ln_f: [B, T, V] holds [B, T, D]
    copy = {"kernel": np.eye(TINY.embed_dim, TINY.vocab_size, dtype=np.float32)}
    config = dataclasses.replace(TINY, tied=False, causal=causal, pool=pool)
    hidden = apply(GPT2(config), {**params, "out_head": copy}, TOKENS, LENGTHS)
    hidden = hidden[..., : TINY.embed_dim]
    rows = np.arange(3)
    mean = np.stack([h[:n].mean(0) for h, n in zip(hidden, LENGTHS, strict=True)])
    last_real = hidden[rows, LENGTHS - 1]
    pooled = {
        "last_real": last_real,
        "last": hidden[:, -1],
        "first": hidden[:, 0],
        "mean": mean,
        "last_mean": np.concatenate([last_real, mean], axis=-1),
    }[pool]
    head = jax.tree.map(np.asarray, params["out_head"])
    expected = pooled @ head["kernel"] + head["bias"]
    logits = apply(model, params, TOKENS, LENGTHS)
    np.testing.assert_allclose(logits, expected, atol=1e-4)


@pytest.mark.parametrize("pool", ["last_real", "mean"])
def test_the_end_of_a_text_is_told_by_its_length_and_never_by_its_tokens(pool):
    """One text of a single token over and over: its length alone makes the rows."""
    model, params = classifier(pool)
    same = np.full((3, 10), TINY.vocab_size - 1)
    logits = apply(model, params, same, LENGTHS)
    assert len(np.unique(logits.round(3), axis=0)) == 3
    behind = np.where(np.arange(10) < LENGTHS[:, None], same, TOKENS)
    np.testing.assert_allclose(apply(model, params, behind, LENGTHS), logits, atol=2e-5)


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("split", range(4))
def test_the_model_is_its_top_after_its_trunk(pool, split):
    model, params = classifier(pool)
    variables = {"params": params}
    hidden = model.apply(variables, TOKENS, LENGTHS, split, method=GPT2.trunk)
    logits = model.apply(variables, hidden, LENGTHS, split, method=GPT2.top)
    expected = apply(model, params, TOKENS, LENGTHS)
    np.testing.assert_allclose(np.asarray(logits), expected, atol=1e-5)


@pytest.mark.parametrize("split", range(4))
def test_the_language_model_is_its_top_after_its_trunk(language_model, split):
    variables = {"params": random_params(TINY)}
    hidden = GPT2(TINY).apply(variables, TOKENS, None, split, method=GPT2.trunk)
    logits = GPT2(TINY).apply(variables, hidden, None, split, method=GPT2.top)
    np.testing.assert_allclose(np.asarray(logits), language_model(TOKENS), atol=1e-5)


@pytest.mark.parametrize("pool", POOLS)
def test_without_lengths_every_token_is_text(pool):
    model, params = classifier(pool)
    whole = apply(model, params, TOKENS, np.full(3, 10))
    np.testing.assert_array_equal(apply(model, params, TOKENS), whole)


def test_more_tokens_than_positions_are_refused():
    with pytest.raises(ValueError, match="25 tokens do not fit max_len=24"):
        apply(GPT2(TINY), random_params(TINY), np.zeros((1, 25), np.int32))


def test_the_head_is_replaced_and_nothing_else():
    params = random_params(TINY)
    before = jax.tree.map(np.array, params)
    _, new = to_classifier(TINY, params, num_classes=2, key=jax.random.key(0))
    head = new["out_head"]
    assert head["kernel"].shape == (12, 2)
    assert head["bias"].shape == (2,)
    values = np.concatenate([head["kernel"].ravel(), head["bias"]])
    bound = 1 / math.sqrt(12)
    assert np.abs(values).max() <= bound
    assert np.abs(values).max() > bound / 2
    assert set(new) - set(params) == {"out_head"}
    for path, leaf in flatten(before).items():
        np.testing.assert_array_equal(flatten(new)[path], leaf)


def test_the_head_is_a_function_of_its_key():
    def head(seed):
        key = jax.random.key(seed)
        return to_classifier(TINY, random_params(TINY), num_classes=2, key=key)[1]

    a, b, other = (flatten(head(seed)["out_head"]) for seed in (0, 0, 1))
    for leaf, value in a.items():
        np.testing.assert_array_equal(value, b[leaf])
        assert not np.isclose(value, other[leaf]).any()
        assert (value > 0).any() or (other[leaf] > 0).any()  # both signs are drawn
        assert (value < 0).any() or (other[leaf] < 0).any()


def equations(jaxpr):
    """Yield every equation of a jaxpr, also of those inside it."""
    for equation in jaxpr.eqns:
        yield equation
        for value in equation.params.values():
            for inner in value if isinstance(value, (list, tuple)) else [value]:
                inner = getattr(inner, "jaxpr", inner)
                if hasattr(inner, "eqns"):
                    yield from equations(inner)


def test_bfloat16_changes_the_compute_and_not_the_parameters():
    model, params = classifier(dtype="bfloat16")
    shapes = flatten(param_shapes(model.config))
    assert {leaf.dtype for leaf in shapes.values()} == {np.dtype("float32")}
    jaxpr = jax.make_jaxpr(lambda p: model.apply({"params": p}, TOKENS, LENGTHS))
    dtypes = {}  # of the operands of each operation
    for equation in equations(jaxpr(params).jaxpr):
        operands = tuple(str(operand.aval.dtype) for operand in equation.invars)
        dtypes.setdefault(equation.primitive.name, []).append(operands)
    in_float32 = [d for d in dtypes["dot_general"] if d != ("bfloat16", "bfloat16")]
    assert in_float32 == [("float32", "float32")]  # out_head alone
    assert set(dtypes["exp"]) == {("float32",)}  # softmax
    assert set(dtypes["rsqrt"]) == {("float32",)}  # layer norms


@pytest.mark.parametrize("num_classes", [None, 3])
def test_logits_are_float32_and_near_also_when_bfloat16_computes(num_classes):
    config = dataclasses.replace(TINY, num_classes=num_classes)
    params = random_params(config)
    exact = apply(GPT2(config), params, TOKENS)
    rounded = apply(GPT2(dataclasses.replace(config, dtype="bfloat16")), params, TOKENS)
    assert exact.dtype == rounded.dtype == np.float32
    assert not np.array_equal(exact, rounded)
    np.testing.assert_allclose(rounded, exact, atol=0.05 * np.abs(exact).max())


_FUSED = dataclasses.replace(TINY, dtype="bfloat16", embed_dim=16, num_heads=2)


_A100 = (8, 0)


def test_fused_attention_is_for_bfloat16_on_a_gpu():
    assert fused_attention(_FUSED, _A100, 8, 8)


@pytest.mark.parametrize(
    "changes",
    [
        {"dtype": "float32"},
        {"dropout_rate": 0.1},
        {"causal": False},
        {"num_heads": 4},  # heads of 4 are no multiple of 8
        {"embed_dim": 272},  # heads of 136 are more than 128
    ],
)
def test_fused_attention_is_not_taken_where_it_would_fail_or_differ(changes):
    assert not fused_attention(dataclasses.replace(_FUSED, **changes), _A100, 8, 8)


@pytest.mark.parametrize(
    ("capability", "queries", "keys"),
    [(None, 8, 8), ((7, 5), 8, 8), (_A100, 1, 8), (_A100, 8, 7)],
)
def test_fused_attention_needs_a_new_gpu_and_even_sizes(capability, queries, keys):
    assert not fused_attention(_FUSED, capability, queries, keys)


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({"compute_capability": "8.0"}, (8, 0)),  # A100
        ({"compute_capability": "12.0"}, (12, 0)),
        ({"compute_capability": "7.5"}, (7, 5)),  # T4
        ({"compute_capability": "gfx90a"}, None),  # AMD
        ({}, None),
    ],
)
def test_the_capability_is_that_of_cuda_alone(told, expected):
    device = types.SimpleNamespace(platform="gpu", **told)
    with compiling_for(device):
        assert cuda_capability() == expected
    assert cuda_capability() is None  # that of this CPU


@pytest.mark.parametrize(("queries", "dropout"), [(4, 0.0), (16, 0.0), (4, 0.5)])
def test_queries_attend_in_pieces_as_all_at_once(queries, dropout, monkeypatch):
    """Logits and gradients; what falls out of the attention falls in each piece."""
    config = dataclasses.replace(TINY, dropout_rate=dropout)
    params = random_params(config)
    tokens = np.random.default_rng(0).integers(0, TINY.vocab_size, (2, 14))

    def logits(params) -> Any:
        return GPT2(config).apply(
            {"params": params},
            tokens,
            deterministic=not dropout,
            rngs={"dropout": jax.random.key(0)},
        )

    def loss(params):
        return (logits(params) ** 2).sum()

    whole, gradients = logits(params), jax.grad(loss)(params)
    monkeypatch.setattr(attention, "QUERIES", queries)
    pieces, gradients_of_pieces = logits(params), jax.grad(loss)(params)
    assert np.isfinite(pieces).all()
    if dropout:
        assert not np.allclose(pieces, whole, atol=1e-3)  # other weights fell out
        return
    np.testing.assert_allclose(pieces, whole, atol=1e-5)
    for ours, expected in zip(
        jax.tree.leaves(gradients_of_pieces), jax.tree.leaves(gradients), strict=True
    ):
        scale = np.abs(expected).max()
        np.testing.assert_allclose(ours, expected, atol=1e-5 * scale)


def test_long_texts_cost_half_the_attention():
    """Keys behind the last query of a piece are not multiplied: 7 of 16 products."""
    config = dataclasses.replace(TINY, num_layers=1, max_len=1024)

    def flops(causal):
        model = GPT2(dataclasses.replace(config, causal=causal))
        tokens = jax.ShapeDtypeStruct((1, 1024), np.int32)
        params = param_shapes(config)
        run = jax.jit(lambda params, tokens: model.apply({"params": params}, tokens))
        costs: Any = run.lower(params, tokens).compile().cost_analysis()
        return costs["flops"]

    scores = 2 * 2 * 1024 * 1024 * config.embed_dim
    saved = flops(causal=False) - flops(causal=True)
    assert saved > 0.3 * scores
