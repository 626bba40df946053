"""The architecture of a model, and the sizes that have a name."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Literal

from gpt2_jax.config.fields import check_fields, option, require

PoolName = Literal["last_real", "last", "first", "mean", "last_mean"]
POOLS: tuple[PoolName, ...] = typing.get_args(PoolName)

Long = Literal["cut", "head_tail", "windows"]
LONGS: tuple[Long, ...] = typing.get_args(Long)

Dtype = Literal["float32", "bfloat16"]
DTYPES: tuple[Dtype, ...] = typing.get_args(Dtype)

Precision = Literal["default", "high", "highest"]  # of jax.lax.Precision
PRECISION_HELP = (
    "of float32 matmuls: highest is float32; default rounds to TF32 on a GPU and to "
    "bfloat16 on a TPU, high less than that; a CPU never rounds"
)

Activation = Literal["gelu_new", "gelu", "relu"]
ACTIVATIONS: tuple[Activation, ...] = typing.get_args(Activation)


@dataclasses.dataclass(frozen=True)
class GPT2Config:
    """Architecture of a GPT-2 (Radford et al. 2019), as language model or classifier.

    Raises:
        ValueError: a value is of the wrong type, a size is not positive, a rate is
            outside [0, 1), the width is not divisible by the number of heads, or a
            choice is unknown.
    """

    vocab_size: int = option(50257, "tokens of the vocabulary", at_least=1, below=2**31)
    max_len: int = option(1024, "positions in wpe", at_least=1, below=2**31)
    embed_dim: int = option(768, "width of a hidden state", at_least=1, below=2**31)
    num_layers: int = option(12, "blocks", at_least=1, below=2**31)
    num_heads: int = option(12, "attention heads of a block", at_least=1, below=2**31)
    dropout_rate: float = option(
        0.0,
        "of embeddings, attention weights and residual branches",
        at_least=0,
        below=1,
    )
    causal: bool = option(True, "a token sees itself and those before it only")
    tied: bool = option(
        True, "language model only: logits through wte, else `out_head/kernel`"
    )
    num_classes: int | None = option(
        None, "classes of a classifier", unset="a language model", at_least=2
    )
    pool: PoolName = option("last_real", "position whose hidden state is classified")
    dtype: Dtype = option(
        "float32", "of matmuls; params, layer norms and softmax stay float32"
    )
    precision: Precision = option(
        "highest",
        PRECISION_HELP,
    )
    lora_rank: int = option(
        0, "of the low-rank adapters on the dense kernels; 0: none", at_least=0
    )
    lora_alpha: float = option(16.0, "adapters count alpha/rank times")
    activation: Activation = option(
        "gelu_new", "of the MLP: GPT-2's tanh form of GELU, the exact one, or ReLU"
    )
    layer_norm_epsilon: float = option(1e-5, "added to variances", above=0, below=1)
    inner_dim: int | None = option(
        None, "width inside the MLP", unset="4 embed_dim", at_least=1, below=2**31
    )

    def __post_init__(self) -> None:
        check_fields(self)
        require(
            self.embed_dim % self.num_heads == 0,
            f"embed_dim={self.embed_dim} is not divisible by num_heads="
            f"{self.num_heads}",
        )

    @property
    def head_dim(self) -> int:
        """Width of one attention head."""
        return self.embed_dim // self.num_heads

    @property
    def mlp_dim(self) -> int:
        """Width inside the MLP."""
        return self.inner_dim or 4 * self.embed_dim


# Sizes of the released GPT-2 models, and of the base model that this package ships.
PRESETS: Mapping[str, GPT2Config] = types.MappingProxyType(
    {
        "mini": GPT2Config(embed_dim=256, num_layers=12, num_heads=4),
        "124M": GPT2Config(embed_dim=768, num_layers=12, num_heads=12),
        "355M": GPT2Config(embed_dim=1024, num_layers=24, num_heads=16),
        "774M": GPT2Config(embed_dim=1280, num_layers=36, num_heads=20),
        "1558M": GPT2Config(embed_dim=1600, num_layers=48, num_heads=25),
    }
)
