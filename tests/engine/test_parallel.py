"""Any number of devices, under jit and under pmap: the numbers of one."""

from __future__ import annotations

import dataclasses
import functools
import re
from typing import Any

import jax
import numpy as np
import pytest
from helpers import TINY
from training_helpers import (
    NUM_LAYERS,
    finished_run,
    losses,
    run_config,
    start_with_sgd,
    uneven_texts,
)

from gpt2_jax.config import TRAINABLE, TrainConfig
from gpt2_jax.engine.devices import choose_devices, describe_devices
from gpt2_jax.engine.engine import Engine
from gpt2_jax.engine.jit import jit_programs, jit_steps
from gpt2_jax.engine.mesh import by_example, make_mesh, replicated
from gpt2_jax.engine.optimizer import create_optimizer
from gpt2_jax.engine.param_labels import TRAIN, trunk_depth
from gpt2_jax.engine.pmap import PmapSteps, pmap_programs
from gpt2_jax.engine.steps import create_train_state
from gpt2_jax.engine.texts import Texts
from gpt2_jax.engine.trunk import run_trunk
from gpt2_jax.engine.wrapper import Steps
from gpt2_jax.errors import DeviceError
from gpt2_jax.model.tree import flatten
from gpt2_jax.training import above
from gpt2_jax.training.finetune import finetune

_KEY = jax.random.key(5)
_ROWS = np.arange(24).reshape(3, 8)
_SLOW = pytest.mark.slow
# Devices that are sent batches, and such as hold all texts.
_WRAPPERS = {"jit": functools.partial(jit_steps, resident=False), "pmap": PmapSteps}
_HOLDING = {
    "jit, holding": jit_steps,
    "pmap, holding": functools.partial(PmapSteps, resident=True),
}


def _train(steps: Steps, state: Any, rows: np.ndarray, width: int):
    """Return the host params after a step on each of `rows`, and the losses."""
    state, losses = steps.train(steps.place(state), rows, _KEY, width)
    return flatten(jax.tree.map(np.asarray, steps.unplace(state).params)), losses


@functools.cache
def _prepared(scope: str, reused: bool, dropout_rate: float):
    pool = "mean" if scope == "all" else "last_real"
    texts, depth = uneven_texts(_ROWS.size, pool), 0
    if reused:
        model, params, labels, _ = start_with_sgd(scope, pool)
        depth = trunk_depth(labels, NUM_LAYERS)
        texts = run_trunk(model.config, params, texts, depth)
    start = start_with_sgd(scope, pool, depth=depth, dropout_rate=dropout_rate)
    return texts, depth, start


def _run(
    parallel: str,
    num_devices: int,
    scope: str = "last_block",
    *,
    reused: bool = True,
    dropout_rate: float = 0.0,
    batch_size: int = 8,
    accumulate: int = 1,
):
    texts, depth, start = _prepared(scope, reused, dropout_rate)
    model, _, labels, state = start
    devices = jax.devices()[:num_devices]
    steps = (_WRAPPERS | _HOLDING)[parallel](
        model, labels, texts, devices, depth=depth, accumulate=accumulate
    )
    return _train(steps, state, _ROWS[:, :batch_size], texts.widths[-1])


_on_one_device = functools.cache(functools.partial(_run, "jit", 1))


def _assert_equal(got, expected) -> None:
    np.testing.assert_allclose(got[1], expected[1], rtol=1e-5)
    for path, leaf in got[0].items():
        np.testing.assert_allclose(
            leaf, expected[0][path], rtol=1e-5, atol=1e-6, err_msg=path
        )


@pytest.mark.parametrize(
    ("parallel", "num_devices"),
    [("jit", 8), ("pmap", 4), ("jit, holding", 4), ("pmap, holding", 8)],
)
def test_devices_together_train_what_one_trains(parallel, num_devices):
    _assert_equal(_run(parallel, num_devices), _on_one_device())


@pytest.mark.slow
@pytest.mark.parametrize("parallel", _WRAPPERS)
@pytest.mark.parametrize("num_devices", [1, 2, 4, 8])
@pytest.mark.parametrize(
    ("scope", "reused"),
    [
        *((scope, False) for scope in TRAINABLE),
        *((scope, True) for scope in ("head", "last_block", "last_two_blocks")),
    ],
)
def test_devices_together_train_any_scope_as_one_does(
    parallel, num_devices, scope, reused
):
    got = _run(parallel, num_devices, scope, reused=reused)
    _assert_equal(got, _on_one_device(scope, reused=reused))


