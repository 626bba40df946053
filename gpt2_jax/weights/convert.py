"""State dicts of PyTorch names <-> our param pytree; pure, no files, no torch."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np

from gpt2_jax.config import GPT2Config
from gpt2_jax.errors import WeightsError
from gpt2_jax.model import param_shapes
from gpt2_jax.tree import Params, flatten, unflatten
from gpt2_jax.weights.names import Naming, Rule, detect_naming

StateDict = Mapping[str, np.ndarray]


def convert_state_dict(state: StateDict, config: GPT2Config) -> Params:
    """Convert tensors of any known naming into the float32 params of `GPT2(config)`.

    A language head equal to `wte` is dropped when `config.tied`; another one becomes
    `out_head/kernel` when not.

    Raises:
        WeightsError: tensors without a rule, missing, mis-shaped or not finite; all of
            them are listed.
    """
    naming, prefix = detect_naming(state)
    rules = list(naming.expand(config.num_layers))
    problems: list[str] = []
    tensors: dict[str, np.ndarray] = {}
    known = {rule.tensor for rule in rules}
    for full_name in sorted(state):
        name = full_name.removeprefix(prefix)
        if name in known:
            tensors[name] = np.asarray(state[full_name])
        elif not re.fullmatch(naming.buffers, name):
            problems.append(f"no rule for {full_name} {list(state[full_name].shape)}")

    shapes = flatten(param_shapes(config))
    flat: dict[str, np.ndarray] = {}
    for path, shape in shapes.items():
        sources = [rule for rule in rules if rule.path == path]
        try:
            flat[path] = _assemble(path, shape.shape, sources, tensors)
        except ValueError as error:
            problems.append(str(error))
    for rule in rules:
        if rule.tensor in tensors and rule.path not in shapes:
            head = tensors[rule.tensor].astype(np.float32)
            if not np.array_equal(head, flat.get("wte/embedding", np.empty(0))):
                problems.append(f"no place for {rule.tensor} {list(head.shape)}")
    if problems:
        raise WeightsError(
            f"the {naming.title} tensors do not fit {_describe(config)}: "
            + "; ".join(problems)
        )
    return unflatten(flat)


def _assemble(
    path: str,
    shape: tuple[int, ...],
    sources: Sequence[Rule],
    tensors: Mapping[str, np.ndarray],
) -> np.ndarray:
    """Make the parameter at `path` of the tensors that its rules name.

    Raises:
        ValueError: what is wrong with them.
    """
    found = [rule for rule in sources if rule.tensor in tensors]
    names = " + ".join(rule.tensor for rule in found)
    if not found and path.endswith("/bias") and all(r.optional for r in sources):
        return np.zeros(shape, np.float32)  # the layer was made without a bias
    if not found or (found[0].part is not None and len(found) < len(sources)):
        lacking = [rule.tensor for rule in sources if rule not in found]
        raise ValueError(f"missing {' and '.join(lacking) or path}")
    if len(found) > 1 and found[0].part is None:
        raise ValueError(f"{names} are two tensors for {path}")
    part_shape = (*shape[:-1], shape[-1] // len(found))
    parts, problems = [], []
    for rule in found:
        value = _to_ours(rule, tensors[rule.tensor])
        parts.append(value)
        if value.shape != part_shape:
            problems.append(
                f"{rule.tensor}: expected {list(part_shape)} for {path}, got "
                f"{list(value.shape)}"
            )
        elif not np.isfinite(value).all():
            problems.append(f"{rule.tensor}: holds values that are not finite")
    if problems:
        raise ValueError("; ".join(problems))
    return np.concatenate(parts, axis=-1)


def to_state_dict(
    params: Params, naming: Naming, prefix: str = ""
) -> dict[str, np.ndarray]:
    """Convert `params` into the tensors of `naming`: the way back, bit for bit."""
    flat = flatten(params)
    num_layers = sum(path.endswith("/attn/c_attn/kernel") for path in flat)
    return {
        prefix + rule.tensor: _to_theirs(rule, np.asarray(flat[rule.path]))
        for rule in naming.expand(num_layers)
        if rule.path in flat
    }


def _to_ours(rule: Rule, value: np.ndarray) -> np.ndarray:
    value = value.astype(np.float32)
    return value.T if rule.transpose and value.ndim == 2 else value


def _to_theirs(rule: Rule, value: np.ndarray) -> np.ndarray:
    if rule.part is not None:
        value = np.split(value, 3, axis=-1)[rule.part]
    return np.ascontiguousarray(value.T if rule.transpose else value)


def _describe(config: GPT2Config) -> str:
    return (
        f"a GPT-2 of {config.num_layers} layers, {config.num_heads} heads, width "
        f"{config.embed_dim}, {config.max_len} positions, vocabulary "
        f"{config.vocab_size}"
    )
