"""The names that each kind of file gives to GPT-2's parameters.

One table per naming. A rule says which tensor becomes which path of our pytree, and
how: as it is, transposed, or as one third of the fused `c_attn`.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Collection, Iterable, Iterator

from gpt2_jax.errors import WeightsError

LANGUAGE, CLASSES = "language", "classes"


@dataclasses.dataclass(frozen=True)
class Rule:
    """`tensor` <-> `path`; `{i}` in both stands for the block."""

    tensor: str
    path: str
    transpose: bool = False  # nn.Linear keeps [out, in], Flax and Conv1D [in, out]
    part: int | None = None  # query 0, key 1, value 2 of the fused c_attn
    optional: bool = False  # absent means zeros (a bias) or tied (the language head)
    head: str | None = None  # only of a model with this head: LANGUAGE or CLASSES
    unsqueeze: bool = False  # TensorFlow's kernels are [1, in, out]


@dataclasses.dataclass(frozen=True)
class Naming:
    """All tensors of one kind of file."""

    key: str  # what a user calls it
    title: str
    rules: tuple[Rule, ...]
    marker: str  # a regex that tells this naming
    classifier: str | None  # the tensor that only a classifier has
    buffers: str  # regex of tensors that hold no parameter, such as causal masks
    prefixes: tuple[str, ...] = ("",)  # what may stand before every name

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
        """Return the tensor of a parameter that is no block's."""
        return next(rule.tensor for rule in self.rules if rule.path == path)


def _pair(
    tensor: str, path: str, leaf: str, *, transpose: bool = False, biases: bool = True
) -> tuple[Rule, Rule]:
    return (
        Rule(f"{tensor}.weight", f"{path}/{leaf}", transpose=transpose),
        Rule(f"{tensor}.bias", f"{path}/bias", optional=not biases),
    )


def _gpt2_rules(*, transpose: bool, biases: bool) -> tuple[Rule, ...]:
    """GPT-2's own names; without `biases` they may all be absent."""
    dense = functools.partial(_pair, leaf="kernel", transpose=transpose, biases=biases)
    norm = functools.partial(_pair, leaf="scale", biases=biases)
    return (
        Rule("wte.weight", "wte/embedding"),
        Rule("wpe.weight", "wpe/embedding"),
        *norm("h.{i}.ln_1", "h_{i}/ln_1"),
        *dense("h.{i}.attn.c_attn", "h_{i}/attn/c_attn"),
        *dense("h.{i}.attn.c_proj", "h_{i}/attn/c_proj"),
        *norm("h.{i}.ln_2", "h_{i}/ln_2"),
        *dense("h.{i}.mlp.c_fc", "h_{i}/mlp/c_fc"),
        *dense("h.{i}.mlp.c_proj", "h_{i}/mlp/c_proj"),
        *norm("ln_f", "ln_f"),
        Rule(
            "lm_head.weight",
            "out_head/kernel",
            transpose=True,
            optional=True,
            head=LANGUAGE,
        ),
    )


HUGGING_FACE = Naming(
    key="hf",
    title="Hugging Face",
    rules=(
        *_gpt2_rules(transpose=False, biases=True),
        Rule("score.weight", "out_head/kernel", transpose=True, head=CLASSES),
    ),
    marker=r"h\.\d+\.attn\.c_attn\.weight",
    classifier="score.weight",
    buffers=r"h\.\d+\.attn\.(bias|masked_bias)",
    prefixes=("", "transformer."),
)

NANOGPT = Naming(
    key="nanogpt",
    title="nanoGPT",
    rules=_gpt2_rules(transpose=True, biases=False),
    marker=r"h\.\d+\.attn\.c_attn\.weight",
    classifier=None,
    buffers=r"h\.\d+\.attn\.bias",
    prefixes=("transformer.",),
)

_BLOCK = "trf_blocks.{i}"

LLMS_FROM_SCRATCH = Naming(
    key="llms-from-scratch",
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
        Rule("out_head.bias", "out_head/bias", head=CLASSES),
    ),
    marker=r"trf_blocks\.\d+\.att\.W_query\.weight",
    classifier="out_head.bias",
    buffers=r"trf_blocks\.\d+\.att\.mask",
)


