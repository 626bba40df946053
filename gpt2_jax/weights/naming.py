"""What a naming is: rules from the names of tensors to the paths of our params."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator

from gpt2_jax.config.layout import NamingName
from gpt2_jax.config.model import Activation, GPT2Config, PoolName

LANGUAGE, CLASSES = "language", "classes"

C_ATTN = "h_{i}/attn/c_attn/kernel"  # where the parameter of that name stands


@dataclasses.dataclass(frozen=True)
class Rule:
    """`tensor` <-> `path`; `{i}` in both stands for the block."""

    tensor: str
    path: str
    transpose: bool = False  # nn.Linear keeps [out, in], Flax and Conv1D [in, out]
    part: int | None = None  # query 0, key 1, value 2 of the fused c_attn
    optional: bool = False  # absent means zeros (a bias) or tied (the language head)
    head: str | None = None  # only of a model with this head: LANGUAGE or CLASSES
    unsqueeze: bool = False  # one axis of 1 before the others


@dataclasses.dataclass(frozen=True)
class Naming:
    """All tensors of one kind of file."""

    key: NamingName  # what a user calls it
    title: str
    rules: tuple[Rule, ...]
    marker: str  # a regex that tells this naming; its \d+ is the number of the block
    classifier: str | None = None  # the tensor that only a classifier has
    buffers: str = "(?!)"  # regex of tensors that hold no parameter, as causal masks
    prefixes: tuple[str, ...] = ("",)  # what may stand before every name
    heads: str = "(?!)"  # regex of heads for which a classifier has no use
    # What its code computes, where nothing beside the tensors says it.
    activation: Activation = GPT2Config.activation
    pool: PoolName = GPT2Config.pool

    def expand(self, num_layers: int, *, head: str = LANGUAGE) -> Iterator[Rule]:
        """Yield every rule of a model with `num_layers` blocks and this head."""
        for rule in self.rules:
            if rule.head not in (None, head):
                continue
            for i in range(num_layers) if "{i}" in rule.tensor else (0,):
                yield dataclasses.replace(
                    rule, tensor=rule.tensor.format(i=i), path=rule.path.format(i=i)
                )

    def tensor_of(self, path: str) -> str:
        """Return the tensor of a parameter, with `{i}` for the block."""
        return next(rule.tensor for rule in self.rules if rule.path == path)

    @property
    def transposed(self) -> bool:
        """Is `c_attn` kept as [3D, D], and not as our [D, 3D]?"""
        return any(rule.transpose for rule in self.rules if rule.path == C_ATTN)

    def block_of(self, name: str) -> int | None:
        """Return the block that a tensor, named without a prefix, is of."""
        start = self.marker.partition(r"\d+")[0]
        found = re.match(rf"{start}(\d+)", name)
        return None if found is None else int(found[1])