@pytest.mark.fault(16)
@pytest.mark.parametrize("parallel", [*_WRAPPERS, *_HOLDING])
def test_a_batch_that_the_devices_do_not_divide_is_that_batch(parallel):
    got = _run(parallel, 4, batch_size=6)
    _assert_equal(got, _on_one_device(batch_size=6))
    assert not np.allclose(got[1], _on_one_device()[1], rtol=1e-3)


@pytest.mark.parametrize(
    ("parallel", "num_devices", "accumulate", "scope"),
    [
        # The last piece is filled up.
        pytest.param("jit", 1, 3, "all", marks=_SLOW),
        pytest.param("jit", 2, 3, "last_block", marks=_SLOW),
        ("pmap", 2, 4, "last_block"),
    ],
)
def test_a_batch_in_pieces_is_that_batch(parallel, num_devices, accumulate, scope):
    # Examples weigh as their classes do, so that a mean of means would differ.
    reused = scope != "all"
    got = _run(parallel, num_devices, scope, reused=reused, accumulate=accumulate)
    _assert_equal(got, _on_one_device(scope, reused=reused))


@_SLOW
def test_what_an_example_drops_is_the_same_in_any_piece():
    expected = _on_one_device(dropout_rate=0.4)
    _assert_equal(_run("jit", 1, dropout_rate=0.4, accumulate=3), expected)


@pytest.mark.parametrize(
    ("parallel", "num_devices"),
    [
        pytest.param("jit", 4, marks=_SLOW),
        pytest.param("jit", 8, marks=_SLOW),
        pytest.param("pmap", 2, marks=_SLOW),
        pytest.param("jit, holding", 4, marks=_SLOW),
        pytest.param("pmap, holding", 2, marks=_SLOW),
    ],
)
def test_what_an_example_drops_is_the_same_on_any_devices(parallel, num_devices):
    expected = _on_one_device(dropout_rate=0.4)
    _assert_equal(_run(parallel, num_devices, dropout_rate=0.4), expected)
    assert not np.allclose(expected[1], _on_one_device()[1], rtol=1e-3)


@pytest.mark.slow
def test_each_example_drops_something_else():
    # The same text in every place: were the masks the same too, so were the losses.
    texts, depth, (model, _, labels, state) = _prepared("last_block", True, 0.4)
    texts, losses = texts.select(np.zeros(8, int)), set()
    for place in range(4):
        alone = np.eye(8, dtype=np.float32)[place]
        one = dataclasses.replace(texts, loss_weights=alone)
        steps = jit_steps(model, labels, one, jax.devices()[:2], depth=depth)
        placed = steps.place(state)
        losses.add(float(steps.train(placed, np.arange(8)[None], _KEY, 16)[1][0]))
    assert len(losses) == 4


@pytest.mark.fault(16)
@pytest.mark.parametrize(
    ("parallel", "num_devices"),
    [("jit", 4), ("pmap", 8), ("jit, holding", 8), ("pmap, holding", 4)],
)
def test_every_text_is_scored_once_on_any_devices(parallel, num_devices):
    texts, depth, (model, params, labels, _) = _prepared("last_block", True, 0.0)
    rows = np.random.default_rng(0).permutation(len(texts))[:21]
    logits = []
    for steps in (
        jit_steps(model, labels, texts, depth=depth),
        (_WRAPPERS | _HOLDING)[parallel](
            model, labels, texts, jax.devices()[:num_devices], depth=depth
        ),
    ):
        engine = Engine(params, labels, texts, steps, poll=lambda: None)
        logits.append(engine.logits(steps.place(params), rows))
    assert len(logits[1]) == 21
    np.testing.assert_allclose(logits[1], logits[0], rtol=1e-5, atol=1e-6)


_HLO_BYTES = {"f32": 4, "s32": 4, "u32": 4, "bf16": 2, "pred": 1}


def _sent_bytes(hlo: str, collective: str) -> int:
    """Add up the results of every `collective`, of tuples too."""
    total = 0
    for line in hlo.splitlines():
        match = re.search(rf"= (.*?) {collective}(?:-start)?\(", line)
        if match:
            for dtype, shape in re.findall(r"(\w+)\[([\d,]*)\]", match[1]):
                sizes = [int(size) for size in shape.split(",") if size]
                total += _HLO_BYTES[dtype] * int(np.prod(sizes, dtype=int))
    return total