def _openai_pair(tensor: str, path: str) -> tuple[Rule, Rule]:
    return (
        Rule(f"{tensor}/w", f"{path}/kernel", unsqueeze=True),
        Rule(f"{tensor}/b", f"{path}/bias"),
    )


OPENAI = Naming(
    key="openai",
    title="OpenAI",
    rules=(
        Rule("wte", "wte/embedding"),
        Rule("wpe", "wpe/embedding"),
        *_openai_pair("h{i}/attn/c_attn", "h_{i}/attn/c_attn"),
        *_openai_pair("h{i}/attn/c_proj", "h_{i}/attn/c_proj"),
        *_openai_pair("h{i}/mlp/c_fc", "h_{i}/mlp/c_fc"),
        *_openai_pair("h{i}/mlp/c_proj", "h_{i}/mlp/c_proj"),
        *(
            Rule(f"{tensor}/{theirs}", f"{path}/{ours}")
            for tensor, path in (
                ("h{i}/ln_1", "h_{i}/ln_1"),
                ("h{i}/ln_2", "h_{i}/ln_2"),
                ("ln_f", "ln_f"),
            )
            for theirs, ours in (("g", "scale"), ("b", "bias"))
        ),
    ),
    marker=r"h\d+/attn/c_attn/w",
    classifier=None,
    buffers="(?!)",  # it has none
    prefixes=("model/",),
)

NAMINGS = (HUGGING_FACE, LLMS_FROM_SCRATCH, NANOGPT, OPENAI)


# What only Hugging Face's GPT-2 has, of the two that share the names of `c_attn`.
_HUGGING_FACE_ONLY = r"score\.weight|transformer\.h\.\d+\.attn\.masked_bias"

_ANY_BIAS = r"transformer\.(h\.\d+\.)?(ln_\w|attn\.c_\w+|mlp\.c_\w+)\.bias"


def detect_naming(
    names: Iterable[str], *, naming: str | None = None, hint: str | None = None
) -> tuple[Naming, str]:
    """Return the naming of a file, told by its tensors' names, and the prefix.

    Hugging Face and nanoGPT both write `transformer.h.0.attn.c_attn.weight`, the one
    [in, out] and the other [out, in]. It is Hugging Face's if there is a `score` or a
    `masked_bias`, nanoGPT's if there is not one bias; else `hint` decides, which is
    what stands beside the tensors. `naming` is the user's word and overrides all this.
    Shapes decide nothing here.

    Raises:
        WeightsError: no naming, or two of them, match.
    """
    names = list(names)
    known = [each.key for each in NAMINGS]
    if naming is not None and naming not in known:
        raise WeightsError(f"naming={naming!r} is not one of {', '.join(known)}")
    matching = [
        (each, prefix)
        for each in NAMINGS
        for prefix in each.prefixes
        if any(re.fullmatch(re.escape(prefix) + each.marker, name) for name in names)
    ]
    alike = [each.key for each, _ in matching] == [HUGGING_FACE.key, NANOGPT.key]
    told = naming
    if told is None and alike:
        told = _told_by_names(names) or hint
    found = [match for match in matching if told in (None, match[0].key)]
    if len(found) == 1:
        return found[0]
    if found and alike:
        raise WeightsError(
            "the names fit both Hugging Face and nanoGPT, which keeps every kernel the "
            "other way round, and nothing tells which of them it is; give naming='hf' "
            "or naming='nanogpt', or lay Hugging Face's config.json beside the file"
        )
    titles = ", ".join(each.title for each in NAMINGS)
    asked = f"naming={naming!r}: " if naming else ""
    raise WeightsError(
        f"{asked}the tensors are named like {len(found)} of the known namings "
        f"({titles}); first names: {', '.join(sorted(names)[:5]) or 'none'}"
    )


def _told_by_names(names: Collection[str]) -> str | None:
    if any(re.fullmatch(_HUGGING_FACE_ONLY, name) for name in names):
        return HUGGING_FACE.key
    if not any(re.fullmatch(_ANY_BIAS, name) for name in names):
        return NANOGPT.key  # bias=False; Hugging Face's layers all have one
    return None
