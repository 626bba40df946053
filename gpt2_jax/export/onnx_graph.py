"""A trained classifier as a graph of ONNX's own operators (the extra `onnx`).

Shapes: `B` batch, `T` tokens, `D` embed_dim, `H` heads, `K` head_dim, `E` what the head
reads, `C` classes.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from gpt2_jax.config import GPT2Config
from gpt2_jax.model.pools import POOLS
from gpt2_jax.model.tree import flatten
from gpt2_jax.weights.trained import TrainedModel

INPUTS, OUTPUTS = ("input_ids", "attention_mask"), ("logits", "probabilities")

OPSET = 20  # the first with Gelu

_ACTIVATIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "gelu_new": ("Gelu", {"approximate": "tanh"}),
    "gelu": ("Gelu", {"approximate": "none"}),
    "relu": ("Relu", {}),
}


@dataclasses.dataclass(frozen=True)
class _Graph:
    """Nodes and constants, in their order; each is known by the name of its value."""

    nodes: list[Any] = dataclasses.field(default_factory=list)
    constants: dict[str, Any] = dataclasses.field(default_factory=dict)
    _counter: Iterator[int] = dataclasses.field(default_factory=itertools.count)

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        from onnx import helper

        name = f"{kind}_{next(self._counter)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], name, **attributes))
        return name

    def constant(self, value: Any, name: str | None = None) -> str:
        """Numbers without a type of their own are int64, as shapes and axes are."""
        from onnx import numpy_helper

        name = name or f"constant_{next(self._counter)}"
        array = np.ascontiguousarray(value)
        self.constants[name] = numpy_helper.from_array(array, name)
        return name


def build(trained: TrainedModel) -> Any:
    """Return the `onnx.ModelProto` of a classifier with its softmax, in float32.

    It maps `input_ids` and `attention_mask`, int64 [B, T], to `logits` and
    `probabilities`, float32 [B, C].
    """
    from onnx import TensorProto, helper

    from gpt2_jax.version import __version__

    graph, config = _Graph(), trained.config
    params = {
        path: graph.constant(np.asarray(leaf, np.float32), path)
        for path, leaf in flatten(trained.params).items()
    }
    pool = POOLS[config.pool]
    ids, mask = INPUTS
    if pool.reads_padding:
        ids, mask = _padded(graph, trained)
    num_tokens = graph.op("Squeeze", graph.op("Shape", ids, start=1, end=2))
    index = graph.op(
        "Range", *(graph.constant(np.int64(0)), num_tokens, graph.constant(np.int64(1)))
    )
    positions = index
    if not pool.reads_padding:  # they count from the first token that is no padding
        count = graph.op("CumSum", mask, graph.constant(np.int64(1)))
        first = graph.constant(np.int64(1))
        positions = graph.op("Sub", graph.op("Max", count, first), first)
    x = graph.op(
        "Add",
        graph.op("Gather", params["wte/embedding"], ids),
        graph.op("Gather", params["wpe/embedding"], positions),
    )
    bias = _attention_bias(graph, config, mask, index)
    for i in range(config.num_layers):
        block = {
            path.removeprefix(f"h_{i}/"): name
            for path, name in params.items()
            if path.startswith(f"h_{i}/")
        }
        x = _block(graph, config, block, x, bias)
    pooled = _pooled(graph, config, params, x, mask, index)
    logits = graph.op("MatMul", pooled, params["out_head/kernel"])
    logits = graph.op("Add", logits, params["out_head/bias"])
    graph.nodes.append(helper.make_node("Identity", [logits], [OUTPUTS[0]]))
    graph.nodes.append(helper.make_node("Softmax", [logits], [OUTPUTS[1]], axis=-1))
    values = [
        *(_value(name, TensorProto.INT64, "tokens") for name in INPUTS),
        *(_value(name, TensorProto.FLOAT, len(trained.classes)) for name in OUTPUTS),
    ]
    return helper.make_model(
        helper.make_graph(
            graph.nodes,
            "classifier",
            values[: len(INPUTS)],
            values[len(INPUTS) :],
            list(graph.constants.values()),
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=9,  # that of the opset
        producer_name="gpt2-jax",
        producer_version=__version__,
    )


def _value(name: str, kind: int, size: str | int) -> Any:
    from onnx import helper

    return helper.make_tensor_value_info(name, kind, ["batch", size])


def _padded(graph: _Graph, trained: TrainedModel) -> tuple[str, str]:
    """Pad with `end_id` to the width of training, whatever the input was padded to."""
    ids, mask = INPUTS
    end = graph.constant(np.int64(trained.tokenizer.end_id))
    ids = graph.op("Where", graph.op("Cast", mask, to=_BOOL), ids, end)
    width = graph.constant([trained.max_length])
    missing = graph.op("Sub", width, graph.op("Shape", ids, start=1, end=2))
    sides = graph.op("Concat", graph.constant([0, 0, 0]), missing, axis=0)
    nothing = graph.constant(np.int64(0))
    return (
        graph.op("Pad", ids, sides, end),
        graph.op("Pad", mask, sides, nothing),
    )


# Of onnx.TensorProto.
_FLOAT, _BOOL = 1, 9


def _attention_bias(graph: _Graph, config: GPT2Config, mask: str, index: str) -> str:
    """Return what is added to scores: 0 where a token may be read, [B or 1, 1, T, T].

    It hides the same from real tokens as `model.attention.attention_mask`.
    """
    keys = graph.op("Unsqueeze", index, graph.constant([0]))  # [1, T]
    queries = graph.op("Unsqueeze", index, graph.constant([1]))
    allowed = graph.op("LessOrEqual", keys, queries)  # [T, T]
    if not config.causal:
        allowed = graph.op("Or", allowed, graph.op("Not", allowed))
    if not POOLS[config.pool].reads_padding:
        real = graph.op("Cast", mask, to=_BOOL)
        real = graph.op("Unsqueeze", real, graph.constant([1, 2]))  # [B, 1, 1, T]
        allowed = graph.op("And", allowed, real)
    zero = graph.constant(np.float32(0))
    hidden = graph.constant(np.finfo(np.float32).min)
    return graph.op("Where", allowed, zero, hidden)


def _block(
    graph: _Graph, config: GPT2Config, params: dict[str, str], x: str, bias: str
) -> str:
    """Run a block of GPT-2: [B, T, D] -> [B, T, D]."""
    width, heads = config.embed_dim, config.num_heads
    y = _dense(graph, params, "attn/c_attn", _norm(graph, config, params, "ln_1", x))
    split = graph.constant([width] * 3)
    qkv = [f"{y}_{part}" for part in "qkv"]
    from onnx import helper

    graph.nodes.append(helper.make_node("Split", [y, split], qkv, axis=-1))
    apart = graph.constant([0, 0, heads, config.head_dim])
    q, k, v = (graph.op("Reshape", part, apart) for part in qkv)  # [B, T, H, K]
    q, v = (graph.op("Transpose", part, perm=[0, 2, 1, 3]) for part in (q, v))
    k = graph.op("Transpose", k, perm=[0, 2, 3, 1])  # [B, H, K, T]
    scale = graph.constant(np.float32(1 / math.sqrt(config.head_dim)))
    scores = graph.op("Mul", graph.op("MatMul", q, k), scale)
    weights = graph.op("Softmax", graph.op("Add", scores, bias), axis=-1)
    y = graph.op("Transpose", graph.op("MatMul", weights, v), perm=[0, 2, 1, 3])
    y = graph.op("Reshape", y, graph.constant([0, 0, width]))
    x = graph.op("Add", x, _dense(graph, params, "attn/c_proj", y))
    y = _dense(graph, params, "mlp/c_fc", _norm(graph, config, params, "ln_2", x))
    kind, attributes = _ACTIVATIONS[config.activation]
    y = graph.op(kind, y, **attributes)
    return graph.op("Add", x, _dense(graph, params, "mlp/c_proj", y))


def _dense(graph: _Graph, params: dict[str, str], layer: str, x: str) -> str:
    y = graph.op("MatMul", x, params[f"{layer}/kernel"])
    return graph.op("Add", y, params[f"{layer}/bias"])


def _norm(
    graph: _Graph, config: GPT2Config, params: dict[str, str], layer: str, x: str
) -> str:
    scale, bias = params[f"{layer}/scale"], params[f"{layer}/bias"]
    epsilon = config.layer_norm_epsilon
    return graph.op("LayerNormalization", x, scale, bias, axis=-1, epsilon=epsilon)


def _pooled(
    graph: _Graph,
    config: GPT2Config,
    params: dict[str, str],
    x: str,
    mask: str,
    index: str,
) -> str:
    """Return what the head reads of each text, [B, E], as the pool says."""
    pool, parts = POOLS[config.pool], []
    if pool.token is not None:
        token = _token(graph, pool.token, mask, index)  # [B, 1]
        one = graph.op("GatherND", x, token, batch_dims=1)  # [B, D]
        parts.append(_norm(graph, config, params, "ln_f", one))
    if pool.mean:
        states = _norm(graph, config, params, "ln_f", x)
        real = graph.op("Cast", mask, to=_FLOAT)
        count = graph.op("ReduceSum", real, graph.constant([1]), keepdims=1)
        shares = graph.op("Unsqueeze", graph.op("Div", real, count), _axis(graph))
        mean = graph.op("MatMul", shares, states)  # [B, 1, D]
        parts.append(graph.op("Squeeze", mean, _axis(graph)))
    return graph.op("Concat", *parts, axis=-1)


def _axis(graph: _Graph) -> str:
    return graph.constant([1])


def _token(graph: _Graph, token: str, mask: str, index: str) -> str:
    """Return the place of the one token that is read, int64 [B, 1]."""
    if token == "first":
        return graph.op("ArgMax", mask, axis=1, keepdims=1)
    places = graph.op("Mul", mask, index)  # 0 where there is padding
    if token == "last":
        everywhere = graph.op("Mul", mask, graph.constant(np.int64(0)))
        places = graph.op("Add", everywhere, index)
    return graph.op("ReduceMax", places, _axis(graph), keepdims=1)


def num_bytes(model: Any) -> int:
    """Return the bytes of all constants."""
    sizes: Sequence[int] = [len(c.raw_data) for c in model.graph.initializer]
    return sum(sizes)
