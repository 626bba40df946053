"""A step on texts that lie packed is the step on texts that are padded."""

from __future__ import annotations

import dataclasses
import functools
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from training_helpers import (
    NUM_LAYERS,
    compilations,
    run_config,
    start_with_sgd,
    uneven_texts,
)

from gpt2_jax.config import FinetuneConfig, TrainConfig
from gpt2_jax.engine.jit import jit_steps
from gpt2_jax.engine.packing import (
    WORTH_TOKENS,
    Pack,
    choose_packs,
    next_pack,
    place_texts,
)
from gpt2_jax.engine.param_labels import TRAIN, trunk_depth
from gpt2_jax.engine.scoring import logits_by_length
from gpt2_jax.engine.texts import Texts, lay_out
from gpt2_jax.engine.trunk import run_trunk
from gpt2_jax.engine.widths import by_tokens, filled
from gpt2_jax.model import scan
from gpt2_jax.model.tree import flatten
from gpt2_jax.plan.prepare import prepare
from gpt2_jax.training import build
from gpt2_jax.workdir.run import RunOptions, open_run

_ROWS = np.arange(24).reshape(3, 8)
_KEY = jax.random.key(5)
_BATCHES = st.lists(
    st.lists(st.integers(1, 40), min_size=4, max_size=4), min_size=1, max_size=20
)


@given(st.lists(st.integers(1, 40), min_size=1, max_size=12), st.integers(40, 50))
def test_texts_lie_whole_in_their_rows(lengths, width):
    begins, num = place_texts(np.asarray(lengths), width)
    taken = np.zeros(num * width, int)
    for begin, length in zip(begins, lengths, strict=True):
        assert begin // width == (begin + length - 1) // width
        taken[begin : begin + length] += 1
    assert taken.max() == 1 and taken.sum() == sum(lengths)
    assert taken.reshape(num, width).any(axis=1).all()  # no row is empty


@given(_BATCHES, st.integers(1, 10**6))
def test_every_batch_has_a_shape_and_each_shape_is_worth_it(batches, num_steps):
    lengths, widths = np.asarray(batches), (16, 32, int(np.max(batches)))
    widths = tuple(sorted({w for w in widths if w <= widths[-1]}))
    packs = choose_packs(lengths, widths, num_steps)
    sizes = [pack.num * pack.width for pack in packs]
    assert sizes == sorted(sizes)
    taken = [next_pack(batch, packs) for batch in lengths]
    for batch, pack in zip(lengths, taken, strict=True):
        assert pack is not None
        assert place_texts(batch, pack.width)[1] <= pack.num
    whole = sum(sizes[-1:] * len(lengths))
    spared = whole - sum(p.num * p.width for p in taken if p is not None)
    assert spared * num_steps >= (len(packs) - 1) * WORTH_TOKENS * len(lengths)


def test_more_steps_are_worth_more_shapes():
    lengths = np.random.default_rng(0).integers(5, 60, (50, 8))
    few, many = (choose_packs(lengths, (32, 64), steps) for steps in (50, 50_000))
    assert len(few) == 1 and len(many) > 2
    assert next_pack(np.full(8, 64), few) is None  # as many as none of the 50 has


def _texts(pool: Any, depth: int, scope: str, packs: tuple[Pack, ...]) -> Texts:
    model, params, _, _ = start_with_sgd(scope, pool)
    texts = uneven_texts(_ROWS.size, pool)
    if depth:
        texts = run_trunk(model.config, params, texts, depth)
    return dataclasses.replace(texts, packs=packs)


def _train(scope: str, pool: Any, packs: tuple[Pack, ...]):
    """Return labels, params before and after, losses and names of the programs."""
    _, _, labels, _ = start_with_sgd(scope, pool)
    depth = trunk_depth(labels, NUM_LAYERS)
    model, params, labels, state = start_with_sgd(scope, pool, depth=depth)
    texts = _texts(pool, depth, scope, packs)
    with compilations() as compiled:
        steps = jit_steps(model, labels, texts, depth=depth)
        state, losses = steps.train(steps.place(state), _ROWS, _KEY, texts.widths[-1])
        after = jax.tree.map(np.asarray, steps.unplace(state).params)
    return flatten(labels), flatten(params), flatten(after), losses, compiled


