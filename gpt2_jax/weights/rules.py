"""The names that each kind of file gives to GPT-2's parameters.

One table per naming. A rule says which tensor becomes which path of our pytree, and
how: as it is, transposed, or as one third of the fused `c_attn`.
"""

from __future__ import annotations

import functools

from gpt2_jax.weights.naming import CLASSES, LANGUAGE, Naming, Rule


def _pair(
    tensor: str,
    path: str,
    leaf: str,
    *,
    transpose: bool = False,
    biases: bool = True,
    theirs: str = "weight",
) -> tuple[Rule, Rule]:
    return (
        Rule(f"{tensor}.{theirs}", f"{path}/{leaf}", transpose=transpose),
        Rule(f"{tensor}.bias", f"{path}/bias", optional=not biases),
    )


def _head(tensor: str, *, transpose: bool = True) -> Rule:
    path = "out_head/kernel"
    return Rule(tensor, path, transpose=transpose, optional=True, head=LANGUAGE)


def _gpt2_rules(
    *,
    transpose: bool,
    biases: bool = True,
    embedding: str = "weight",
    scale: str = "weight",
    kernel: str = "weight",
) -> tuple[Rule, ...]:
    """GPT-2's own names; without `biases` they may all be absent."""
    dense = functools.partial(
        _pair, leaf="kernel", transpose=transpose, biases=biases, theirs=kernel
    )
    norm = functools.partial(_pair, leaf="scale", biases=biases, theirs=scale)
    return (
        Rule(f"wte.{embedding}", "wte/embedding"),
        Rule(f"wpe.{embedding}", "wpe/embedding"),
        *norm("h.{i}.ln_1", "h_{i}/ln_1"),
        *dense("h.{i}.attn.c_attn", "h_{i}/attn/c_attn"),
        *dense("h.{i}.attn.c_proj", "h_{i}/attn/c_proj"),
        *norm("h.{i}.ln_2", "h_{i}/ln_2"),
        *dense("h.{i}.mlp.c_fc", "h_{i}/mlp/c_fc"),
        *dense("h.{i}.mlp.c_proj", "h_{i}/mlp/c_proj"),
        *norm("ln_f", "ln_f"),
        _head(f"lm_head.{kernel}", transpose=kernel == "weight"),
    )


HUGGING_FACE = Naming(
    key="hf",
    title="Hugging Face",
    rules=(
        *_gpt2_rules(transpose=False),
        Rule("score.weight", "out_head/kernel", transpose=True, head=CLASSES),
    ),
    marker=r"h\.\d+\.attn\.c_attn\.weight",
    classifier="score.weight",
    buffers=r"h\.\d+\.attn\.(bias|masked_bias)",
    prefixes=("", "transformer."),
    heads=r"(multiple_choice_head|classifier|qa_outputs|v_head)\..*",
)

# https://github.com/karpathy/nanoGPT, model.py; before June 2023 its GELU was minGPT's
NANOGPT = Naming(
    key="nanogpt",
    title="nanoGPT",
    rules=_gpt2_rules(transpose=True, biases=False),
    marker=r"h\.\d+\.attn\.c_attn\.weight",
    buffers=r"h\.\d+\.attn\.bias",
    prefixes=("", "transformer."),
    activation="gelu",
)

# https://github.com/karpathy/minGPT, mingpt/model.py, and build-nanogpt, train_gpt2.py
MINGPT = Naming(
    key="mingpt",
    title="minGPT (and build-nanogpt)",
    rules=_gpt2_rules(transpose=True),
    marker=r"h\.\d+\.attn\.c_attn\.weight",
    buffers=r"h\.\d+\.attn\.bias",
    prefixes=("", "transformer."),
)

# transformers < 5, modeling_flax_gpt2.py: its FlaxConv1D keeps a kernel as [out, in].
FLAX = Naming(
    key="flax",
    title="Hugging Face's Flax",
    rules=_gpt2_rules(
        transpose=True, embedding="embedding", scale="scale", kernel="kernel"
    ),
    marker=r"h\.\d+\.attn\.c_attn\.kernel",
    prefixes=("", "transformer."),
)

_BLOCK = "trf_blocks.{i}"


def _book_head() -> tuple[Rule, ...]:
    return (
        Rule("out_head.weight", "out_head/kernel", transpose=True, optional=True),
        Rule("out_head.bias", "out_head/bias", head=CLASSES),
    )


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
        *_book_head(),
    ),
    marker=r"trf_blocks\.\d+\.att\.W_query\.weight",
    classifier="out_head.bias",
    buffers=r"trf_blocks\.\d+\.att\.mask",
    pool="last",  # the book reads the last position, padding or not
)

LLMS_FROM_SCRATCH_FAST = Naming(
    key="llms-from-scratch-fast",
    title="LLMs-from-scratch's GPTModelFast",
    rules=(
        Rule("tok_emb.weight", "wte/embedding"),
        Rule("pos_emb.weight", "wpe/embedding"),
        *_pair(f"{_BLOCK}.norm1", "h_{i}/ln_1", "scale"),
        *_pair(f"{_BLOCK}.norm2", "h_{i}/ln_2", "scale"),
        Rule(f"{_BLOCK}.att.qkv.weight", "h_{i}/attn/c_attn/kernel", transpose=True),
        Rule(f"{_BLOCK}.att.qkv.bias", "h_{i}/attn/c_attn/bias", optional=True),
        *_pair(f"{_BLOCK}.att.proj", "h_{i}/attn/c_proj", "kernel", transpose=True),
        *_pair(f"{_BLOCK}.ff.layers.0", "h_{i}/mlp/c_fc", "kernel", transpose=True),
        *_pair(f"{_BLOCK}.ff.layers.2", "h_{i}/mlp/c_proj", "kernel", transpose=True),
        *_pair("final_norm", "ln_f", "scale"),
        *_book_head(),
    ),
    marker=r"trf_blocks\.\d+\.att\.qkv\.weight",
    classifier="out_head.bias",
    pool="last",
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
    prefixes=("model/",),
)

NAMINGS = (
    *(HUGGING_FACE, LLMS_FROM_SCRATCH, LLMS_FROM_SCRATCH_FAST, NANOGPT, MINGPT),
    *(FLAX, OPENAI),
)