def _train_hlo(parallel: str, scope: str, reused: bool) -> str:
    texts, depth, (model, _, labels, state) = _prepared(scope, reused, 0.0)
    devices = jax.devices()[:2]
    shapes = {
        name: jax.ShapeDtypeStruct(x.shape, x.dtype)
        for name, x in texts.batches(_ROWS, 16).items()
    }
    keywords: dict[str, Any] = {"param_labels": labels, "model": model, "depth": depth}
    if parallel == "pmap":
        state = jax.tree.map(lambda x: np.stack([x] * 2), state)
        shapes = {
            name: jax.ShapeDtypeStruct((3, 2, 4, *x.shape[2:]), x.dtype)
            for name, x in shapes.items()
        }
        train = pmap_programs(devices, **keywords)[0]
    else:
        mesh = make_mesh(devices)
        state = jax.device_put(state, replicated(mesh))
        shapes = {
            name: jax.ShapeDtypeStruct(
                x.shape, x.dtype, sharding=by_example(mesh, axis=1)
            )
            for name, x in shapes.items()
        }
        train = jit_programs(mesh, **keywords)[0]
    text = train.lower(state, shapes, np.int32(1), _KEY).compile().as_text()
    assert text is not None
    return text


@pytest.mark.parametrize("parallel", _WRAPPERS)
@pytest.mark.parametrize(
    ("scope", "reused"),
    [
        ("last_block", True),
        pytest.param("lora", False, marks=_SLOW),
        pytest.param("all", False, marks=_SLOW),
    ],
)
def test_only_the_gradients_of_what_trains_cross_the_wire(parallel, scope, reused):
    hlo = _train_hlo(parallel, scope, reused)
    _, _, (_, params, labels, _) = _prepared(scope, reused, 0.0)
    trained = sum(
        leaf.nbytes
        for path, leaf in flatten(params).items()
        if flatten(labels)[path] == TRAIN
    )
    scalars = _sent_bytes(hlo, "all-reduce") - trained  # loss, and sum of the weights
    assert 0 < scalars <= 2 * 4
    for other in ("all-gather", "all-to-all", "collective-permute", "reduce-scatter"):
        assert _sent_bytes(hlo, other) == 0, other


@pytest.mark.slow
def test_adamw_on_several_devices_is_adamw_on_one():
    texts, depth, (model, params, labels, _) = _prepared("last_block", True, 0.0)
    tx = create_optimizer(TrainConfig(learning_rate=1e-3, batch_size=8), labels, 3)
    state = create_train_state(model, params, tx)
    one = jit_steps(model, labels, texts, depth=depth)
    several = jit_steps(model, labels, texts, jax.devices()[:2], depth=depth)
    (expected, _), (got, _) = (
        _train(steps, state, _ROWS, texts.widths[-1]) for steps in (one, several)
    )
    for path, leaf in got.items():
        compared = slice(None)
        if path == "h_2/attn/c_attn/bias":
            # Softmax does not see a bias of the keys: its gradient is rounding noise,
            # of which Adam makes steps.
            compared = np.r_[0 : TINY.embed_dim, 2 * TINY.embed_dim : len(leaf)]
        np.testing.assert_allclose(
            leaf[compared], expected[path][compared], rtol=1e-5, atol=5e-6, err_msg=path
        )


@_SLOW
@pytest.mark.parametrize("parallel", _WRAPPERS)
@pytest.mark.parametrize("fits", [False, True], ids=["sent", "held"])
def test_a_run_on_several_devices_is_the_run_on_one(
    parallel, fits, tmp_path_factory, tmp_path, monkeypatch
):
    monkeypatch.setattr(above, "keeps_outputs", lambda device, needed: fits)
    batches, sent = Texts.batches, []

    def counted(texts, rows, width):
        sent.append(rows.size)
        return batches(texts, rows, width)

    monkeypatch.setattr(Texts, "batches", counted)
    config = run_config(tmp_path_factory, parallel=parallel, devices=3)
    results = finetune(config, tmp_path / "run")
    expected = losses(finished_run(tmp_path_factory))
    np.testing.assert_allclose(losses(tmp_path / "run"), expected, rtol=1e-4)
    assert results["device"].startswith("3 x ")
    assert bool(sent) != fits  # each text once to each device, and then rows alone


def test_more_devices_than_there_are_is_a_device_error():
    with pytest.raises(DeviceError, match="this machine has 8"):
        choose_devices(99)


def test_all_devices_are_taken_unless_told():
    assert choose_devices(None) == jax.devices()
    assert choose_devices(3) == jax.devices()[:3]


def test_the_devices_are_named_and_so_is_the_padding_that_they_cost():
    config = TrainConfig(batch_size=8, trainable=("all",), shard="fsdp")
    assert describe_devices(jax.devices()[:4], config) == [
        "device: 4 x cpu (cpu), jit, fsdp"
    ]
    three = describe_devices(jax.devices()[:3], TrainConfig(batch_size=8))
    assert "batches of 8 are padded by 1 to be cut over 3" in three[1]