_padded = functools.partial(_train, packs=())


@pytest.mark.parametrize(
    ("scope", "pool", "scanned"),
    [
        ("last_two_blocks", "last_real", False),
        ("all", "mean", True),
        pytest.param("last_block", "mean", False, marks=pytest.mark.slow),
        pytest.param("last_two_blocks", "first", False, marks=pytest.mark.slow),
        pytest.param("last_two_blocks", "last_mean", False, marks=pytest.mark.slow),
        pytest.param("all", "last_real", False, marks=pytest.mark.slow),
        pytest.param("lora", "last_mean", True, marks=pytest.mark.slow),
    ],
)
def test_packed_steps_are_padded_ones(scope, pool, scanned, monkeypatch):
    """Two shapes take the three steps; what is frozen stays as it is, bit by bit."""
    if scanned:
        monkeypatch.setattr(scan, "SCAN_ABOVE", 0)
    labels, before, expected, expected_losses, _ = _padded(scope, pool)
    lengths = uneven_texts(_ROWS.size, pool).lengths[_ROWS]
    needed = [place_texts(batch, 16)[1] for batch in lengths]
    assert min(needed) < max(needed) < 8
    packs = (Pack(min(needed), 16), Pack(max(needed), 16))
    _, _, after, losses, compiled = _train(scope, pool, packs)
    assert compiled["train_packed"] == 2 and not compiled["train_steps"]
    np.testing.assert_allclose(losses, expected_losses, rtol=1e-5)
    for path, leaf in after.items():
        if labels[path] != TRAIN:
            assert leaf.tobytes() == np.asarray(before[path]).tobytes(), path
        np.testing.assert_allclose(
            leaf, expected[path], rtol=1e-5, atol=1e-6, err_msg=path
        )


@pytest.mark.parametrize(
    ("scope", "pool"),
    [("last_two_blocks", "last_real"), ("all", "mean"), ("last_block", "last_mean")],
)
def test_packed_evaluation_is_the_padded_one(scope, pool):
    """Of texts in any order and number; what fits no shape is padded."""
    _, _, labels, _ = start_with_sgd(scope, pool)
    depth = trunk_depth(labels, NUM_LAYERS)
    model, params, labels, _ = start_with_sgd(scope, pool, depth=depth)
    found, rows = {}, np.random.default_rng(0).permutation(_ROWS.size)[:23]
    few, enough = (Pack(2, 16),), (Pack(6, 16),)
    for packs in ((), few, enough):
        texts = dataclasses.replace(_texts(pool, depth, scope, packs), pack_size=8)
        with compilations() as compiled:
            steps = jit_steps(model, labels, texts, depth=depth)
            predict = functools.partial(steps.predict, steps.place(params))
            found[packs] = logits_by_length(predict, texts, rows)
        assert (compiled["predict_packed"] == 1) == (packs == enough)
        assert bool(compiled["predict_rows"]) == (packs != enough)
    for packs in (few, enough):
        np.testing.assert_allclose(found[packs], found[()], rtol=1e-5, atol=1e-5)


