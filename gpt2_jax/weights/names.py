"""The names that each kind of PyTorch file gives to GPT-2's parameters.

One table per naming. A rule says which tensor becomes which path of our pytree, and
how: as it is, transposed, or as one third of the fused `c_attn`.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator

from gpt2_jax.errors import WeightsError


@dataclasses.dataclass(frozen=True)
class Rule:
    """`tensor` <-> `path`; `{i}` in both stands for the block."""

    tensor: str
    path: str
    transpose: bool = False  # nn.Linear keeps [out, in], Flax and Conv1D [in, out]
    part: int | None = None  # query 0, key 1, value 2 of the fused c_attn
    optional: bool = False  # absent means zeros (a bias) or tied (the language head)


@dataclasses.dataclass(frozen=True)
class Naming:
    """All tensors of one kind of file."""

    title: str
    rules: tuple[Rule, ...]
    marker: str  # a regex that only this naming matches
    buffers: str  # regex of tensors that hold no parameter, such as causal masks
    prefixes: tuple[str, ...] = ("",)  # what may stand before every name

    def expand(self, num_layers: int) -> Iterator[Rule]:
        """Yield every rule of a model with `num_layers` blocks."""
        for rule in self.rules:
            for i in range(num_layers) if "{i}" in rule.tensor else (0,):
                yield dataclasses.replace(
                    rule, tensor=rule.tensor.format(i=i), path=rule.path.format(i=i)
                )


def _pair(tensor: str, path: str, leaf: str, **kwargs: bool) -> tuple[Rule, Rule]:
    return (
        Rule(f"{tensor}.weight", f"{path}/{leaf}", **kwargs),
        Rule(f"{tensor}.bias", f"{path}/bias"),
    )


def _gpt2_rules(*, transpose: bool) -> tuple[Rule, ...]:
    """GPT-2's own names; Conv1D layers as they are, nn.Linear layers transposed."""
    return (
        Rule("wte.weight", "wte/embedding"),
        Rule("wpe.weight", "wpe/embedding"),
        *_pair("h.{i}.ln_1", "h_{i}/ln_1", "scale"),
        *_pair("h.{i}.attn.c_attn", "h_{i}/attn/c_attn", "kernel", transpose=transpose),
        *_pair("h.{i}.attn.c_proj", "h_{i}/attn/c_proj", "kernel", transpose=transpose),
        *_pair("h.{i}.ln_2", "h_{i}/ln_2", "scale"),
        *_pair("h.{i}.mlp.c_fc", "h_{i}/mlp/c_fc", "kernel", transpose=transpose),
        *_pair("h.{i}.mlp.c_proj", "h_{i}/mlp/c_proj", "kernel", transpose=transpose),
        *_pair("ln_f", "ln_f", "scale"),
        Rule("lm_head.weight", "out_head/kernel", transpose=True, optional=True),
    )


HUGGING_FACE = Naming(
    title="Hugging Face",
    rules=_gpt2_rules(transpose=False),
    marker=r"h\.\d+\.attn\.c_attn\.weight",
    buffers=r"h\.\d+\.attn\.(bias|masked_bias)",
    prefixes=("", "transformer."),
)

_BLOCK = "trf_blocks.{i}"
LLMS_FROM_SCRATCH = Naming(
    title="LLMs-from-scratch",
    rules=(
        Rule("tok_emb.weight", "wte/embedding"),
        Rule("pos_emb.weight", "wpe/embedding"),
        *(
            Rule(f"{_BLOCK}.norm{n}.{tensor}", f"h_{{i}}/ln_{n}/{leaf}")
            for n in (1, 2)
            for tensor, leaf in (("scale", "scale"), ("shift", "bias"))
        ),
        *(
            Rule(
                f"{_BLOCK}.att.W_{name}.{tensor}",
                f"h_{{i}}/attn/c_attn/{leaf}",
                transpose=leaf == "kernel",
                part=part,
                optional=leaf == "bias",  # qkv_bias=False is its default
            )
            for part, name in enumerate(("query", "key", "value"))
            for tensor, leaf in (("weight", "kernel"), ("bias", "bias"))
        ),
        *_pair(f"{_BLOCK}.att.out_proj", "h_{i}/attn/c_proj", "kernel", transpose=True),
        *_pair(f"{_BLOCK}.ff.layers.0", "h_{i}/mlp/c_fc", "kernel", transpose=True),
        *_pair(f"{_BLOCK}.ff.layers.2", "h_{i}/mlp/c_proj", "kernel", transpose=True),
        Rule("final_norm.scale", "ln_f/scale"),
        Rule("final_norm.shift", "ln_f/bias"),
        Rule("out_head.weight", "out_head/kernel", transpose=True, optional=True),
        Rule("out_head.bias", "out_head/bias", optional=True),
    ),
    marker=r"trf_blocks\.\d+\.att\.W_query\.weight",
    buffers=r"trf_blocks\.\d+\.att\.mask",
)

NAMINGS = (HUGGING_FACE, LLMS_FROM_SCRATCH)


def detect_naming(names: Iterable[str]) -> tuple[Naming, str]:
    """Return the naming of a file, told by its tensors' names, and the prefix.

    Raises:
        WeightsError: no naming, or two of them, match.
    """
    names = list(names)
    found = [
        (naming, prefix)
        for naming in NAMINGS
        for prefix in naming.prefixes
        if any(re.fullmatch(re.escape(prefix) + naming.marker, name) for name in names)
    ]
    if len(found) != 1:
        known = ", ".join(naming.title for naming in NAMINGS)
        raise WeightsError(
            f"the tensors are named like {len(found)} of the known namings ({known}); "
            f"first names: {', '.join(sorted(names)[:5]) or 'none'}"
        )
    return found[0]
