"""State dicts of other names <-> our param pytree; pure, no files, no torch."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from gpt2_jax.config import GPT2Config
from gpt2_jax.errors import WeightsError
from gpt2_jax.model.gpt2 import param_shapes
from gpt2_jax.model.tree import Params, flatten, unflatten
from gpt2_jax.weights.arrays import DTYPES, FLOATS, fault_of
from gpt2_jax.weights.detect import StateDict, detect_naming
from gpt2_jax.weights.naming import C_ATTN, CLASSES, LANGUAGE, Naming, Rule
from gpt2_jax.weights.rules import NAMINGS


def convert_state_dict(
    state: StateDict,
    config: GPT2Config,
    named: tuple[Naming, str] | None = None,
    *,
    dtype: str = "float32",
) -> Params:
    """Convert tensors of any known naming into the params of `GPT2(config)`.

    What needs no other type and no other order stays a view of `state`. A language head
    equal to `wte` is dropped when `config.tied`; another one becomes `out_head/kernel`
    when not. A classifier's head without a bias gets zeros.

    Args:
        named: the naming and the prefix; None: they are detected.
        dtype: of the params, "float32" or "bfloat16".

    Raises:
        WeightsError: tensors without a rule, missing, mis-shaped, not finite or all
            zero; all of them are listed.
    """
    naming, prefix = named or detect_naming(state)
    head = LANGUAGE if config.num_classes is None else CLASSES
    rules = list(naming.expand(config.num_layers, head=head))
    problems: list[str] = []
    tensors: dict[str, np.ndarray] = {}
    known = {rule.tensor for rule in rules}
    for full_name in sorted(state):
        name = full_name.removeprefix(prefix)
        if name in known:
            tensors[name] = np.asarray(state[full_name])
        elif not re.fullmatch(naming.buffers, name):
            problems.append(f"no rule for {full_name} {list(state[full_name].shape)}")
    _check_layout(naming, config, tensors)

    shapes = flatten(param_shapes(config))
    with_biases = any(_is_bias(r) for r in rules if r.tensor in tensors and r.optional)
    flat: dict[str, np.ndarray] = {}
    for path, shape in shapes.items():
        sources = [rule for rule in rules if rule.path == path]
        bare = path.endswith("/bias") and not with_biases
        if bare and all(rule.optional for rule in sources):
            flat[path] = np.zeros(shape.shape, DTYPES[dtype])  # a layer without a bias
            continue
        try:
            flat[path] = _assemble(path, shape.shape, sources, tensors, DTYPES[dtype])
        except ValueError as error:
            problems.append(str(error))
    for rule in rules:
        if rule.tensor in tensors and rule.path not in shapes:
            theirs = tensors[rule.tensor].astype(DTYPES[dtype], copy=False)
            if not np.array_equal(theirs, flat.get("wte/embedding", np.empty(0))):
                problems.append(f"no place for {rule.tensor} {list(theirs.shape)}")
    if problems:
        raise WeightsError(
            f"the {naming.title} tensors do not fit {_describe(config)}: "
            + "; ".join(problems)
        )
    return unflatten(flat)


def _is_bias(rule: Rule) -> bool:
    return rule.path.endswith("/bias")


def _check_layout(naming: Naming, config: GPT2Config, tensors: StateDict) -> None:
    """Refuse kernels that lie the way of another naming with the same names."""
    others = [
        each
        for each in NAMINGS
        if each.marker == naming.marker and each.transposed != naming.transposed
    ]
    ours = [config.embed_dim, 3 * config.embed_dim]
    if naming.transposed:
        ours.reverse()
    for i in range(config.num_layers if others else 0):
        name = naming.tensor_of(C_ATTN).format(i=i)
        if name in tensors and list(tensors[name].shape) == ours[::-1]:
            keys = " or ".join(f"naming={each.key!r}" for each in others)
            raise WeightsError(
                f"{name} is {ours[::-1]}, as {others[0].title} keeps it, but the "
                f"naming was taken for {naming.title}'s ({ours}); if it is not, give "
                f"{keys}"
            )


def _assemble(
    path: str,
    shape: tuple[int, ...],
    sources: Sequence[Rule],
    tensors: StateDict,
    dtype: np.dtype,
) -> np.ndarray:
    """Make the parameter at `path` of the tensors that its rules name.

    Raises:
        ValueError: what is wrong with them.
    """
    found = [rule for rule in sources if rule.tensor in tensors]
    names = " + ".join(rule.tensor for rule in found)
    if not found or (found[0].part is not None and len(found) < len(sources)):
        lacking = [rule.tensor for rule in sources if rule not in found]
        raise ValueError(f"missing {' and '.join(lacking) or path}")
    if len(found) > 1 and found[0].part is None:
        raise ValueError(f"{names} are two tensors for {path}")
    part_shape = (*shape[:-1], shape[-1] // len(found))
    parts, problems = [], []
    for rule in found:
        value = _to_ours(rule, tensors[rule.tensor])
        if value.shape != part_shape:
            fault = f"expected {list(part_shape)} for {path}, got {list(value.shape)}"
        elif value.dtype not in FLOATS:
            fault = f"expected floating-point values, got {value.dtype}"
        else:
            fault = fault_of(value, may_be_zero=_is_bias(rule))
        if fault is None:
            parts.append(value.astype(dtype, copy=False))
        else:
            problems.append(f"{rule.tensor}: {fault}")
    if problems:
        raise ValueError("; ".join(problems))
    return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=-1)


def scale_queries(params: Params, scale: Sequence[float]) -> Params:
    """Multiply the queries of each block by its number, and so the attention scores."""
    flat = flatten(params)
    for i, factor in enumerate(scale):
        for leaf in ("kernel", "bias"):
            path = f"h_{i}/attn/c_attn/{leaf}"
            query, *others = np.split(flat[path], 3, axis=-1)
            query = (query.astype(np.float32) * factor).astype(query.dtype)
            flat[path] = np.concatenate([query, *others], axis=-1)
    return unflatten(flat)


def to_state_dict(
    params: Params, naming: Naming, prefix: str = ""
) -> dict[str, np.ndarray]:
    """Convert `params` into the tensors of `naming`: the way back, bit for bit.

    Raises:
        ValueError: a parameter that the naming has no tensor for.
    """
    flat = flatten(params)
    num_layers = sum(path.endswith("/attn/c_attn/kernel") for path in flat)
    head = CLASSES if "out_head/bias" in flat else LANGUAGE
    rules = list(naming.expand(num_layers, head=head))
    lost = sorted(set(flat) - {rule.path for rule in rules})
    if lost:
        raise ValueError(f"{naming.title} has no tensor for {', '.join(lost)}")
    return {
        prefix + rule.tensor: _to_theirs(rule, np.asarray(flat[rule.path]))
        for rule in rules
        if rule.path in flat
    }


def _to_ours(rule: Rule, value: np.ndarray) -> np.ndarray:
    if rule.unsqueeze and value.ndim == 3 and value.shape[0] == 1:
        return value[0]
    return value.T if rule.transpose and value.ndim == 2 else value


def _to_theirs(rule: Rule, value: np.ndarray) -> np.ndarray:
    if rule.part is not None:
        value = np.split(value, 3, axis=-1)[rule.part]
    if rule.unsqueeze:
        value = value[None]
    return np.ascontiguousarray(value.T if rule.transpose else value)


def _describe(config: GPT2Config) -> str:
    head = "" if config.num_classes is None else f", {config.num_classes} classes"
    return (
        f"a GPT-2 of {config.num_layers} layers, {config.num_heads} heads, width "
        f"{config.embed_dim}, {config.max_len} positions, vocabulary "
        f"{config.vocab_size}{head}"
    )