@given(st.lists(st.integers(1, 40), min_size=1, max_size=60), st.integers(1, 9))
def test_batches_of_like_tokens_hold_each_text_once(lengths, size):
    batches = [*by_tokens(np.asarray(lengths), (16, 40), size)]
    chosen = np.concatenate([rows for rows, _, _ in batches])
    assert sorted(chosen) == [*range(len(lengths))]
    assert len(batches) == -(-len(lengths) // size)
    tokens = [sum(lengths[row] for row in rows) for rows, _, _ in batches]
    # Each batch has a text of each stratum, but for the shortest.
    assert max(tokens) - min(tokens) <= max(lengths)
    for rows, width, _ in batches:
        assert len(rows) <= size and max(lengths[row] for row in rows) <= width


def test_evaluation_has_the_widths_that_its_texts_are_worth():
    """However wide the batches of the steps are."""
    lengths = np.resize([20, 20, 20, 300], 8_000)
    texts = lay_out([[1] * n for n in lengths], limit=512)
    batches = np.arange(8_000).reshape(-1, 8)  # each has long texts
    assert texts.narrow(batches).widths == (300,)
    narrowed = texts.narrow(batches, packed_steps=1_000)
    assert narrowed.widths == (32, 300)
    few = texts.select(np.arange(80)).narrow(batches[:10], packed_steps=10)
    assert few.widths == (300,) and len(few.packs) == 2  # of steps, and of scores


def test_every_batch_that_is_scored_has_a_shape_that_fills_a_call():
    lengths = np.random.default_rng(0).integers(5, 60, 1_000)
    texts = lay_out([[1] * n for n in lengths], limit=64)
    parts = dict(zip("abc", np.split(np.arange(1_000), [700, 750]), strict=True))
    texts = dataclasses.replace(texts, parts=parts)
    texts = texts.narrow(parts["a"][:696].reshape(-1, 8), packed_steps=400)
    assert texts.pack_size % 8 == 0 and texts.pack_size > 8
    whole = 0
    for rows in parts.values():
        for chosen, _, size in by_tokens(lengths[rows], texts.widths, texts.pack_size):
            found = texts.pack(filled(rows[chosen], size))
            assert found is not None
            whole += found.num * found.width
    assert lengths.sum() < whole < 1.5 * lengths.sum()


def test_a_batch_that_fits_no_shape_is_padded():
    _, _, expected, _, _ = _padded("last_two_blocks", "last_real")
    *_, after, _, compiled = _train("last_two_blocks", "last_real", (Pack(1, 16),))
    assert compiled["train_steps"] == 1 and not compiled["train_packed"]
    for path, leaf in after.items():
        assert leaf.tobytes() == expected[path].tobytes(), path


@pytest.mark.parametrize(
    ("train", "model", "packed"),
    [
        ({"trainable": ("last_two_blocks",)}, {}, True),
        ({"trainable": ("all",)}, {}, True),
        ({"trainable": ("last_block",)}, {"pool": "mean"}, True),
        ({"trainable": ("last_block",)}, {}, False),  # one query a text
        ({"trainable": ("head",)}, {"pool": "mean"}, False),  # no token is left
        ({"trainable": ("all",)}, {"pool": "last"}, False),  # its padding is read
        ({"trainable": ("all",)}, {"dropout_rate": 0.1}, False),
        ({"trainable": ("all",), "accumulate": 2}, {}, False),
        ({"trainable": ("all",), "parallel": "pmap"}, {}, False),
        ({"trainable": ("all",), "shard": "fsdp"}, {}, False),
    ],
)
def test_a_run_is_packed_where_padding_is_computed_in_vain(train, model, packed):
    config = FinetuneConfig(train=TrainConfig(devices=1, **train))
    scope = config.train.trainable[0]
    changes = {"pool": "last_real", **model}
    classifier, _, labels, _ = start_with_sgd(scope, changes.pop("pool"), **changes)
    depth = trunk_depth(labels, NUM_LAYERS)
    task: Any = SimpleNamespace(config=config, model=classifier, depth=depth)
    assert build.packs_steps(task, jax.devices()[:1]) is packed
    assert not build.packs_steps(task, jax.devices()[:2])


@pytest.mark.parametrize(("most", "packed"), [(2**30, True), (1, False)])
def test_texts_that_are_sent_batch_by_batch_are_padded(
    most, packed, tmp_path_factory, tmp_path
):
    """Packed scoring would put long and short texts into one padded batch."""
    config = run_config(
        tmp_path_factory, trainable=("last_two_blocks",), reuse_max_bytes=most
    )
    with open_run(config, tmp_path / "run", RunOptions(verbose=False)) as run:
        task = prepare(run.config)
        run.claim(task.identity())
        engine = build.build_engine(task, run)
    assert bool(engine.texts.packs) is packed
