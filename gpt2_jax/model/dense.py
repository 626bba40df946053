"""Dense layers with adapters, layer norm, and how they start.

Shapes: `B` batch, `T` tokens, `D` features, `R` rank of an adapter.
"""

from __future__ import annotations

import contextlib
import functools
import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Key

from gpt2_jax.config import GPT2Config


def uniform_init(fan_in: int) -> nn.initializers.Initializer:
    """Return U(-1/sqrt(fan_in), 1/sqrt(fan_in)), torch.nn.Linear's default."""

    def init(key: Array, shape: Any, dtype: Any = jnp.float32) -> Array:
        return jax.random.uniform(key, shape, dtype, -1, 1) / math.sqrt(fan_in)

    return init


@functools.partial(jax.jit, static_argnums=(1, 2))  # one program, not a dozen
def draw_head(key: Key[Array, ""], inputs: int, classes: int) -> dict[str, Array]:
    """Return kernel [inputs, classes] and bias [classes], as torch.nn.Linear's."""
    kernel_key, bias_key = jax.random.split(key)
    init = uniform_init(inputs)
    kernel = init(kernel_key, (inputs, classes))
    return {"kernel": kernel, "bias": init(bias_key, (classes,))}


class LoRADense(nn.Module):
    """Dense with an optional low-rank adapter: `x W + b + (alpha / r) x A B`.

    Source: Hu et al. 2021, arXiv:2106.09685, equation 3. `columns` selects output
    features, so that one fused kernel can be applied to different inputs.
    """

    in_features: int
    features: int
    dtype: str
    lora_rank: int
    lora_alpha: float

    def setup(self) -> None:
        init = nn.initializers.normal(0.02)
        self.kernel = self.param("kernel", init, (self.in_features, self.features))
        self.bias = self.param("bias", nn.initializers.zeros, (self.features,))
        if self.lora_rank:
            # A as LLMs-from-scratch appendix E: kaiming_uniform_(a=sqrt(5)); B zero.
            a, b = uniform_init(self.in_features), nn.initializers.zeros
            self.lora_a = self.param("lora_a", a, (self.in_features, self.lora_rank))
            self.lora_b = self.param("lora_b", b, (self.lora_rank, self.features))

    def __call__(
        self, x: Float[Array, "B T In"], columns: slice = slice(None)
    ) -> Float[Array, "B T Out"]:
        x = x.astype(self.dtype)
        y = x @ self.kernel[:, columns].astype(self.dtype)
        y = y + self.bias[None, None, columns].astype(self.dtype)
        if self.lora_rank:
            low = x @ self.lora_a.astype(self.dtype)  # [B, T, R]
            b = jnp.asarray(self.lora_b[:, columns], self.dtype)
            config: Any = jax.config
            up = _expand(low, b, config.jax_default_matmul_precision)  # [B, T, Out]
            y = y + self.lora_alpha / self.lora_rank * jnp.asarray(up)
        return y

    def weights(self) -> tuple[Float[Array, "In Out"], Float[Array, " Out"]]:
        """Return kernel and bias, the adapter added to the kernel."""
        kernel = self.kernel
        if self.lora_rank:
            scale = self.lora_alpha / self.lora_rank
            kernel = kernel + scale * (self.lora_a @ self.lora_b)
        return jnp.asarray(kernel, self.dtype), jnp.asarray(self.bias, self.dtype)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _expand(
    low: Float[Array, "... R"], b: Float[Array, "R Out"], precision: Any
) -> Float[Array, "... Out"]:
    """Return `low @ b`, whose gradient for `b` multiplies `low` by what comes down.

    jax multiplies them the other way round. Then XLA on a CPU transposes the larger one
    and computes in its columns what it is made of: of GELU, a quarter of a step. It has
    no forward-mode derivative (`jax.jvp`).
    """
    return jnp.matmul(low, b, precision=precision)


def _keep(low: Array, b: Array, precision: Any) -> tuple[Array, tuple[Array, Array]]:
    return _expand(low, b, precision), (low, b)


def _pull(
    precision: Any, kept: tuple[Array, Array], down: Float[Array, "... Out"]
) -> tuple[Float[Array, "... R"], Float[Array, "R Out"]]:
    low, b = kept
    rows = tuple(range(low.ndim - 1))
    up = jax.lax.dot_general(low, down, ((rows, rows), ((), ())), precision)
    return jnp.matmul(down, b.T, precision=precision), up


_expand.defvjp(_keep, _pull)


def dense(config: GPT2Config, sizes: tuple[int, int], name: str) -> LoRADense:
    return LoRADense(
        *sizes, config.dtype, config.lora_rank, config.lora_alpha, name=name
    )


def matmul_precision(
    config: GPT2Config, dtype: str
) -> contextlib.AbstractContextManager[Any]:
    """Give the matmuls of `dtype` that are traced inside the precision of `config`.

    Their gradients keep it. "default" leaves jax's own setting as it is.
    """
    if dtype != "float32" or config.precision == "default":
        return contextlib.nullcontext()
    return jax.default_matmul_precision(config.precision)


def layer_norm(
    config: GPT2Config, name: str | None = None, *, learned: bool = True
) -> nn.LayerNorm:
    """Return the norm of each token; without what is `learned`, see `ScaleAndBias`."""
    # Two passes: E[x^2] - E[x]^2 cancels on the outlier features of large GPT-2s.
    return nn.LayerNorm(
        epsilon=config.layer_norm_epsilon,
        dtype=jnp.float32,
        use_fast_variance=False,
        use_scale=learned,
        use_bias=learned,
        name=name,
    )


class ScaleAndBias(nn.Module):
    """What a layer norm learns, `scale` and `bias`, to be applied where it costs less.

    A sum over tokens of `z * scale + bias` is the sum over `z`, then scaled.
    """

    features: int

    @nn.compact
    def __call__(self) -> tuple[Float[Array, " D"], Float[Array, " D"]]:
        shape = (self.features,)
        scale = self.param("scale", nn.initializers.ones, shape)
        bias = self.param("bias", nn.initializers.zeros, shape)
        return jnp.asarray(scale), jnp.asarray(bias)
