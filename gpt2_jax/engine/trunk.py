"""The frozen trunk, run once per text instead of once per epoch.

Shapes: `R` rows, `T` tokens of a row, `S` tokens of all texts, `N` texts, `D`
embed_dim.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int

from gpt2_jax.config import GPT2Config
from gpt2_jax.distributed import exchange_rows
from gpt2_jax.engine.devices import Device
from gpt2_jax.engine.outputs import OnDevice, OnHost, Outputs
from gpt2_jax.engine.packing import Packed, call_tokens, pack
from gpt2_jax.engine.pooling import run_pooling
from gpt2_jax.engine.texts import Texts
from gpt2_jax.model.attention import segment_mask
from gpt2_jax.model.blocks import Block
from gpt2_jax.model.gpt2 import GPT2, head_inputs
from gpt2_jax.model.pools import POOLS
from gpt2_jax.model.tree import Params
from gpt2_jax.progress import bar
from gpt2_jax.storage.memory import aligned

SLAB = 4096  # texts whose trunk outputs are held at once, where only the pooled stay

CALLS_IN_FLIGHT = 2  # per device: one runs while the host reads the other


def packed_blocks(config: GPT2Config, depth: int) -> int:
    """Return how many blocks of a trunk run over every token of every text.

    With the pooling in the trunk, its last block has one query per text.
    """
    pooled = depth > config.num_layers and not POOLS[config.pool].reads_all
    return min(depth, config.num_layers - pooled)


def run_trunk(
    config: GPT2Config,
    params: Params,
    texts: Texts,
    depth: int,
    values: Float[np.ndarray, "S E"] | None = None,
    devices: Sequence[Device] = (),
    poll: Callable[[], None] = lambda: None,
    *,
    on_device: bool = False,
) -> Texts:
    """Put the outputs of the trunk of `depth` blocks in the place of the tokens.

    Each process runs a share of the texts, its devices in turn, and sends the outputs
    to the others once: batches of an epoch mix the texts of all shares. From then on
    each device is sent only the examples that it works on.

    Args:
        values: where they go, [S, D] or, where the trunk pools, [N, D] of the distinct
            texts; None: new memory.
        poll: called now and then; what it raises ends the run.
        on_device: leave them on the only one of `devices`, of the only process; of a
            trunk that pools what it pools.
    """
    devices = devices or jax.local_devices()[:1]
    _, first, place = np.unique(texts.starts, return_index=True, return_inverse=True)
    distinct = texts.select(first)  # equal texts lie, and run, once
    pooled = depth > config.num_layers
    if values is None and (pooled or not on_device):
        values = aligned(*output_shape(config, distinct, depth))
    placed = [jax.device_put(params, device) for device in devices]
    shares = _shares(distinct.lengths, jax.process_count())
    ours = shares[jax.process_index()]
    counts = [len(share) for share in shares]
    if values is None:
        kept = OnDevice(len(texts.values), config.embed_dim, config.dtype, devices[0])
        starts = _run_packed(config, placed, distinct, depth, kept, poll)
        return dataclasses.replace(texts, values=kept.values, starts=starts[place])
    if not pooled:
        sizes = [int(distinct.lengths[share].sum()) for share in shares]
        begin = sum(sizes[: jax.process_index()])
        end = begin + sizes[jax.process_index()]
        starts, own = np.zeros(len(distinct), np.int32), distinct.select(ours)
        kept = OnHost(values[begin:end])
        starts[ours] = begin + _run_packed(config, placed, own, depth, kept, poll)
        exchange_rows(values, sizes)
        exchange_rows(starts, counts)
        return dataclasses.replace(texts, values=values, starts=starts[place])
    for rows in np.split(ours, range(SLAB, len(ours), SLAB)):
        slab = distinct.select(rows)
        size, blocks = int(slab.lengths.sum()), packed_blocks(config, depth)
        if on_device:  # in few sizes, which are programs
            size = 1 << (size - 1).bit_length()
            hidden = OnDevice(size, config.embed_dim, config.dtype, devices[0])
        else:
            shape = (size, config.embed_dim)
            hidden = OnHost(np.empty(shape, jnp.dtype(config.dtype)))
        starts = _run_packed(config, placed, slab, blocks, hidden, poll)
        slab = dataclasses.replace(slab, values=hidden.values, starts=starts)
        values[rows] = run_pooling(config, placed[0], slab, blocks)
    exchange_rows(values, counts)
    return dataclasses.replace(
        texts,
        values=values,
        starts=np.arange(len(first), dtype=np.int32)[place],
        lengths=np.ones_like(texts.lengths),
        widths=(1,),
    )


def _shares(lengths: np.ndarray, num: int) -> list[np.ndarray]:
    """Cut the texts into `num` runs of about as many tokens each."""
    ends = np.cumsum(lengths)
    cuts = np.searchsorted(ends, ends[-1] * np.arange(1, num) / num)
    return np.split(np.arange(len(lengths)), cuts)


def output_shape(
    config: GPT2Config, texts: Texts, depth: int
) -> tuple[tuple[int, int], np.dtype]:
    """Return shape and dtype of the trunk outputs of the distinct texts."""
    if depth > config.num_layers:
        num = len(np.unique(texts.starts))
        return (num, head_inputs(config)), np.dtype(np.float32)
    return (len(texts.values), config.embed_dim), jnp.dtype(config.dtype)


def outputs_to_come(config: GPT2Config, texts: Texts, depth: int) -> Texts:
    """Return what `run_trunk` will, but for the values: zeros that take no memory."""
    shape, dtype = output_shape(config, texts, depth)
    values = np.broadcast_to(np.zeros((), dtype), shape)
    outputs = dataclasses.replace(texts, values=values)
    if depth <= config.num_layers:
        return outputs
    lengths = np.ones_like(texts.lengths)
    return dataclasses.replace(outputs, lengths=lengths, widths=(1,))


def _run_packed(
    config: GPT2Config,
    placed: Sequence[Params],
    texts: Texts,
    blocks: int,
    outputs: Outputs,
    poll: Callable[[], None],
) -> Int[np.ndarray, " N"]:
    """Write the outputs, text after text; return where each starts."""
    embed, block = block_programs(config)
    tokens = call_tokens(jax.default_backend())
    starts = np.zeros(len(texts), np.int32)
    written = 0

    def run(packed: Packed, params: Params) -> Float[Array, "R T D"]:
        ids = np.zeros_like(packed.segments)
        ids[packed.segments > 0] = np.concatenate(
            [texts.tokens_of(text) for text in packed.texts]
        )
        embeddings = {name: params[name] for name in ("wte", "wpe")}
        x = embed(embeddings, ids, packed.positions)
        for i in range(blocks):
            x = block(params[f"h_{i}"], x, packed.segments)
        return x

    calls = (
        (packed, run(packed, placed[index % len(placed)]))
        for index, packed in enumerate(pack(texts.lengths, texts.widths[-1], tokens))
    )
    with bar(len(texts), "frozen trunk", "texts") as shown:
        for packed, x in _ahead(calls, CALLS_IN_FLIGHT * len(placed)):
            poll()
            sizes = texts.lengths[packed.texts]
            starts[packed.texts] = written + np.cumsum(sizes) - sizes
            written += int(sizes.sum())
            outputs.write(x, packed.segments)
            shown.update(len(sizes))
    return starts


def _ahead(calls: Iterator[Any], count: int) -> Iterator[Any]:
    """Yield each of `calls` once `count` later ones are under way."""
    waiting = collections.deque()
    for call in calls:
        waiting.append(call)
        if len(waiting) > count:
            yield waiting.popleft()
    yield from waiting


@functools.cache  # compiled programs, shared by all blocks; it holds no weights
def block_programs(
    config: GPT2Config,
) -> tuple[Callable[..., Array], Callable[..., Array]]:
    def embed(
        params: Params, tokens: Int[Array, "R T"], positions: Int[Array, "R T"]
    ) -> Float[Array, "R T D"]:
        x = GPT2(config).apply({"params": params}, tokens, positions, method=GPT2.embed)
        return cast(Array, x)

    def block(
        params: Params, x: Float[Array, "R T D"], segments: Int[Array, "R T"]
    ) -> Float[Array, "R T D"]:
        mask = segment_mask(config, segments)
        y = Block(config).apply({"params": params}, x, mask, deterministic=True)
        return cast(Array, y)

    return jax.jit(embed), jax.jit(block)
